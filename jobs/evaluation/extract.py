"""Features that benchmarks and training read: made once, as tables of a run."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType

import pyarrow as pa

from ...actors.actor import Actor
from ...cluster.deadline import GENEROUS, Deadline
from ...cluster.execution import Terms, run
from ...cluster.host import Stage
from ...cluster.phase import Phase
from ...cluster.report import Report
from ...cluster.session import Cluster, session
from ...cluster.trial import Trial
from ...cluster.waves import Again
from ...datasets.store import Place
from ...datasets.table import Table
from ..progress import Progress


class Extraction:
    """Runs actors over manifests, and starts Ray only where rows are outstanding.

    Rows that stand already are not read again, whichever run of the same folder made them.
    """

    def __init__(self, cluster: Cluster, folder: Place, hung: Deadline = GENEROUS) -> None:
        """Begin.

        Args:
            cluster: On what.
            folder: Holds the tables.
            hung: How long an actor may take.
        """
        self._cluster, self._folder, self._hung = cluster, folder, hung
        self._stack = ExitStack()
        self._started = False
        self._progress = Progress()
        self.reports: list[Report] = []

    def table(
        self,
        name: str,
        actors: Mapping[str, Actor],
        manifest: pa.Table,
        *,
        keeps: pa.Schema | None = None,
        rows_from: object = None,
        retry: bool = False,
    ) -> Table:
        """Send rows through a chain of actors.

        Args:
            name: Of the table.
            actors: The chain, by role, in order.
            manifest: `schema.KEY`, what the chain reads, and the columns of `keeps`.
            keeps: Columns of the manifest that stand in the table, beside the key.
            rows_from: What else decides which rows there are.
            retry: Whether rows that failed are tried again.

        Returns:
            The table; it may hold more rows than the manifest: read it with `ids`.

        Raises:
            ValueError: A column is missing, or an actor cannot work on this machine.
            SetupError: An actor could not be set up.
        """
        for role, actor in actors.items():
            reason = actor.missing()
            if reason:
                raise ValueError(f"the actor {role!r} ({actor.model}) {reason}.")
        phase = feature_phase(name, actors, keeps=keeps, rows_from=rows_from)
        phase.check(manifest.schema)
        light = [stage for stage in phase.stages if not stage.actor.weights()]

        def ready() -> None:
            if not self._started:
                self._stack.enter_context(session(self._cluster))
                self._started = True
            if light:
                Trial([light], self._cluster.environments, self._hung.start_s).wait()

        terms = Terms(
            machine=self._cluster.machine,
            environments=self._cluster.environments,
            deadline=self._hung,
        )
        report = run(
            phase,
            manifest,
            self._folder,
            terms=terms,
            again=Again(failed=retry),
            ready=ready,
            progress=self._progress.show,
        )
        self.reports.append(report)
        return phase.table(self._folder)

    def __enter__(self) -> "Extraction":
        self._stack.enter_context(self._progress)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def digest(rows: pa.Table) -> str:
    """Names the content of a table, whatever its chunks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()[:12]


def feature_phase(
    name: str,
    actors: Mapping[str, Actor],
    *,
    keeps: pa.Schema | None = None,
    rows_from: object = None,
) -> Phase:
    """The phase behind `Extraction.table`; its hash says whether two trials share features."""
    return Phase(
        name=name,
        stages=tuple(Stage(role=role, actor=actor) for role, actor in actors.items()),
        keeps=pa.schema([]) if keeps is None else keeps,
        rows_from=rows_from,
        folder="features",
    )
