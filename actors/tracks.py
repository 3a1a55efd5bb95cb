"""Tracks: which box of a picture is the same face as in the picture before."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(kw_only=True)
class Tracker:
    """Follows boxes through time by overlap and nearness.

    Attributes:
        gap_s: How long a face may be out of sight and keep its track.
        reach: How far a centre may move between two sightings, in sides of the larger box.
        growth: By which factor the size may change.
    """

    gap_s: float = 1.0
    reach: float = 0.8
    growth: float = 2.0
    _ids: NDArray[np.int32] = field(init=False, repr=False, compare=False)
    _seen_s: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _boxes: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _next: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.gap_s < 0:
            raise ValueError(f"`gap_s` must be at least 0, but is {self.gap_s:g}.")
        if self.reach <= 0:
            raise ValueError(f"`reach` must be greater than 0, but is {self.reach:g}.")
        if self.growth < 1:
            raise ValueError(f"`growth` must be at least 1, but is {self.growth:g}.")
        self.cut()

    def cut(self) -> None:
        """End all tracks: what follows are other faces, with ids of their own."""
        self._ids = np.zeros(0, np.int32)
        self._seen_s = np.zeros(0)
        self._boxes = np.zeros((0, 4))

    def update(self, time_s: float, boxes: NDArray[np.floating]) -> NDArray[np.int32]:
        """Give each box of the next picture the id of its track.

        Args:
            time_s: Time of the picture; must not run backwards between two cuts.
            boxes: `(face, 4)`: x, y, w, h in pixels.

        Returns:
            `(face,)` int32, each id at most once. New tracks take the next free ids, from 0.
        """
        from scipy.optimize import linear_sum_assignment

        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        alive = time_s - self._seen_s <= self.gap_s + 1e-9
        cost = distance(self._boxes[alive], boxes, self.growth)
        # A pair out of reach costs more than any number of pairs within it.
        old, new = linear_sum_assignment(np.where(cost <= self.reach, cost, 1e6))
        fits = cost[old, new] <= self.reach
        old, new = old[fits], new[fits]

        ids = np.full(len(boxes), -1, np.int32)
        ids[new] = self._ids[alive][old]
        fresh = np.flatnonzero(ids < 0)
        fresh = fresh[np.lexsort(boxes[fresh].T[::-1])]  # by place, not by the order of the boxes
        ids[fresh] = self._next + np.arange(len(fresh), dtype=np.int32)
        self._next += len(fresh)

        waiting = alive & ~np.isin(self._ids, ids)
        self._ids = np.concatenate([self._ids[waiting], ids])
        self._seen_s = np.concatenate([self._seen_s[waiting], np.full(len(ids), time_s)])
        self._boxes = np.concatenate([self._boxes[waiting], boxes])
        return ids


def distance(
    old: NDArray[np.float64], new: NDArray[np.float64], growth: float
) -> NDArray[np.float64]:
    """Distance between the centres of boxes, in sides of the larger box.

    Args:
        old: `(a, 4)`: x, y, w, h.
        new: `(b, 4)`.
        growth: Sizes that differ by more than this factor are infinitely far.

    Returns:
        `(a, b)` float64, with the change of size (log2) added so that equals are preferred.
    """
    gap = (new[None, :, :2] + new[None, :, 2:] / 2) - (old[:, None, :2] + old[:, None, 2:] / 2)
    side_old = np.sqrt(np.maximum(old[:, 2] * old[:, 3], 1e-9))[:, None]
    side_new = np.sqrt(np.maximum(new[:, 2] * new[:, 3], 1e-9))[None, :]
    far = np.linalg.norm(gap, axis=2) / np.maximum(side_old, side_new)
    change = np.abs(np.log2(side_new / side_old))
    return np.where(change <= np.log2(growth) + 1e-9, far + 0.2 * change, np.inf)
