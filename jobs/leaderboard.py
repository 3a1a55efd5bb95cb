"""`mien leaderboard`: the results of many runs in one table and on one page."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape

from ..datasets.store import place, replace
from .evaluation.figures import Rows
from .evaluation.page import board
from .evaluation.results import RESULTS
from .evaluation.save import parquet, printed
from .progress import console
from .runs import Broken, Run, found

TABLE, PAGE = "leaderboard.parquet", "leaderboard.html"
SEEN = frozenset({"train", "dev", "validation", "inner"})
"""Splits that may be looked at often: numbers on them are chosen, not reported."""

LEADERBOARD = pa.schema(
    [
        *RESULTS,
        pa.field("run", pa.string()),
        pa.field("config_hash", pa.string()),
        pa.field("git", pa.string()),
        pa.field("hardware", pa.string()),
        pa.field("finished", pa.string()),
        pa.field("runs", pa.int64()),
    ]
)
"""Results with the run they are from; null of anchors. `runs`: how many of that configuration."""


@dataclass(kw_only=True)
class Leaderboard:
    """All runs of benchmarks and trainings: one table, one page, with published numbers beside.

    Of several runs of one configuration the newest is shown. A run that is broken, failed or not
    finished is named and left out.

    Attributes:
        runs: Folders in which runs are looked for, at any depth.
        out: The folder that gets the table and the page.
    """

    runs: Sequence[str] = field(default_factory=lambda: ["."])
    out: str

    def __call__(self) -> int:
        """Read, write, print.

        Returns:
            0, also when runs were left out; 1 when there is nothing to show.
        """
        every = list(found([self.runs] if isinstance(self.runs, str) else self.runs))
        broken = [one for one in every if isinstance(one, Broken)]
        runs = [one for one in every if isinstance(one, Run)]
        judged = [one for one in runs if one.results is not None]
        analysed = analyses([one for one in runs if one.results is None])
        table = ranked(judged)
        notes = [*looks(judged), *(f"Left out: {x.folder}: {x.reason}." for x in broken)]
        heads = headlines(judged)
        for benchmark, split in parts(table):
            rows = table.filter(pc.equal(table["benchmark"], benchmark))
            console.print(printed(rows, split, heads[benchmark], benchmark))
        for note in notes:
            console.print(escape(note), style="yellow")
        if not len(table) and not len(analysed):
            console.print("No finished run was found.")
            return 1
        folder = place(self.out)
        replace(folder / TABLE, parquet(table))
        figures = (
            [Rows(title="Analysed videos", table=analysed, note=ANALYSED)] if len(analysed) else []
        )
        page = board(table, list(parts(table)), heads, notes, figures)
        replace(folder / PAGE, page.encode())
        console.print(f"Open {escape(str(folder / PAGE))}")
        return 0


ANALYSED = (
    "Runs of `mien analyze`. Times real time: length of the media over wall time, of the rows that "
    "were outstanding when the run was started last."
)


def ranked(runs: Sequence[Run]) -> pa.Table:
    """The results of the newest run of each configuration, anchors once."""
    newest: dict[tuple[str, str], Run] = {}
    count: dict[tuple[str, str], int] = defaultdict(int)
    for run in sorted(runs, key=lambda run: run.finished):
        key = (str(run.record.get("benchmark")), run.config_hash or str(run.folder))
        newest[key] = run
        count[key] += 1
    rows: dict[tuple, dict[str, Any]] = {}
    for key, run in newest.items():
        for row in _results(run).to_pylist():
            own = {
                "run": str(run.folder),
                "config_hash": run.config_hash,
                "git": run.record.get("git"),
                "hardware": run.hardware,
                "finished": run.finished,
                "runs": count[key],
            }
            if row["kind"] == "anchor":
                own = dict.fromkeys(own)
            rows.setdefault(tuple(row.values()) + tuple(own.values()), row | own)
    return pa.Table.from_pylist(list(rows.values()), schema=LEADERBOARD)


def parts(table: pa.Table) -> Iterator[tuple[str, str]]:
    """Benchmarks and their splits."""
    pairs = zip(table["benchmark"].to_pylist(), table["split"].to_pylist(), strict=True)
    yield from sorted(set(pairs))


def headlines(runs: Sequence[Run]) -> dict[str, str]:
    """The metric that ranks each benchmark: as its newest run has it, else its first metric."""
    heads: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: run.finished):
        results = _results(run)
        metrics = results["metric"].to_pylist()
        for benchmark in pc.unique(results["benchmark"]).to_pylist():
            heads[benchmark] = str(run.record.get("headline") or metrics[0])
    return heads


def looks(runs: Sequence[Run]) -> Iterator[str]:
    """Which test splits more than one configuration was judged on: a sentence each."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs:
        for row in _results(run).to_pylist():
            split = row["split"].partition(",")[0]  # what stands behind it is a part of the split
            if row["kind"] in ("system", "oracle") and split not in SEEN:
                key = (row["benchmark"], split)
                seen[key].add(run.config_hash or str(run.folder))
    for (benchmark, split), configurations in sorted(seen.items()):
        if len(configurations) > 1:
            yield (
                f"{len(configurations)} configurations were judged on the split {split!r} of "
                f"{benchmark!r}: the best of them is chosen on the rows that judge it, and its "
                "number is too good. Choose on rows that are not reported."
            )


def analyses(runs: Sequence[Run]) -> pa.Table:
    """Runs of `mien analyze`: how much, and how fast."""
    lines = []
    for run in runs:
        record = run.record
        phases = record.get("phases") or []
        media_s = max((one.get("media_s") or 0.0 for one in phases), default=0.0)
        wall_s = record.get("wall_s") or 0.0
        lines.append(
            {
                "run": str(run.folder),
                "files": (record.get("corpus") or {}).get("files"),
                "media, hours": media_s / 3600,
                "wall, hours": wall_s / 3600,
                "times real time": media_s / wall_s if wall_s and media_s else None,
                "revision": record.get("git"),
                "hardware": run.hardware,
                "finished": run.finished,
            }
        )
    return pa.Table.from_pylist(lines)


def _results(run: Run) -> pa.Table:
    return RESULTS.empty_table() if run.results is None else run.results
