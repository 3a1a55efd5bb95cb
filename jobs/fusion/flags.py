"""Flags: what a reader should look at, or should not trust.

| flag | rule |
|---|---|
| `conflict` | the channels take opposite sides (`conflict.py`) |
| `potential_incongruence` | a note `emotion_speech_mismatch` or `timing_delays` |
| `stress_indicators` | notes of at least two different measures that rise under stress |
| `low_confidence` | the fused emotion is less sure than `low_confidence` |
| `face_nearby` | the face was seen only in the wider search around the utterance |
| `off_screen_voice` | somebody speaks whom the picture does not show |
| `overlapping_speech` | another speaker talks for at least half a second of it |
| `no_transcript` | speech in which no word was recognised |
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .assignment import overlap, times
from .notes import INCONGRUENCE, STRESS
from .rules import Rules

OVERLAP_S = 0.5
Raised = tuple[str, float | None, str]


def overlapped(
    segments: Sequence[Mapping[str, Any]], turns: Sequence[Mapping[str, Any]]
) -> np.ndarray:
    """Seconds of each segment in which somebody else speaks too, `(m,)`."""
    shared = np.zeros(len(segments))
    for speaker in {segment["speaker"] for segment in segments} - {None}:
        mine = [i for i, segment in enumerate(segments) if segment["speaker"] == speaker]
        others = [turn for turn in turns if turn["speaker"] not in (speaker, None)]
        low = np.array([segments[i]["start"] for i in mine])
        high = np.array([segments[i]["end"] for i in mine])
        shared[mine] = overlap(low, high, times(others, "start_s"), times(others, "stop_s"))
    return shared


def _surest(notes: Sequence[Mapping[str, Any]]) -> float | None:
    known = [note["confidence"] for note in notes if note["confidence"] is not None]
    return max(known) if known else None


def raised(
    segment: Mapping[str, Any], *, rules: Rules, overlap_s: float, presence: float | None
) -> Iterator[Raised]:
    """Find the flags of one segment of a timeline.

    Args:
        segment: With its emotion, notes and conflict.
        rules: `low_confidence`.
        overlap_s: Seconds in which another speaker talks.
        presence: Confidence of `on_screen`.

    Yields:
        Type, confidence and a sentence that says why.
    """
    emotion, notes = segment["emotion"], segment["behavioral_notes"]
    face, text = emotion["by_channel"]["face"], emotion["by_channel"]["text"]
    if segment["conflict"]:
        said = "unknown" if text is None or text["polarity"] is None else f"{text['polarity']:+.2f}"
        shown = "unknown" if face is None else face["dominant"]
        yield (
            "conflict",
            None if face is None else face["confidence"],
            f"face {shown}, text polarity {said}",
        )
    odd = [note for note in notes if note["type"] in INCONGRUENCE]
    if odd:
        names = ", ".join(sorted({note["type"] for note in odd}))
        yield "potential_incongruence", _surest(odd), names
    tense = [note for note in notes if note["type"] in STRESS]
    kinds = sorted({note["type"] for note in tense})
    if len(kinds) >= 2:
        detail = f"departs from the person's own baseline: {', '.join(kinds)}"
        yield "stress_indicators", _surest(tense), detail
    sure = emotion["confidence"]
    if sure is not None and sure < rules.low_confidence:
        yield "low_confidence", sure, f"emotion with confidence {sure:.2f}"
    if face is not None and face["window"] == "nearby":
        yield "face_nearby", face["confidence"], "the face was not seen close to the utterance"
    if segment["on_screen"] is False:
        yield "off_screen_voice", presence, "the speaker is not seen"
    if overlap_s >= OVERLAP_S:
        yield "overlapping_speech", None, f"another speaker talks for {overlap_s:.1f} s of it"
    if segment["transcript"] is None:
        yield "no_transcript", None, "speech in which no word was recognised"
