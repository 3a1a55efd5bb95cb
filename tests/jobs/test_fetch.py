"""`mien fetch` against a hub on this machine: what comes, what stands, what is wrong."""

import fcntl
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from mien.actors.actor import Actor
from mien.actors.weights import Weights
from mien.jobs import sources, web
from mien.jobs.fetch import Fetch, needed
from mien.jobs.lock import BusyError
from mien.jobs.main import configuration
from mien.jobs.profile import Profile

Hub = Any
"""The local hub: `Server` in conftest.py."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DATA = random.Random(1).randbytes(200_000)

Said = tuple[int, str]


@dataclass(kw_only=True)
class Net(Actor):
    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("y", pa.int64())])

    some: Weights = field(default_factory=lambda: Weights(name="", licence="MIT"))
    more: Weights | None = None

    def process(self, rows: pa.Table) -> pa.Table:
        return rows.select(["y"])


@pytest.fixture(autouse=True)
def hub(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The local hub, with two repositories and a file."""
    monkeypatch.setattr(web, "PAUSE_S", 0.01)
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    files = {"config.json": b"{}", "model.safetensors": DATA, "other.safetensors": DATA[:9]}
    server.repositories = {"org/a": files, "org/b": dict(files)}
    server.files["/face.onnx"] = DATA
    return server


def weights(tmp_path: Path, name: str, **facts: object) -> Weights:
    known: dict[str, Any] = {"licence": "MIT", "files": ("config.json", "model.safetensors")}
    return Weights(name=name, **{**known, "dir": str(tmp_path / "models"), **facts})


def profile(*some: Weights) -> Profile:
    actors: dict[str, Actor] = {f"n{i}": Net(some=one) for i, one in enumerate(some)}
    return Profile(name="toy", actors=actors, roles={"watch": list(actors)})


