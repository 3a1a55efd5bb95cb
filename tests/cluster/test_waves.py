"""Waves: what is left of a phase, bounded in memory, each row once."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from mien.cluster import waves as module
from mien.cluster.host import Stage
from mien.cluster.phase import Phase
from mien.cluster.report import Report
from mien.cluster.waves import ONCE, Again, outstanding, peeked, waves


@pytest.fixture
def toy(doubles: ModuleType) -> Phase:
    return Phase(name="toy", stages=(Stage(role="double", actor=doubles.Double(batch_size=4)),))


def parts(manifest: pa.Table, size: int) -> Iterator[pa.Table]:
    """The manifest cut up, each part with a video of its own."""
    for at in range(0, len(manifest), size):
        part = manifest.slice(at, size)
        names = pa.array([f"video{at}"] * len(part))
        yield part.set_column(part.schema.get_field_index("video_id"), "video_id", names)


def test_waves_are_full_and_hold_every_row_once(
    doubles: ModuleType, toy: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCKS", 3)  # of 4 rows: 12 rows are a wave
    manifest = doubles.manifest([None] * 50)
    report = Report(name="toy")
    found = list(waves(toy, toy.table(tmp_path), parts(manifest, 7), ONCE, report))
    assert [len(wave) for wave in found] == [12, 12, 12, 12, 2]
    assert pa.concat_tables(found)["id"].to_pylist() == manifest["id"].to_pylist()
    assert (report.rows, report.skipped, report.counted) == (50, 0, True)


def test_a_wave_is_closed_when_its_rows_are_large(
    doubles: ModuleType, toy: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAVE_MB", 0.0)
    sizes = [
        len(wave)
        for wave in waves(
            toy,
            toy.table(tmp_path),
            parts(doubles.manifest([None] * 20), 5),
            ONCE,
            Report(name="toy"),
        )
    ]
    assert sizes == [5, 5, 5, 5]


def test_parts_are_read_one_after_another(doubles: ModuleType, toy: Phase, tmp_path: Path) -> None:
    asked: list[int] = []

    def groups() -> Iterator[pa.Table]:
        for part in parts(doubles.manifest([None] * 4), 1):
            asked.append(len(asked))
            yield part

    first, every = peeked(groups(), 2)
    assert (len(first), asked) == (2, [0, 1])
    assert sum(map(len, every)) == 4
    assert asked == [0, 1, 2, 3]


def test_rows_that_stand_are_left_out_unless_named(
    doubles: ModuleType, toy: Phase, tmp_path: Path
) -> None:
    table, manifest = toy.table(tmp_path), doubles.manifest([None] * 3)
    (wave,) = waves(toy, table, [manifest], ONCE, Report(name="toy"))
    done = wave.append_column("twice", pa.array([0, 2, 4])).slice(0, 2)
    table.write(done.select(table.schema.names))
    assert outstanding(table, manifest)[0]["id"].to_pylist() == ["row002"]
    todo, attempts = outstanding(table, manifest, Again(stale=lambda rows: {"row000"}))
    assert (todo["id"].to_pylist(), attempts) == (["row000", "row002"], [2, 1])
