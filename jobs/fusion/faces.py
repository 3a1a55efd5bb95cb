"""The faces of a video, person by person."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS
from . import expression, people
from .evidence import Columns, Evidence
from .expression import Event
from .onscreen import Trace
from .windows import Expression

Array = NDArray[np.float64]
LONGEST_STEP_S = 1.0
"""Two samples of a track further apart than this leave a gap."""
SPEAKING = 0.07
"""Movement of a mouth that surely speaks; half of it is undecided (`expression.py`)."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """One person's face over the whole video.

    Attributes:
        person: Name.
        signals: Facial signals, sorted by time.
        detections: Faces on the sampled frames, sorted by time.
        expression: What it shows.
        mouth: How it moves: 0 still, 1 as in speech.
        blinks: Times of the blinks; `None` where the signals are too slow to see any.
        events: Other facial events: records with `type`, `start_s`, `stop_s`, `confidence`.
        fine: LAION's 40 scores of each of `detections`, `(n, 40)`; `(n, 1)` where nobody asked.
        name: Who the gallery says it is, most of the time.
    """

    person: str
    signals: Columns
    detections: Columns
    expression: Expression
    mouth: Trace
    blinks: Array | None
    events: list[Event]
    fine: Array
    name: str | None = None

    @property
    def visible(self) -> Columns:
        """Where the face was seen: the dense signals, or the detections where there are none."""
        return self.signals if len(self.signals) else self.detections


def steps(time_s: Array) -> Array:
    """Time that each sample stands for: to the next one, or the usual step at a gap."""
    if len(time_s) < 2:
        return np.zeros(len(time_s))
    gaps = np.diff(time_s)
    usual = min(float(np.median(gaps)), LONGEST_STEP_S)
    return np.append(np.where((gaps <= 0) | (gaps > LONGEST_STEP_S), usual, gaps), usual)


def _quality(signals: Columns, faces: Columns) -> Array:
    """Mean quality of each sample's track on the sampled frames, `(n,)`; 1 where unknown."""
    known = np.isfinite(faces["quality"])
    wide = int(max(signals.track.max(initial=0), faces.track.max(initial=0))) + 2
    keys = (faces.row * wide + faces.track + 1)[known]
    mine = signals.row * wide + signals.track + 1
    count = np.bincount(keys, minlength=int(mine.max(initial=0)) + 1)
    total = np.bincount(keys, weights=faces["quality"][known], minlength=len(count))
    mean = np.divide(total, count, out=np.ones(len(count)), where=count > 0)
    return mean[mine]


def persons(evidence: Evidence) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who each sample of the signals, and each face, belongs to; -1 where unknown.

    A track that nobody could identify is a person of its own.
    """
    signals, faces = evidence.signals, evidence.faces
    tracked = np.flatnonzero(faces.track >= 0)
    known = faces.take(tracked)
    found = people.people(
        span=known.row,
        track=known.track,
        time_s=known.time_s,
        embedding=evidence.embeddings[tracked],
        weight=np.nan_to_num(known["quality"], nan=0.0),
        likeness=evidence.likeness,
    )
    number = found.person.astype(np.int64)
    alone = np.flatnonzero(number == people.UNKNOWN)
    number[alone] = found.count + np.arange(len(alone))
    wide = int(max(signals.track.max(initial=0), faces.track.max(initial=0))) + 1
    keys = found.keys[:, 0] * wide + found.keys[:, 1]

    def of(columns: Columns) -> NDArray[np.int64]:
        mine = np.where(columns.track >= 0, columns.row * wide + columns.track, -1)
        place = np.searchsorted(keys, mine).clip(max=max(len(keys) - 1, 0))
        if not len(keys):
            return np.full(len(columns), -1)
        return np.where(keys[place] == mine, number[place], -1)

    return of(signals), of(faces)


def _of(events: list[Event], person: int) -> list[Event]:
    return [event for event in events if event["person"] == person]


def faces_of(evidence: Evidence) -> dict[str, Face]:
    """Everybody who was seen, by name.

    Args:
        evidence: Its signals, faces and face embeddings.
    """
    signals, detections = evidence.signals, evidence.faces
    of_signal, of_detection = persons(evidence)
    emotions, named = evidence.face_emotions, evidence.names
    columns: Mapping[str, Array] = signals.values
    base = expression.baseline(columns, of_signal)
    scores = expression.scores(expression.action_units(columns, base))
    sure = expression.confidence(columns, base, _quality(signals, detections))
    moves = (expression.mouth_activity(columns, of_signal) / SPEAKING).clip(0, 1)
    blinks = expression.blinks(columns, of_signal)
    events = [
        *expression.gaze_aversions(columns, of_signal),
        *expression.head_gestures(columns, of_signal),
        *expression.asymmetries(columns, of_signal),
    ]
    found: dict[str, Face] = {}
    for k in np.union1d(of_signal[of_signal >= 0], of_detection[of_detection >= 0]).tolist():
        mine = of_signal == k
        some = signals.take(mine)
        closed = None if blinks is None else [event["start_s"] for event in _of(blinks, k)]
        name = people.name(k) or ""
        seen = of_detection == k
        found[name] = Face(
            person=name,
            signals=some,
            detections=detections.take(seen),
            expression=judged(detections.time_s[seen], emotions[seen])
            if emotions.shape[1] == len(LABELS)
            else Expression(time_s=some.time_s, scores=scores[mine], confidence=sure[mine]),
            mouth=Trace(
                time_s=some.time_s,
                value=moves[mine],
                step_s=float(np.median(steps(some.time_s))) if len(some) else 0.0,
            ),
            blinks=None if closed is None else np.sort(np.array(closed, dtype=np.float64)),
            events=_of(events, k),
            fine=evidence.fine_emotions[seen],
            name=usual([named[i] for i in np.flatnonzero(seen)]),
        )
    return found


def judged(time_s: Array, emotions: Array) -> Expression:
    """The expression of a face that a model judged.

    Args:
        time_s: Of the sampled frames, `(n,)`, sorted.
        emotions: Probabilities, `(n, 7)`; NaN where the model saw no face. The confidence is that
            of the likeliest class.
    """
    total = emotions.sum(axis=1, keepdims=True)
    scores = emotions / np.where(total > 0, total, np.nan)
    best = np.where(np.isfinite(scores).all(axis=1), np.nan_to_num(scores).max(axis=1), np.nan)
    return Expression(time_s=time_s, scores=scores, confidence=best)


def usual(names: list[str | None]) -> str | None:
    """The name that most faces of a person were given; `None` where fewer than half got one."""
    known = Counter(name for name in names if name is not None).most_common(1)
    return known[0][0] if known and 2 * known[0][1] >= len(names) else None
