"""`mien status` and `mien retry`: what a run has done, and another attempt at what failed."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from omegaconf import OmegaConf
from rich.markup import escape
from rich.table import Table as Lines

from ..datasets.schema import KEY, OUTCOME
from ..datasets.table import Table, table_schema
from .progress import console

RECORD = "run.json"
CORPUS = "corpus.parquet"


def opened(run: str) -> tuple[Path, dict]:
    """Find a run's folder and its record.

    Raises:
        ValueError: There is none; says what to do.
    """
    folder = Path(run).resolve()
    record = folder / RECORD
    if not record.exists():
        raise ValueError(
            f"`out` must be the folder of a run, but '{folder}' holds no {RECORD}. Start one with "
            f"`mien analyze VIDEOS out={run}`."
        )
    return folder, json.loads(record.read_text())


def outcomes(folder: Path) -> list[dict]:
    """Key and outcome of every row of a table, whatever else its columns are."""
    columns = [n for n in (*KEY.names, *OUTCOME.names) if n not in ("models", "timings")]
    return Table(folder, table_schema()).read(columns).to_pylist()


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
        files = {
            r["video_id"] for r in pq.read_table(folder / CORPUS, columns=["video_id"]).to_pylist()
        }
        lines = Lines("table", "rows", "ok", "failed", "files", title=str(folder))
        failed = []
        for name, table in record["tables"].items():
            rows = [r for r in outcomes(folder / "tables" / table) if r["video_id"] in files]
            bad = [r for r in rows if r["status"] == "failed"]
            failed += bad
            parts = len(list((folder / "tables" / table).glob("part-*.parquet")))
            counts = (len(rows), len(rows) - len(bad), len(bad), parts)
            lines.add_row(name, *(str(n) for n in counts))
        console.print(lines)
        for row in failed[: self.failures]:
            span = "" if row["start_s"] is None else f" [{row['start_s']:g}-{row['stop_s']:g} s]"
            console.print(
                f"[red]failed[/red] {escape(repr(row['uri'])[1:-1])}{escape(span)} "
                f"{row['error_stage']}: {row['error_type']}: {escape(str(row['error_message']))} "
                f"(attempt {row['attempt']})"
            )
        if len(failed) > self.failures:
            console.print(f"... and {len(failed) - self.failures} more (`job.failures=N` lists N)")
        for skipped in record["corpus"].get("skipped") or []:
            console.print(
                f"[yellow]skipped[/yellow] {escape(repr(skipped['uri'])[1:-1])} {skipped['reason']}"
            )
        if failed:
            console.print(f"Another attempt at them: mien retry {folder}")
        if not record["finished"]:
            console.print(
                f"Not finished (started {record['started']}). Resume: {record['command']}"
            )
            return 3
        return 1 if failed else 0


@dataclass(kw_only=True)
class Retry:
    """Another attempt at the rows of a run that failed, and at what follows from them.

    Attributes:
        run: The run's folder; its kept configuration is used again.
    """

    run: str

    def __call__(self) -> int:
        """Run the kept configuration once more, failed rows included."""
        from .main import built  # the configuration is read where Hydra is known

        folder, record = opened(self.run)
        cfg = OmegaConf.create(record["config"])
        cfg.out = str(folder)
        cfg.job.retry = True
        job = built(cfg.job)
        job.config = record["config"]  # type: ignore[attr-defined]
        return job()