@pytest.fixture
def fetch(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the job; gives its status and what it said."""

    def call(*some: Weights, verify: bool = False) -> Said:
        status = Fetch(models=profile(*some), verify=verify)()
        return status, capsys.readouterr().out

    return call


def test_a_profile_comes_whole_and_stands_from_then_on(
    hub: Hub, tmp_path: Path, fetch: Callable[..., Said]
) -> None:
    face = weights(tmp_path, "face.onnx", url=f"{hub.address}/face.onnx", files=())
    wanted = (weights(tmp_path, "org/a", size_gb=0.2), weights(tmp_path, "org/b"), face)
    status, said = fetch(*wanted)
    assert status == 0
    assert "to fetch  org/a (0.2 GB, MIT, to " in said
    assert "fetched   org/b (0.20 MB, " in said
    assert all(one.missing() is None for one in wanted)
    hub.asked.clear()
    status, said = fetch(*wanted)
    assert status == 0
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["there", "org/a"],
        ["there", "org/b"],
        ["there", "face.onnx"],
    ]
    assert hub.asked == []


def test_all_that_fails_is_named_at_the_end_and_the_rest_comes(
    hub: Hub, tmp_path: Path, fetch: Callable[..., Said]
) -> None:
    hub.gated.add("org/b")
    wanted = (
        weights(tmp_path, "org/none"),
        weights(tmp_path, "org/b", terms="https://example.org/terms"),
        weights(tmp_path, "gone", url=f"{hub.address}/gone", files=()),
        weights(tmp_path, "own", path="/nowhere"),
        weights(tmp_path, "org/a"),
    )
    status, said = fetch(*wanted)
    assert status == 1
    assert wanted[-1].missing() is None
    end = said[said.index("fetched   org/a") :].splitlines()[1:]
    assert [line.split(":")[0] for line in end[:-1]] == ["org/none", "org/b", "gone", "own"]
    for line, part in zip(
        end,
        ("no such repository", "terms must be", "no such file", "`path` must hold"),
        strict=False,
    ):
        assert part in line
    assert end[-1].startswith("4 of 5 sets of weights could not be brought.")


def test_terms_are_said_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, fetch: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = weights(tmp_path, "org/b", terms="https://example.org/terms")
    for token, state in ((None, "is not set"), ("accepted", "is set")):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        hub.gated.add("org/b")
        status, said = fetch(weights(tmp_path, "org/a"), gated)
        assert status == (0 if token else 1)
        assert f"Terms to accept first, with the account of HF_TOKEN (it {state}):" in said
        assert "org/b: https://example.org/terms" in said
        assert "accepted" not in said.replace("must be accepted", "")


def test_files_that_several_actors_need_come_in_one(tmp_path: Path) -> None:
    some = weights(tmp_path, "org/a", files=("config.json",), licence="MIT")
    more = weights(tmp_path, "org/a", files=("model.safetensors",), licence="CC-BY-NC-4.0")
    other = weights(tmp_path, "org/a", revision="v2")
    found = needed(profile(some, more, other, some))
    assert [one.revision for one in found] == ["main", "v2"]
    assert found[0].files == ("config.json", "model.safetensors")
    assert found[0].licence == "MIT + CC-BY-NC-4.0"
    everything = weights(tmp_path, "org/a", files=())
    assert needed(profile(some, everything))[0].files == ()


def test_another_profile_adds_its_files(
    hub: Hub, tmp_path: Path, fetch: Callable[..., Said]
) -> None:
    one = weights(tmp_path, "org/a", files=("model.safetensors",))
    two = weights(tmp_path, "org/a", files=("other.safetensors",))
    fetch(one)
    fetch(two)
    assert [path.rpartition("/")[2] for path, _ in hub.asked if "/resolve/" in path] == [
        "model.safetensors",
        "other.safetensors",
    ]
    assert sources.standing(one)
    assert sources.standing(two)


def test_another_revision_is_fetched(hub: Hub, tmp_path: Path, fetch: Callable[..., Said]) -> None:
    fetch(weights(tmp_path, "org/a"))
    pinned = weights(tmp_path, "org/a", revision=COMMIT)
    assert pinned.missing() is None  # it cannot be told from the files
    assert sources.standing(pinned) is None
    assert fetch(pinned)[0] == 0
    assert sources.standing(pinned)


def test_what_the_cache_holds_does_not_make_a_folder_that_can_be_carried(
    hub: Hub, tmp_path: Path, fetch: Callable[..., Said]
) -> None:
    cached = weights(tmp_path, "org/a", dir=None)
    assert fetch(cached)[0] == 0
    wanted = weights(tmp_path, "org/a")
    assert wanted.missing() is None
    fetch(wanted)
    assert (tmp_path / "models" / "org" / "a" / "model.safetensors").read_bytes() == DATA


@pytest.mark.parametrize("cached", [False, True])
def test_a_corrupted_file_is_named(
    tmp_path: Path, fetch: Callable[..., Said], cached: bool
) -> None:
    one = weights(tmp_path, "org/a", **({"dir": None} if cached else {}))
    two = weights(tmp_path, "org/b")
    fetch(one, two)
    assert fetch(one, two, verify=True) == (0, "right     org/a\nright     org/b\n")
    for name in ("model.safetensors", "config.json"):
        path = (one.resolved() / name).resolve()  # in the cache: where it is kept
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        status, said = fetch(one, two, verify=True)
        assert status == 1
        assert said.startswith("wrong     org/a\nright     org/b\n")
        assert f"'{path}' is corrupted" in said
        assert "1 of 2 sets of weights are not right. Remove what is wrong" in said
        path.unlink()
        assert fetch(one, two, verify=True)[0] == 1
        assert fetch(one)[0] == 0  # brings what was removed
        assert path.read_bytes() == whole


def test_what_came_by_hand_cannot_be_verified_but_by_a_declared_hash(
    tmp_path: Path, fetch: Callable[..., Said]
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.pt").write_bytes(DATA)
    unknown = weights(tmp_path, "net.pt", files=())
    assert fetch(unknown, verify=True) == (0, "unknown   net.pt\n")
    wrong = weights(tmp_path, "net.pt", files=(), sha256="ab" * 32)
    status, said = fetch(wrong, verify=True)
    assert status == 1
    assert "does not have the hash abababababab" in said


def test_one_process_fetches_at_a_time(tmp_path: Path, fetch: Callable[..., Said]) -> None:
    (tmp_path / "models").mkdir()
    with (tmp_path / "models" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"another process fetches to '.*models'"):
            fetch(weights(tmp_path, "org/a"))


def test_a_record_that_is_torn_is_named(tmp_path: Path, fetch: Callable[..., Said]) -> None:
    wanted = weights(tmp_path, "org/a")
    fetch(wanted)
    (tmp_path / "models" / sources.RECORD).write_text('{"org')
    with pytest.raises(ValueError, match=r"SOURCES.json' is no JSON .* remove it"):
        fetch(wanted)


def test_a_folder_that_was_carried_elsewhere_is_right_there(
    tmp_path: Path, fetch: Callable[..., Said]
) -> None:
    fetch(weights(tmp_path, "org/a"))
    (tmp_path / "models").rename(tmp_path / "carried")
    there = weights(tmp_path, "org/a", dir=str(tmp_path / "carried"))
    assert fetch(there, verify=True)[0] == 0
    record = json.loads((tmp_path / "carried" / sources.RECORD).read_text())
    assert record["org/a"]["commit"] == COMMIT


def test_a_profile_may_need_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert Fetch(models=Profile(name="toy", actors={}))() == 0
    assert capsys.readouterr().out == "The profile 'toy' needs no weights beyond its packages.\n"


def test_the_bare_word_is_the_folder_of_models(tmp_path: Path) -> None:
    cfg = configuration("fetch", [f"{tmp_path}/a b"])
    assert cfg.models.dir == f"{tmp_path}/a b"
    assert configuration("fetch", ["job.verify=true"]).job.verify is True
