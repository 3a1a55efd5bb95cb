"""Whether systems differ, on the same rows: pairs, adjusted for how many of them were looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import pyarrow as pa

from ..evaluation.intervals import Difference, McNemar, difference, mcnemar
from ..evaluation.predictions import of, systems

PAIRS = pa.schema(
    {
        "a": pa.string(),
        "b": pa.string(),
        "a - b": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "only a right": pa.int64(),
        "only b right": pa.int64(),
        "p": pa.float64(),
        "p, Holm": pa.float64(),
    }
)
"""The difference with its bootstrap interval by group; McNemar's exact test."""
DEGRADES, HELPS, OPEN = "supported", "not supported", "undecided"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two systems on the same rows.

    Attributes:
        a: The first system.
        b: The second one.
        difference: Of the metric, the first less the second.
        test: Whether they err equally often.
    """

    a: str
    b: str
    difference: Difference
    test: McNemar


def compared(predictions: pa.Table, a: str, b: str, labels: Sequence[str], metric: str) -> Pair:
    """Compare two systems.

    Args:
        predictions: `PREDICTIONS` of one split.
        a: The first system.
        b: The second one.
        labels: All there are, in their order.
        metric: A key of `scores.METRICS`.

    Raises:
        ValueError: A system has no rows, or they did not answer the same ones.
    """
    first, second = (of(predictions, name).sort_by("id") for name in (a, b))
    for name, rows in ((a, first), (b, second)):
        if not len(rows):
            raise ValueError(
                f"there must be predictions of {name!r}, but there are only those of "
                f"{', '.join(map(repr, systems(predictions)))}."
            )
    if first["id"] != second["id"]:
        raise ValueError(f"{a!r} and {b!r} must have answered the same rows, but have not.")
    truth, groups = first["truth"].to_pylist(), first["group"].to_pylist()
    said = first["predicted"].to_pylist(), second["predicted"].to_pylist()
    return Pair(
        a=a,
        b=b,
        difference=difference(truth, *said, groups, labels, metric),
        test=mcnemar(truth, *said),
    )


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): none of them is found by chance alone.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, most = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = most
    return adjusted


def tabled(pairs: Sequence[Pair]) -> pa.Table:
    """Pairs as `PAIRS`; p-values are adjusted for all of them together."""
    adjusted = holm([pair.test.p for pair in pairs])
    return pa.Table.from_pylist(
        [
            {
                "a": pair.a,
                "b": pair.b,
                "a - b": pair.difference.value,
                "low": pair.difference.low,
                "high": pair.difference.high,
                "only a right": pair.test.only_a,
                "only b right": pair.test.only_b,
                "p": pair.test.p,
                "p, Holm": p,
            }
            for pair, p in zip(pairs, adjusted, strict=True)
        ],
        schema=PAIRS,
    )


def verdict(pair: Pair) -> str:
    """Of the hypothesis that the first system is worse than the second: decided by the interval.

    Returns:
        `supported` where the interval lies below 0, `not supported` where it lies above, and
        `undecided` where it holds 0.
    """
    if pair.difference.high < 0:
        return DEGRADES
    return HELPS if pair.difference.low > 0 else OPEN


def hypothesis(claim: str, pair: Pair) -> str:
    """A sentence on a claim that the first system is worse than the second."""
    found, test = pair.difference, pair.test
    return (
        f"“{claim}”: {verdict(pair)}. {pair.a} less {pair.b}: {found.value:+.3f} "
        f"[{found.low:+.3f}, {found.high:+.3f}]; right alone: {test.only_a} against {test.only_b} "
        f"rows (McNemar p = {test.p:.3g})."
    )


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All that are not empty, the small ones first.

    Example:
        >>> subsets(["text", "audio"])
        [('text',), ('audio',), ('text', 'audio')]
    """
    sizes = range(1, len(names) + 1)
    return list(chain.from_iterable(combinations(names, size) for size in sizes))


def additions(named: Mapping[tuple[str, ...], str]) -> list[tuple[str, str, str]]:
    """What each modality adds: pairs of subsets that differ by it.

    Args:
        named: System of each subset.

    Returns:
        The modality, the system with it, the system without it.
    """
    return [
        (name, named[whole], named[rest])
        for whole in named
        for name in whole
        if (rest := tuple(other for other in whole if other != name)) in named
    ]
