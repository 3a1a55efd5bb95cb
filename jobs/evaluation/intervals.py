"""How sure a score is, and whether two systems differ.

Rows of one dialogue or one person resemble each other: what is drawn again, compared or left out is
always a whole group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from .scores import codes, metric

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK = 100


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and where it may lie.

    Attributes:
        value: On all rows.
        low: The interval's lower end.
        high: Its upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much a system is better than another, on the same rows.

    Attributes:
        value: The first system's value less the second one's.
        low: The interval's lower end.
        high: Its upper end.
        p: Two-sided: twice the share of resamples on the rarer side of zero, at most 1. It is
            never 0: the rows as they are count as one resample.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Whether two systems err equally often (McNemar 1947), exactly.

    Attributes:
        only_a: Rows that only the first one has right.
        only_b: Rows that only the second one has right.
        p: Two-sided, by the binomial distribution. Rows are taken as independent: where they come
            in groups it is too small.
    """

    only_a: int
    only_b: int
    p: float


def interval(
    truth: Sequence[str],
    predicted: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[str],
    metric: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """A score with its percentile bootstrap interval (Efron & Tibshirani 1993), by whole groups.

    With few groups (below about 20) such an interval is too narrow: the groups that were not seen
    may differ more than those that were.

    Args:
        truth: The label of each row.
        predicted: The label that was given.
        groups: What each row belongs to.
        labels: All there are, in their order.
        metric: A key of `scores.METRICS`.
        resamples: How often groups are drawn.
        level: Of the interval, between 0 and 1.
        seed: Of the draws.
    """
    counts = _by_group(truth, predicted, groups, labels)
    drawn = np.concatenate(list(_resampled([counts], metric, resamples, seed)), axis=1)[0]
    low, high = _ends(drawn, level)
    return Interval(value=_value(counts, metric), low=low, high=high)


def difference(
    truth: Sequence[str],
    a: Sequence[str],
    b: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[str],
    metric: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """By how much `a` is better than `b`: a paired bootstrap by whole groups.

    Args:
        truth: The label of each row.
        a: What the first system gave.
        b: What the second one gave, of the same rows.
        groups: What each row belongs to.
        labels: All there are, in their order.
        metric: A key of `scores.METRICS`.
        resamples: How often groups are drawn; the same ones for both systems.
        level: Of the interval, between 0 and 1.
        seed: Of the draws.
    """
    both = [_by_group(truth, one, groups, labels) for one in (a, b)]
    drawn = np.concatenate(list(_resampled(both, metric, resamples, seed)), axis=1)
    apart = drawn[0] - drawn[1]
    low, high = _ends(apart, level)
    rarer = min(np.count_nonzero(apart <= 0), np.count_nonzero(apart >= 0))
    return Difference(
        value=_value(both[0], metric) - _value(both[1], metric),
        low=low,
        high=high,
        p=float(min(1.0, 2 * (rarer + 1) / (resamples + 1))),
    )


def mcnemar(truth: Sequence[str], a: Sequence[str], b: Sequence[str]) -> McNemar:
    """Compare two systems on the rows that exactly one of them has right."""
    right = np.asarray(truth, object)
    first, second = np.asarray(a, object) == right, np.asarray(b, object) == right
    only_a = int(np.count_nonzero(first & ~second))
    only_b = int(np.count_nonzero(second & ~first))
    if only_a + only_b == 0:
        return McNemar(only_a=0, only_b=0, p=1.0)
    p = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
    return McNemar(only_a=only_a, only_b=only_b, p=float(p))


def corrected_t(a_folds: ArrayLike, b_folds: ArrayLike, test_share: float) -> tuple[float, float]:
    """The corrected resampled t-test (Nadeau & Bengio 2003).

    Folds share most of what they were trained on, so that their scores vary less than independent
    ones would: the variance of the mean is multiplied by 1/J + n_test/n_train instead of 1/J.

    Args:
        a_folds: Score of the first system on each of J folds.
        b_folds: Score of the second one on the same folds.
        test_share: Share of all rows that a fold holds out, between 0 and 1.

    Returns:
        t with J - 1 degrees of freedom, positive where `a` is better, and the two-sided p.
    """
    apart = np.asarray(a_folds, float) - np.asarray(b_folds, float)
    if apart.ndim != 1 or len(apart) < 2:
        raise ValueError(f"a t-test needs at least 2 folds, but got {apart.size}.")
    if not 0 < test_share < 1:
        raise ValueError(f"`test_share` must be between 0 and 1, but is {test_share:g}.")
    mean, variance = apart.mean(), apart.var(ddof=1)
    if variance <= 1e-15 * max(1.0, mean**2):  # all folds agree, but for rounding
        if np.isclose(mean, 0.0, atol=1e-12):
            return 0.0, 1.0
        return float(np.copysign(np.inf, mean)), 0.0
    scale = 1 / len(apart) + test_share / (1 - test_share)
    t = mean / np.sqrt(scale * variance)
    return float(t), float(2 * stats.t.sf(abs(t), len(apart) - 1))


def overfitting(train_loss: float, validation_loss: float) -> float:
    """How much worse a model does on rows that it has not learnt: (v - t) / (v + t).

    It needs no rule for a loss of zero, as the quotient v / t would.

    Args:
        train_loss: On rows that it has learnt, at least 0.
        validation_loss: On rows that it has not, at least 0.

    Returns:
        0 where both are equal, 1/3 where the validation loss is twice the other, 1 where only the
        training loss is 0; negative where the validation loss is less. From -1 to 1.

    Example:
        >>> overfitting(0.5, 1.0), overfitting(0.0, 0.0), overfitting(0.0, 2.0)
        (0.3333333333333333, 0.0, 1.0)
    """
    for name, loss in (("train_loss", train_loss), ("validation_loss", validation_loss)):
        if not 0 <= loss < np.inf:
            raise ValueError(f"`{name}` must be at least 0 and finite, but is {loss:g}.")
    both = validation_loss + train_loss
    return (validation_loss - train_loss) / both if both else 0.0


def _by_group(
    truth: Sequence[str], predicted: Sequence[str], groups: Sequence[str], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Counts of each group, `(group, label, label)`."""
    if not len(truth):
        raise ValueError("there are no rows to judge.")
    if not len(truth) == len(predicted) == len(groups):
        raise ValueError(
            f"`truth`, `predicted` and `groups` must be of one length, but have {len(truth)}, "
            f"{len(predicted)} and {len(groups)} rows."
        )
    _, group = np.unique(np.asarray(groups, str), return_inverse=True)
    counts = np.zeros((group.max() + 1, len(labels), len(labels)), np.int64)
    np.add.at(counts, (group, codes(truth, labels), codes(predicted, labels)), 1)
    return counts


def _resampled(
    systems: Sequence[NDArray[np.int64]], name: str, resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Values of each system on groups drawn with replacement: `(system, resample)`, in parts."""
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1, but is {resamples}.")
    judge, random = metric(name), np.random.default_rng(seed)
    count, size = systems[0].shape[:2]
    flat = [counts.reshape(count, -1).astype(float) for counts in systems]
    for start in range(0, resamples, _CHUNK):
        part = min(_CHUNK, resamples - start)
        often = random.multinomial(count, np.full(count, 1 / count), part).astype(float)
        yield np.stack([judge((often @ counts).reshape(part, size, size)) for counts in flat])


def _value(counts: NDArray[np.int64], name: str) -> float:
    return float(metric(name)(counts.sum(0)))


def _ends(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, but is {level:g}.")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
