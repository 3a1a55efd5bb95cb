"""Running a phase: a manifest of rows through a chain of actors into one table."""

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy
from ray.exceptions import RayTaskError

from ..datasets import schema
from ..datasets.table import Table, table_schema
from .environments import check, runtime_env
from .host import Host, SetupError, Stage, begin
from .pools import Pool, pools
from .report import Report

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A chain of actors whose answers stand in one table.

    Attributes:
        name: Of the table.
        stages: The chain, in order.
        upstream: Hashes of the phases whose tables the manifest is made from.
        keeps: Columns of the manifest that stand in the table, beside the key.
        rows_from: What else decides which rows there are, for example how a video is cut.
    """

    name: str
    stages: tuple[Stage, ...]
    upstream: tuple[str, ...] = ()
    keeps: pa.Schema = field(default_factory=lambda: pa.schema([]))
    rows_from: object = None

    @property
    def hash(self) -> str:
        """Names what changes the content: actors, models, schema, and all that came before."""
        content = {
            "schema": schema.VERSION,
            "stages": [{"role": s.role, **s.actor.identity()} for s in self.stages],
            "upstream": self.upstream,
            "rows_from": self.rows_from,
        }
        text = json.dumps(plain(content), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def table(self, run: Path) -> Table:
        """The phase's table in a run's folder."""
        columns: dict[str, pa.Field] = {f.name: f for f in self.keeps}
        for stage in self.stages:
            columns.update(
                {f.name: f for f in stage.actor.adds if f.name not in stage.actor.passes}
            )
        return Table(
            run / "tables" / f"{self.name}-{self.hash}", table_schema(pa.schema(columns.values()))
        )

    def check(self, manifest: pa.Schema) -> None:
        """Refuse a chain in which an actor lacks a column.

        Raises:
            ValueError: Names the actor and the column.
        """
        known = set(manifest.names)
        for stage in self.stages:
            absent = sorted(set(stage.actor.reads) - known)
            if absent:
                raise ValueError(
                    f"actor '{stage.role}' reads the column {absent[0]!r}, which no step of the "
                    f"phase '{self.name}' before it gives (known: {sorted(known)})."
                )
            known.update(stage.actor.adds.names)


def plain(value: object) -> object:
    """A value as JSON, the same for the same meaning: 60 and 60.0 are one number.

    Dataclasses are their fields, less those that only change the speed.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: plain(getattr(value, f.name))
            for f in fields(value)
            if f.init and "machine" not in f.metadata
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if value is None or isinstance(value, str | bool) else repr(value)


