"""Actors that fail in every way, on a real local Ray."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mien.cluster.deadline import Deadline
from mien.cluster.execution import Terms, run
from mien.cluster.host import SetupError, Stage
from mien.cluster.phase import Phase
from mien.cluster.session import Cluster, session

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    with session(Cluster(cores=2)):
        yield


def phase(doubles: ModuleType, **parameters: object) -> Phase:
    return Phase(name="toy", stages=(Stage(role="double", actor=doubles.Double(**parameters)),))


def test_each_row_at_fault_fails_by_name_and_no_other(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    orders: list[str | None] = [None] * 16
    named = {
        2: ("hang", "HungError"),
        7: ("leave", "SystemExit"),
        11: ("short", "ValueError"),
        15: ("memory", "MemoryError"),
    }
    for i, (order, _) in named.items():
        orders[i] = order
    toy = phase(doubles, batch_size=4)
    terms = Terms(deadline=Deadline(base_s=1.5, factor=0))
    run(toy, doubles.manifest(orders), tmp_path, terms=terms)
    done = toy.table(tmp_path).read().sort_by("id").to_pylist()
    assert toy.table(tmp_path).count() == len(done) == 16
    failed = {i: row["error_type"] for i, row in enumerate(done) if row["status"] == "failed"}
    assert failed == {i: kind for i, (_, kind) in named.items()}
    assert "stood in: File" in done[2]["error_message"]
    assert all(row["twice"] == 2 * i for i, row in enumerate(done) if i not in failed)


def test_a_leak_costs_no_row(doubles: ModuleType, ray_session: None, tmp_path: Path) -> None:
    toy = phase(doubles, leak_rows=9)
    report = run(toy, doubles.manifest([None] * 40), tmp_path)
    assert (report.ok, report.failed) == (40, 0)


def test_setups_that_kill_workers_end_the_phase(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match="killed the worker 3 times in a row"):
        run(phase(doubles, broken="exit"), doubles.manifest([None] * 4), tmp_path)


def test_workers_are_closed_where_a_phase_ends_well(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    run(phase(doubles, tally=str(tmp_path)), doubles.manifest([None] * 4), tmp_path)
    closed = Counter(path.name.split()[0] for path in tmp_path.iterdir())
    assert closed["closed"]
    assert not Path(tmp_path, f"closed {os.getpid()}").exists()
