"""Only files that can hold a video are opened, and nothing is missed."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.datasets import scan
from mien.datasets.scan import index, of_videos
from mien.datasets.table import Table, newest, table_schema

SCHEMA = table_schema(pa.schema([("x", pa.int64())]))
VIDEOS = ["a", "a-1", "b", "b2", "ü", "日本", "z\U0001f600"]


def rows(*cells: tuple[str, int, int]) -> pa.Table:
    """Rows from video, number in it, and attempt."""
    made = [
        {"id": f"{v}/{n}", "video_id": v, "uri": v, "start_s": float(n), "x": 10 * n + a}
        | {"status": "ok" if a > 1 else "failed", "attempt": a, "config_hash": "h"}
        for v, n, a in cells
    ]
    return pa.Table.from_pylist(made, schema=SCHEMA)


def keyed(table: pa.Table) -> list[dict]:
    return sorted(table.to_pylist(), key=lambda r: (r["id"], r["attempt"]))


cells = st.tuples(st.sampled_from(VIDEOS), st.integers(0, 3), st.integers(1, 3))
parts = st.lists(st.lists(cells, min_size=0, max_size=12, unique=True), max_size=6)


@settings(max_examples=60)
@given(files=parts, wanted=st.lists(st.sampled_from(VIDEOS), max_size=4))
def test_any_cut_into_files_gives_the_answers_of_a_full_scan(
    files: list[list[tuple[str, int, int]]], wanted: list[str]
) -> None:
    seen: set[tuple[str, int, int]] = set()  # an attempt stands once
    with tempfile.TemporaryDirectory() as folder:
        table = Table(Path(folder), SCHEMA)
        for part in files:
            table.write(rows(*(cell for cell in part if cell not in seen)))
            seen |= set(part)
        whole = newest(rows(*sorted(seen)))
        mine = whole.filter(pc.is_in(whole["video_id"], pa.array(wanted, pa.string())))
        assert keyed(table.read(video_ids=wanted)) == keyed(mine)
        known = {(r["id"], r["attempt"]) for r in table.outcomes(wanted).to_pylist()}
        assert known == {(r["id"], r["attempt"]) for r in mine.to_pylist()}
        for row in table.locate(wanted):
            held = pq.read_table(table.folder / row["file"], columns=["id", "attempt"])
            assert {"id": row["id"], "attempt": row["attempt"]} in held.to_pylist()
        assert len(table.locate(wanted)) == len(mine)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Four files of 25 videos each, in the order of a manifest."""
    made = Table(tmp_path / "toy", SCHEMA)
    for first in range(0, 100, 25):
        made.write(rows(*((f"v{i:03}", 0, 1) for i in range(first, first + 25))))
    return made


def holding(table: Table, *videos: str) -> int:
    return len(index(table.folder).holding(videos))


def test_files_in_order_of_the_manifest_are_told_apart(table: Table) -> None:
    assert holding(table, "v000", "v024") == 1
    assert holding(table, "v024", "v025") == 2
    assert holding(table, "v000", "v099") == 2  # what lies between is not asked for
    assert holding(table, "w", "a", "v0245") == 0
    assert holding(table) == 0


def test_another_attempt_in_another_file_is_found(table: Table) -> None:
    assert table.outcomes(["v030"])["attempt"].to_pylist() == [1]
    table.write(rows(("v001", 0, 2), ("v030", 0, 2), ("v077", 0, 2)))
    assert table.outcomes(["v030"])["attempt"].to_pylist() == [2]
    assert holding(table, "v030") == 2
    (found,) = table.locate(["v030"])
    assert found["attempt"] == 2


def test_a_file_that_was_replaced_is_read_anew(table: Table) -> None:
    assert holding(table, "v000") == 1
    table.drop("id", {f"v{i:03}/0" for i in range(24)})
    assert holding(table, "v000") == 0
    assert table.outcomes(["v024"])["id"].to_pylist() == ["v024/0"]


def test_a_file_whose_footer_says_nothing_is_read(table: Table) -> None:
    silent = rows(("v000", 1, 1), ("v001", 1, 1))
    pq.write_table(silent, table.folder / "part-silent.parquet", write_statistics=False)
    assert holding(table, "v050") == 2
    assert len(table.outcomes(["v000"])) == 2


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose footers are read."""
    names: list[str] = []
    real = pq.read_metadata

    def read(path: str, **how: Any) -> pq.FileMetaData:  # noqa: ANN401
        names.append(Path(path).name)
        return real(path, **how)

    monkeypatch.setattr(pq, "read_metadata", read)
    return names


def test_a_footer_is_read_once(table: Table, opened: list[str]) -> None:
    for video in ("v000", "v001", "v050"):
        table.outcomes([video])
    assert len(opened) == 4
    path = table.write(rows(("w", 0, 1)))
    assert len(table.outcomes(["w"])) == 1
    assert opened[4:] == [path.name]


def test_a_folder_at_rest_is_not_listed_again(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = []
    real = scan.listed
    monkeypatch.setattr(scan, "listed", lambda *args: listings.append(args) or real(*args))
    table.outcomes(["v000"])
    table.outcomes(["v000"])
    assert len(listings) == 2  # written just now: its time might not tell the next file
    long_ago = time.time() - 60
    os.utime(str(table.folder), (long_ago, long_ago))
    for _ in range(3):
        table.outcomes(["v000"])
    assert len(listings) == 3
    table.write(rows(("w", 0, 1)))
    assert len(table.outcomes(["w"])) == 1


def test_row_groups_of_other_videos_are_not_read(tmp_path: Path) -> None:
    made = rows(*((f"v{i:03}", 0, 1) for i in range(1000)))
    pq.write_table(made, tmp_path / "one.parquet", row_group_size=10)
    (fragment,) = ds.dataset(tmp_path / "one.parquet").get_fragments()
    wanted = of_videos([f"v{i:03}" for i in range(500, 510)])
    assert len(fragment.split_by_row_group(wanted)) == 1
    assert fragment.count_rows(filter=wanted) == 10
    assert fragment.count_rows(filter=of_videos([])) == 0
