"""Bringing weights from a hub and a server on this machine: broken, wrong, refused."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mien.actors.weights import Weights
from mien.jobs import bring as module
from mien.jobs import sources, web
from mien.jobs.bring import bring
from mien.jobs.web import BringError

Hub = Any
"""The local hub: `Server` in conftest.py."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSED = -1
DATA = random.Random(0).randbytes(3_000_000)
NET = {
    "config.json": b"{}",
    "model.safetensors": DATA,
    "deep/more.safetensors": DATA[:1000],
    "README.md": b"read me",
}
FILES = ("config.json", "**/*.safetensors")


@pytest.fixture(autouse=True)
def hub(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The local hub, with one repository, and an empty cache."""
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(web, "PAUSE_S", 0.01)
    server.repositories["org/net"] = dict(NET)
    return server


def net(tmp_path: Path, **facts: object) -> Weights:
    known: dict[str, Any] = {"name": "org/net", "licence": "MIT", "files": FILES}
    return Weights(**{**known, "dir": str(tmp_path / "models"), **facts})


def quiet(done: int, total: int) -> None:
    pass


def fetched(hub: Hub) -> list[str]:
    """Files that were asked for, without the API's own answers."""
    return [path.rpartition("/")[2] for path, _ in hub.asked if "/api/" not in path]


def test_a_repository_comes_to_the_folder_of_models(hub: Hub, tmp_path: Path) -> None:
    weights = net(tmp_path)
    place = bring(weights, quiet)
    assert place == weights.find() == tmp_path / "models" / "org" / "net"
    standing = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    assert standing == {name: data for name, data in NET.items() if name != "README.md"}
    assert not [p for p in (tmp_path / "models" / "org").iterdir() if p.name.startswith(".")]
    known = json.loads((tmp_path / "models" / sources.RECORD).read_text())["org/net"]
    assert (known["revision"], known["commit"], known["licence"]) == ("main", COMMIT, "MIT")
    large = known["files"]["org/net/model.safetensors"]
    assert large == {"size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
    assert len(known["files"]) == 3


def test_without_a_folder_it_comes_to_the_cache(hub: Hub, tmp_path: Path) -> None:
    weights = net(tmp_path, dir=None)
    place = bring(weights, quiet)
    assert place == weights.find() == tmp_path / "hub/models--org--net/snapshots" / COMMIT
    assert weights.identity()["revision"] == COMMIT
    assert sources.checkable(weights)
    assert list(sources.faults(weights)) == []


def test_a_token_goes_along(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add("org/net")
    monkeypatch.setenv("HF_TOKEN", "accepted")
    assert bring(net(tmp_path), quiet).exists()
    assert hub.token == "Bearer accepted"


@pytest.mark.parametrize("token", [None, "of-another"])
def test_terms_that_were_not_accepted_are_named(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
) -> None:
    hub.gated.add("org/net")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(BringError, match="its terms must be accepted") as error:
        bring(net(tmp_path), quiet)
    assert f"{hub.address}/org/net" in str(error.value)
    assert f"HF_TOKEN {'is set' if token else 'is not set'}" in str(error.value)
    assert "of-another" not in str(error.value)
    with pytest.raises(BringError, match=r"open https://example.org/terms with"):
        bring(net(tmp_path, terms="https://example.org/terms"), quiet)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"name": "org/none"}, r"no such repository, or it is private \(HF_TOKEN is not set\)"),
        ({"revision": "v9"}, r"no revision 'v9'"),
        ({"files": ("*.onnx",)}, r"no file like '\*.onnx' at revision 'main'"),
        ({"name": "net"}, r"neither a repository nor a `url` is known"),
        ({"path": "/nowhere/net"}, r"`path` must hold .*'/nowhere/net' does not exist"),
    ],
)
def test_what_cannot_be_had_is_said(tmp_path: Path, facts: dict, message: str) -> None:
    with pytest.raises(BringError, match=message):
        bring(net(tmp_path, **facts), quiet)
    assert not (tmp_path / "models" / "org" / "net").exists()


def test_a_hub_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BringError, match="no connection, or it broke"):
        bring(net(tmp_path), quiet)


LARGE = f"/org/net/resolve/{COMMIT}/model.safetensors"


def test_a_cut_connection_to_the_hub_is_taken_up(hub: Hub, tmp_path: Path) -> None:
    hub.cuts[LARGE] = [1_000_000, 500_000]
    place = bring(net(tmp_path), quiet)
    assert (place / "model.safetensors").read_bytes() == DATA
    starts = [asked for name, asked in hub.asked if name == LARGE]
    assert starts == [None, "bytes=1000000-", "bytes=1500000-"]


def test_another_fetch_from_the_hub_goes_on_where_one_broke(hub: Hub, tmp_path: Path) -> None:
    """The hub's own client would begin a file anew."""
    hub.cuts[LARGE] = [1_000_000, REFUSED]
    with pytest.raises(BringError):
        bring(net(tmp_path), quiet)
    hub.asked.clear()
    place = bring(net(tmp_path), quiet)
    assert (place / "model.safetensors").read_bytes() == DATA
    assert [asked for name, asked in hub.asked if name == LARGE] == ["bytes=1000000-"]


