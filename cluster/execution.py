"""Running a phase: its outstanding rows through its chain of actors into its table."""

import itertools
import math
import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from . import settings  # noqa: F401 # pyright: ignore[reportUnusedImport] - before Ray

# isort: split
import cloudpickle
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..datasets.store import Place, remove
from ..datasets.table import Table
from .cuts import joined, parts, undone
from .environments import check, runtime_env
from .host import Deadline, Host, SetupError
from .journal import RemoteJournal, ray_journal
from .layout import Crew, layout
from .levels import MemoryPressureError
from .need import Machine, Need, Node, needs
from .phase import Phase
from .plan import Pool
from .report import Crewed, Report
from .sink import Sink
from .stall import Seats, timely
from .waves import BLOCKS, ONCE, Again, waves

_GB = 10**9


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How phases are run: the same for all of a run.

    Attributes:
        machine: Says what workers may take now; by default what Ray has, less two CPUs.
        needs: Of the actors of each phase, by its name; by default as declared.
        environments: Path of a Python by name, for actors that name an environment.
        deadline: For each call of an actor.
        admit: Called by a worker before each batch; returns when there is memory for it.
        guard: Called after a file is written; raises where little room is left.
        finished: Called with the name of a phase and rows that have just been finished.
    """

    machine: Callable[[], Machine] | None = None
    needs: Mapping[str, Sequence[Need]] = field(default_factory=dict)
    environments: Mapping[str, str] = field(default_factory=dict)
    deadline: Deadline = field(default_factory=Deadline)
    admit: Callable[[], None] | None = None
    guard: Callable[[], None] = lambda: None
    finished: Callable[[str, pa.Table], None] = lambda name, rows: None


HERE = Terms()
"""One machine, with what Ray finds."""


def run(
    phase: Phase,
    manifest: pa.Table | Iterable[pa.Table],
    run_dir: Place,
    *,
    terms: Terms = HERE,
    again: Again = ONCE,
    ready: Callable[[], None] = lambda: None,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Run a phase.

    Rows that stand in the table already are not read again. When it returns, each row of the
    manifest stands in the table exactly once. The rows go through Ray Data in waves, so that
    memory does not grow with the manifest; where the plan cuts the chain, a wave goes through one
    part of it after another.

    Args:
        phase: What to run; its chain has been tried once (`Trial`).
        manifest: `schema.KEY` and what the chain reads; whole, or in parts of whole videos.
        run_dir: The run's folder.
        terms: How.
        again: What is done although it stands.
        ready: Called before Ray is needed, that is where there are rows to do.
        progress: Called after each block of finished rows.

    Raises:
        EnvironmentRefusedError: An actor's environment cannot hold it.
        RefusedError: The pools do not fit the machine.
        UncuttableError: See there.
        SetupError: An actor could not be set up on a worker.
        MemoryPressureError: A worker's machine ran short of memory.
        DiskFullError: There is no room for finished rows.
        StalledError: A pool got no worker.
    """
    groups = [manifest] if isinstance(manifest, pa.Table) else manifest
    table = phase.table(run_dir)
    report = Report(name=phase.name)
    running = _Running(phase, run_dir, terms, report, progress)
    for rows in waves(phase, table, groups, again, report):
        progress(report)
        check({stage.role: stage.actor for stage in phase.stages}, terms.environments)
        ready()
        running.wave(rows, table)
    table.compact()
    running.forget()
    progress(report)
    return report


