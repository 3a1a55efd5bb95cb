"""What a sweep comes to: the table of trials, results and the figures of its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...cluster.tuning import Tried
from ..evaluation.figures import Axis, Bar, Bars, Curves, Figure, Parallel, Rows, Trace
from ..evaluation.intervals import difference
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import of
from ..evaluation.results import RESULTS, measured
from ..evaluation.scores import METRICS
from .domains import Choice, Domain, Integer, LogUniform, brief, written
from .search import Search
from .study import Study

TUNED, DEFAULT = "tuned", "default"
INNER = "inner"
METRIC_NAMES = ("accuracy", "uar", "macro_f1", "weighted_f1")
MAX_DRAWN = 6
"""Outer folds whose trials are drawn."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One outer fold: its trials, and what was said of the rows that it holds out.

    Attributes:
        name: Of the fold.
        study: Its trials.
        first: Parameters of the configuration as it stands, if they lie in the space.
        answers: `PREDICTIONS` of `TUNED` and `DEFAULT`.
    """

    name: str
    study: Study
    first: Mapping[str, Any] | None
    answers: Mapping[str, pa.Table]

    @property
    def best(self) -> Tried:
        """The trial that was chosen."""
        return self.study.best()

    @property
    def default(self) -> Tried | None:
        """The trial of the configuration as it stands, if it was made to its end."""
        found = self.study.tried[0] if self.first else None
        return found if found and found.number == 0 and found.state == "complete" else None


def outcome(task: Any, job: str, search: Search, folds: Sequence[Fold]) -> Outcome:  # noqa: ANN401
    """Judge what was tuned, beside the configuration as it stands.

    Args:
        task: What was tuned.
        job: Its name.
        search: What was varied.
        folds: Those that were tuned.
    """
    answered = _answered(folds)
    labels = tuple(getattr(task, "labels", ())) or _labels(answered)
    headline = getattr(task, "headline", "balanced_accuracy")
    benchmark = answered["benchmark"][0].as_py()
    made_up = [getattr(one, "synthetic", False) for one in (task, getattr(task, "data", None))]
    kind = "synthetic" if any(made_up) else "system"
    inputs = {TUNED: f"{search.trials} trials a fold", DEFAULT: "as configured"}
    metrics = [headline, *(name for name in METRIC_NAMES if name != headline)]
    tables = [
        measured(
            benchmark,
            answered,
            labels=labels,
            inputs=inputs,
            kinds={TUNED: kind, DEFAULT: kind},
            metrics=metrics,
            split=split,
        )
        for split in pc.unique(answered["split"]).to_pylist()
    ]
    return Outcome(
        title=f"Sweep of {benchmark}",
        benchmark=benchmark,
        labels=labels,
        headline=headline,
        predictions=answered,
        results=pa.concat_tables([*tables, _inner(benchmark, headline, search, folds)]),
        notes=_notes(job, search, folds, answered, labels, headline),
        figures=figures(search.domains, folds),
    )


def trials(folds: Sequence[Fold]) -> pa.Table:
    """All trials, a row each; a column for each parameter, by its key."""
    rows = [(fold.name, one) for fold in folds for one in fold.study.tried]
    known = {
        "fold": pa.array([fold for fold, _ in rows], pa.string()),
        "trial": pa.array([one.number for _, one in rows], pa.int64()),
        "state": pa.array([one.state for _, one in rows], pa.string()),
        "score": pa.array([one.score for _, one in rows], pa.float64()),
        "steps": pa.array([len(one.scores) for _, one in rows], pa.int64()),
        "scores": pa.array([list(one.scores) for _, one in rows], pa.list_(pa.float64())),
        "seconds": pa.array([one.seconds for _, one in rows], pa.float64()),
        "error": pa.array([one.error for _, one in rows], pa.string()),
    }
    keys = dict.fromkeys(key for _, one in rows for key in one.parameters)
    varied = {key: _column([one.parameters[key] for _, one in rows]) for key in keys}
    return pa.table({**known, **varied})


def figures(domains: Mapping[str, Domain], folds: Sequence[Fold]) -> list[Figure]:
    """What the page shows beside the results."""
    drawn = folds[:MAX_DRAWN]
    parallel = [_parallel(domains, fold) for fold in drawn]
    most = max(len(fold.study.tried) for fold in folds)
    curves = Curves(
        title="Best so far",
        x=list(range(1, most + 1)),
        lines={fold.name: _so_far(fold.study.tried, most) for fold in drawn},
        x_name="trials",
        y_name="inner score",
        note="Within the rows that a fold does not hold out. "
        + ("" if len(folds) <= MAX_DRAWN else f"The first {MAX_DRAWN} of {len(folds)} folds. "),
    )
    return [*_importance(domains, folds), curves, *parallel, _chosen(folds), _listed(folds)]


def _answered(folds: Sequence[Fold]) -> pa.Table:
    """The answers of both systems, under their names."""
    tables = []
    for system in (TUNED, DEFAULT):
        for fold in folds:
            table = fold.answers[system]
            place = table.schema.get_field_index("system")
            tables.append(
                table.set_column(place, "system", pa.array([system] * len(table), pa.string()))
            )
    return pa.concat_tables(tables)


def _labels(answered: pa.Table) -> tuple[str, ...]:
    return tuple(sorted({*answered["truth"].to_pylist(), *answered["predicted"].to_pylist()}))


def _inner(benchmark: str, headline: str, search: Search, folds: Sequence[Fold]) -> pa.Table:
    """The scores that were tuned, so that nobody takes them for results."""
    chosen = [fold.best.scores[-1] for fold in folds]
    known = [fold.default for fold in folds]
    note = "tuned, optimistic: the best of its trials by this very number"
    rows = [(TUNED, float(np.mean(chosen)), note)]
    if all(known):
        values = [one.scores[-1] for one in known if one]
        rows.append((DEFAULT, float(np.mean(values)), "inner score of trial 0; nothing was chosen"))
    return pa.Table.from_pylist(
        [
            {
                "benchmark": benchmark,
                "system": system,
                "kind": "oracle" if system == TUNED else "baseline",
                "inputs": f"mean over {len(folds)} outer folds",
                "split": INNER,
                "metric": headline,
                "value": value,
                "note": note,
            }
            for system, value, note in rows
        ],
        schema=RESULTS,
    )


def _notes(
    job: str,
    search: Search,
    folds: Sequence[Fold],
    answered: pa.Table,
    labels: Sequence[str],
    headline: str,
) -> list[str]:
    tuned, default = of(answered, TUNED), of(answered, DEFAULT)
    places = {key: row for row, key in enumerate(_keys(default))}
    default = default.take([places[key] for key in _keys(tuned)])
    metric = headline if headline in METRICS else "balanced_accuracy"
    apart = difference(
        tuned["truth"].to_pylist(),
        tuned["predicted"].to_pylist(),
        default["predicted"].to_pylist(),
        tuned["group"].to_pylist(),
        labels,
        metric,
    )
    sure = f"[{apart.low:+.4f}, {apart.high:+.4f}], p = {apart.p:.3f} (paired bootstrap by group)"
    if len(set(tuned["group"].to_pylist())) < 2:
        sure = "(all of them are of one group: no interval)"
    tried = [one for fold in folds for one in fold.study.tried]
    counts = {
        state: sum(one.state == state for one in tried)
        for state in ("complete", "stopped", "failed")
    }
    return [
        f"`mien {job}` was tuned over {', '.join(search.domains)}: {search.trials} trials (TPE, "
        f"seed {search.seed}) for each of {len(folds)} outer folds, scored within the rows that "
        "the fold does not hold out.",
        f"Of {len(tried)} trials {counts['complete']} are complete, {counts['stopped']} were "
        f"stopped early, {counts['failed']} failed.",
        "The number to report is that of the rows held out, which no trial saw. The inner score "
        "is the best of many by itself, and so too good.",
        f"Tuned less default on the rows held out, {metric}: {apart.value:+.4f} {sure}.",
    ]


def _keys(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table["split"].to_pylist(), table["id"].to_pylist(), strict=True))


def _importance(domains: Mapping[str, Domain], folds: Sequence[Fold]) -> list[Figure]:
    if len(domains) < 2:
        return []
    found = [shares for fold in folds if (shares := fold.study.importance())]
    if not found:
        return []
    bars = []
    for key in domains:
        values = [shares[key] for shares in found]
        low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
        bars.append(Bar(name=key, value=float(np.mean(values)), low=low, high=high))
    return [
        Bars(
            title="Importance of the parameters",
            bars=sorted(bars, key=lambda bar: -bar.value),
            x_name="share of the variance",
            note="Share of the variance of inner scores that a parameter explains (fANOVA, Hutter "
            "et al. 2014); few trials tell little."
            + (" Ends: the least and the most of all outer folds." if len(found) > 1 else ""),
        )
    ]


def _parallel(domains: Mapping[str, Domain], fold: Fold) -> Parallel:
    tried = fold.study.tried
    scores = [one.score for one in tried if one.score is not None]
    low, high = min(scores), max(scores)
    # the chosen one comes last, and so lies above the others
    order = sorted(tried, key=lambda one: (one.number == fold.best.number, one.score or -np.inf))
    return Parallel(
        title=f"Trials of {fold.name}",
        axes=[
            *(_axis(key, domain) for key, domain in domains.items()),
            Axis(name="inner score", low=low, high=high),
        ],
        traces=[
            Trace(
                name=_says(one),
                values=[
                    *(
                        written(one.parameters[key])
                        if isinstance(domain, Choice)
                        else one.parameters[key]
                        for key, domain in domains.items()
                    ),
                    one.score,
                ],
                strength=(one.score - low) / (high - low or 1.0) if one.score is not None else 0.5,
                kind=_kind(one, fold.best),
            )
            for one in order
        ],
        note="A line for each trial, stronger where it is better; dashed where it was stopped or "
        "failed. The thick one was chosen.",
    )


def _kind(one: Tried, chosen: Tried) -> str:
    if one.number == chosen.number:
        return "chosen"
    return "" if one.state == "complete" else "ended"


def _axis(key: str, domain: Domain) -> Axis:
    match domain:
        case Choice():
            return Axis(name=key, names=domain.names)
        case Integer():
            return Axis(name=key, low=domain.low, high=domain.high, log=domain.log)
        case _:
            low, high = domain.ends()
            return Axis(name=key, low=low, high=high, log=isinstance(domain, LogUniform))


def _so_far(tried: Sequence[Tried], most: int) -> list[float]:
    scores = [one.scores[-1] if one.state == "complete" else np.nan for one in tried]
    best = np.fmax.accumulate(np.array(scores + [np.nan] * (most - len(scores))))
    return best.tolist()


def _says(one: Tried) -> str:
    score = "" if one.score is None else f", {one.score:.4f}"
    return f"trial {one.number}, {one.state}{score}: {brief(one.parameters)}"


def _chosen(folds: Sequence[Fold]) -> Rows:
    bests, defaults = [fold.best for fold in folds], [fold.default for fold in folds]
    table = {
        "outer fold": pa.array([fold.name for fold in folds]),
        "trial": pa.array([one.number for one in bests]),
        "inner, tuned": pa.array([one.scores[-1] for one in bests]),
        "inner, default": pa.array([one and one.scores[-1] for one in defaults], pa.float64()),
    }
    for key in bests[0].parameters:
        table[key] = _column([one.parameters[key] for one in bests])
    return Rows(
        title="What was chosen",
        table=pa.table(table),
        note="As words for the command line these stand in the folder `best`.",
    )


def _listed(folds: Sequence[Fold]) -> Rows:
    table = trials(folds).drop_columns(["scores"])
    return Rows(title="Trials", table=table, note="All of them stand in `trials.parquet`.")


def _column(values: list[Any]) -> pa.Array:
    """A parameter's values: numbers, or text where they are anything else."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        whole = all(isinstance(value, int) for value in values)
        return pa.array(values, pa.int64() if whole else pa.float64())
    return pa.array([written(value) for value in values], pa.string())
