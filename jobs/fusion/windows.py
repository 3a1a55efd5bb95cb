"""From the face to speech: the expression before, during and after an utterance."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS

Array = NDArray[np.float64]
ORDER = ("during", "before", "after", "nearby")
"""Precedence: the first window in which the face was seen speaks for the utterance."""


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What a face showed in one window of each of m utterances.

    Attributes:
        scores: Confidence-weighted mean of the samples' scores, `(m, 7)` in the order of
            `LABELS`, each row summing to 1; NaN where the face was not seen.
        confidence: Mean confidence of the samples, `(m,)`, 0 to 1; NaN where not seen.
        seen: Number of samples with a score, `(m,)`.
    """

    scores: Array
    confidence: Array
    seen: NDArray[np.int64]

    def label(self, i: int) -> str | None:
        """Label with the highest score for utterance `i`; `None` where the face was not seen."""
        return LABELS[int(self.scores[i].argmax())] if self.seen[i] else None

    def certainty(self, i: int) -> float | None:
        """Confidence for utterance `i`; `None` where the face was not seen."""
        return float(self.confidence[i]) if self.seen[i] else None


@dataclass(frozen=True, kw_only=True)
class Expression:
    """One face's expression over time.

    Attributes:
        time_s: Sorted times, `(n,)`.
        scores: `(n, 7)`, rows sum to 1.
        confidence: `(n,)`, 0 to 1.

    Samples with a NaN carry no vote.
    """

    time_s: Array
    scores: Array
    confidence: Array

    @cached_property
    def _sums(self) -> Array:
        """Running sums, `(n + 1, 9)`: weighted scores, weight, number of known samples."""
        known = np.isfinite(self.scores).all(axis=1) & np.isfinite(self.confidence)
        known &= self.confidence > 0
        weight = np.where(known, self.confidence, 0.0)
        value = np.where(known[:, None], self.scores, 0.0) * weight[:, None]
        sums = np.concatenate([value, weight[:, None], known[:, None].astype(np.float64)], axis=1)
        return np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)])

    def votes(self, start_s: Array, stop_s: Array) -> Votes:
        """Count the votes in half-open windows, in O(m log n).

        Args:
            start_s: Starts of the windows, `(m,)`.
            stop_s: Ends of the windows, `(m,)`.
        """
        first, last = np.searchsorted(self.time_s, start_s), np.searchsorted(self.time_s, stop_s)
        sums = self._sums[np.maximum(first, last)] - self._sums[first]
        seen = np.round(sums[:, -1]).astype(np.int64)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = (sums[:, :-2] / sums[:, -2:-1]).clip(0, 1)
            scores = scores / scores.sum(axis=1, keepdims=True)
            confidence = (sums[:, -2] / sums[:, -1]).clip(0, 1)
        none = seen == 0
        scores[none], confidence[none] = np.nan, np.nan
        return Votes(scores=scores, confidence=confidence, seen=seen)


def around(
    face: Expression,
    start_s: Array,
    stop_s: Array,
    *,
    window_s: float = 1.5,
    fallback_s: float = 5.0,
    fallback_confidence: float = 0.4,
) -> dict[str, Votes]:
    """Look at a face in the windows around some utterances.

    Args:
        face: Whose expression.
        start_s: Starts of the utterances, `(m,)`.
        stop_s: Their ends, `(m,)`.
        window_s: Length of the windows before and after.
        fallback_s: Reach of the window `nearby` on both sides of the utterance.
        fallback_confidence: What is seen only `nearby` is trusted this much.

    Returns:
        Votes in `before`, `during`, `after` and `nearby`.
    """
    nearby = face.votes(start_s - fallback_s, stop_s + fallback_s)
    trust = np.where(nearby.seen > 0, fallback_confidence, np.nan)
    return {
        "before": face.votes(start_s - window_s, start_s),
        "during": face.votes(start_s, stop_s),
        "after": face.votes(stop_s, stop_s + window_s),
        "nearby": Votes(scores=nearby.scores, confidence=trust, seen=nearby.seen),
    }


def chosen(windows: dict[str, Votes], i: int) -> str | None:
    """Name of the window that speaks for utterance `i`; `None` where the face was never near."""
    return next((name for name in ORDER if windows[name].seen[i]), None)


def offset(
    face_start_s: float | None,
    speech_start_s: float | None,
    speech_stop_s: float | None,
    *,
    tolerance_s: float = 60.0,
) -> float:
    """How far the clock of the faces runs ahead of that of the speech.

    Faces that begin more than `tolerance_s` after the last utterance have another clock, for
    instance that of a longer film that the sound was cut from; the first face then belongs to
    the first utterance.

    Returns:
        Seconds to subtract from the faces' times; 0 where the clocks agree or nothing is known.

    Example:
        >>> offset(700.0, 10.0, 600.0), offset(650.0, 10.0, 600.0)
        (690.0, 0.0)
    """
    if face_start_s is None or speech_start_s is None or speech_stop_s is None:
        return 0.0
    return face_start_s - speech_start_s if face_start_s > speech_stop_s + tolerance_s else 0.0
