"""Downloading a file from a server on this machine that breaks, stumbles, and leads elsewhere."""

import random
from pathlib import Path
from typing import Any

import pytest

from mien.jobs import web
from mien.jobs.web import download

Hub = Any
"""The server: `Server` in conftest.py."""

DATA = random.Random(0).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def hub(server: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The server, and little patience."""
    monkeypatch.setattr(web, "PAUSE_S", 0.01)
    return server


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_taken_up(hub: Hub, tmp_path: Path, ranges: bool) -> None:
    hub.files["/f"] = DATA
    hub.ranges = ranges
    hub.cuts["/f"] = [1_000_000, 500_000]
    download(f"{hub.address}/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA
    starts = [None, "bytes=1000000-", "bytes=1500000-" if ranges else "bytes=500000-"]
    assert [asked for _, asked in hub.asked] == starts
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["f"]


def test_another_call_goes_on_where_one_gave_up(hub: Hub, tmp_path: Path) -> None:
    hub.files["/f"] = DATA
    hub.cuts["/f"] = [1_000_000, 0, 0]
    with pytest.raises(ConnectionError, match=r"tried 2 times; 1000000 bytes are kept"):
        download(f"{hub.address}/f", tmp_path / "f", tries=2)
    assert not (tmp_path / "f").exists()
    download(f"{hub.address}/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA
    assert hub.asked[-1] == ("/f", "bytes=1000000-")


def test_a_file_that_was_replaced_meanwhile_is_not_mixed(hub: Hub, tmp_path: Path) -> None:
    hub.files["/f"] = DATA
    hub.cuts["/f"] = [1_000_000, 0]
    with pytest.raises(ConnectionError):
        download(f"{hub.address}/f", tmp_path / "f", tries=1)
    hub.files["/f"] = DATA[::-1]
    hub.cuts.clear()
    download(f"{hub.address}/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA[::-1]


def test_a_part_that_is_whole_already_is_taken(hub: Hub, tmp_path: Path) -> None:
    hub.files["/f"] = DATA
    (tmp_path / ".f.part").write_bytes(DATA)
    download(f"{hub.address}/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_part_that_is_too_long_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.files["/f"] = DATA
    (tmp_path / ".f.part").write_bytes(DATA + b"more")
    download(f"{hub.address}/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_server_that_stumbles_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.files["/f"] = DATA
    hub.statuses["/f"] = [503, 429]
    download(f"{hub.address}/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_token_is_shown_to_its_own_host_alone(hub: Hub, tmp_path: Path) -> None:
    hub.files["/f"] = DATA
    other = hub.address.replace("127.0.0.1", "localhost")
    for host, shown in ((hub.address, "Bearer secret"), (other, None)):
        hub.redirects["/there"] = f"{host}/f"
        download(f"{hub.address}/there", tmp_path / "f", token="secret")
        assert hub.token == shown
        assert (tmp_path / "f").read_bytes() == DATA


def test_an_error_of_the_disk_is_not_the_servers(hub: Hub, tmp_path: Path) -> None:
    """Asking again would not help."""
    hub.files["/f"] = DATA
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".f.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        download(f"{hub.address}/f", tmp_path / "full" / "f")
    assert len(hub.asked) == 1
