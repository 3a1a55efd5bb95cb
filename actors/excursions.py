"""Brief excursions: movements that leave a baseline and return to it at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from scipy.signal import find_peaks

Array = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Brief:
    """What counts as one.

    Attributes:
        min_s: Shortest, from leaving to returning; never a single frame.
        max_s: Longest: half a second (the usual bound), or a fifth (Ekman's).
        delta: Least distance from the baseline at the apex, in the unit of the ways.
        clear: How many times the apex must stand out: nine tenths of `around_s` before and after
            lie nearer to the baseline than the apex over this.
        around_s: See `clear`.
        rest: Share of the apex's distance at which it has begun, and has returned.
    """

    min_s: float = 1 / 25
    max_s: float = 0.5
    delta: float = 0.008
    clear: float = 4.0
    around_s: float = 0.5
    rest: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.min_s < self.max_s:
            raise ValueError(
                f"`min_s` must be greater than 0 and less than `max_s` ({self.max_s:g}), but is "
                f"{self.min_s:g}."
            )
        for name in ("delta", "clear", "around_s"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, but is {getattr(self, name):g}."
                )
        if not 0 < self.rest < 1:
            raise ValueError(f"`rest` must be between 0 and 1 (exclusive), but is {self.rest:g}.")


@dataclass(frozen=True, kw_only=True)
class Excursion:
    """One, by index of frames; `series` is that of the ways it is strongest in."""

    onset: int
    apex: int
    offset: int
    series: int
    peak: float
    clear: float


def excursions(times: Array, ways: Array, brief: Brief) -> list[Excursion]:
    """Find brief excursions in the ways of several points.

    The baseline of a moment is the line between where a point was and where it will be, more than
    `max_s` away on either side. What stays, drifts or goes on and on lies beside its own line as
    far as its apex does, and is no excursion.

    Args:
        times: `(frame,)`, seconds, at an even rate.
        ways: `(frame, series, 2)`.
        brief: What counts as one.

    Returns:
        All, series by series; `alone` takes the strongest of those that overlap.
    """
    if len(times) < 4:
        return []
    step_s = float(np.median(np.diff(times)))
    reach, around = (max(2, round(one / step_s)) for one in (brief.max_s, brief.around_s))
    found: list[Excursion] = []
    for series in range(ways.shape[1]):
        one, past = ways[:, series], -1
        for apex in find_peaks(_beside(one, reach, around), height=brief.delta)[0]:
            far = _from_line(one, int(apex), reach, around) if apex > past else None
            made = None if far is None else _excursion(far, int(apex), series, around, brief)
            if made is not None:
                length_s = (made.offset - made.onset + 1) * step_s
                if brief.min_s <= length_s <= brief.max_s + 1e-6:
                    found.append(made)
                    past = made.offset
    return found


def _beside(way: Array, reach: int, around: int) -> Array:
    """How far each frame lies from the mean of what surrounds it, `(frame,)`."""
    window = np.zeros(2 * (reach + around) + 1)
    window[:around] = window[-around:] = 1 / (2 * around)
    mean = convolve1d(way, window, axis=0, mode="nearest")
    return np.linalg.norm(way - mean, axis=1)


def _from_line(way: Array, apex: int, reach: int, around: int) -> Array | None:
    """How far each frame lies from the baseline of one; `None` where a side is not in sight."""
    sides = (
        np.arange(max(0, apex - reach - around), max(0, apex - reach)),
        np.arange(apex + reach + 1, min(len(way), apex + reach + around + 1)),
    )
    if min(map(len, sides)) < around / 2:
        return None
    first, last = (side.mean() for side in sides)
    start, stop = (np.median(way[side], axis=0) for side in sides)
    share = (np.arange(len(way)) - first)[:, None] / (last - first)
    line = start + share * (stop - start)
    return np.linalg.norm(way - line, axis=1)


def _excursion(far: Array, apex: int, series: int, around: int, brief: Brief) -> Excursion | None:
    """The excursion of which a frame is the apex, if it is clear enough."""
    low = far <= brief.rest * far[apex]
    before, after = np.flatnonzero(low[:apex]), np.flatnonzero(low[apex:])
    if not len(before) or not len(after):
        return None
    onset, offset = int(before[-1]) + 1, apex + int(after[0]) - 1
    top = onset + int(far[onset : offset + 1].argmax())
    sides = [far[max(0, onset - around) : onset], far[offset + 1 : offset + 1 + around]]
    clear = float(far[top] / max(np.quantile(np.concatenate(sides), 0.9), 1e-9))
    if offset == onset or far[top] < brief.delta or clear < brief.clear:
        return None
    return Excursion(
        onset=onset, apex=top, offset=offset, series=series, peak=float(far[top]), clear=clear
    )


def alone(found: Sequence[Excursion]) -> list[Excursion]:
    """Of excursions that overlap in time the strongest, in order of time."""
    kept: list[Excursion] = []
    for one in sorted(found, key=lambda e: -e.peak):
        if all(one.offset < other.onset or one.onset > other.offset for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda e: e.onset)


def overlap(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Intersection over union of two spans of time, 0-1, as the spotting challenges use it.

    Example:
        >>> overlap((0, 4), (2, 6))
        0.3333333333333333
    """
    shared = min(one[1], two[1]) - max(one[0], two[0])
    union = max(one[1], two[1]) - min(one[0], two[0])
    return max(0.0, shared) / union if union > 0 else 0.0
