"""The page of a benchmark or a training: its protocol, its numbers, its figures.

One file that holds all it needs, runs no script and opens no connection.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import provenance
from ..pages.markup import asset, clean, clock, page
from .drawing import cell, drawn, said
from .figures import Bar, Bars, Confusion, Curves, Figure, Picture, Pictures, Rows
from .outcome import Outcome
from .predictions import of, systems
from .scores import Scores, scores

__all__ = ["Bar", "Bars", "Confusion", "Curves", "Figure", "Picture", "Pictures", "Rows", "render"]

MARKS = {
    "synthetic": "Numbers marked synthetic are of generated data: they show that the code runs, "
    "and say nothing about real recordings.",
    "oracle": "Numbers marked oracle used the answers that they are judged by (for example the "
    "best epoch on the held-out person): they are no result, and stand for comparison only.",
}
RUN = ("command", "kind", "config_hash", "git", "mien", "started", "finished")
MAX_CONFUSIONS = 24

Judged = tuple[str, list[tuple[str, Scores]]]
"""A split, and the scores of each system on it."""


def render(outcome: Outcome, facts: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        outcome: What is shown.
        facts: The run's record, see `record.Record`; any key may be missing.

    Returns:
        The HTML.
    """
    results = outcome.results
    judged = list(_judged(outcome.predictions, outcome.labels))
    splits = list(dict.fromkeys(results["split"].to_pylist()))
    return page(
        "evaluation.html",
        scripts={},
        style=asset("style.css") + asset("figures.css"),
        title=clean(outcome.title),
        facts=clean(headline_facts(facts)),
        warnings=warnings(results),
        notes=clean(outcome.notes),
        parts=[clean_text(part(results, split, outcome.headline)) for split in splits],
        classes=[clean_text(drawn(one)) for one in _classes(judged)],
        confusions=[clean_text(drawn(one)) for one in _confusions(judged)],
        figures=[clean_text(drawn(one)) for one in outcome.figures],
        run=clean(run_facts(facts)),
    )


def board(
    table: pa.Table,
    parts: Sequence[tuple[str, str]],
    headlines: Mapping[str, str],
    notes: Sequence[str],
    figures: Sequence[Figure] = (),
) -> str:
    """Write the page of a leaderboard.

    Args:
        table: `RESULTS`, with the columns of the runs behind them.
        parts: Benchmarks and splits, in the order in which they are shown.
        headlines: The metric that ranks, by benchmark.
        notes: What has to be said.
        figures: What stands below.
    """
    shown = [
        part(
            table.filter(pc.equal(table["benchmark"], benchmark)),
            split,
            headlines[benchmark],
            benchmark,
        )
        for benchmark, split in parts
    ]
    return page(
        "evaluation.html",
        scripts={},
        style=asset("style.css") + asset("figures.css"),
        title="Leaderboard",
        facts=[provenance.now()],
        warnings=clean([*warnings(table), *notes]),
        notes=[],
        parts=clean_text(shown),
        classes=[],
        confusions=[],
        figures=[clean_text(drawn(one)) for one in figures],
        run=[],
    )


def warnings(results: pa.Table) -> list[str]:
    """What must be said of the kinds of numbers that a table holds."""
    kinds = set(results["kind"].to_pylist())
    return [text for kind, text in MARKS.items() if kind in kinds]


