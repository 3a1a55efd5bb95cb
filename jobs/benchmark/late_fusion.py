"""Late fusion: what several modalities say of the same rows becomes one answer.

A modality gives probabilities `(row, label)`; a row in which it is missing is NaN throughout. What
is learnt here is learnt from rows that the modalities' own heads had not seen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..evaluation.scores import METRICS

Scores = NDArray[np.float64]
Said = Mapping[str, Scores]
"""Probabilities by modality."""
LEAST = 1e-4
"""A smaller probability counts as this one, where its logarithm is taken."""


class Fusion(Protocol):
    """A way to fuse."""

    @property
    def name(self) -> str:
        """Of the way, for the tables."""
        ...

    def fit(self, said: Said, truth: NDArray[np.int64]) -> Callable[[Said], Scores]:
        """Learn from rows whose label is known.

        Args:
            said: Probabilities by modality.
            truth: Places of the true labels, `(row,)`.

        Returns:
            What makes probabilities `(row, label)` of those of the same modalities.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Equal:
    """The mean of the probabilities of those modalities that are there; nothing is learnt."""

    name: str = "equal weights"

    def fit(self, said: Said, truth: NDArray[np.int64]) -> Callable[[Said], Scores]:
        """Nothing but how often each label occurs, for rows of which nothing is known."""
        prior = frequencies(truth, _classes(said))
        return lambda other: pooled(other, dict.fromkeys(said, 1.0), prior)


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A weighted mean of the probabilities (linear opinion pool, Stone 1961).

    The weights are those of a grid that are best on the training rows; of equally good ones, the
    nearest to equal weights. A modality that does not help can get the weight 0.

    Attributes:
        metric: What is best: a key of `scores.METRICS`.
        steps: Into how many parts the weight is cut that the modalities share.
    """

    metric: str = "weighted_f1"
    steps: int = 10
    name: str = "weights"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"`steps` must be at least 1, but is {self.steps}.")
        if self.metric not in METRICS:
            raise ValueError(
                f"`metric` must be one of {', '.join(METRICS)}, but is {self.metric!r}."
            )

    def fit(self, said: Said, truth: NDArray[np.int64]) -> Callable[[Said], Scores]:
        """Try the grid."""
        prior = frequencies(truth, _classes(said))
        best = self.best(said, truth)
        return lambda other: pooled(other, best, prior)

    def best(self, said: Said, truth: NDArray[np.int64]) -> dict[str, float]:
        """The weights; they sum to 1."""
        prior = frequencies(truth, _classes(said))
        equal = 1 / len(said)

        def goodness(weights: Mapping[str, float]) -> tuple[float, float]:
            score = judged(pooled(said, weights, prior), truth, self.metric)
            return round(score, 12), -sum((w - equal) ** 2 for w in weights.values())

        return max(simplex(list(said), self.steps), key=goodness)


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """A logistic regression on the modalities' logarithmic probabilities (Wolpert 1992).

    A modality that is missing in a row says nothing there (0 after centring), and a column says
    that it is missing.

    Attributes:
        c: Inverse of the strength of the penalty.
    """

    c: float = 0.1
    name: str = "stacked"

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise ValueError(f"`c` must be greater than 0, but is {self.c:g}.")

    def fit(self, said: Said, truth: NDArray[np.int64]) -> Callable[[Said], Scores]:
        """Fit the regression."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        names, classes = list(said), _classes(said)
        if len(np.unique(truth)) < 2:  # nothing to tell apart
            return Equal().fit(said, truth)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=self.c, max_iter=1000))
        model.fit(_logarithms(said, names), truth)

        def fuse(other: Said) -> Scores:
            found = np.zeros((len(next(iter(other.values()))), classes))
            found[:, model.classes_] = model.predict_proba(_logarithms(other, names))
            return found

        return fuse


def pooled(said: Said, weights: Mapping[str, float], prior: NDArray[np.float64]) -> Scores:
    """The weighted mean of what is there in each row.

    Args:
        said: Probabilities by modality, NaN in the rows where one is missing.
        weights: By modality.
        prior: `(label,)`, taken for a row in which no modality with a weight is there.
    """
    total = np.zeros_like(next(iter(said.values())))
    weight = np.zeros(len(total))
    for name, scores in said.items():
        there = present(scores)
        total[there] += weights[name] * scores[there]
        weight[there] += weights[name]
    known = weight > 0
    total[known] /= weight[known, None]
    total[~known] = prior
    return total


def present(scores: Scores) -> NDArray[np.bool_]:
    """In which rows a modality is there."""
    return np.asarray(np.isfinite(scores).all(1))


def frequencies(truth: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """How often each label occurs, as shares."""
    return np.bincount(truth, minlength=classes) / max(len(truth), 1)


def judged(scores: Scores, truth: NDArray[np.int64], metric: str) -> float:
    """The metric of the likeliest labels."""
    classes = scores.shape[1]
    counts = np.bincount(truth * classes + scores.argmax(1), minlength=classes**2)
    return float(METRICS[metric](counts.reshape(classes, classes)))


def simplex(names: Sequence[str], steps: int) -> Iterator[dict[str, float]]:
    """All weights of a grid that sum to 1.

    Example:
        >>> list(simplex(["a", "b"], 2))
        [{'a': 0.0, 'b': 1.0}, {'a': 0.5, 'b': 0.5}, {'a': 1.0, 'b': 0.0}]
    """
    for parts in product(range(steps + 1), repeat=len(names) - 1):
        if sum(parts) <= steps:
            shares = (*parts, steps - sum(parts))
            yield {name: share / steps for name, share in zip(names, shares, strict=True)}


def cross_validated(
    fusion: Fusion,
    said: Said,
    truth: NDArray[np.int64],
    groups: Sequence[str],
    metric: str,
    folds: int,
) -> Iterator[float]:
    """Mean score so far, after each fold; a group is never in two of them."""
    scores = np.full((len(truth), _classes(said)), np.nan)
    values: list[float] = []
    for learnt, held in parted(groups, folds):
        fuse = fusion.fit({name: one[learnt] for name, one in said.items()}, truth[learnt])
        scores[held] = fuse({name: one[held] for name, one in said.items()})
        values.append(judged(scores[held], truth[held], metric))
        yield float(np.mean(values))


def parted(
    groups: Sequence[str], folds: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows held out, fold by fold, whole groups at a time.

    Raises:
        ValueError: There are fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold

    count = len(set(groups))
    if count < folds:
        raise ValueError(f"`folds` must be at most the number of groups ({count}), but is {folds}.")
    yield from GroupKFold(folds, shuffle=True, random_state=0).split(groups, groups=groups)


def _classes(said: Said) -> int:
    return next(iter(said.values())).shape[1]


def _logarithms(said: Said, names: Sequence[str]) -> NDArray[np.float64]:
    """Features of the regression: for each modality its centred logarithms, and whether it is."""
    columns = []
    for name in names:
        scores = said[name]
        there = present(scores)
        found = np.zeros_like(scores)
        logs = np.log(np.maximum(scores[there], LEAST))
        found[there] = logs - logs.mean(1, keepdims=True)
        columns += [found, ~there[:, None]]
    return np.concatenate(columns, axis=1)
