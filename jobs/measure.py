"""`mien profile`: what each actor takes on this machine."""

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape
from rich.table import Table as Lines

from ..cluster.findings import Store, device
from ..cluster.host import Stage, begin
from ..cluster.measure import Finding, Limits, measure
from ..cluster.session import Cluster
from ..datasets.corpus import Folder
from . import demo
from .fusion.timeline import RULES
from .graph import UPSTREAM, Graph
from .profile import Profile
from .progress import console

OVER = 1.2
"""A measured need of more than this, in declared ones, is pointed out."""


@dataclass(kw_only=True)
class Measure:
    """Measure what each actor of a profile takes on this machine: time to load, memory, speed.

    Every actor runs by itself, in a process that is thrown away, on a video that it is given (or on
    the demo's clip), with rows as the actors before it make them. What was found is kept, for these
    models, parameters, library versions and this device, and `mien plan` and `mien analyze` then
    plan with it in place of what is declared. Actors that ask a service elsewhere are left out.

    Attributes:
        models: The profile.
        cluster: Where the Pythons are that actors name.
        dir: Where measurements are kept.
        path: A video or a folder with media like those to come; `None`: the demo's clip.
        only: Roles to measure; empty: all.
        again: Whether to measure again what is known.
        files: How many files of the folder to take, the largest ones.
        rows: How many rows of each table to take: the longest, and others evenly spread.
        span_s: A video is watched in spans of at most this length, in seconds.
        chunk_s: Speech is transcribed in chunks of at most this length, in seconds.
        limits: Of each measurement.
    """

    models: Profile
    cluster: Cluster
    dir: str
    path: str | None = None
    only: Sequence[str] = ()
    again: bool = False
    files: int = 3
    rows: int = 32
    span_s: float = 60.0
    chunk_s: float = 30.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in ("files", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"`job.{name}` must be at least 1, but is {getattr(self, name)}.")
        self.store = Store(Path(self.dir).expanduser())

    def __call__(self) -> int:
        """Measure, and print a table.

        Returns:
            0 when every actor that was asked for is known, 1 when some could not be measured.
        """
        with tempfile.TemporaryDirectory(prefix="mien-profile-") as name:
            graph = Graph(
                profile=self.models, run=Path(name), span_s=self.span_s, chunk_s=self.chunk_s
            )
            wanted = self._wanted(graph)
            failed = self._measured(graph, wanted, Path(name)) if wanted else {}
        self._show(graph, failed)
        return int(bool(failed))

    def _wanted(self, graph: Graph) -> set["Spot"]:
        """The actors to measure.

        Raises:
            ValueError: `only` names a role that the profile does not fill here.
        """
        roles = {stage.role for stage in graph.stages()}
        unknown = sorted(set(self.only) - roles)
        if unknown:
            raise ValueError(
                f"`job.only` must name roles that are filled here ({', '.join(sorted(roles))}), "
                f"but names {unknown[0]!r}."
            )
        return {
            (name, stage.role)
            for name, phase in graph.phases.items()
            for stage in phase.stages
            if not stage.actor.remote
            and (not self.only or stage.role in self.only)
            and (self.again or self.store.read(stage.actor) is None)
        }

    def _measured(self, graph: Graph, wanted: set["Spot"], folder: Path) -> dict["Spot", str]:
        """Run the phases that what is wanted stands on, and measure on the way.

        Returns:
            Why, of those that could not be measured.
        """
        files = self._sample(folder)
        failed: dict[Spot, str] = {}
        names = needed(graph, {name for name, _ in wanted})
        for name in names:
            phase = graph.phases[name]
            manifest = thinned(graph.manifest(name, files), self.rows)
            rows = begin(manifest, phase.hash, [1] * len(manifest))
            passed_on = any(name in UPSTREAM[one] for one in names)
            last = [i for i, stage in enumerate(phase.stages) if (name, stage.role) in wanted]
            for stage in phase.stages if passed_on else phase.stages[: last[-1] + 1]:
                asked = (name, stage.role) in wanted
                found = self._one(stage, rows, name, measured=asked)
                if asked and not found.steps:
                    failed[name, stage.role] = (found.errors or (found.ended,))[0]
                rows = blank(rows, stage.actor.adds) if found.answer is None else found.answer
            if passed_on:
                graph.table(name).write(rows)
        return failed

    def _one(self, stage: Stage, rows: pa.Table, phase: str, *, measured: bool) -> Finding:
        """Let an actor answer its rows; measure it and keep what was found, if that is asked."""
        actor = stage.actor
        if actor.remote:
            return Finding(answer=blank(rows, actor.adds, status="ok"))
        if not pc.any(pc.equal(rows["status"], "ok")).as_py():
            return Finding(ended="there was no row for it in these media")
        found = measure(
            stage,
            rows,
            largest=actor.batch_size if measured else 0,
            limits=self.limits,
            bound_s=self._bounds().get(phase),
            python=self.cluster.environments.get(actor.environment or ""),
        )
        if found.steps:
            self.store.save(actor, found)
        did = "measured" if measured else "answered"
        console.print(f"{did:<9} {stage.role} ({len(rows)} rows): {escape(found.ended)}")
        return found

    def _bounds(self) -> dict[str, float]:
        """How long rows can be, by phase, where they are not whole videos."""
        return {
            "speech": self.chunk_s,
            "watch": self.span_s,
            "faces": self.span_s,
            "micro": self.span_s,
            "voice": RULES.max_utterance_s,
        }

    def _sample(self, folder: Path) -> pa.Table:
        """The files to measure on, as manifest of the phase `videos`.

        Raises:
            RuntimeError: There is nothing to measure on.
        """
        path = self.path
        if path is None:
            try:
                path = str(demo.make(folder / "sample.mp4"))
            except RuntimeError as error:
                raise RuntimeError(f"{error} Or name a video: `mien profile VIDEO`.") from error
        files = Folder(path=path).survey().rows
        order = pc.sort_indices(files, [("size_bytes", "descending")])
        return files.take(order[: self.files])

    def _show(self, graph: Graph, failed: Mapping["Spot", str]) -> None:
        """Print what is known of every actor."""
        names = ("role", "actor", "load s", "memory GB", "device GB", "rows/s by batch", "best")
        lines = Lines(*names, "x real time", "longest s", "ended")
        notes, short = [], []
        for name, phase in graph.phases.items():
            for stage in phase.stages:
                found = self.store.read(stage.actor)
                reason = "elsewhere" if stage.actor.remote else failed.get((name, stage.role))
                lines.add_row(*cells(stage, found, reason or "not asked for"))
                if found:
                    notes += remarks(stage, found)
                    if found.short and found.bound_s:
                        short.append(
                            f"{stage.role} ({found.longest_s:.0f} of {found.bound_s:.0f} s)"
                        )
        if short:
            notes.append(
                f"Rows can be longer than those measured: {', '.join(short)}. For these, and where "
                "a row is a whole video, a plan takes no less memory than is declared."
            )
        console.print(lines)
        for note in notes:
            console.print(escape(note))
        console.print(f"Kept in {escape(str(self.store.folder))}, for: {escape(device())}.")


