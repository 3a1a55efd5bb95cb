"""What a run does, as Prometheus metrics of Ray: nothing is lost where nobody reads them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .report import Report

COUNTERS = {
    "mien_rows": ("Finished rows.", ("phase", "status")),
    "mien_media_seconds": ("Length of the media of finished rows.", ("phase",)),
    "mien_actor_seconds": ("Time inside actors, of all workers.", ("phase", "stage")),
}
GAUGES = {
    "mien_rows_left": ("Rows that are still to be done, as far as they are known.", ("phase",)),
    "mien_workers": ("Worker processes.", ("phase",)),
    "mien_phase_seconds": ("Since the phase began.", ("phase",)),
}
"""Names and tags. Prometheus shows a counter as `ray_NAME_total`, a gauge as `ray_NAME`."""


@dataclass(kw_only=True)
class Metrics:
    """Passes on what reports say, each fact once.

    Attributes:
        make: Builds a counter or gauge from its name, description and tags; Ray's by default.
    """

    make: Callable[[str, str, tuple[str, ...]], Any] | None = None
    _known: dict[str, Any] = field(default_factory=dict)
    _said: dict[tuple[str, ...], float] = field(default_factory=dict)

    def show(self, report: Report) -> None:
        """Bring the metrics of a phase up to date."""
        name = report.name
        for status, count in (("ok", report.ok), ("failed", report.failed)):
            self._count("mien_rows", count, phase=name, status=status)
        self._count("mien_media_seconds", report.media_s, phase=name)
        for stage, seconds in report.stages.items():
            self._count("mien_actor_seconds", seconds, phase=name, stage=stage)
        self._set("mien_rows_left", report.todo - report.ok - report.failed, phase=name)
        self._set("mien_workers", report.workers, phase=name)
        self._set("mien_phase_seconds", report.wall_s, phase=name)

    def _count(self, name: str, total: float, **tags: str) -> None:
        key = (name, *tags.values())
        more = total - self._said.get(key, 0.0)
        if more > 0:
            self._metric(name).inc(more, tags=tags)
            self._said[key] = total

    def _set(self, name: str, value: float, **tags: str) -> None:
        self._metric(name).set(value, tags=tags)

    def _metric(self, name: str) -> Any:  # noqa: ANN401
        if name not in self._known:
            text, tags = (COUNTERS | GAUGES)[name]
            self._known[name] = (self.make or _ray)(name, text, tags)
        return self._known[name]


def _ray(name: str, text: str, tags: tuple[str, ...]) -> Any:  # noqa: ANN401
    from ray.util import metrics

    kind = metrics.Counter if name in COUNTERS else metrics.Gauge
    return kind(name, description=text, tag_keys=tags)
