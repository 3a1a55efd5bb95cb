"""Which speaker said a word."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["overlap", "midpoint"]
TIE_S = 1e-6
"""Overlaps that differ by less are equal; the speaker first in the alphabet then wins."""


def times(spans: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    """One time of each span, in seconds; NaN where it is unknown."""
    return np.array([np.nan if s[key] is None else s[key] for s in spans], dtype=np.float64)


def spoken_until(
    t: NDArray[np.float64], start: NDArray[np.float64], stop: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much of some spans lies before each time.

    Spans that overlap count once each. Their overlap with `[a, b)` is the difference of two
    answers, so that k spans and n queries cost O((n + k) log k).

    Args:
        t: Times to ask for, `(n,)`, in seconds.
        start: Starts of the spans, `(k,)`, in any order.
        stop: Ends of the spans, `(k,)`.

    Returns:
        Seconds, `(n,)`.
    """
    if not len(start):
        return np.zeros(len(t))
    knots = np.concatenate([start, stop])
    steps = np.concatenate([np.ones(len(start)), -np.ones(len(stop))])
    order = np.argsort(knots, kind="stable")
    knots, active = knots[order], np.cumsum(steps[order])
    total = np.concatenate([[0.0], np.cumsum(active[:-1] * np.diff(knots))])
    return np.interp(t, knots, total)


def overlap(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Seconds that each query `[low, high)` shares with some spans, `(n,)`."""
    return spoken_until(high, start, stop) - spoken_until(low, start, stop)


def covered(
    t: NDArray[np.float64], start: NDArray[np.float64], stop: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each time lies in at least one half-open span."""
    begun = np.searchsorted(np.sort(start), t, side="right")
    ended = np.searchsorted(np.sort(stop), t, side="right")
    return begun > ended


def _nearest(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Index of the nearest span of each query that meets none, and the gap in seconds.

    Of two equally near spans the earlier one is taken.
    """
    by_stop, by_start = np.argsort(stop, kind="stable"), np.argsort(start, kind="stable")
    before = np.searchsorted(stop[by_stop], low, side="right") - 1
    after = np.searchsorted(start[by_start], high, side="left")
    left, right = by_stop[before.clip(0)], by_start[after.clip(max=len(start) - 1)]
    gap_left = np.where(before >= 0, low - stop[left], np.inf)
    gap_right = np.where(after < len(start), start[right] - high, np.inf)
    nearer = gap_right < gap_left
    return np.where(nearer, right, left), np.where(nearer, gap_right, gap_left).clip(0)


def assign(
    words: Sequence[Mapping[str, Any]],
    turns: Sequence[Mapping[str, Any]],
    rule: Rule = "overlap",
    *,
    fill_nearest_s: float = 0.0,
) -> list[str | None]:
    """Name the speaker of each word.

    `overlap` sums what a word shares with each speaker's turns and takes the most (as WhisperX
    does); `midpoint` takes a speaker who speaks in the word's middle, and of several the one
    with the most overlap. A word of no length counts as its midpoint under both.

    Args:
        words: Have `start_s` and `stop_s`; in any order.
        turns: Have `start_s`, `stop_s` and `speaker`; may overlap, in any order.
        rule: `overlap` or `midpoint`.
        fill_nearest_s: A word that no turn meets takes the nearest turn within this many
            seconds; 0: it stays without a speaker.

    Returns:
        A speaker for each word, in order; `None` where nobody is found.

    Example:
        >>> turn = {"start_s": 0.0, "stop_s": 2.0, "speaker": "SPEAKER_00"}
        >>> word = {"start_s": 1.5, "stop_s": 1.9, "word": "yes"}
        >>> assign([word, {**word, "start_s": 3.0, "stop_s": 3.2}], [turn])
        ['SPEAKER_00', None]
    """
    if rule not in ("overlap", "midpoint"):
        raise ValueError(f"`rule` must be 'overlap' or 'midpoint', but is {rule!r}.")
    turns = [t for t in turns if t["speaker"] is not None and t["stop_s"] > t["start_s"]]
    if not turns or not words:
        return [None] * len(words)
    low, high = times(words, "start_s"), times(words, "stop_s")
    middle = (low + high) / 2
    start, stop = times(turns, "start_s"), times(turns, "stop_s")
    names, of_turn = np.unique([t["speaker"] for t in turns], return_inverse=True)
    score = np.zeros((len(words), len(names)))
    for k in range(len(names)):
        mine = of_turn == k
        shared = np.round(overlap(low, high, start[mine], stop[mine]) / TIE_S) * TIE_S
        inside = covered(middle, start[mine], stop[mine])
        point = (high - low < TIE_S) | (rule == "midpoint")
        score[:, k] = np.where(point, np.where(inside, 1 + shared, 0), shared)
    found: list[str | None] = [
        str(names[k]) if best > 0 else None
        for k, best in zip(score.argmax(axis=1), score.max(axis=1), strict=True)
    ]
    if fill_nearest_s > 0:
        at = (middle, middle) if rule == "midpoint" else (low, high)
        nearest, gap = _nearest(*at, start, stop)
        for i in np.flatnonzero((score.max(axis=1) <= 0) & (gap <= fill_nearest_s)):
            found[i] = str(names[of_turn[nearest[i]]])
    return found
