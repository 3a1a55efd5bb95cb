"""Where weights are looked for, what makes them whole, and what names them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from mien.actors.actor import Actor
from mien.actors.weights import Weights, commercial, digest, hub_cache

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def planted(folder: Path, *names: str, text: str = "x") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def in_cache(cache: Path, commit: str = COMMIT, reference: str | None = "main") -> Path:
    repository = cache / "models--org--net"
    if reference:
        planted(repository / "refs", reference, text=commit)
    return planted(repository / "snapshots" / commit, "net.safetensors")


def net(**facts: object) -> Weights:
    known: dict[str, Any] = {"name": "org/net", "licence": "MIT", "files": ("*.safetensors",)}
    return Weights(**{**known, **facts})


def test_the_nearest_place_wins(tmp_path: Path, cache: Path) -> None:
    """Path, then the folder of models, then the cache, then where the package keeps it."""
    package = planted(tmp_path / "package", "net.safetensors") / "net.safetensors"
    weights = net(dir=str(tmp_path / "models"), cached=str(package))
    assert weights.find() == package
    stored = in_cache(cache)
    assert weights.find() == stored
    short = planted(tmp_path / "models" / "net", "net.safetensors")
    assert weights.find() == short
    whole = planted(tmp_path / "models" / "org" / "net", "net.safetensors")
    assert weights.find() == weights.resolved() == whole
    own = planted(tmp_path / "own", "net.safetensors")
    assert net(dir=weights.dir, path=str(own)).find() == own


def test_a_path_is_taken_instead_of_all_else(tmp_path: Path, cache: Path) -> None:
    in_cache(cache)
    weights = net(path=str(tmp_path / "nowhere"))
    assert weights.find() is None
    with pytest.raises(FileNotFoundError, match=r"`path` must hold .*nowhere' does not exist"):
        weights.resolved()


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    planted(tmp_path / "own", "config.json")
    weights = net(path="~/own")
    assert "'~/own' lacks some of them" in (weights.missing() or "")
    planted(tmp_path / "own", "net.safetensors")
    assert weights.find() == tmp_path / "own"


def test_a_folder_that_is_not_whole_is_passed_over(tmp_path: Path, cache: Path) -> None:
    weights = net(files=("config.json", "*.safetensors"), dir=str(tmp_path / "models"))
    folder = planted(tmp_path / "models" / "org" / "net", "config.json")
    assert weights.find() is None
    planted(folder, ".net.safetensors.part", ".cache/net.safetensors")
    assert weights.find() is None
    (folder / "dangling.safetensors").symlink_to(folder / "blob")
    assert weights.find() is None
    planted(in_cache(cache), "config.json")
    assert weights.find() == cache / "models--org--net" / "snapshots" / COMMIT
    planted(folder, "net.safetensors")
    assert weights.find() == folder


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    assert net(files=(), dir=str(tmp_path)).find() is None
    planted(tmp_path / "net", "deep/er/net.bin")
    assert net(files=(), dir=str(tmp_path)).find() == tmp_path / "net"


def test_all_shards_of_a_file_are_needed(tmp_path: Path) -> None:
    names = [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    planted(tmp_path / "net", *names[:2])
    assert net(dir=str(tmp_path)).find() is None
    planted(tmp_path / "net", names[2])
    assert net(dir=str(tmp_path)).find() == tmp_path / "net"


def test_a_single_file_stands_for_itself(tmp_path: Path) -> None:
    planted(tmp_path, "face.onnx")
    weights = net(name="face.onnx", dir=str(tmp_path), files=(), url="http://example.org/f")
    assert weights.resolved() == tmp_path / "face.onnx"


def test_the_cache_is_read_at_the_revision(cache: Path) -> None:
    other = "f" * 40
    in_cache(cache)
    in_cache(cache, other, "v2")
    in_cache(cache, "e" * 40, "refs/pr/1")
    found = {name: net(revision=name).find() for name in ("main", "v2", COMMIT, "refs/pr/1", "v3")}
    assert {name: place and place.name for name, place in found.items()} == {
        "main": COMMIT,
        "v2": other,
        COMMIT: COMMIT,
        "refs/pr/1": "e" * 40,
        "v3": None,
    }


def test_what_is_not_on_the_hub_is_not_looked_for_in_its_cache(cache: Path) -> None:
    in_cache(cache)
    assert net(url="https://example.org/net").find() is None
    assert net(name="net").find() is None


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HF_HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/hub"),
        ({"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/h"}, "/old"),
        ({"HF_HUB_CACHE": "~/c", "HUGGINGFACE_HUB_CACHE": "/old"}, "~/c"),
    ],
)
def test_the_cache_is_where_its_own_variables_say(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub_cache() == Path(place).expanduser()


def test_what_is_missing_is_named_with_its_cure(tmp_path: Path) -> None:
    text = net(dir=str(tmp_path), revision="v2", terms="https://example.org/terms").missing()
    assert text
    for part in ("org/net", "revision v2", "https://example.org/terms", "`mien fetch`", "cache"):
        assert part in text
    assert str(tmp_path) in text
    single = net(name="net", url="https://example.org/net.pt").missing() or ""
    assert "not set" in single
    assert "cache" not in single
    assert "revision" not in single


def test_what_they_are_is_named_rather_than_where(tmp_path: Path, cache: Path) -> None:
    assert net().identity() == {"model": "org/net", "revision": "main"}
    in_cache(cache)
    assert net().identity() == {"model": "org/net", "revision": COMMIT}
    planted(tmp_path / "a", "net.safetensors")
    planted(tmp_path / "b" / "snapshots" / "c", "net.safetensors")
    here, there = (net(path=str(tmp_path / name)).identity() for name in ("a", "b/snapshots/c"))
    assert here == there
    assert here["revision"] not in ("main", "c", COMMIT)


def test_a_digest_changes_with_the_content(tmp_path: Path) -> None:
    folder = planted(tmp_path / "net", "deep/net.bin", "config.json")
    seen = {digest(folder)}
    planted(folder, "more.json")
    seen.add(digest(folder))
    (folder / "config.json").write_text("y")
    os.utime(folder / "config.json", (1, 1))  # a change that the clock may be too coarse to see
    seen.add(digest(folder))
    (folder / "deep").rename(folder / "deeper")
    seen.add(digest(folder))
    assert len(seen) == 4
    assert digest(folder, ("deeper/*",)) != digest(folder)


def test_a_digest_sees_head_middle_and_tail_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    whole = bytearray(4_000_000)
    seen = set()
    for at in (None, 0, 2_000_000, 3_999_999):
        changed = bytearray(whole)
        if at is not None:
            changed[at] = 1
        path.write_bytes(changed)
        os.utime(path, (len(seen), len(seen)))
        seen.add(digest(path))
    assert len(seen) == 4


def test_what_a_downloader_notes_is_no_content(tmp_path: Path) -> None:
    folder = planted(tmp_path / "net", "net.bin")
    before = digest(folder)
    planted(folder, ".cache/huggingface/net.bin.metadata", text="12:00")
    assert digest(folder) == before


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("MIT", True),
        ("Apache-2.0", True),
        ("CC-BY-4.0", True),
        ("NCSA", True),
        ("LicenseRef-NCSA-like", True),
        ("CC-BY-NC-4.0", False),
        ("cc-by-nc-sa-4.0", False),
        ("LicenseRef-audEERING-NC", False),
        ("MIT AND LicenseRef-X-NC", False),
        ("PolyForm-Noncommercial-1.0.0", False),
    ],
)
def test_a_non_commercial_licence_is_known_by_its_name(licence: str, free: bool) -> None:
    assert commercial(licence) is free
    assert net(licence=licence).commercial is free


@dataclass(kw_only=True)
class Twofold(Actor):
    """An actor that stands on two sets of weights."""

    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("y", pa.int64())])

    first: Weights = field(default_factory=lambda: net(name="org/a"))
    second: Weights = field(default_factory=lambda: net(name="org/b", licence="CC-BY-NC-4.0"))

    def process(self, rows: pa.Table) -> pa.Table:
        return rows.select(["y"])


def test_an_actor_tells_all_that_it_stands_on(tmp_path: Path) -> None:
    actor = Twofold()
    assert [weights.name for weights in actor.weights()] == ["org/a", "org/b"]
    reason = actor.missing() or ""
    assert "org/a" in reason
    assert "org/b" in reason
    assert actor.provenance() == {
        "model": "org/a + org/b",
        "revision": "main + main",
        "licence": "MIT + CC-BY-NC-4.0",
    }
    for name in ("a", "b"):
        planted(tmp_path / name, "net.safetensors")
    there = Twofold(first=net(dir=str(tmp_path), name="a"), second=net(dir=str(tmp_path), name="b"))
    assert there.missing() is None
    assert there.identity() != actor.identity()