def test_ctrl_c_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 1_500_000:
            raise KeyboardInterrupt

    weights = net(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        bring(weights, stop)
    assert weights.find() is None
    hub.asked.clear()
    bring(weights, quiet)
    asked = [part for name, part in hub.asked if name == LARGE]
    assert len(asked) == 1
    assert asked[0] is not None
    assert (weights.resolved() / "model.safetensors").read_bytes() == DATA


def test_a_cut_connection_on_the_way_to_the_cache_is_taken_up(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.cuts[LARGE] = [1_000_000]
    place = bring(net(tmp_path, dir=None), quiet)
    assert (place / "model.safetensors").read_bytes() == DATA
    assert [asked for name, asked in hub.asked if name == LARGE] == [None, "bytes=1000000-"]


def test_what_a_broken_fetch_left_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """And until it is whole nothing stands where an actor would look."""
    hub.statuses[LARGE.replace("model.", "deep/more.")] = [403]
    weights = net(tmp_path)
    with pytest.raises(BringError):
        bring(weights, quiet)
    assert weights.find() is None
    hub.asked.clear()
    bring(weights, quiet)
    assert fetched(hub) == ["more.safetensors"]


def test_a_file_that_was_lost_comes_alone(hub: Hub, tmp_path: Path) -> None:
    weights = net(tmp_path)
    place = bring(weights, quiet)
    (place / "deep" / "more.safetensors").unlink()
    assert weights.find() == place  # the patterns still hold
    assert sources.standing(weights) is None  # the record does not
    hub.asked.clear()
    bring(weights, quiet)
    assert "model.safetensors" not in fetched(hub)
    assert sources.standing(weights) == place


@pytest.mark.parametrize("dir", [True, False])
def test_other_content_than_the_hub_names_is_refused(hub: Hub, tmp_path: Path, dir: bool) -> None:  # noqa: A002
    commit = COMMIT if dir else "main"
    hub.wrong |= {f"/org/net/resolve/{c}/model.safetensors" for c in (commit, COMMIT)}
    weights = net(tmp_path) if dir else net(tmp_path, dir=None)
    with pytest.raises(BringError, match=r"'model.safetensors' came with another content"):
        bring(weights, quiet)
    hub.wrong.clear()
    place = bring(weights, quiet)
    assert (place / "model.safetensors").read_bytes() == DATA


def test_what_stands_by_hand_is_kept(hub: Hub, tmp_path: Path) -> None:
    own = tmp_path / "models" / "org" / "net"
    own.mkdir(parents=True)
    (own / "mine.txt").write_text("mine")
    (own / "model.safetensors").write_bytes(DATA)
    bring(net(tmp_path), quiet)
    assert (own / "mine.txt").read_text() == "mine"
    assert "model.safetensors" not in fetched(hub)  # its hash was right


def test_bytes_are_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.001)
    size = len(DATA) + 1000 + 2
    for weights in (net(tmp_path), net(tmp_path, dir=None)):
        seen: list[tuple[int, int]] = []
        bring(weights, lambda done, total, seen=seen: seen.append((done, total)))
        assert {total for _, total in seen} == {size}
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        if weights.dir:
            assert len(seen) > 4
            assert seen[-1] == (size, size)


def test_a_full_disk_is_seen_before(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MARGIN", 1 << 60)
    with pytest.raises(BringError, match=r"GB are free at .* make room"):
        bring(net(tmp_path), quiet)
    assert fetched(hub) == []


# --- a single file


def test_a_file_comes_to_the_folder_of_models(hub: Hub, tmp_path: Path) -> None:
    hub.files["/face.onnx"] = DATA
    url, sha256 = f"{hub.address}/face.onnx", hashlib.sha256(DATA).hexdigest()
    alone = net(tmp_path, name="face.onnx", url=url, sha256=sha256, files=())
    assert bring(alone, quiet) == tmp_path / "models" / "face.onnx" == alone.find()
    inside = net(tmp_path, name="x/face", url=url, files=("face.onnx",))
    assert bring(inside, quiet) == tmp_path / "models" / "x" / "face" == inside.find()
    assert (tmp_path / "models/x/face/face.onnx").read_bytes() == DATA
    known = sources.records(tmp_path / "models")
    assert known["face.onnx"]["files"]["face.onnx"]["sha256"] == sha256
    assert known["x/face"]["url"] == url


def test_a_file_comes_to_where_its_package_keeps_it(hub: Hub, tmp_path: Path) -> None:
    hub.files["/face.h5"] = DATA
    url, cached = f"{hub.address}/face.h5", str(tmp_path / "home/.deepface/weights/face.h5")
    weights = net(tmp_path, name="face", url=url, cached=cached, dir=None, files=())
    assert bring(weights, quiet) == Path(cached) == weights.find()
    nowhere = net(tmp_path, name="face", url=url, dir=None, files=())
    with pytest.raises(BringError, match=r"needs a folder: set `models.dir`"):
        bring(nowhere, quiet)


def test_a_file_has_one_name(tmp_path: Path) -> None:
    with pytest.raises(BringError, match=r"`files` must be one name or none"):
        bring(net(tmp_path, url="http://127.0.0.1:9/x", files=("*.pth",)), quiet)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "a login is needed"), (403, "the server refuses"), (404, "there is no such file")],
)
def test_a_refusal_is_not_repeated(
    hub: Hub,
    tmp_path: Path,
    status: int,
    message: str,
) -> None:
    hub.statuses["/f"] = [status] * 3
    weights = net(tmp_path, name="f", url=f"{hub.address}/f", files=())
    with pytest.raises(BringError, match=message):
        bring(weights, quiet)
    assert len(hub.asked) == 1


def test_a_wrong_hash_is_refused_and_nothing_is_left(hub: Hub, tmp_path: Path) -> None:
    hub.files["/f"] = DATA
    weights = net(tmp_path, name="f", url=f"{hub.address}/f", files=(), sha256="ab" * 32)
    with pytest.raises(BringError, match=r"SHA-256 .*, but must have abababababab"):
        bring(weights, quiet)
    assert weights.find() is None
    assert [p.name for p in (tmp_path / "models").iterdir()] == []