Spot = tuple[str, str]
"""A phase and a role."""


def needed(graph: Graph, names: Collection[str]) -> list[str]:
    """Phases, and all whose tables they are made from, in order."""
    found: set[str] = set()
    for name in reversed(list(graph.phases)):
        if name in names or any(name in UPSTREAM[one] for one in found):
            found.add(name)
    return [name for name in graph.phases if name in found]


def thinned(rows: pa.Table, most: int) -> pa.Table:
    """The longest row, and others evenly spread, in order.

    Example:
        >>> rows = pa.table({"start_s": [0.0] * 6, "stop_s": [1.0, 9, 1, 1, 1, 1]})
        >>> thinned(rows, 3)["stop_s"].to_pylist()
        [1.0, 9.0, 1.0]
    """
    if len(rows) <= most:
        return rows
    spans = pc.fill_null(pc.subtract(rows["stop_s"], rows["start_s"]), 0.0).to_numpy()
    spread = np.linspace(0, len(rows) - 1, most - 1).round().astype(int)
    longest = int(np.argmax(spans))
    return rows.take(pa.array(sorted({longest, *spread.tolist()})))


def blank(rows: pa.Table, adds: pa.Schema, status: str = "failed") -> pa.Table:
    """Rows with an actor's columns all null: as if it had found nothing, or had failed."""
    for f in adds:
        if f.name not in rows.column_names:
            rows = rows.append_column(f.name, pa.nulls(len(rows), f.type))
    at = rows.schema.get_field_index("status")
    return rows.set_column(at, rows.schema.field(at), pa.array([status] * len(rows), pa.string()))


def cells(stage: Stage, found: Finding | None, reason: str) -> list[str]:
    """A line of the table: what was measured, beside what is declared; or why nothing was."""
    actor = stage.actor
    start = [stage.role, type(actor).__name__]
    if found is None:
        return [*start, "", f"{actor.memory_gb:g}", "", "", "", "", "", escape(reason)]
    last, best = found.steps[-1], found.best
    return [
        *start,
        number(found.startup_s),
        f"{actor.memory_gb:g} -> {number(last.memory_gb)}",
        number(last.device_gb),
        ", ".join(f"{step.size}: {number(step.rows_s)}" for step in found.steps),
        str(best.size),
        number(best.media_s_s or None),
        f"{found.longest_s:.1f}",
        escape(found.ended),
    ]


def number(value: float | None) -> str:
    """Three digits; `-` for what is not known."""
    return "-" if value is None else f"{value:.3g}"


def remarks(stage: Stage, found: Finding) -> Iterator[str]:
    """What a reader of the table should not miss."""
    gb = max((s.device_gb or s.memory_gb or 0.0 for s in found.steps), default=0.0)
    if gb > OVER * stage.actor.memory_gb:
        yield (
            f"{stage.role} takes {gb:.1f} GB, but declares {stage.actor.memory_gb:g}: where it was "
            f"not measured, a plan takes on too much. Raise its `memory_gb`."
        )