class _Running:
    """A phase under way."""

    def __init__(
        self,
        phase: Phase,
        run_dir: Place,
        terms: Terms,
        report: Report,
        progress: Callable[[Report], None],
    ) -> None:
        self._phase, self._run_dir, self._terms = phase, run_dir, terms
        self._report, self._progress = report, progress
        self._cuts: dict[int, Table] = {}

    def wave(self, rows: pa.Table, table: Table) -> None:
        """Send rows through the chain, part after part.

        The rows before a cut go into a table that is only passed on; those behind it are read
        from there, as many at once as memory bears.
        """
        machine = (self._terms.machine or found)()
        block_rows = self._block_rows(len(rows), machine)
        prelude = [stage.role for stage in self._phase.prelude]
        chain = self._terms.needs.get(self._phase.name) or needs(self._phase.stages, machine)
        blocks = math.ceil(len(rows) / block_rows)
        cut: Table | None = None
        for shift in layout(self._phase, chain, machine, blocks=blocks):
            last = shift.done == len(self._phase.stages)
            target = table if last else self._cut(shift.done)
            for part in [rows] if cut is None else parts(rows, cut):
                todo = part if cut is None else joined(part, cut, prelude)
                todo = todo if last else undone(todo, target)
                if len(todo):
                    self._execute(shift.crews, todo, target, machine, counts=last)
            cut = target

    def _cut(self, done: int) -> Table:
        if done not in self._cuts:
            self._cuts[done] = self._phase.cut(done).table(self._run_dir)
        return self._cuts[done]

    def forget(self) -> None:
        """Remove what was only passed on: the phase is complete."""
        for table in self._cuts.values():
            remove(table.folder)

    def _execute(
        self,
        crews: Sequence[Crew],
        rows: pa.Table,
        table: Table,
        machine: Machine,
        *,
        counts: bool,
    ) -> None:
        """Send rows through pools of workers into a table.

        Raises:
            RuntimeError: Rows did not come back; names one.
        """
        report, began, before_s = self._report, time.perf_counter(), self._report.wall_s
        report.workers = max(report.workers, sum(crew.pool.size for crew in crews))
        sink = Sink(table=table, guard=self._terms.guard)
        try:
            with closing(self._answers(crews, rows, machine)) as batches:
                for batch in batches:
                    answers = sink.add(batch)
                    report.wall_s = before_s + time.perf_counter() - began
                    report.first_row_s = report.first_row_s or report.wall_s
                    if counts:
                        report.count(answers)
                        self._terms.finished(self._phase.name, answers)
                    self._progress(report)
        except RayTaskError as error:
            for kind in (SetupError, MemoryPressureError):
                said = re.search(rf"{kind.__name__}: (.*)", str(error))
                if said:
                    raise kind(said[1]) from error
            raise
        finally:
            sink.flush()
        sink.close()
        wall_s = time.perf_counter() - began
        report.wall_s = before_s + wall_s
        for crew in crews:
            names = tuple(stage.role for stage in crew.stages)
            crewed = report.pools.setdefault(names, Crewed(stages=names, alone=crew.alone))
            crewed.worked(crew.pool.size, len(rows), wall_s)
        absent = sink.absent(set(rows["id"].to_pylist()))
        if absent:
            raise RuntimeError(
                f"{len(absent)} rows of the phase '{self._phase.name}' did not reach the table "
                f"(first: {min(absent)!r}). Give the same command again: it does them."
            )

    def _answers(
        self, crews: Sequence[Crew], rows: pa.Table, machine: Machine
    ) -> Generator[pa.Table]:
        """The finished rows, as they come.

        Raises:
            StalledError: A pool got no worker.
        """
        journals = {crew.pool.name: ray_journal() for crew in crews}
        blocks = self._dataset(crews, rows, machine, journals).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=1
        )
        seats = Seats(journals=journals, start_s=self._terms.deadline.start_s)
        yield from timely(blocks, seats.check)

    def _dataset(
        self,
        crews: Sequence[Crew],
        rows: pa.Table,
        machine: Machine,
        journals: Mapping[str, RemoteJournal],
    ) -> ray.data.Dataset:
        """The execution: the blocks of the rows through one pool of workers after another.

        The driver cuts the blocks itself. Ray Data's reader would make one block of a small file,
        and cost two operators and their workers to cut that again. A device is given whole
        batches, joined from several blocks where those are smaller.
        """
        block_rows = self._block_rows(len(rows), machine)
        dataset = ray.data.from_arrow(
            [rows.slice(at, block_rows) for at in range(0, len(rows), block_rows)]
        )
        for crew in crews:
            pool = crew.pool
            dataset = dataset.map_batches(
                Host,
                fn_constructor_kwargs={
                    "chain": cloudpickle.dumps(list(crew.stages)),
                    "journal": journals[pool.name],
                    "deadline": self._terms.deadline,
                    "admit": self._terms.admit,
                },
                batch_size=pool.batch_size if pool.gpus else min(block_rows, pool.batch_size),
                batch_format="pyarrow",
                zero_copy_batch=True,
                compute=ActorPoolStrategy(size=pool.size),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
                memory=int(pool.memory_gb * _GB),
                **self._started(pool),
                **_placed(pool, machine),
            )
        return dataset

    def _started(self, pool: Pool) -> dict[str, Any]:
        """How the pool's workers are started, where not as all others are."""
        env = runtime_env(pool.environment, self._terms.environments)
        return {"runtime_env": env} if env else {}

    def _block_rows(self, rows: int, machine: Machine) -> int:
        """Rows per block: a batch, less where workers would stay idle, more in a full wave."""
        cores = sum(int(node.cpus) for node in machine.nodes)
        share = math.ceil(rows / max(1, cores))
        batch = max(stage.actor.batch_size for stage in self._phase.stages)
        if any(stage.actor.remote for stage in self._phase.stages):
            share = batch  # who waits for an answer holds no core
        return max(1, min(share, max(batch, math.ceil(rows / BLOCKS))))


def _placed(pool: Pool, machine: Machine) -> dict[str, Any]:
    """On which of several nodes the pool's workers belong; elsewhere if one is lost.

    Left to itself Ray may spread a pool so that a worker of the next one fits on no node.
    """
    counts = zip(machine.nodes, pool.workers, strict=True)
    names = [node.name for node, count in counts for _ in range(count)]
    if len(machine.nodes) == 1 or not all(names):
        return {}
    turn = itertools.cycle(names)

    def one() -> dict[str, Any]:
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(next(turn), soft=True)}

    return {"ray_remote_args_fn": one}


SPARE_CPUS = 2
"""Left to Ray Data's own tasks, where no machine is given."""


def found() -> Machine:
    """What the running Ray has for workers, taken as one machine."""
    has = ray.cluster_resources()
    node = Node(
        cpus=has["CPU"] - SPARE_CPUS,
        gpus=int(has.get("GPU", 0)),
        memory_gb=has["memory"] / _GB,
        unified=True,
    )
    return Machine(nodes=(node,))
