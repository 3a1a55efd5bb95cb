"""Results: values of metrics with their intervals, next to numbers that others published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from .area import area
from .intervals import LEVEL, RESAMPLES, interval
from .predictions import check, of, probabilities, systems

Kind = Literal["system", "baseline", "anchor", "oracle", "synthetic"]
KINDS: tuple[str, ...] = get_args(Kind)

RESULTS = pa.schema(
    {
        "benchmark": pa.string(),
        "system": pa.string(),
        "kind": pa.string(),
        "inputs": pa.string(),
        "split": pa.string(),
        "metric": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "level": pa.float64(),
        "rows": pa.int64(),
        "groups": pa.int64(),
        "note": pa.string(),
        "source": pa.string(),
        "date": pa.string(),
    }
)
"""A row for each system, split and metric; see `docs/tables/results.md`."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A number that somebody published, to stand beside ours.

    Attributes:
        system: As its authors call it.
        metric: Which value it is; a key of `scores.METRICS`.
        value: From 0 to 1.
        inputs: What it was given, for example `T+A`.
        source: Where it was published.
        date: When: a year, or a date in ISO 8601.
        note: What makes it more or less comparable.
    """

    system: str
    metric: str
    value: float
    inputs: str
    source: str
    date: str
    note: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ValueError(
                f"`value` of an anchor must be from 0 to 1, but is {self.value:g} "
                f"({self.system!r}): give percentages as shares."
            )
        for name in ("source", "date"):
            if not getattr(self, name):
                raise ValueError(f"the anchor {self.system!r} must say its `{name}`.")


def anchors(benchmark: str, published: Iterable[Anchor], split: str = "test") -> pa.Table:
    """Published numbers as `RESULTS`, of the kind `anchor`: without intervals, and dated."""
    return _table(
        {
            "benchmark": benchmark,
            "system": one.system,
            "kind": "anchor",
            "inputs": one.inputs,
            "split": split,
            "metric": one.metric,
            "value": one.value,
            "note": one.note,
            "source": one.source,
            "date": one.date,
        }
        for one in published
    )


def measured(
    benchmark: str,
    predictions: pa.Table,
    *,
    labels: Sequence[str],
    inputs: Mapping[str, str],
    kinds: Mapping[str, str],
    metrics: Sequence[str],
    split: str,
    notes: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> pa.Table:
    """Judge every system on one split, with intervals by group.

    Folds are pooled: a value is of all rows together, not an average over folds. Where all rows are
    of one group there is no interval.

    Args:
        benchmark: What was asked.
        predictions: `PREDICTIONS`; rows of other splits are left out.
        labels: All there are, in their order.
        inputs: What each system was given.
        kinds: Of which `Kind` each system is; `system` where it is not named.
        metrics: Keys of `scores.METRICS`, or `auc`, which needs scores.
        split: Which rows.
        notes: A remark on each system, where there is one.
        resamples: Of the bootstrap.
        level: Of the intervals.

    Raises:
        ValueError: The predictions cannot be judged, or a kind does not exist.
    """
    rows = predictions.filter(pc.equal(predictions["split"], split))
    if not len(rows):
        raise ValueError(f"there are no predictions of the split {split!r} to judge.")
    check(rows, labels)
    for system, kind in kinds.items():
        if kind not in KINDS:
            raise ValueError(
                f"a kind must be one of {', '.join(KINDS)}, but is {kind!r} ({system!r})."
            )

    def values() -> Iterable[dict[str, Any]]:
        for system in systems(rows):
            part = of(rows, system)
            truth, predicted, groups = (
                part[name].to_pylist() for name in ("truth", "predicted", "group")
            )
            for metric in metrics:
                if metric == "auc":
                    known = probabilities(part, labels)
                    one = None
                    if known is not None:
                        one = area(truth, known, groups, labels, resamples=resamples, level=level)
                else:
                    one = interval(
                        truth, predicted, groups, labels, metric, resamples=resamples, level=level
                    )
                if one is None:
                    continue
                found: dict[str, Any] = {"value": one.value}
                if len(set(groups)) > 1:  # of one group nothing can be drawn
                    found |= {"low": one.low, "high": one.high, "level": level}
                yield {
                    "benchmark": benchmark,
                    "system": system,
                    "kind": kinds.get(system, "system"),
                    "inputs": inputs.get(system, ""),
                    "split": split,
                    "metric": metric,
                    **found,
                    "rows": len(part),
                    "groups": len(set(groups)),
                    "note": (notes or {}).get(system, ""),
                }

    return _table(values())


def _table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=RESULTS)