@dataclass(kw_only=True)
class Sink:
    """Collects finished rows on the driver and writes them, few files and often.

    There is one writer, and it dies with the driver: a row is written once or not at all.

    Attributes:
        table: Where to.
        every_s: A file is written at least this often, so that little is lost with the driver.
        every_mb: A file is written when this much has come together.
    """

    table: Table
    every_s: float = 10.0
    every_mb: float = 64.0
    _held: list[pa.Table] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _timer: threading.Timer | None = None

    def add(self, rows: pa.Table) -> None:
        """Take finished rows; they are written after `every_s` at the latest."""
        rows = rows.select(self.table.schema.names).cast(self.table.schema)
        with self._lock:
            self._held.append(rows)
            if sum(t.nbytes for t in self._held) > self.every_mb * 2**20:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(self.every_s, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write what is held."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            held, self._held, self._timer = self._held, [], None
            if held:
                self.table.write(pa.concat_tables(held))


def outstanding(
    table: Table, manifest: pa.Table, *, retry: bool = False, stale: Collection[str] = ()
) -> tuple[pa.Table, list[int]]:
    """The manifest rows that have yet to be done, and the attempt each is at.

    Args:
        table: What stands already.
        manifest: All rows of the phase.
        retry: Whether rows that failed are to be tried again.
        stale: Ids of rows that are to be done again although they stand.
    """
    known = table.outcomes()
    again = pc.is_in(known["id"], pa.array(list(stale), pa.string()))
    if retry:
        again = pc.or_(again, pc.equal(known["status"], "failed"))
    settled = known.filter(pc.invert(again))
    todo = manifest.filter(pc.invert(pc.is_in(manifest["id"], settled["id"].combine_chunks())))
    attempts = dict(zip(known["id"].to_pylist(), known["attempt"].to_pylist(), strict=True))
    return todo, [attempts.get(i, 0) + 1 for i in todo["id"].to_pylist()]


def run(
    phase: Phase,
    manifest: pa.Table,
    run_dir: Path,
    *,
    spare_cpus: int = 2,
    environments: Mapping[str, str] | None = None,
    retry: bool = False,
    stale: Collection[str] = (),
    ready: Callable[[], None] = lambda: None,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Run a phase as one Ray Data execution over a Parquet manifest.

    Rows that stand in the table already are not read again. When it returns, each row of the
    manifest stands in the table exactly once.

    Args:
        phase: What to run; its chain has been tried once (`Trial`).
        manifest: `schema.KEY` and what the chain reads.
        run_dir: The run's folder.
        spare_cpus: CPUs to leave to Ray Data's own tasks.
        environments: Path of a Python by name, for actors that name an environment.
        retry: Also make another attempt at rows that failed.
        stale: Ids of rows to do again although they stand.
        ready: Called before Ray is needed, that is where there are rows to do.
        progress: Called after each block of finished rows.

    Raises:
        EnvironmentRefusedError: An actor's environment cannot hold it.
        UnschedulableError: The pools do not fit the machine.
        SetupError: An actor could not be set up on a worker.
    """
    phase.check(manifest.schema)
    table = phase.table(run_dir)
    todo, attempts = outstanding(table, manifest, retry=retry, stale=stale)
    report = Report(name=phase.name, rows=len(manifest), skipped=len(manifest) - len(todo))
    progress(report)
    if not len(todo):
        return report
    environments = environments or {}
    check({stage.role: stage.actor for stage in phase.stages}, environments)
    ready()
    began = time.perf_counter()
    sink = Sink(table=table)
    source = run_dir / "manifests" / f"{phase.name}.parquet"
    source.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(begin(todo, phase.hash, attempts), source)
    block_rows = _block_rows(phase, len(todo), ray.cluster_resources()["CPU"] - spare_cpus)
    blocks = math.ceil(len(todo) / block_rows)
    plan = pools(phase.stages, blocks, ray.cluster_resources(), spare_cpus)
    report.workers = sum(pool.size for pool in plan)
    scratch = run_dir / "scratch" / phase.name
    _empty(scratch)
    try:
        for batch in _dataset(plan, source, scratch, block_rows, environments).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=1
        ):
            rows: pa.Table = batch
            sink.add(rows)
            report.first_row_s = report.first_row_s or time.perf_counter() - began
            report.count(rows)
            report.wall_s = time.perf_counter() - began
            progress(report)
    except RayTaskError as error:
        broken = re.search(r"SetupError: (.*)", str(error))
        if broken:
            raise SetupError(broken[1]) from error
        raise
    finally:
        sink.flush()
    _empty(scratch)
    report.wall_s = time.perf_counter() - began
    _verify(table, manifest)
    return report


def check_schedulable(phases: Iterable[Phase], spare_cpus: int) -> None:
    """Refuse a run of which a phase could not be scheduled, before the first one is run.

    Raises:
        UnschedulableError: Names the phase's pools, and what they lack.
    """
    for phase in phases:
        pools(phase.stages, 1, ray.cluster_resources(), spare_cpus)


BLOCKS = 4096
"""Blocks of a phase, at most: a block is what is handed out, and lost with a driver, at once."""


def _block_rows(phase: Phase, rows: int, cores: float) -> int:
    """Rows per block: a batch, less where workers would stay idle, more in a huge manifest."""
    share = math.ceil(rows / max(1, int(cores)))
    batch = max(s.actor.batch_size for s in phase.stages)
    return max(1, min(share, max(batch, math.ceil(rows / BLOCKS))))


def _dataset(
    plan: Sequence[Pool],
    source: Path,
    scratch: Path,
    block_rows: int,
    environments: Mapping[str, str],
) -> ray.data.Dataset:
    """The execution: the manifest's blocks through one actor pool after another.

    The driver cuts the manifest itself. Ray Data's reader would make one block of a small file,
    and cost two operators and their workers to cut that again. A device is given whole batches,
    joined from several blocks where those are smaller.
    """
    manifest = pq.read_table(source)
    dataset = ray.data.from_arrow(
        [manifest.slice(at, block_rows) for at in range(0, len(manifest), block_rows)]
    )
    for i, pool in enumerate(plan):
        dataset = dataset.map_batches(
            Host,
            fn_constructor_kwargs={
                "chain": cloudpickle.dumps(list(pool.stages)),
                "scratch": str(scratch / str(i)),
            },
            batch_size=pool.batch_size if pool.gpus else min(block_rows, pool.batch_size),
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ActorPoolStrategy(size=pool.size),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
            memory=int(pool.memory_gb * _GIB),
            **_started(pool, environments),
        )
    return dataset


def _started(pool: Pool, environments: Mapping[str, str]) -> dict[str, Any]:
    """How the pool's workers are started, where not as all others are."""
    env = runtime_env(pool.environment, environments)
    return {"runtime_env": env} if env else {}


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def _verify(table: Table, manifest: pa.Table) -> None:
    """Assert the promise: each row of the manifest stands in the table, once.

    Raises:
        RuntimeError: Rows are missing; names one.
    """
    stands = table.outcomes()["id"].combine_chunks()
    absent = manifest.filter(pc.invert(pc.is_in(manifest["id"], stands)))
    if len(absent):
        raise RuntimeError(
            f"{len(absent)} rows of the phase did not reach the table (first: "
            f"{absent['id'][0].as_py()!r}, {absent['uri'][0].as_py()!r}). Run it again to resume."
        )
