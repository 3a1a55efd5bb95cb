"""What the watching kept is read where it is needed, from the files that hold it."""

from pathlib import Path

import pyarrow as pa
import pytest

from mien.datasets.schema import WATCH
from mien.datasets.table import Table, table_schema
from mien.jobs.recall import FACES, POINTER, POINTERS, Recall, RecallPictures


def row(name: str, *thumbnails: bytes) -> dict:
    frames = [
        {"time_s": float(i), "reason": "base", "motion": 0.0, "thumbnail": picture}
        for i, picture in enumerate(thumbnails)
    ]
    key = {"id": name, "video_id": "v", "uri": "v.mp4", "start_s": 0.0, "stop_s": 1.0}
    outcome = {"status": "ok", "attempt": 1, "config_hash": "h"}
    return {**key, **outcome, "frames": frames, "faces": [], "cuts": []}


@pytest.fixture
def table(tmp_path: Path) -> Table:
    made = Table(tmp_path / "watch", table_schema(WATCH))
    for name in "abc":
        rows = [row(f"{name}{i}", f"{name}{i}-0".encode(), f"{name}{i}-1".encode()) for i in (0, 1)]
        made.write(pa.Table.from_pylist(rows, schema=made.schema))
    return made


def pointers(table: Table, *names: str) -> list[dict]:
    files = {r["id"]: r["file"] for r in table.locate(["v"])}
    return [{"file": files[name], "id": name} for name in names]


def test_rows_come_back_in_the_order_asked_for_whatever_file_holds_them(table: Table) -> None:
    actor = Recall(folder=str(table.folder))
    actor.setup()
    asked = pointers(table, "c1", "a0", "b1", "a1", "c1")
    found = actor.process(pa.table({"watched": pa.array(asked, POINTER)}))
    assert found.schema == FACES
    first = [frames[0]["thumbnail"] for frames in found["frames"].to_pylist()]
    assert first == [b"c1-0", b"a0-0", b"b1-0", b"a1-0", b"c1-0"]


def test_the_pictures_of_a_moment_may_come_from_several_rows(table: Table) -> None:
    actor = RecallPictures(folder=str(table.folder))
    actor.setup()
    one, two = pointers(table, "a1", "b0")
    moments = [[{**one, "index": 1, "time_s": 5.0}, {**two, "index": 0, "time_s": 6.0}], [], None]
    found = actor.process(pa.table({"frames": pa.array(moments, POINTERS)}))
    assert found["pictures"].to_pylist() == [
        [{"time_s": 5.0, "jpeg": b"a1-1"}, {"time_s": 6.0, "jpeg": b"b0-0"}],
        [],
        [],
    ]


def test_a_row_that_is_gone_is_named(table: Table) -> None:
    actor = Recall(folder=str(table.folder))
    actor.setup()
    (there,) = pointers(table, "a0")
    with pytest.raises(KeyError, match="a9"):
        actor.process(pa.table({"watched": pa.array([{**there, "id": "a9"}], POINTER)}))


def test_nothing_that_is_recalled_stands_in_the_table_again() -> None:
    assert set(Recall.passes) == set(Recall.adds.names)
    assert set(RecallPictures.passes) == set(RecallPictures.adds.names)
