"""What a run is expected to take: each phase as it is packed into the machine, and its time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..cluster.findings import Store
from ..cluster.layout import layout
from ..cluster.need import Machine, Need, needs
from ..cluster.plan import Plan
from .forecast import Forecast, Rows
from .graph import Graph

COVERING = ("sound", "turns", "watch", "faces", "micro", "moments", "timeline")
"""Phases whose rows together are as long as the media: their time goes with a row's length."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A phase that has not run yet.

    Attributes:
        needs: What its actors need.
        plan: How it is packed.
        rows: That it has.
        media_h: Of the whole corpus.
    """

    needs: tuple[Need, ...]
    plan: Plan
    rows: Rows
    media_h: float

    @property
    def measured(self) -> bool:
        """Whether all that its actors need was measured, not declared."""
        return all(n.measured for s in self.plan.segments for p in s.pools for n in p.needs)

    @property
    def hours(self) -> float | None:
        """Until what is left of it is done; `None`: a rate is not known."""
        if not self.rows.todo:
            return 0.0
        if self.plan.hours is None:
            return None
        startup_s = sum(segment.startup_s for segment in self.plan.segments)
        return self.plan.hours * self.media_h * self.rows.share + startup_s / 3600

    def summary(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.plan.summary(),
            "hours": self.hours,
            "measured": self.measured,
            "rows": {
                "per_hour": self.rows.per_hour,
                "todo": self.rows.todo,
                "assumed": self.rows.assumed,
            },
        }


def expected(
    graph: Graph, machine: Machine, forecast: Forecast, store: Store
) -> dict[str, Expected]:
    """Plan each phase of a run.

    Args:
        graph: Of the run.
        machine: What workers may take.
        forecast: What there is to do.
        store: What was measured.

    Raises:
        RefusedError: An actor does not fit; names it and the smallest change.
        UncuttableError: A phase does not fit, also in parts.
    """
    found = {}
    for name, phase in graph.phases.items():
        rows = forecast.rows[name]
        row_s = 3600 / rows.per_hour if name in COVERING and rows.per_hour else None
        known = {stage.role: store.find(stage.actor, row_s=row_s) for stage in phase.stages}
        chain = needs(
            phase.stages,
            machine,
            rows_per_hour=rows.per_hour,
            measured={role: one for role, one in known.items() if one is not None},
        )
        shifts = layout(phase, chain, machine, blocks=max(1, round(rows.todo)))
        made = Plan(segments=tuple(shift.segment for shift in shifts))
        found[name] = Expected(needs=chain, plan=made, rows=rows, media_h=forecast.hours.total_h)
    return found


def record(phases: Mapping[str, Expected], machine: Machine, forecast: Forecast) -> dict[str, Any]:
    """The plan of a run, for `run.json` and the picture of its packing.

    Args:
        phases: As planned, in order.
        machine: What workers may take.
        forecast: What there is to do.
    """
    memory = [node.memory_gb for node in machine.nodes]
    gpus = sum(node.gpus for node in machine.nodes)
    return {
        "media_h": forecast.hours.total_h,
        "disk_gb": forecast.gb,
        "nodes": len(machine.nodes),
        "cpus": sum(node.cpus for node in machine.nodes),
        "gpus": gpus,
        "memory_gb": None if None in memory else sum(gb or 0.0 for gb in memory),
        "gpu_memory_gb": machine.device_gb * gpus if math.isfinite(machine.device_gb) else None,
        "unified": machine.unified,
        "phases": {name: one.summary() for name, one in phases.items()},
    }
