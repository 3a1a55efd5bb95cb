"""What a phase did, counted while it runs."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(kw_only=True)
class Crewed:
    """What a pool of a phase did.

    Attributes:
        stages: That its workers run, one behind the other.
        alone: Rows per second of one worker that runs by itself, as `mien profile` measured it;
            `None`: not measured.
        workers: At most.
        rows: That came out of its part of the chain.
        wall_s: Until they had.
        worker_s: The same, times its workers.
    """

    stages: tuple[str, ...]
    alone: float | None = None
    workers: int = 0
    rows: int = 0
    wall_s: float = 0.0
    worker_s: float = 0.0

    def worked(self, workers: int, rows: int, wall_s: float) -> None:
        """Add a wave."""
        self.workers = max(self.workers, workers)
        self.rows += rows
        self.wall_s += wall_s
        self.worker_s += workers * wall_s

    def summary(self) -> dict[str, Any]:
        """How near the pool came to what its workers do by themselves."""
        known = self.alone is not None and self.worker_s > 0
        return {
            "stages": list(self.stages),
            "workers": self.workers,
            "rows_per_s": round(self.rows / self.wall_s, 4) if self.wall_s else None,
            "alone_rows_per_s": self.alone and round(self.alone, 4),
            "efficiency": round(self.rows / (self.alone * self.worker_s), 3) if known else None,  # type: ignore[operator]
        }


@dataclass(kw_only=True)
class Report:
    """What a phase did.

    Attributes:
        rows: In the manifest, as far as it is known.
        counted: Whether all of it is known.
        skipped: Stood in the table already.
        ok: Done in this run.
        failed: Failed in this run.
        reasons: Failed rows by stage and kind of error.
        media_s: Length of the rows done in this run, seconds.
        wall_s: Duration of the phase.
        stages: Worker seconds by stage.
        workers: Processes that worked, at once.
        pools: That worked; of a chain that is cut one after another.
    """

    name: str
    rows: int = 0
    counted: bool = False
    skipped: int = 0
    ok: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    media_s: float = 0.0
    wall_s: float = 0.0
    first_row_s: float | None = None
    stages: Counter[str] = field(default_factory=Counter)
    workers: int = 0
    pools: dict[tuple[str, ...], Crewed] = field(default_factory=dict)

    @property
    def todo(self) -> int:
        """Rows that this run has to do."""
        return self.rows - self.skipped

    def count(self, rows: pa.Table) -> None:
        """Add finished rows."""
        failed = rows.filter(pc.equal(rows["status"], "failed"))
        self.failed += len(failed)
        self.ok += len(rows) - len(failed)
        for stage, kind in zip(
            failed["error_stage"].to_pylist(), failed["error_type"].to_pylist(), strict=True
        ):
            self.reasons[f"{stage}: {kind}"] += 1
        done = rows.filter(pc.equal(rows["status"], "ok"))
        spans = pc.subtract(done["stop_s"], done["start_s"])
        self.media_s += pc.sum(spans).as_py() or 0.0
        for timings in rows["timings"].to_pylist():
            for timing in timings or []:
                self.stages[timing["stage"]] += timing["seconds"]

    def summary(self) -> dict[str, Any]:
        """The report as JSON values, for `run.json`."""
        rtf = self.media_s / self.wall_s if self.wall_s and self.media_s else None
        busy = sum(self.stages.values())
        return {
            "name": self.name,
            "rows": self.rows,
            "skipped": self.skipped,
            "ok": self.ok,
            "failed": self.failed,
            "reasons": dict(self.reasons),
            "media_s": round(self.media_s, 3),
            "wall_s": round(self.wall_s, 3),
            "first_row_s": self.first_row_s and round(self.first_row_s, 3),
            "rtf": rtf and round(rtf, 3),
            "workers": self.workers,
            "busy_share": round(busy / (self.wall_s * self.workers), 3) if self.workers else None,
            "pools": [one.summary() for one in self.pools.values()],
            "stages": [{"stage": k, "seconds": round(v, 3)} for k, v in self.stages.items()],
        }
