"""`mien plan`: what would run, what it would take and cost, with nothing started."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table as Lines

from ..cluster.disk import free_gb
from ..cluster.findings import Store
from ..cluster.plan import Machine, Segment
from ..cluster.session import session
from .analyze import Analyze
from .costs import Bill
from .expected import Expected, expected, record
from .forecast import Forecast
from .graph import Graph
from .progress import console
from .tiers import PROFILES, Asker, Rates, asker, bills

BAR = 40
"""Characters of a memory bar."""
UNKNOWN = "unknown: `mien profile` measures it"


@dataclass(kw_only=True)
class Plan(Analyze):
    """What `mien analyze` would do with the same configuration, what it takes and costs.

    Nothing is started and nobody is asked. Numbers that follow from an assumption (`job.assume`)
    carry a `~`; a time that depends on a speed nobody has measured is unknown.

    Attributes:
        budget_usd: What a run may spend.
        rates: What the tiers are priced with.
    """

    budget_usd: float
    rates: Rates = field(default_factory=Rates)

    def __call__(self) -> int:
        """Print the plan.

        Returns:
            0.

        Raises:
            RefusedError: An actor does not fit the machine.
            DiskFullError: The run does not fit the disk.
        """
        graph = self.graph()
        files, skips = self.corpus.survey()
        made = self.ahead(graph, files)
        console.print(f"{made.hours}; run folder {escape(str(self.folder))}")
        for skip in skips:
            console.print(f"skipped: {escape(skip.uri)} ({escape(skip.reason)})")
        with session(self.cluster) if self.cluster.address else nullcontext():
            machine = self.cluster.machine()
        console.print(_models(graph))
        store = Store(Path(self.measured).expanduser())
        phases = expected(graph, machine, made, store)
        shown = record(phases, machine, made)
        for line in _machine(machine):
            console.print(line)
        console.print(_packing(phases, shown["memory_gb"]))
        console.print(_times(phases))
        whole = expected(graph, machine, made.whole, store)
        console.print(self._prices(graph, made, total_h(whole)))
        self._room(made)
        return 0

    def _prices(self, graph: Graph, made: Forecast, hours: float | None) -> Lines:
        each = hours / made.hours.total_h if hours and made.hours.total_h else None
        rows = bills(graph, made, self._askers(), self.rates, each)
        return _priced(rows, made.hours.total_h, self.budget_usd)

    def _askers(self) -> dict[str, Asker]:
        """What this profile asks of a paid model, and what the others would."""
        from .main import built, configuration  # the configuration is read where Hydra is known

        own = asker(self.models)
        found = {} if own is None else {self.models.name: own}
        for name in PROFILES:
            if name not in found:
                profile: Any = built(configuration("plan", [f"models={name}"]).models)
                other = asker(profile)
                found |= {} if other is None else {name: other}
        return found

    def _room(self, made: Forecast) -> None:
        """Print what the run takes of the disk.

        Raises:
            DiskFullError: It does not fit.
        """
        free = free_gb(self.folder)
        known = "unknown, no limit" if free is None else f"{free:.3g} GB"
        console.print(f"disk: about {made.gb:.3g} GB to write; free: {known}")
        warning = self.disk.judge(self.folder, made.gb)
        if warning:
            console.print(f"[yellow]{escape(warning)}[/yellow]")


def total_h(phases: Mapping[str, Expected]) -> float | None:
    """Of all phases, one after another; `None` where a speed is not known."""
    hours = [one.hours for one in phases.values()]
    return None if None in hours else sum(h or 0.0 for h in hours)


def clock(hours: float | None) -> str:
    """A time for a person.

    Example:
        >>> clock(None), clock(0.001), clock(0.5), clock(30.26)
        ('unknown', '4 s', '30.0 min', '30.3 h')
    """
    if hours is None:
        return "unknown"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:.1f} h"


def bar(held_gb: float, budget_gb: float | None, width: int = BAR) -> str:
    """How much of the memory is held, drawn; empty where the memory is not known.

    Example:
        >>> bar(6.0, 24.0, 8), bar(24.0, 24.0, 8)
        ('██░░░░░░', '████████')
    """
    if not budget_gb:
        return ""
    full = min(width, round(width * held_gb / budget_gb))
    return "█" * full + "░" * (width - full)


def _models(graph: Graph) -> Lines:
    lines = Lines("phase", "role", "actor", "model", "table")
    for name, phase in graph.phases.items():
        for i, stage in enumerate(phase.stages):
            own = stage.provenance()
            model = f"{own['model']} {own['revision']}".strip()
            first = (name, graph.table(name).folder.name) if not i else ("", "")
            actor = type(stage.actor).__name__
            lines.add_row(first[0], stage.role, actor, escape(model), first[1])
    return lines


def _machine(machine: Machine) -> Iterator[str]:
    for number, node in enumerate(machine.nodes, start=1):
        memory = "memory unknown" if node.memory_gb is None else f"{node.memory_gb:.3g} GB"
        devices = f", {node.gpus} GPU" if node.gpus else ""
        if node.gpus and node.unified:
            devices += " that share it"
        elif node.gpu_memory_gb is not None:
            devices += f" of {node.gpu_memory_gb:.3g} GB"
        name = f"node {number}" if len(machine.nodes) > 1 else "for workers"
        yield f"{name}: {node.cpus:g} cores, {memory}{devices}"


def _packing(phases: Mapping[str, Expected], budget_gb: float | None) -> Lines:
    lines = Lines("phase", "part", "pools: workers x GB, batch", "held", "of the memory", "")
    for name, one in phases.items():
        for part, segment in enumerate(one.plan.segments, start=1):
            of = f"{part}/{len(one.plan.segments)}"
            pools = "\n".join(_pools(segment))
            held = f"{segment.memory_gb:.3g} GB"
            state = "measured" if one.measured else "declared"
            first = name if part == 1 else ""
            lines.add_row(first, of, pools, held, bar(segment.memory_gb, budget_gb), state)
    return lines


def _pools(segment: Segment) -> Iterator[str]:
    for pool in segment.pools:
        device = f" + {pool.gpu_memory_gb:.3g} GB of a GPU" if pool.gpu_memory_gb else ""
        batches = "/".join(map(str, pool.batch_sizes))
        yield f"{pool.name}: {pool.size} x {pool.memory_gb:.3g} GB{device}, batch {batches}"


def _times(phases: Mapping[str, Expected]) -> Lines:
    lines = Lines("phase", "rows/h", "to do", "time by pool", "time")
    for name, one in phases.items():
        sign = "~" if one.rows.assumed else ""
        share = one.media_h * one.rows.share
        pools = (pool for segment in one.plan.segments for pool in segment.pools)
        times = ", ".join(
            f"{p.name} {clock(None if p.hours is None else p.hours * share)}" for p in pools
        )
        rows = f"{sign}{one.rows.per_hour:.0f}", f"{sign}{one.rows.todo:.0f}"
        lines.add_row(name, *rows, times if one.rows.todo else "", _time(one.hours))
    whole = total_h(phases)
    known = sum(one.hours or 0.0 for one in phases.values())
    more = f" (without those: {clock(known)})" if whole is None and known else ""
    lines.add_row("all", "", "", "", f"{_time(whole)}{more}", style="bold")
    return lines


def _time(hours: float | None) -> str:
    return UNKNOWN if hours is None else clock(hours)


def _priced(rows: Iterable[Bill], media_h: float, budget_usd: float) -> Lines:
    lines = Lines(
        *("tier", "model", "questions/h", "pictures/h", "tokens in/h (pictures)", "tokens out/h"),
        *("$/h", "in batches", "at most", "corpus"),
        title="dollars for an hour of video, and for the corpus",
    )
    for row in rows:
        cells = [row.tier, row.model or "none that is paid", "", "", "", ""]
        if row.model:
            cells[2:] = [
                f"{row.questions:,.0f}",
                f"{row.pictures:,.0f}",
                f"{row.input_tokens:,.0f} ({row.image_tokens:,.0f})",
                f"{row.output_tokens:,.0f}",
            ]
        whole = row.dollars * media_h
        batch = "" if row.batch is None else f"{row.batch:,.2f}"
        over = f" > budget {budget_usd:g}" if row.model and whole > budget_usd else ""
        end = (f"{row.dollars:,.2f}", batch, f"{row.most:,.2f}", f"{whole:,.2f}{over}")
        lines.add_row(*cells, *end)
    return lines
