"""Cut chains: what is passed on, and what is done again."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cloudpickle
import pyarrow as pa
import pytest

from mien.actors.actor import Actor
from mien.cluster import cuts
from mien.cluster.cuts import joined, parts, undone
from mien.cluster.host import Host, Stage, begin
from mien.cluster.journal import Journal
from mien.cluster.phase import Phase
from mien.datasets.schema import KEY

PICTURE = pa.field("picture", pa.string())


@dataclass(kw_only=True)
class Fetch(Actor):
    """Fetches what the others look at."""

    reads: ClassVar[tuple[str, ...]] = ("uri",)
    adds: ClassVar[pa.Schema] = pa.schema([PICTURE])
    passes: ClassVar[tuple[str, ...]] = ("picture",)

    def process(self, rows: pa.Table) -> pa.Table:
        return pa.table({"picture": [f"of {uri}" for uri in rows["uri"].to_pylist()]})


@dataclass(kw_only=True)
class Restore(Actor):
    """Makes a better picture, and a score that stands in the table."""

    reads: ClassVar[tuple[str, ...]] = ("picture",)
    adds: ClassVar[pa.Schema] = pa.schema(
        [("restored", pa.string()), ("unread", pa.string()), ("score", pa.float64())]
    )
    passes: ClassVar[tuple[str, ...]] = ("restored", "unread")

    def process(self, rows: pa.Table) -> pa.Table:
        if "of bad" in rows["picture"].to_pylist():
            raise ValueError("a bad picture")
        count = len(rows)
        return pa.table(
            {"restored": rows["picture"], "unread": ["u"] * count, "score": [0.5] * count}
        )


@dataclass(kw_only=True)
class Look(Actor):
    """Looks at both."""

    reads: ClassVar[tuple[str, ...]] = ("picture", "restored", "extra")
    adds: ClassVar[pa.Schema] = pa.schema([("seen", pa.string())])

    def process(self, rows: pa.Table) -> pa.Table:
        columns = (rows[name].to_pylist() for name in self.reads)
        return pa.table({"seen": ["|".join(three) for three in zip(*columns, strict=True)]})


@pytest.fixture
def chain() -> Phase:
    stages = (
        Stage(role="fetch", actor=Fetch()),
        Stage(role="restore", actor=Restore()),
        Stage(role="look", actor=Look()),
    )
    return Phase(name="faces", stages=stages)


def manifest(*uris: str) -> pa.Table:
    count = len(uris)
    columns = {
        "id": [f"row{i}" for i in range(count)],
        "video_id": ["v"] * count,
        "uri": list(uris),
        "start_s": [0.0] * count,
        "stop_s": [1.0] * count,
    }
    rows = pa.table({f.name: pa.array(columns[f.name], f.type) for f in KEY})
    return rows.append_column("extra", pa.array(["x"] * count))


def test_a_cut_holds_what_is_read_behind_it(chain: Phase, tmp_path: Path) -> None:
    assert [stage.role for stage in chain.prelude] == ["fetch"]
    part = chain.cut(2)
    names = set(part.table(tmp_path).schema.names)
    assert {"restored", "score"} <= names
    assert not {"picture", "unread", "seen"} & names  # fetched again; read by nobody; not yet there
    assert part.table(tmp_path).folder.parent.name == "cuts"
    assert part.hash != chain.hash


def test_a_cut_chain_answers_as_the_whole_one(chain: Phase, tmp_path: Path) -> None:
    rows = begin(manifest("a", "bad", "c"), chain.hash, [1, 1, 1])
    whole = _through(chain.stages, rows)
    cut = chain.cut(2).table(tmp_path)
    first = _through(chain.stages[:2], rows)
    cut.write(first.select(cut.schema.names))

    behind = joined(rows, cut, ["fetch"])
    assert behind["status"].to_pylist() == ["ok", "failed", "ok"]
    second = _through((chain.stages[0], chain.stages[2]), behind)
    table = chain.table(tmp_path)
    for name in table.schema.names:
        if name not in ("timings", "models"):
            assert second[name].to_pylist() == whole[name].to_pylist(), name
    roles = [{m["role"] for m in row} for row in second["models"].to_pylist()]
    assert roles == [{"fetch", "restore", "look"}, {"restore"}, {"fetch", "restore", "look"}]


def test_a_corpus_that_was_moved_is_found_behind_a_cut(chain: Phase, tmp_path: Path) -> None:
    cut = chain.cut(2).table(tmp_path)
    rows = begin(manifest("/old/a"), chain.hash, [1])
    cut.write(_through(chain.stages[:2], rows).select(cut.schema.names))
    moved = begin(manifest("/new/a"), chain.hash, [1])
    assert joined(moved, cut, [])["uri"].to_pylist() == ["/new/a"]


def test_only_what_is_missing_or_failed_earlier_is_done_before_a_cut(
    chain: Phase, tmp_path: Path
) -> None:
    cut = chain.cut(2).table(tmp_path)
    rows = begin(manifest("a", "bad", "c"), chain.hash, [1, 1, 1])
    cut.write(_through(chain.stages[:2], rows).slice(0, 2).select(cut.schema.names))
    assert undone(rows, cut)["id"].to_pylist() == ["row2"]
    retried = begin(manifest("a", "bad", "c"), chain.hash, [2, 2, 2])
    assert undone(retried, cut)["id"].to_pylist() == ["row1", "row2"]
    assert joined(retried.slice(0, 1), cut, [])["attempt"].to_pylist() == [2]


def test_rows_behind_a_cut_are_read_as_memory_bears(
    chain: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = chain.cut(2).table(tmp_path)
    rows = begin(manifest("a", "b", "c"), chain.hash, [1, 1, 1])
    cut.write(_through(chain.stages[:2], rows).select(cut.schema.names))
    assert [len(part) for part in parts(rows, cut)] == [3]
    monkeypatch.setattr(cuts, "PART_MB", 0.0)
    assert [len(part) for part in parts(rows, cut)] == [1, 1, 1]


def _through(stages: tuple[Stage, ...], rows: pa.Table) -> pa.Table:
    return Host(cloudpickle.dumps(list(stages)), Journal())(rows)
