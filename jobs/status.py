"""`mien status` and `mien retry`: what a run has done, and another attempt at what failed."""

import json
import shlex
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf
from rich.markup import escape
from rich.table import Table as Lines

from ..cluster.session import Cluster
from ..datasets.store import Place, place
from .progress import console
from .tally import tallies

RECORD = "run.json"


def opened(run: str) -> tuple[Place, dict]:
    """Find a run's folder and its record.

    Raises:
        ValueError: There is none; says what to do.
    """
    folder = place(run)
    record = folder / RECORD
    if not record.exists():
        raise ValueError(
            f"`out` must be the folder of a run, but '{folder}' holds no {RECORD}. Start one with "
            f"`mien analyze VIDEOS {shlex.quote(f'out={run}')}`."
        )
    try:
        return folder, json.loads(record.read_text())
    except ValueError as error:
        raise ValueError(
            f"'{record}' cannot be read ({error}): remove it, and give `mien analyze` again; "
            "the tables are kept."
        ) from error


@dataclass(kw_only=True)
class Status:
    """What is done, what failed and why.

    Attributes:
        run: The run's folder.
        failures: How many failed rows to list.
    """

    run: str
    failures: int = 20

    def __call__(self) -> int:
        """Print it.

        Returns:
            0 when the run is finished and nothing failed, 1 when rows failed, 3 when it is not
            finished.
        """
        folder, record = opened(self.run)
        lines = Lines("table", "rows", "ok", "failed", "files", title=str(folder))
        found = tallies(folder, record["tables"], self.failures)
        for name, t in found.items():
            lines.add_row(name, *(str(n) for n in (t.rows, t.rows - t.failed, t.failed, t.files)))
        console.print(lines)
        listed = [row for tally in found.values() for row in tally.failures][: self.failures]
        for row in listed:
            span = "" if row["start_s"] is None else f" [{row['start_s']:g}-{row['stop_s']:g} s]"
            console.print(
                f"[red]failed[/red] {escape(repr(row['uri'])[1:-1])}{escape(span)} "
                f"{row['error_stage']}: {row['error_type']}: {escape(str(row['error_message']))} "
                f"(attempt {row['attempt']})"
            )
        failed = sum(tally.failed for tally in found.values())
        if failed > len(listed):
            console.print(f"... and {failed - len(listed)} more (`job.failures=N` lists N)")
        for skipped in record["corpus"].get("skipped") or []:
            console.print(
                f"[yellow]skipped[/yellow] {escape(repr(skipped['uri'])[1:-1])} {skipped['reason']}"
            )
        if failed:
            name = escape(shlex.quote(str(folder)))
            console.print(f"Another attempt at them: mien retry {name}")
        if not record["finished"]:
            command = escape(record["command"])
            console.print(f"Not finished (started {record['started']}). Resume: {command}")
            return 3
        return 1 if failed else 0


@dataclass(kw_only=True)
class Retry:
    """Another attempt at the rows of a run that failed, and at what follows from them.

    The kept configuration is used again, also its `cluster`. Words that begin with `cluster`
    replace that as a whole. So does the default (`laptop`) where the run was on a cluster with an
    address, as all that were submitted were: it may be gone.

    Attributes:
        run: The run's folder.
        cluster: On what, where the kept one does not hold.
        chosen: Whether the command line says on what.
        config: The composed configuration, of which `cluster` is used.
    """

    run: str
    cluster: Cluster = field(default_factory=Cluster)
    chosen: bool = False
    config: str = ""

    def __call__(self) -> int:
        """Run the kept configuration once more, failed rows included."""
        from .main import built  # the configuration is read where Hydra is known

        folder, record = opened(self.run)
        cfg = OmegaConf.create(record["config"])
        cfg.out = str(folder)
        cfg.job.retry = True
        if self.chosen or cfg.cluster.get("address"):
            cfg.cluster = OmegaConf.create(self.config).cluster
        job: Any = built(cfg.job)
        job.config = record["config"]
        return job()
