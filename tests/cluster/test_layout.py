"""A phase on a machine: crews with the plan's batch sizes, and cuts."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from mien.actors.actor import Actor
from mien.cluster.host import Stage
from mien.cluster.layout import Shift, UncuttableError, layout
from mien.cluster.need import Machine, Measured, Node, needs
from mien.cluster.phase import Phase
from mien.cluster.plan import RefusedError


@dataclass(kw_only=True)
class Fetch(Actor):
    """Fetches a column for the others."""

    reads: ClassVar[tuple[str, ...]] = ("uri",)
    adds: ClassVar[pa.Schema] = pa.schema([("picture", pa.string())])
    passes: ClassVar[tuple[str, ...]] = ("picture",)

    def process(self, rows: pa.Table) -> pa.Table:
        return pa.table({"picture": rows["uri"]})


@dataclass(kw_only=True)
class Look(Actor):
    """Looks at it."""

    reads: ClassVar[tuple[str, ...]] = ("picture",)
    name: str

    @property
    def adds(self) -> pa.Schema:  # type: ignore[override]
        return pa.schema([(self.name, pa.string())])

    def process(self, rows: pa.Table) -> pa.Table:
        return pa.table({self.name: rows["picture"]})


def phase(memory_gb: float, count: int = 3) -> Phase:
    looks = [
        Stage(role=f"look{i}", actor=Look(name=f"seen{i}", gpus=0.25, memory_gb=memory_gb))
        for i in range(count)
    ]
    fetch = Stage(role="fetch", actor=Fetch(memory_gb=0.5))
    return Phase(name="faces", stages=(fetch, *looks))


def spark(memory_gb: float) -> Machine:
    return Machine(nodes=(Node(cpus=8, memory_gb=memory_gb, gpus=1, unified=True),))


def laid(made: Phase, machine: Machine, blocks: int | None = None) -> tuple[Shift, ...]:
    return layout(made, needs(made.stages, machine), machine, blocks=blocks)


def test_what_fits_is_resident_at_once() -> None:
    (shift,) = laid(phase(10.0), spark(64.0), 1)
    assert [[s.role for s in crew.stages] for crew in shift.crews] == [
        ["fetch"],
        ["look0", "look1", "look2"],
    ]
    assert shift.done == 4


def test_behind_a_cut_the_prelude_works_again() -> None:
    shifts = laid(phase(10.0), spark(22.0), 1)
    roles = [[s.role for crew in shift.crews for s in crew.stages] for shift in shifts]
    assert len(shifts) == 2
    assert roles[0][0] == roles[1][0] == "fetch"
    assert sorted(role for shift in roles for role in shift if role != "fetch") == [
        "look0",
        "look1",
        "look2",
    ]
    assert shifts[-1].done == 4
    for shift in shifts:
        assert sum(crew.pool.memory_gb * crew.pool.size for crew in shift.crews) <= 22.0


def test_the_plans_batch_sizes_reach_the_actors_and_not_the_hash() -> None:
    known = Measured(
        startup_s=1.0,
        memory_gb={1: 1.0, 8: 2.0},
        gpu_memory_gb={1: 1.0, 8: 2.0},
        rates={1: 1.0, 8: 6.0},
    )
    whole = phase(10.0, count=1)
    machine = spark(64.0)
    chain = needs(whole.stages, machine, rows_per_hour=60.0, measured={"look0": known})
    (shift,) = layout(whole, chain, machine, blocks=1)
    (look,) = shift.crews[-1].stages
    assert look.actor.batch_size == 8
    assert look.actor.memory_gb == pytest.approx(2.2)  # what torch is told to keep to
    assert replace(whole, stages=(whole.stages[0], look)).hash == whole.hash


def test_what_fits_nowhere_is_refused_before_anything_starts() -> None:
    with pytest.raises(RefusedError, match=r"a worker of 'look0' needs"):
        laid(phase(100.0), spark(64.0))


def test_a_part_that_does_not_fit_beside_its_prelude_is_refused() -> None:
    big = phase(10.0, count=2)
    fetch = Stage(role="fetch", actor=Fetch(memory_gb=9.0))
    with pytest.raises(UncuttableError, match=r"'fetch' must fit beside 'look0'"):
        laid(replace(big, stages=(fetch, *big.stages[1:])), spark(12.0), 1)


@pytest.mark.ray
def test_a_cut_phase_answers_on_ray_as_a_whole_one(tmp_path: Path) -> None:
    from mien.cluster.execution import Terms, run
    from mien.cluster.session import Cluster, session

    cut_here = phase(1.0, count=2)
    manifest = pa.table(
        {
            "id": [f"row{i}" for i in range(6)],
            "video_id": ["v"] * 6,
            "uri": [f"{i}.mp4" for i in range(6)],
            "start_s": [0.0] * 6,
            "stop_s": [1.0] * 6,
        }
    )
    with session(Cluster(cores=2, gpus=1)):
        answers = []
        for name, memory_gb in (("whole", 8.0), ("cut", 1.8)):
            machine = Machine(nodes=(Node(cpus=2, memory_gb=memory_gb, gpus=1, unified=True),))
            terms = Terms(machine=partial(Machine, nodes=machine.nodes))
            report = run(cut_here, manifest, tmp_path / name, terms=terms)
            assert (report.ok, report.failed) == (6, 0)
            rows = cut_here.table(tmp_path / name).read(["id", "seen0", "seen1"])
            answers.append(rows.sort_by("id").to_pydict())
        assert answers[0] == answers[1]
        assert answers[0]["seen1"] == [f"{i}.mp4" for i in range(6)]
        assert not list((tmp_path / "cut" / "cuts").iterdir())  # only passed on
        assert not (tmp_path / "whole" / "cuts").exists()
