"""The sink: each row once, and no failure to write goes unnoticed."""

import errno
import time
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from mien.cluster.disk import DiskFullError
from mien.cluster.host import Stage, begin
from mien.cluster.phase import Phase
from mien.cluster.sink import Sink
from mien.datasets.table import Table


@pytest.fixture
def table(doubles: ModuleType, tmp_path: Path) -> Table:
    return Phase(name="toy", stages=(Stage(role="double", actor=doubles.Double()),)).table(tmp_path)


def rows(doubles: ModuleType, count: int) -> pa.Table:
    manifest = doubles.manifest([None] * count)
    return begin(manifest, "hash", [1] * count).append_column("twice", pa.array(range(count)))


def test_a_row_that_comes_twice_stands_once(doubles: ModuleType, table: Table) -> None:
    sink = Sink(table=table)
    every = rows(doubles, 5)
    assert len(sink.add(every.slice(0, 3))) == 3
    assert sink.add(every.slice(2, 3))["id"].to_pylist() == ["row003", "row004"]
    assert sink.absent({"row001", "row009"}) == {"row001", "row009"}  # not written yet
    sink.close()
    assert sink.absent({"row001", "row009"}) == {"row009"}
    assert sorted(table.outcomes()["id"].to_pylist()) == every["id"].to_pylist()


def full(*words: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_run_with_the_cure(
    doubles: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Sink(table=table, every_mb=0.0)
    monkeypatch.setattr(Table, "write", full)
    with pytest.raises(DiskFullError, match=r"3 finished rows .*No space left.*`mien clean`"):
        sink.add(rows(doubles, 3))


def test_what_fails_in_the_timer_is_raised_later(
    doubles: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Sink(table=table, every_s=0.01)
    monkeypatch.setattr(Table, "write", full)
    every = rows(doubles, 4)
    sink.add(every.slice(0, 2))
    until = time.monotonic() + 5
    while sink._error is None and time.monotonic() < until:  # pyright: ignore[reportPrivateUsage]
        time.sleep(0.01)
    with pytest.raises(DiskFullError):
        sink.add(every.slice(2, 2))
    with pytest.raises(DiskFullError):
        sink.close()


def test_the_guard_is_asked_after_a_file_is_written(doubles: ModuleType, table: Table) -> None:
    def guard() -> None:
        raise DiskFullError("no room")

    sink = Sink(table=table, guard=guard, every_mb=0.0)
    with pytest.raises(DiskFullError, match="no room"):
        sink.add(rows(doubles, 1))
    assert table.count() == 1
