"""Tables: whole files, newest attempts, found again."""

from pathlib import Path
from typing import cast
from uuid import uuid5

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.datasets.ids import NAMESPACE, row_id
from mien.datasets.store import place, replace
from mien.datasets.table import MERGING, Table, newest, table_schema

SCHEMA = table_schema(pa.schema([("x", pa.int64()), ("picture", pa.binary())]))


def rows(ids: str, *, attempt: int = 1, status: str = "ok", video: str = "v") -> pa.Table:
    count = len(ids)
    columns = {f.name: pa.nulls(count, f.type) for f in SCHEMA}
    columns |= {
        "id": pa.array(list(ids)),
        "video_id": pa.array([video] * count),
        "uri": pa.array(["v.mp4"] * count),
        "start_s": pa.array([float(i) for i in range(count)][::-1]),
        "status": pa.array([status] * count),
        "attempt": pa.array([attempt] * count, pa.int32()),
        "config_hash": pa.array(["h"] * count),
        "x": pa.array([ord(i) + 1000 * attempt for i in ids]),
    }
    return pa.table(columns, schema=SCHEMA)


@pytest.fixture(params=["disk", "s3"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "disk":
        return Table(request.getfixturevalue("tmp_path") / "toy", SCHEMA)
    return Table(place(request.getfixturevalue("s3")) / "run" / "toy", SCHEMA)


def test_a_table_that_does_not_exist_yet_is_empty(table: Table) -> None:
    assert table.read().schema.equals(SCHEMA)
    assert len(table.outcomes()) == table.count() == 0
    assert table.locate(["v"]) == []


def test_only_the_newest_attempt_is_read(table: Table) -> None:
    table.write(rows("abc", status="failed"))
    table.write(rows("b", attempt=2))
    table.write(rows("b", attempt=3))
    table.write(rows("c", attempt=2, status="failed"))
    known = {r["id"]: (r["status"], r["attempt"]) for r in table.outcomes().to_pylist()}
    assert known == {"a": ("failed", 1), "b": ("ok", 3), "c": ("failed", 2)}
    assert table.read(["x"], status="ok")["x"].to_pylist() == [3098]
    assert table.read(["id"], ids=["c"])["id"].to_pylist() == ["c"]
    assert table.count() == 6


def test_drafts_are_not_read(table: Table) -> None:
    table.write(rows("a"))
    (table.folder / ".draft.parquet").write_bytes(b"half a file")
    assert table.read(["id"])["id"].to_pylist() == ["a"]


def test_a_row_is_found_in_its_file(table: Table) -> None:
    table.write(rows("a", video="v"))
    path = table.write(rows("bc", video="w"))
    found = table.locate(["w"])
    assert {(r["id"], r["file"]) for r in found} == {("b", path.name), ("c", path.name)}
    assert table.read(["id"], files=[path.name])["id"].to_pylist() == ["b", "c"]


def test_rows_of_a_video_come_in_order_of_time(table: Table) -> None:
    table.write(rows("abc"))
    assert [r["x"] for r in table.by_video(["x"], ["v", "w"])["v"]] == [1099, 1098, 1097]
    assert table.by_video(["x"], ["w"]) == {"w": []}


def test_a_missing_column_is_an_error(table: Table) -> None:
    with pytest.raises(KeyError):
        table.write(rows("a").drop_columns(["x"]))
    assert not table.files()


def test_failed_writes_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    replace(path, b"old")
    with pytest.raises(TypeError):
        replace(path, cast(bytes, "not bytes"))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_duckdb_pandas_and_polars_read_the_files(tmp_path: Path) -> None:
    table = Table(tmp_path / "toy", SCHEMA)
    table.write(rows("ab"))
    table.write(rows("c", status="failed"))
    files = str(table.folder / "part-*.parquet")
    query = f"select sum(x) from '{files}' where status = 'ok'"
    assert duckdb.execute(query).fetchall() == [(1097 + 1098,)]
    assert sorted(pd.read_parquet(tmp_path / "toy")["id"]) == ["a", "b", "c"]
    assert pl.scan_parquet(files).collect()["x"].sum() == 1097 + 1098 + 1099


def test_newest_keeps_the_order_of_first_appearance() -> None:
    ids = ["b", "a", "b", "c", "a"]
    found = newest(pa.table({"id": ids, "attempt": [1, 1, 2, 1, 2], "n": list(range(5))}))
    assert set(found["n"].to_pylist()) == {2, 3, 4}


@given(parts=st.lists(st.text() | st.integers() | st.floats() | st.none()))
def test_an_id_is_a_uuid5(parts: list[str | int | float | None]) -> None:
    texts = [f"{part:.6f}" if isinstance(part, float) else str(part) for part in parts]
    assert row_id(*parts) == str(uuid5(NAMESPACE, "\x1f".join(texts)))


def test_ids_depend_on_source_and_span_alone() -> None:
    assert row_id("a", 1.0, 2.0) == row_id("a", 1.0, 2.0)
    names = {row_id("a", 1.0, 2.0), row_id("a", 1.0, 2.5), row_id("b", 1.0, 2.0), row_id("a1", 2.0)}
    assert len(names) == 4


def test_dropped_rows_are_gone_and_others_stay(table: Table) -> None:
    first, second = table.write(rows("ab", video="v")), table.write(rows("c", video="w"))
    table.drop("id", {"a", "c"})
    assert table.read(["id"])["id"].to_pylist() == ["b"]
    assert first.exists()
    assert not second.exists()
    table.drop("id", set())
    assert table.count() == 1


def merged(table: Table) -> tuple[int, int]:
    return table.compact(whole_bytes=10_000_000, fewest=2)


def test_merged_files_hold_every_attempt_sorted_by_video(table: Table) -> None:
    table.write(rows("ab", video="w"))
    table.write(rows("cd", video="v", status="failed"))
    table.write(rows("c", video="v", attempt=2))
    before = table.read().sort_by("id")
    assert merged(table) == (3, 1)
    (file,) = table.files()
    assert table.read().sort_by("id").equals(before)
    assert table.count() == 5
    assert [r["file"] for r in table.locate(["v"])] == [file.name] * 2
    stored = table.read(["video_id"], files=[file.name])["video_id"].to_pylist()
    assert stored == sorted(stored)
    assert merged(table) == (0, 0)


def test_large_files_and_few_files_are_left_alone(table: Table) -> None:
    paths = {table.write(rows("a")), table.write(rows("b"))}
    assert table.compact(fewest=3) == (0, 0)
    assert table.compact(whole_bytes=100, fewest=2) == (0, 0)
    assert {*table.files()} == paths


def test_row_groups_of_a_merged_file_hold_few_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.datasets.table.GROUP_BYTES", 3000)
    table = Table(tmp_path, SCHEMA)
    for name in "wvxu":
        table.write(rows(name, video=name))
    merged(table)
    metadata = pq.read_metadata(table.files()[0])
    column = metadata.schema.names.index("video_id")
    groups = [metadata.row_group(i).column(column).statistics for i in range(4)]
    assert [group.min for group in groups] == [group.max for group in groups] == [*"uvwx"]


@pytest.mark.parametrize("crash", ["before the merged file", "before the old go", "among the old"])
def test_a_merge_that_is_cut_short_loses_and_doubles_nothing(
    table: Table, crash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [table.write(rows(name)) for name in "abc"]
    with monkeypatch.context() as broken:
        if crash == "before the merged file":
            broken.setattr("mien.datasets.table.encoded", fails)
        elif crash == "before the old go":
            broken.setattr(type(paths[0]), "unlink", fails)
        else:
            whole, left = type(paths[0]).unlink, iter([True, False])
            broken.setattr(
                type(paths[0]), "unlink", lambda p, **k: whole(p, **k) if next(left) else fails()
            )
        with pytest.raises(OSError, match="the power is gone"):
            merged(table)
    assert (table.folder / MERGING).exists()
    assert sorted(table.read(["id"])["id"].to_pylist()) == [*"abc"]
    assert {r["id"] for r in table.locate(["v"])} == {*"abc"}
    table.write(rows("d"))
    merged(table)
    assert sorted(table.read(["id"])["id"].to_pylist()) == [*"abcd"]
    assert table.count() == 4
    assert len(table.files()) == 1
    assert not (table.folder / MERGING).exists()


def fails(*args: object, **named: object) -> None:
    raise OSError("the power is gone")


def test_a_reader_finds_rows_while_another_process_merges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(tmp_path, SCHEMA)
    for name in "ab":
        table.write(rows(name))
    stale = table.files()
    listings = iter([stale])
    merged(table)
    files = Table.files
    monkeypatch.setattr(Table, "files", lambda self: next(listings, None) or files(self))
    assert sorted(table.read(["id"])["id"].to_pylist()) == ["a", "b"]


def test_equal_attempts_in_two_files_are_one_row(table: Table) -> None:
    table.write(rows("ab"))
    table.write(rows("bc"))
    assert sorted(table.read(["id"])["id"].to_pylist()) == ["a", "b", "c"]
    assert len(table.locate(["v"])) == 3
    assert table.count() == 4
    merged(table)
    assert table.count() == 3
