"""Running a phase: its outstanding rows through its chain of actors into its table."""

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cloudpickle
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy
from ray.exceptions import RayTaskError

from ..datasets.store import Place
from ..datasets.table import Table
from .cuts import joined, parts, undone
from .environments import check, runtime_env
from .host import Deadline, Host, SetupError
from .journal import ray_journal
from .layout import Crew, Shift, layout
from .need import Machine, Measured, Node
from .phase import Phase
from .plan import Pool
from .report import Crewed, Report
from .sink import Sink
from .waves import BLOCKS, ONCE, Again, waves

_GB = 10**9


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How phases are run: the same for all of a run.

    Attributes:
        machine: What workers may take; `None`: what Ray has, less two CPUs.
        measured: What is known of the actors on it, by role.
        rows_per_hour: Rows of each phase for an hour of media.
        environments: Path of a Python by name, for actors that name an environment.
        deadline: For each call of an actor.
        admit: Called by a worker before each batch; returns when there is memory for it.
        guard: Called before a file is written; raises where there is too little room.
        finished: Called with the name of a phase and rows that have just been finished.
    """

    machine: Machine | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    rows_per_hour: Mapping[str, float] = field(default_factory=dict)
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
        DiskFullError: There is no room for finished rows.
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
    if report.todo:
        table.compact()
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

    def wave(self, rows: pa.Table, table: Table) -> None:
        """Send rows through the chain, part after part.

        The rows before a cut go into a table that is only passed on; those behind it are read
        from there, as many at once as memory bears.
        """
        block_rows = self._block_rows(len(rows))
        prelude = [stage.role for stage in self._phase.prelude]
        cut = None
        shifts = self._shifts(math.ceil(len(rows) / block_rows))
        for shift in shifts:
            last = shift is shifts[-1]
            target = table if last else self._phase.cut(shift.done).table(self._run_dir)
            for part in [rows] if cut is None else parts(rows, cut):
                todo = part if cut is None else joined(part, cut, prelude)
                todo = todo if last else undone(todo, target)
                if len(todo):
                    self._execute(shift.crews, todo, target, counts=last)
            cut = target

    def _execute(
        self, crews: Sequence[Crew], rows: pa.Table, table: Table, *, counts: bool
    ) -> None:
        """Send rows through pools of workers into a table.

        Raises:
            RuntimeError: Rows did not come back; names one.
        """
        report, began, before_s = self._report, time.perf_counter(), self._report.wall_s
        report.workers = max(report.workers, sum(crew.pool.size for crew in crews))
        for crew in crews:
            names = tuple(stage.role for stage in crew.stages)
            report.pools[names] = Crewed(stages=names, workers=crew.pool.size, alone=crew.alone)
        sink = Sink(table=table, guard=self._terms.guard)
        try:
            for batch in self._dataset(crews, rows).iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=1
            ):
                answers = sink.add(batch)
                report.wall_s = before_s + time.perf_counter() - began
                report.first_row_s = report.first_row_s or report.wall_s
                if counts:
                    report.count(answers)
                    self._terms.finished(self._phase.name, answers)
                self._progress(report)
        except RayTaskError as error:
            broken = re.search(r"SetupError: (.*)", str(error))
            if broken:
                raise SetupError(broken[1]) from error
            raise
        finally:
            sink.flush()
        sink.close()
        report.wall_s = before_s + time.perf_counter() - began
        absent = sink.absent(set(rows["id"].to_pylist()))
        if absent:
            raise RuntimeError(
                f"{len(absent)} rows of the phase '{self._phase.name}' did not reach the table "
                f"(first: {min(absent)!r}). Give the same command again: it does them."
            )

    def _dataset(self, crews: Sequence[Crew], rows: pa.Table) -> ray.data.Dataset:
        """The execution: the blocks of the rows through one pool of workers after another.

        The driver cuts the blocks itself. Ray Data's reader would make one block of a small file,
        and cost two operators and their workers to cut that again. A device is given whole
        batches, joined from several blocks where those are smaller.
        """
        block_rows = self._block_rows(len(rows))
        journal = ray_journal()
        dataset = ray.data.from_arrow(
            [rows.slice(at, block_rows) for at in range(0, len(rows), block_rows)]
        )
        for crew in crews:
            pool = crew.pool
            dataset = dataset.map_batches(
                Host,
                fn_constructor_kwargs={
                    "chain": cloudpickle.dumps(list(crew.stages)),
                    "journal": journal,
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
            )
        return dataset

    def _started(self, pool: Pool) -> dict[str, Any]:
        """How the pool's workers are started, where not as all others are."""
        env = runtime_env(pool.environment, self._terms.environments)
        return {"runtime_env": env} if env else {}

    def _shifts(self, blocks: int) -> tuple[Shift, ...]:
        return layout(
            self._phase,
            self._machine,
            blocks=blocks,
            rows_per_hour=self._terms.rows_per_hour.get(self._phase.name),
            measured=self._terms.measured,
        )

    @cached_property
    def _machine(self) -> Machine:
        return self._terms.machine or found()

    def _block_rows(self, rows: int) -> int:
        """Rows per block: a batch, less where workers would stay idle, more in a full wave."""
        cores = sum(int(node.cpus) for node in self._machine.nodes)
        share = math.ceil(rows / max(1, cores))
        batch = max(stage.actor.batch_size for stage in self._phase.stages)
        return max(1, min(share, max(batch, math.ceil(rows / BLOCKS))))


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
