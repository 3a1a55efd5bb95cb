"""Phases on a real local Ray."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.cluster.execution import Terms, run
from mien.cluster.host import SetupError, Stage
from mien.cluster.levels import Gate, Levels, MemoryPressureError
from mien.cluster.phase import Phase
from mien.cluster.session import Cluster, session
from mien.cluster.sink import Sink
from mien.cluster.trial import Trial
from mien.cluster.waves import Again, outstanding
from mien.datasets.store import Place


def phase(doubles: ModuleType, **parameters: Any) -> Phase:  # noqa: ANN401
    return Phase(name="toy", stages=(Stage(role="double", actor=doubles.Double(**parameters)),))


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    with session(Cluster(cores=2)):
        yield


def files_of(folder: Place) -> list[dict]:
    """Every row in every file, each attempt counted."""
    return [row for path in folder.glob("*.parquet") for row in pq.read_table(path).to_pylist()]


def test_the_hash_names_what_changes_the_content(doubles: ModuleType) -> None:
    plain = phase(doubles)
    assert plain.hash == phase(doubles, batch_size=16, cpus=2.0).hash
    assert plain.hash != phase(doubles, slow_s=1.0).hash
    assert plain.hash != replace(plain, upstream=("other",)).hash


def test_a_missing_column_is_refused_on_the_driver(doubles: ModuleType) -> None:
    manifest = doubles.manifest([None]).drop_columns(["x"])
    with pytest.raises(ValueError, match=r"actor 'double' reads the column 'x'"):
        phase(doubles).check(manifest.schema)


@pytest.mark.ray
def test_every_row_stands_once_and_nothing_is_done_twice(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    tally = tmp_path / "tally"
    tally.mkdir()
    orders: list[str | None] = [None] * 20
    orders[3], orders[7], orders[11] = "raise", "die", "die once"
    toy = phase(doubles, batch_size=4, tally=str(tally))
    manifest = doubles.manifest(orders)

    report = run(toy, manifest, tmp_path)
    assert (report.ok, report.failed) == (18, 2)
    assert dict(report.reasons) == {"double: ValueError": 1, "double: WorkerDiedError": 1}
    stands = files_of(toy.table(tmp_path).folder)
    assert sorted(row["id"] for row in stands) == manifest["id"].to_pylist()
    answers = {row["id"]: row["twice"] for row in stands}
    assert all(answers[f"row{i:03d}"] == 2 * i for i in range(20) if i not in (3, 7))

    for mark in tally.iterdir():
        mark.unlink()
    again = run(toy, manifest, tmp_path)
    assert (again.skipped, again.ok, again.failed) == (20, 0, 0)
    assert not list(tally.iterdir())

    healed = doubles.manifest([None] * 20)
    retried = run(toy, healed, tmp_path, again=Again(failed=True))
    assert (retried.skipped, retried.ok) == (18, 2)
    newest = toy.table(tmp_path).read(["id", "status", "attempt"]).to_pylist()
    assert len(newest) == 20
    assert {row["id"]: row["attempt"] for row in newest if row["attempt"] > 1} == {
        "row003": 2,
        "row007": 2,
    }


@pytest.mark.ray
def test_new_rows_are_added_to_a_table(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    toy = phase(doubles)
    run(toy, doubles.manifest([None] * 2), tmp_path)
    report = run(toy, doubles.manifest([None] * 3), tmp_path)
    assert (report.skipped, report.ok) == (2, 1)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("raise", "actor 'double' .* no such weights"),
        ("exit", "the actors 'double' kills their process"),
    ],
)
def test_an_actor_that_cannot_be_set_up_is_refused_before_the_run(
    doubles: ModuleType, ray_session: None, broken: str, message: str
) -> None:
    with pytest.raises(SetupError, match=message):
        Trial([phase(doubles).stages, phase(doubles, broken=broken).stages]).wait()


@pytest.mark.ray
def test_an_actor_that_breaks_only_on_workers_ends_the_phase(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match="no such weights"):
        run(phase(doubles, broken="raise"), doubles.manifest([None] * 3), tmp_path)


@pytest.mark.ray
def test_a_worker_whose_machine_has_no_memory_left_ends_the_phase(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    gate = Gate(Levels(soft_gb=2e6, hard_gb=1e6, patience_s=0.1))
    with pytest.raises(MemoryPressureError, match=r"a worker's machine ran short: .* below 10000"):
        run(phase(doubles), doubles.manifest([None] * 3), tmp_path, terms=Terms(admit=gate.admit))
    assert files_of(phase(doubles).table(tmp_path).folder) == []


def test_outstanding_rows_and_their_attempts(doubles: ModuleType, tmp_path: Path) -> None:
    toy = phase(doubles)
    manifest = doubles.manifest([None] * 3)
    todo, attempts = outstanding(toy.table(tmp_path), manifest)
    assert (len(todo), attempts) == (3, [1, 1, 1])
    table = toy.table(tmp_path)
    columns = {f.name: pa.nulls(2, f.type) for f in table.schema}
    columns |= {
        "id": pa.array(["row000", "row001"]),
        "video_id": pa.array(["v", "v"]),
        "uri": pa.array(["v", "v"]),
        "status": pa.array(["ok", "failed"]),
        "attempt": pa.array([1, 1], pa.int32()),
        "config_hash": pa.array(["h", "h"]),
    }
    table.write(pa.table(columns, schema=table.schema))
    todo, attempts = outstanding(table, manifest)
    assert (todo["id"].to_pylist(), attempts) == (["row002"], [1])
    todo, attempts = outstanding(table, manifest, Again(failed=True))
    assert (todo["id"].to_pylist(), attempts) == (["row001", "row002"], [2, 1])
    todo, attempts = outstanding(table, manifest, Again(stale=lambda rows: {"row000"}))
    assert (todo["id"].to_pylist(), attempts) == (["row000", "row002"], [2, 1])


def test_a_sink_writes_in_time_without_another_block(doubles: ModuleType, tmp_path: Path) -> None:
    toy = phase(doubles)
    table = toy.table(tmp_path)
    columns = {f.name: pa.nulls(1, f.type) for f in table.schema}
    columns |= {
        name: pa.array([name]) for name in ("id", "video_id", "uri", "status", "config_hash")
    }
    columns["attempt"] = pa.array([1], pa.int32())
    sink = Sink(table=table, every_s=0.05)
    sink.add(pa.table(columns, schema=table.schema))
    assert table.count() == 0
    deadline = time.monotonic() + 5
    while not table.count() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert table.count() == 1
    sink.flush()
    assert table.count() == 1


def test_one_number_is_one_number_however_it_is_written(doubles: ModuleType) -> None:
    assert phase(doubles, slow_s=1).hash == phase(doubles, slow_s=1.0).hash
    assert phase(doubles, slow_s=1).hash != phase(doubles, slow_s=1.5).hash
