"""Scores of classifications, all from one matrix of counts.

The order of the labels is pinned, and what would be divided by zero is zero: a class that nobody
predicted counts as found never, also where it does not occur.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

Counts = NDArray[np.number[Any]]


def confusion(
    truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Count the answers.

    Returns:
        `(label, label)`; a row for each true label, a column for each predicted one.

    Raises:
        ValueError: A label is unknown, or the lengths differ.
    """
    first, second = codes(truth, labels), codes(predicted, labels)
    if len(first) != len(second):
        raise ValueError(f"`truth` has {len(first)} rows, but `predicted` has {len(second)}.")
    size = len(labels)
    return np.bincount(first * size + second, minlength=size**2).reshape(size, size)


def codes(values: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """The place of each value among the labels.

    Raises:
        ValueError: A value is no label.
    """
    place = {label: number for number, label in enumerate(labels)}
    try:
        return np.array([place[value] for value in values], np.int64)
    except KeyError as error:
        raise ValueError(
            f"a label must be one of {', '.join(labels)}, but is {error.args[0]!r}."
        ) from None


def accuracy(counts: Counts) -> NDArray[np.float64]:
    """Share of rows whose label was found."""
    return _ratio(_hits(counts).sum(-1), counts.sum((-2, -1)))


def recall(counts: Counts) -> NDArray[np.float64]:
    """Of each label, the share that was found."""
    return _ratio(_hits(counts), counts.sum(-1))


def precision(counts: Counts) -> NDArray[np.float64]:
    """Of what was called by each label, the share that was rightly so."""
    return _ratio(_hits(counts), counts.sum(-2))


def f1(counts: Counts) -> NDArray[np.float64]:
    """Of each label: 2 TP / (2 TP + FP + FN)."""
    return _ratio(2.0 * _hits(counts), counts.sum(-1) + counts.sum(-2))


def uar(counts: Counts) -> NDArray[np.float64]:
    """Unweighted average recall: the mean of the recalls of all labels."""
    return recall(counts).mean(-1)


def balanced_accuracy(counts: Counts) -> NDArray[np.float64]:
    """The mean recall of the labels that occur."""
    return _ratio(recall(counts).sum(-1), (counts.sum(-1) > 0).sum(-1))


def macro_precision(counts: Counts) -> NDArray[np.float64]:
    """The mean precision of all labels."""
    return precision(counts).mean(-1)


def macro_f1(counts: Counts) -> NDArray[np.float64]:
    """The mean F1 of all labels."""
    return f1(counts).mean(-1)


def weighted_f1(counts: Counts) -> NDArray[np.float64]:
    """The mean F1, each label weighted by how often it occurs."""
    support = counts.sum(-1)
    return _ratio((f1(counts) * support).sum(-1), support.sum(-1))


METRICS: dict[str, Callable[[Counts], NDArray[np.float64]]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "uar": uar,
    "macro_precision": macro_precision,
    "weighted_f1": weighted_f1,
    "macro_f1": macro_f1,
    "uf1": macro_f1,
}
"""Of counts `(..., label, label)`; larger is better.

`uf1` and `uar` are the metrics of the Micro-Expression Grand Challenge (See et al. 2019): macro F1
and mean recall on counts pooled over all folds, not the average of the folds' values.
"""


def metric(name: str) -> Callable[[Counts], NDArray[np.float64]]:
    """A metric by its name.

    Raises:
        ValueError: There is none; names those there are.
    """
    if name not in METRICS:
        raise ValueError(f"a metric must be one of {', '.join(METRICS)}, but is {name!r}.")
    return METRICS[name]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good one set of answers is.

    Attributes:
        labels: In their order.
        confusion: Counts, `(label, label)`, a row for each true label.
        auc: Area under the ROC curve, each label against the rest, averaged over the labels that
            occur beside others; `None` without probabilities.
    """

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    auc: float | None = None

    @property
    def accuracy(self) -> float:
        """Share of rows whose label was found."""
        return float(accuracy(self.confusion))

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the labels that occur."""
        return float(balanced_accuracy(self.confusion))

    @property
    def uar(self) -> float:
        """The mean recall of all labels."""
        return float(uar(self.confusion))

    @property
    def weighted_f1(self) -> float:
        """The mean F1, each label weighted by how often it occurs."""
        return float(weighted_f1(self.confusion))

    @property
    def macro_f1(self) -> float:
        """The mean F1 of all labels."""
        return float(macro_f1(self.confusion))

    @property
    def uf1(self) -> float:
        """The same, by its name in the micro-expression challenges."""
        return self.macro_f1

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """By label."""
        return precision(self.confusion)

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """By label."""
        return recall(self.confusion)

    @cached_property
    def f1(self) -> NDArray[np.float64]:
        """By label."""
        return f1(self.confusion)

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """How often each label occurs."""
        return self.confusion.sum(1)


def scores(
    truth: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str],
    probabilities: ArrayLike | None = None,
) -> Scores:
    """Judge answers.

    Args:
        truth: The label of each row.
        predicted: The label that was given.
        labels: All there are, in their order; also those that do not occur.
        probabilities: `(row, label)`, if there are any.

    Raises:
        ValueError: A label is unknown, or the lengths differ.
    """
    area = None if probabilities is None else auc(truth, probabilities, labels)
    return Scores(labels=tuple(labels), confusion=confusion(truth, predicted, labels), auc=area)


def auc(truth: Sequence[str], probabilities: ArrayLike, labels: Sequence[str]) -> float | None:
    """Area under the ROC curve, each label against the rest, averaged over labels.

    A label that never or always occurs has none and is left out; `None` where no label has one.
    """
    found = np.asarray(probabilities, np.float64)
    if found.shape != (len(truth), len(labels)) or not np.isfinite(found).all():
        raise ValueError(
            f"`probabilities` must be finite, and of the shape {(len(truth), len(labels))}, but "
            f"have the shape {found.shape}."
        )
    places = codes(truth, labels)
    areas = [
        float(roc_auc_score(places == number, found[:, number]))
        for number in range(len(labels))
        if 0 < np.count_nonzero(places == number) < len(places)
    ]
    return float(np.mean(areas)) if areas else None


def _hits(counts: Counts) -> Counts:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _ratio(above: Counts, below: Counts) -> NDArray[np.float64]:
    """A quotient; 0 where it would be divided by zero."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.zeros(below.shape), where=below > 0)
