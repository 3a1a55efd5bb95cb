"""Parting rows for a cross-validation: always by whole persons or videos, never by frame."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

GROUPS = ("person", "video")
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A nested cross-validation by groups.

    Each fold holds out some groups; of the others one part is what training stops by, so that
    nothing about the held-out rows decides anything. Labels are spread over the folds as evenly
    as whole groups allow.

    Attributes:
        group: What belongs together: `person`, or `video` where the same person is meant to be
            met again.
        folds: Parts of the outer split; no more than there are groups.
        repeats: How often all of it is done, each time parted anew.
        inner: Parts of the inner split, one of which training stops by.
        seed: Of the parting.
    """

    group: str = "person"
    folds: int = 5
    repeats: int = 1
    inner: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(
                f"`protocol.group` must be one of {', '.join(GROUPS)}, but is {self.group!r}."
            )
        for name, least in (("folds", 2), ("inner", 2), ("repeats", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"`protocol.{name}` must be at least {least}, but is {getattr(self, name)}."
                )

    def names(self, groups: Sequence[str]) -> list[str]:
        """Names of the folds: `r1f1` is the first one of the first repeat.

        Raises:
            ValueError: There are fewer than three groups.
        """
        count = len(set(groups))
        if count < 3:
            raise ValueError(
                f"a nested cross-validation needs at least 3 groups (`protocol.group` is "
                f"{self.group!r}), but there are {count}: one to judge by, one to stop by, one to "
                "learn from."
            )
        folds = range(1, min(self.folds, count) + 1)
        return [f"r{repeat}f{fold}" for repeat in range(1, self.repeats + 1) for fold in folds]

    def outer(self, fold: str, truth: Rows, groups: Sequence[str]) -> tuple[Rows, Rows]:
        """Rows to learn from, and rows that a fold holds out."""
        repeat, number = (int(part) for part in fold[1:].split("f"))
        parts = _parts(truth, groups, min(self.folds, len(set(groups))), self.seed + repeat - 1)
        return apart(*parts[number - 1], groups)

    def within(self, rows: Rows, truth: Rows, groups: Sequence[str]) -> tuple[Rows, Rows]:
        """Of some rows: those to learn from, and those that training stops by."""
        mine = [groups[row] for row in map(int, rows)]
        if len(set(mine)) < 2:
            raise ValueError(
                f"of the rows to learn from, one group must be left to stop by, but all are of "
                f"{mine[0]!r}: raise `protocol.folds` ({self.folds})."
            )
        learn, stop = _parts(truth[rows], mine, min(self.inner, len(set(mine))), self.seed)[0]
        return apart(rows[learn], rows[stop], groups)


def apart(learn: Rows, judge: Rows, groups: Sequence[str]) -> tuple[Rows, Rows]:
    """Two sides of a split, as they came.

    Raises:
        ValueError: A group stands on both sides; names it.
    """
    both = {groups[row] for row in map(int, learn)} & {groups[row] for row in map(int, judge)}
    if both:
        raise ValueError(f"a group must stand on one side of a split, but {min(both)!r} does not.")
    return learn, judge


def _parts(truth: Rows, groups: Sequence[str], count: int, seed: int) -> list[tuple[Rows, Rows]]:
    if np.bincount(truth).max() < count:  # no label is met in each part: none can be spread
        truth = np.zeros_like(truth)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(splitter.split(np.zeros(len(truth)), truth, np.asarray(groups, str)))
