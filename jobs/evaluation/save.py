"""What a benchmark or a training leaves behind: two tables, a page, and lines on the terminal."""

import pyarrow as pa
import pyarrow.parquet as pq
from rich.markup import escape
from rich.table import Table

from ...datasets.store import Place, replace
from ..progress import console
from .outcome import Outcome
from .page import part, render, warnings
from .record import Record

PREDICTED, RESULT, PAGE = "predictions.parquet", "results.parquet", "index.html"
STYLES = {"baseline": "dim", "anchor": "yellow", "oracle": "red", "synthetic": "magenta"}


def save(folder: Place, outcome: Outcome, record: Record) -> None:
    """Write predictions, results and the page into a run's folder, and print the results.

    Args:
        folder: Of the run.
        outcome: What is kept.
        record: Of the run; is told what was measured.
    """
    record.add(
        title=outcome.title,
        benchmark=outcome.benchmark,
        labels=list(outcome.labels),
        headline=outcome.headline,
        notes=outcome.notes,
    )
    replace(folder / PREDICTED, parquet(outcome.predictions))
    replace(folder / RESULT, parquet(outcome.results))
    facts = {**record.facts, "wall_s": record.wall_s}
    replace(folder / PAGE, render(outcome, facts).encode())
    show(outcome)
    console.print(f"Open {escape(str(folder / PAGE))}")


def show(outcome: Outcome) -> None:
    """Print notes and results."""
    for note in outcome.notes:
        console.print(f"- {escape(note)}", style="dim")
    for split in dict.fromkeys(outcome.results["split"].to_pylist()):
        console.print(printed(outcome.results, split, outcome.headline))
    for text in warnings(outcome.results):
        console.print(text, style="yellow")


def printed(results: pa.Table, split: str, headline: str, benchmark: str = "") -> Table:
    """One split's results for the terminal, best first; see `page.part`."""
    found = part(results, split, headline, benchmark)
    lines = Table(title=escape(found["title"]), title_justify="left")
    for name in ("system", "kind", "inputs"):
        lines.add_column(name, overflow="fold")
    for name in (*found["metrics"], "rows"):
        lines.add_column(name, justify="right")
    if found["runs"]:
        for name in ("configuration", "revision", "finished"):
            lines.add_column(name)
    for line in found["lines"]:
        dated = f"{line['kind']} {line['date']}".strip()
        first, *rest = line["values"]
        if found["runs"]:  # for want of room; the page has all intervals
            rest = [value.partition(" ")[0] for value in rest]
        cells = [line["system"], dated, line["inputs"], first, *rest, line["rows"]]
        if found["runs"]:
            cells += [line["config_hash"], line["git"], line["finished"][:10]]
        lines.add_row(*map(escape, cells), style=STYLES.get(line["kind"]))
    return lines


def parquet(table: pa.Table) -> bytes:
    """A table as the content of a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
