"""`mien status` and `mien retry`: what a run has done, and another attempt at what failed."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
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
    try:
        return folder, json.loads(record.read_text())
    except ValueError as error:
        raise ValueError(
            f"'{record}' cannot be read ({error}): remove it, and give `mien analyze` again; "
            "the tables are kept."
        ) from error


def rows_of(phase: str) -> str:
    """Where a run keeps which rows a phase has now; others in its table are superseded."""
    return f"manifests/{phase}.ids.parquet"


def outcomes(run: Path, record: dict) -> dict[str, list[dict]]:
    """Key and outcome of the rows of each table that are about the corpus as it is now.

    Rows of files that left it, or that have other content since, and rows that others took the
    place of (the utterances of an earlier transcript), are left out.
    """
    columns = [n for n in (*KEY.names, *OUTCOME.names) if n not in ("models", "timings")]
    schema = table_schema(pa.schema([("fingerprint", pa.string())]))
    corpus = pq.read_table(run / CORPUS, columns=["id"])["id"].to_pylist()
    videos, found = set(corpus), {}
    contents: set[tuple[str, str | None]] = set()
    for name, table in record["tables"].items():
        rows = Table(run / "tables" / table, schema).read([*columns, "fingerprint"]).to_pylist()
        if name == "videos":
            rows = [r for r in rows if r["id"] in videos]
            contents = {(r["video_id"], r["fingerprint"]) for r in rows}
            contents |= {(r["video_id"], None) for r in rows}  # `utterances` has no such column
        rows = [r for r in rows if (r["video_id"], r["fingerprint"]) in contents]
        if (run / rows_of(name)).exists():
            now = set(pq.read_table(run / rows_of(name))["id"].to_pylist())
            rows = [r for r in rows if r["id"] in now]
        found[name] = rows
    return found


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
        failed = []
        for name, rows in outcomes(folder, record).items():
            bad = [r for r in rows if r["status"] == "failed"]
            failed += bad
            table = folder / "tables" / record["tables"][name]
            parts = len(list(table.glob("part-*.parquet")))
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