def part(results: pa.Table, split: str, headline: str, benchmark: str = "") -> dict[str, Any]:
    """One split's forest plot and table, best first.

    Args:
        results: `RESULTS` of one benchmark; with columns of runs behind them, those are shown.
        split: Which rows.
        headline: The metric that ranks.
        benchmark: Its name, where a page has several.
    """
    rows = results.filter(pc.equal(results["split"], split)).to_pylist()
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    metrics.sort(key=lambda name: name != headline)
    systems: dict[tuple[str | None, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = (row["kind"], row["system"], row["inputs"], row.get("config_hash"))
        systems.setdefault(key, {})[row["metric"]] = row
    ranked = sorted(systems.values(), key=lambda found: -_rank(found.get(headline)))
    real = [one for one in ranked if headline in one and one[headline]["kind"] == "system"]
    level = next((row["level"] for row in rows if row["level"]), None)
    return {
        "title": f"{benchmark}: {split}" if benchmark else f"Results on {split}",
        "forest": drawn(forest(rows, headline)),
        "metrics": metrics,
        "lines": [_line(one, metrics, best=len(ranked) > 1 and one in real[:1]) for one in ranked],
        "runs": "config_hash" in results.column_names,
        "explains": (
            f"In brackets: {level:.0%} bootstrap intervals, groups drawn as a whole. "
            if level
            else ""
        )
        + "Anchors are numbers that others published: they were not measured here.",
    }


def forest(rows: Sequence[Mapping[str, Any]], metric: str) -> Bars:
    """The values of one metric with their intervals, best first."""
    found = sorted((row for row in rows if row["metric"] == metric), key=lambda row: -_rank(row))
    return Bars(
        title=metric.replace("_", " "),
        x_name=metric.replace("_", " "),
        bars=[
            Bar(
                name=_named(row),
                value=row["value"],
                low=row["low"],
                high=row["high"],
                kind=row["kind"],
                note=row["source"] or row["note"] or "",
            )
            for row in found
        ],
    )


def headline_facts(facts: Mapping[str, Any]) -> list[str]:
    """The line below the title: when, of which configuration and revision, on what."""
    machine = facts.get("machine") or {}
    wall_s = facts.get("wall_s")
    known = [
        facts.get("started"),
        f"configuration {facts['config_hash']}" if facts.get("config_hash") else None,
        f"revision {facts['git']}" if facts.get("git") else None,
        machine.get("processor"),
        f"{machine['cores']} cores" if machine.get("cores") else None,
        *(machine.get("gpus") or []),
        f"took {clock(wall_s)}" if wall_s is not None else None,
    ]
    return [str(fact) for fact in known if fact]


def run_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What else is known of the run, by name."""
    lines = [(name, str(facts[name])) for name in RUN if facts.get(name) is not None]
    for group in ("machine", "versions"):
        known = facts.get(group) or {}
        lines += [(name, str(value)) for name, value in known.items() if value not in (None, [])]
    return lines


def clean_text(value: Any) -> Any:  # noqa: ANN401
    """`clean` for data whose numbers are drawn, and so must not be rounded."""
    match value:
        case dict():
            return {key: clean_text(item) for key, item in value.items()}
        case list() | tuple():
            return [clean_text(item) for item in value]
        case str():
            return clean(value)
        case _:
            return value


def _line(
    found: Mapping[str, Mapping[str, Any]], metrics: Sequence[str], *, best: bool
) -> dict[str, Any]:
    """A system's values, and what is said beside them."""
    first = next(iter(found.values()))
    texts = ("kind", "system", "inputs", "note", "source", "date", "config_hash", "git")
    judged = (found.get(name, {}) for name in metrics)
    return {
        **{name: first.get(name) or "" for name in (*texts, "hardware", "finished")},
        "values": [said(one.get("value"), one.get("low"), one.get("high")) for one in judged],
        "rows": cell(first["rows"]),
        "groups": cell(first["groups"]),
        "older": (first.get("runs") or 1) - 1,
        "best": best,
    }


def _named(row: Mapping[str, Any]) -> str:
    """A system with what marks it where it is no plain result."""
    marks = {"anchor": f" · {row['date']}", "oracle": " · oracle", "synthetic": " · synthetic"}
    return row["system"] + marks.get(row["kind"], "")


def _rank(row: Mapping[str, Any] | None) -> float:
    return -1.0 if row is None or row["value"] is None else row["value"]


def _classes(judged: Sequence[Judged]) -> list[Rows]:
    """For each split: the F1 of each label, a line for each system."""
    tables = []
    for split, found in judged:
        lines = [
            {"system": system, **dict(zip(one.labels, map(float, one.f1), strict=True))}
            for system, one in found
        ]
        first = found[0][1]
        support = zip(first.labels, first.support, strict=True)
        tables.append(
            Rows(
                title=f"F1 on {split}",
                table=pa.Table.from_pylist(lines),
                note="Rows: " + ", ".join(f"{label} {count}" for label, count in support) + ".",
            )
        )
    return tables


def _confusions(judged: Sequence[Judged]) -> list[Confusion]:
    return [
        Confusion(title=f"{system}, {split}", labels=one.labels, matrix=one.confusion)
        for split, found in judged
        for system, one in found
    ][:MAX_CONFUSIONS]


def _judged(answered: pa.Table, labels: Sequence[str]) -> Iterator[Judged]:
    """The scores of each system on each split."""
    for split in pc.unique(answered["split"]).to_pylist():
        rows = answered.filter(pc.equal(answered["split"], split))
        found = []
        for system in systems(rows):
            one = of(rows, system)
            truth, predicted = one["truth"].to_pylist(), one["predicted"].to_pylist()
            found.append((system, scores(truth, predicted, labels)))
        yield split, found
