"""Behavioural notes: how a person departs from their own usual behaviour.

The names are those of the literature's "deception indicators", but nothing here speaks of lies:
each note says that a measure departs from this very person's baseline in this very video, by how
much, and what the baseline rests on. Named there and not measured here, for want of a model of
the body: `self_touching`, `micro_shrug`, `posture`; for want of a measure: `detail_reduction`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rules import Rules

Array = NDArray[np.float64]
Note = dict[str, Any]
MAD = 1.4826
"""Makes the median absolute deviation of a normal distribution its standard deviation."""
EVENTS = {
    "gaze_aversion": "gaze_aversion",
    "asymmetric_expression": "asymmetric_expressions",
    "nod": "nod",
    "shake": "shake",
}
"""Name of the note for each facial event."""
LISTENING = ("nod", "shake")
"""Notes that are also made of a listener."""
INCONGRUENCE = ("emotion_speech_mismatch", "timing_delays")
STRESS = (
    "increased_pauses",
    "pitch_changes",
    "speech_rate",
    "gaze_aversion",
    "asymmetric_expressions",
    "blink_rate",
)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure per utterance that has a baseline.

    Attributes:
        name: Type of the note.
        unit: Of the values.
        floor: Least size of a baseline and of its spread, in that unit, so that a tiny one does
            not make a tiny change look large.
        rise_only: Whether only a rise is noted.
    """

    name: str
    unit: str
    floor: float
    rise_only: bool = False


SPEECH_RATE = Measure(name="speech_rate", unit="words/s", floor=0.5)
PAUSES = Measure(name="increased_pauses", unit="share", floor=0.1, rise_only=True)
PITCH = Measure(name="pitch_changes", unit="Hz", floor=20.0)
BLINKS = Measure(name="blink_rate", unit="1/min", floor=5.0)


def clock(t: float) -> str:
    """A time as a person reads it.

    Example:
        >>> clock(75.2)
        '1:15'
    """
    return f"{int(t) // 60}:{int(t) % 60:02d}"


def deviations(
    measure: Measure, values: Array, start_s: Array, stop_s: Array, rules: Rules
) -> Iterator[tuple[int, Note]]:
    """Find the utterances of one person whose measure departs from the person's own baseline.

    The baseline is the median over all of the person's utterances, the spread their median
    absolute deviation times 1.4826.

    Args:
        measure: What the values are.
        values: One per utterance, `(m,)`; NaN where unknown.
        start_s: Starts of the utterances, `(m,)`.
        stop_s: Their ends, `(m,)`.
        rules: `deviation_z`, `deviation_share` and `baseline_count`.

    Yields:
        Index of an utterance, and its note.
    """
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < max(rules.baseline_count, 2):
        return
    usual = float(np.median(values[known]))
    spread = MAD * float(np.median(np.abs(values[known] - usual)))
    z = (values[known] - usual) / max(spread, measure.floor * 0.2, abs(usual) * 0.05)
    share = (values[known] - usual) / max(abs(usual), measure.floor)
    size = z if measure.rise_only else np.abs(z)
    odd = (size >= rules.deviation_z) & (np.abs(share) >= rules.deviation_share)
    span = f"{clock(start_s[known].min())}-{clock(stop_s[known].max())}"
    for k in np.flatnonzero(odd):
        i = int(known[k])
        yield (
            i,
            {
                "type": measure.name,
                "start": float(start_s[i]),
                "end": float(stop_s[i]),
                "change": f"{share[k]:+.0%}",
                "value": float(values[i]),
                "baseline": usual,
                "unit": measure.unit,
                "z": float(z[k]),
                "baseline_ref": span,
                "confidence": float(min(1.0, abs(z[k]) / (2 * max(rules.deviation_z, 1.0)))),
            },
        )


def incongruence(
    start_s: float,
    stop_s: float,
    *,
    text: int | None,
    before: int | None,
    during: int | None,
    after: int | None,
    confidence: float | None,
) -> Iterator[Note]:
    """Compare what a person says with what their face does.

    `emotion_speech_mismatch`: words and face take opposite sides. `timing_delays`: the face
    takes the words' side only after them, and was neutral before and during.

    Args:
        start_s: Start of the utterance.
        stop_s: Its end.
        text: Side of the words, -1, 0 or 1; `None` where unknown, as for all that follow.
        before: Side of the face before the utterance.
        during: Side of the face during it.
        after: Side of the face after it.
        confidence: Of the face.
    """
    if not text:
        return
    if during is not None and during == -text:
        yield {
            "type": "emotion_speech_mismatch",
            "start": start_s,
            "end": stop_s,
            "confidence": confidence,
        }
    if during == 0 and after == text and before != text:
        yield {"type": "timing_delays", "timestamp": stop_s, "confidence": confidence}


def of_event(event: Mapping[str, Any], person: str) -> Note:
    """The note for a facial event of a person, see `expression.events`."""
    return {
        "type": EVENTS[event["type"]],
        "timestamp": event["start_s"],
        "duration": event["stop_s"] - event["start_s"],
        "person": person,
        "value": event["value"],
        "confidence": event["confidence"],
    }
