"""How sure an area under the ROC curve is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .intervals import LEVEL, RESAMPLES, Interval
from .scores import auc, codes

_CHUNK = 50


def area(
    truth: Sequence[str],
    probabilities: ArrayLike,
    groups: Sequence[str],
    labels: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """The area under the ROC curve with its percentile bootstrap interval, by whole groups.

    Args:
        truth: The label of each row.
        probabilities: `(row, label)`.
        groups: What each row belongs to.
        labels: All there are, in their order.
        resamples: How often groups are drawn; a draw in which no label has an area is left out.
        level: Of the interval, between 0 and 1.
        seed: Of the draws.

    Returns:
        As `scores.auc`: each label against the rest, averaged; `None` where no label has an area.
    """
    value = auc(truth, probabilities, labels)
    if value is None:
        return None
    found, places = np.asarray(probabilities, float), codes(truth, labels)
    _, group = np.unique(np.asarray(groups, str), return_inverse=True)
    count, random = group.max() + 1, np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, _CHUNK):
        part = min(_CHUNK, resamples - start)
        often = random.multinomial(count, np.full(count, 1 / count), part)[:, group]
        areas = [_areas(found[:, i], places == i, often) for i in range(len(labels))]
        known = [np.isfinite(one) for one in areas]
        counted = np.sum(known, axis=0)
        total = np.sum(np.where(known, areas, 0.0), axis=0)
        drawn.append(total[counted > 0] / counted[counted > 0])
    ends = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(ends[0]), high=float(ends[1]))


def _areas(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], often: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of each resample `(resample, row)`: the share of pairs that are in order, ties half."""
    order = np.argsort(scores, kind="stable")
    steps = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ones = np.add.reduceat(often[:, order] * positive[order], steps, axis=1)
    others = np.add.reduceat(often[:, order] * ~positive[order], steps, axis=1)
    below = others.cumsum(axis=1) - others / 2
    pairs = ones.sum(axis=1) * others.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, (ones * below).sum(axis=1) / pairs, np.nan)
