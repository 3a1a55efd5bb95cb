"""Who is speaking on screen: voices meet faces by the movement of mouths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.5
"""Trace activity of a face that may as well be silent as speak."""
OWN = 0.5
"""How much the face that goes with a voice in the whole video is favoured in one span."""
SHARPNESS = 2.0
"""How much a stronger movement counts against a weaker one."""
SEEN_S = 0.3
"""A face seen for less than this in all of a speaker's turns is no candidate."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A measure of one person over the video, here of the mouth: 0 is still, 1 speaks.

    Attributes:
        time_s: Sorted times, `(n,)`.
        value: The measure, `(n,)`; NaN where it is unknown.
        step_s: Time that one sample stands for.
    """

    time_s: Array
    value: Array
    step_s: float

    @cached_property
    def _sums(self) -> Array:
        known = np.isfinite(self.value)
        sums = np.stack([np.where(known, self.value, 0.0), known], axis=1)
        return np.concatenate([np.zeros((1, 2)), np.cumsum(sums, axis=0)])

    def during(self, start_s: Array, stop_s: Array) -> tuple[Array, Array]:
        """Mean in some spans (NaN where unknown), and the seconds that it is known."""
        first, last = np.searchsorted(self.time_s, start_s), np.searchsorted(self.time_s, stop_s)
        sums = self._sums[np.maximum(first, last)] - self._sums[first]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(sums[:, 1] > 0.5, sums[:, 0] / sums[:, 1], np.nan)
        return mean, np.minimum(sums[:, 1] * self.step_s, stop_s - start_s)


def _lift(activity: Array) -> Array:
    """Evidence that a mouth speaks: -1 still, 0 undecided, 1 speaking; 0 where not seen."""
    above = np.where(activity >= LEVEL, (activity - LEVEL) / (1 - LEVEL), activity / LEVEL - 1)
    return np.nan_to_num(above, nan=0.0).clip(-1, 1)


def pair(
    mouths: Mapping[str, Trace],
    start_s: Array,
    stop_s: Array,
    speakers: Sequence[str | None],
) -> dict[str, str]:
    """Match the speakers of a video with its persons, one to one.

    Each speaker-person pair collects `evidence x seconds` over the speaker's turns; the matching
    with the greatest sum wins (Hungarian method), and a pair without positive evidence is none:
    such a voice may be off screen.

    Args:
        mouths: By person.
        start_s: Starts of the turns, which should not overlap, `(m,)`.
        stop_s: Their ends, `(m,)`.
        speakers: Theirs.

    Returns:
        The person of each speaker who has one.
    """
    from scipy.optimize import linear_sum_assignment

    voices = sorted({name for name in speakers if name is not None})
    people = sorted(mouths)
    if not voices or not people:
        return {}
    gain = np.zeros((len(voices), len(people)))
    seconds = np.zeros_like(gain)
    member = np.array([[name == voice for name in speakers] for voice in voices])
    for j, person in enumerate(people):
        activity, seen = mouths[person].during(start_s, stop_s)
        gain[:, j] = member @ (_lift(activity) * seen)
        seconds[:, j] = member @ seen
    gain[seconds < SEEN_S] = 0
    rows, cols = linear_sum_assignment(np.maximum(gain, 0), maximize=True)
    found = zip(rows, cols, strict=True)
    return {voices[i]: people[j] for i, j in found if gain[i, j] > 0}


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Who speaks in one span.

    Attributes:
        person: Who it is, on screen or off; `None` where unknown.
        on_screen: Whether the speaker is seen; `None` where nobody can tell.
        confidence: Of `on_screen` and `person`, 0 to 1; `None` where `on_screen` is.
    """

    person: str | None
    on_screen: bool | None
    confidence: float | None


def locate(
    mouths: Mapping[str, Trace],
    start_s: Array,
    stop_s: Array,
    speakers: Sequence[str | None],
    persons: Mapping[str, str],
    *,
    watched: NDArray[np.bool_],
    faces: NDArray[np.int64],
) -> list[Presence]:
    """Find the speaker of each span among the faces it shows.

    The faces compete with the possibility that the voice is off screen; the confidence is the
    winner's share of the softmax.

    Args:
        mouths: By person.
        start_s: Starts of the spans, `(m,)`.
        stop_s: Their ends, `(m,)`.
        speakers: Theirs.
        persons: What `pair` found.
        watched: Whether anyone looked at the span's pictures, `(m,)`.
        faces: How many faces were found in the span, `(m,)`: where there are some, but no mouth
            was measured, the answer is unknown.
    """
    people = sorted(mouths)
    lift = np.full((len(start_s), len(people) + 1), -np.inf)
    lift[:, -1] = 0.0  # nobody: off screen
    for j, person in enumerate(people):
        activity, seen = mouths[person].during(start_s, stop_s)
        own = np.array([persons.get(name or "") == person for name in speakers], dtype=float)
        share = seen / np.maximum(stop_s - start_s, 1e-6)
        score = _lift(activity) * np.sqrt(share) + OWN * own
        lift[:, j] = np.where(np.isfinite(activity), score, -np.inf)
    share = np.exp(SHARPNESS * (lift - lift.max(axis=1, keepdims=True)))
    share /= share.sum(axis=1, keepdims=True)
    answers = []
    for i, name in enumerate(speakers):
        own_person = persons.get(name or "")
        best = int(lift[i].argmax())
        measured = np.isfinite(lift[i, :-1]).any()
        if not watched[i] or (not measured and faces[i] > 0):
            answers.append(Presence(person=own_person, on_screen=None, confidence=None))
        elif best < len(people):
            sure = float(share[i, best])
            answers.append(Presence(person=people[best], on_screen=True, confidence=sure))
        else:
            sure = float(share[i, best]) if measured else 1.0
            answers.append(Presence(person=own_person, on_screen=False, confidence=sure))
    return answers
