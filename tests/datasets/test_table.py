"""Tables: whole files, newest attempts, found again."""

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mien.datasets.ids import row_id
from mien.datasets.table import Table, newest, replace, table_schema

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


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "toy", SCHEMA)


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
        replace(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_duckdb_pandas_and_polars_read_the_files(table: Table) -> None:
    table.write(rows("ab"))
    table.write(rows("c", status="failed"))
    files = str(table.folder / "part-*.parquet")
    query = f"select sum(x) from '{files}' where status = 'ok'"
    assert duckdb.execute(query).fetchall() == [(1097 + 1098,)]
    assert sorted(pd.read_parquet(table.folder)["id"]) == ["a", "b", "c"]
    assert pl.scan_parquet(files).collect()["x"].sum() == 1097 + 1098 + 1099


def test_newest_keeps_the_order_of_first_appearance() -> None:
    ids = ["b", "a", "b", "c", "a"]
    found = newest(pa.table({"id": ids, "attempt": [1, 1, 2, 1, 2], "n": list(range(5))}))
    assert set(found["n"].to_pylist()) == {2, 3, 4}


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
