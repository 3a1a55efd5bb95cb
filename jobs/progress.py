"""Progress, shown while a job runs: bars on a terminal, lines in a log."""

import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from ..cluster.report import Report
from ..datasets.store import Place

LINE_EVERY_S = 15.0

console = Console(
    highlight=False,
    soft_wrap=not sys.stdout.isatty(),
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160,  # in a log
)


class Progress:
    """One line for each phase: rows done and failed, rate, time left."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, report: Report) -> None:
        """Bring a phase's line up to date."""
        done = report.skipped + report.ok + report.failed
        failed = f"{report.failed} failed" if report.failed else ""
        if report.name not in self._tasks:
            self._tasks[report.name] = self._bars.add_task(
                report.name, total=report.rows, rate="", failed=""
            )
        self._bars.update(
            self._tasks[report.name],
            total=report.rows,
            completed=done,
            rate=rate(report),
            failed=failed,
        )
        if not console.is_terminal:
            self._say(report, done, failed)

    def _say(self, report: Report, done: int, failed: str) -> None:
        now = time.monotonic()
        ended = report.counted and done == report.rows
        if self._said.get(report.name, 0.0) + LINE_EVERY_S < now or (
            ended and self._said.get(report.name) != math.inf
        ):
            self._said[report.name] = math.inf if ended else now
            finished = report.ok + report.failed
            left = report.todo - finished
            eta = f"{left * report.wall_s / finished:.0f} s left" if finished and left else ""
            kept = f"{report.skipped} stood already" if report.skipped else ""
            known = f"{report.rows}{'' if report.counted else '+'}"
            facts = [f"{done}/{known} rows", kept, failed, rate(report), eta]
            console.print(f"{report.name:<10} {', '.join(x for x in facts if x)}")

    def close(self, reports: Sequence[Report], run: Place) -> None:
        """Print the summary of a run."""
        console.print(summary(reports))
        for report in reports:
            for reason, count in report.reasons.most_common():
                console.print(f"  {report.name}: {count} failed ({reason})", style="red")
        if any(report.failed for report in reports):
            name = escape(shlex.quote(str(run)))
            console.print(f"Why: mien status {name}   Again: mien retry {name}")
        console.print(f"Open {run / 'index.html'}")


def rate(report: Report) -> str:
    """Speed in words: media time over wall time where rows have a length."""
    if not report.wall_s:
        return ""
    if report.media_s:
        return f"{report.media_s / report.wall_s:.1f}x real time"
    return f"{(report.ok + report.failed) / report.wall_s:.1f} rows/s"


def summary(reports: Sequence[Report]) -> Table:
    """A table of what each phase did."""
    table = Table("phase", "rows", "stood", "ok", "failed", "wall", "speed", "busy", "stages")
    for r in reports:
        facts = r.summary()
        stages = ", ".join(f"{k} {v:.1f} s" for k, v in r.stages.items())
        busy = f"{facts['busy_share']:.0%}" if facts["busy_share"] is not None else ""
        counts = (str(n) for n in (r.rows, r.skipped, r.ok, r.failed))
        table.add_row(r.name, *counts, f"{r.wall_s:.1f} s", rate(r), busy, stages)
    return table
