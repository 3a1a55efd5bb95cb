"""The dense lanes of a timeline, thinned: shots, persons, tracks, expression over time."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS
from .conflict import VALENCE
from .evidence import Columns, Evidence
from .faces import Face, steps
from .plain import number, numbers, time

Array = NDArray[np.float64]
SAME_CUT_S = 0.1
"""Two detectors that cut this close together saw the same cut."""
NEAR_S = 0.5
"""A mouth that was measured this close to a picture is the mouth in it."""


def shots(evidence: Evidence, duration_s: float) -> list[dict[str, float]]:
    """The spans between the cuts; empty where nobody watched."""
    if not len(evidence.watched) or duration_s <= 0:
        return []
    cuts = np.round(evidence.cuts.time_s, 3)
    cuts = cuts[(cuts > 0) & (cuts < duration_s)]
    edges = [0.0]
    edges += [float(t) for t in cuts[np.diff(cuts, prepend=-np.inf) > SAME_CUT_S]]
    edges.append(duration_s)
    return [{"start": low, "end": high} for low, high in pairwise(edges)]


def _keys(found: Columns) -> NDArray[np.int64]:
    """One number for each track of the video."""
    return found.row * (int(found.track.max(initial=0)) + 1) + found.track


def _thin(time_s: Array, rate_hz: float) -> NDArray[np.bool_]:
    """The first sample in each step of the rate."""
    step = np.floor(time_s * rate_hz)
    return np.diff(step, prepend=-np.inf) > 0


def tracks(faces: Mapping[str, Face], duration_s: float, rate_hz: float) -> list[dict[str, Any]]:
    """Boxes of each person between two cuts, at most `rate_hz` a second."""
    found = []
    for person, face in faces.items():
        visible = face.visible
        order = np.lexsort([visible.time_s, _keys(visible)])
        visible = visible.take(order)
        keys, times, boxes = _keys(visible), visible.time_s, visible.box
        for mine in np.split(np.arange(len(keys)), np.flatnonzero(np.diff(keys)) + 1):
            if not len(mine):
                continue
            t = times[mine]
            some = mine[_thin(t, rate_hz)]
            at = np.round(times[some], 3).clip(0, duration_s)[:, None]
            found.append(
                {
                    "person": person,
                    "start": time(t[0], duration_s),
                    "end": time(t[-1], duration_s),
                    "samples": np.concatenate([at, np.round(boxes[some], 1)], axis=1).tolist(),
                }
            )
    return sorted(found, key=lambda track: (track["start"], track["person"]))


def _means(values: Array, weight: Array, first: NDArray[np.intp]) -> Array:
    """Weighted mean of each bin, whose first samples are given; NaN for no weight."""
    known = np.isfinite(values) & (weight > 0)
    total = np.add.reduceat(np.where(known, weight, 0.0), first)
    summed = np.add.reduceat(np.where(known, values * weight, 0.0), first)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, summed / total, np.nan)


def expression(face: Face, duration_s: float, rate_hz: float) -> dict[str, Any]:
    """What one face shows over time: the mean of each step of the rate.

    Returns:
        `person`, and parallel lists: `time`, `expression`, `confidence`, `valence` (of the
        mean scores on the circumplex, -1 to 1) and `mouth` (0 still, 1 speaking).
    """
    looks = face.expression
    inside = (looks.time_s >= 0) & (looks.time_s <= duration_s)
    t = looks.time_s[inside]
    if not len(t):
        return {"person": face.person, **{n: [] for n in SERIES}}
    first = np.flatnonzero(_thin(t, rate_hz))
    sure = np.nan_to_num(looks.confidence[inside], nan=0.0)
    scores = np.stack([_means(looks.scores[inside, k], sure, first) for k in range(7)], axis=1)
    known = np.isfinite(scores).all(axis=1)
    label = np.where(known, np.nan_to_num(scores).argmax(axis=1), -1)
    one = np.ones(len(t))
    certain = np.where(known, _means(looks.confidence[inside], one, first), np.nan)
    found = {
        "time": np.round(t[first], 3).tolist(),
        "expression": [LABELS[k] if k >= 0 else None for k in label],
        "confidence": numbers(certain),
        "valence": numbers(scores @ VALENCE),
        "mouth": numbers(_means(_mouth(face, t), one, first)),
    }
    fresh = np.flatnonzero(np.diff(found["time"], prepend=-1.0) > 0)
    return {"person": face.person, **{n: [v[k] for k in fresh] for n, v in found.items()}}


def _mouth(face: Face, time_s: Array) -> Array:
    """How the mouth moves at some times, `(n,)`; NaN where it was not measured near them."""
    known = face.mouth.time_s
    if not len(known):
        return np.full(len(time_s), np.nan)
    after = np.searchsorted(known, time_s).clip(max=len(known) - 1)
    before = (after - 1).clip(min=0)
    near = np.where(time_s - known[before] < known[after] - time_s, before, after)
    return np.where(np.abs(known[near] - time_s) <= NEAR_S, face.mouth.value[near], np.nan)


SERIES = ("time", "expression", "confidence", "valence", "mouth")


def people(
    faces: Mapping[str, Face],
    persons: Mapping[str, str],
    speech_s: Mapping[str, float],
    duration_s: float,
) -> list[dict[str, Any]]:
    """The persons of a video, those longest on screen first.

    Args:
        faces: By person.
        persons: The person of each speaker who has one.
        speech_s: How long each speaker speaks.
        duration_s: Of the video.
    """
    speaker = {person: name for name, person in persons.items()}
    found = []
    for person, face in faces.items():
        visible = face.visible
        order = np.lexsort([visible.time_s, _keys(visible)])
        sample, keys = visible.take(order), _keys(visible)[order]
        mine = np.split(sample.time_s, np.flatnonzero(np.diff(keys)) + 1)
        seen = sum(float(steps(t).sum()) for t in mine)
        at, box = _portrait(face)
        voice = speaker.get(person)
        found.append(
            {
                "person": person,
                "name": face.name,
                "speaker": voice,
                "on_screen_s": number(min(seen, duration_s), 3),
                "speech_s": None if voice is None else number(speech_s.get(voice), 3),
                "first_time": time(visible.time_s[0], duration_s),
                "thumbnail_time": time(at, duration_s),
                "box": [number(v, 1) for v in box],
            }
        )
    return sorted(found, key=lambda one: (-one["on_screen_s"], one["person"]))


def actions(evidence: Evidence, duration_s: float) -> list[dict[str, Any]]:
    """What is done in each clip, as an action model says, the likeliest first."""
    return [
        {
            "start": time(clip["start_s"], duration_s),
            "end": time(clip["stop_s"], duration_s),
            "labels": [
                {"label": one["label"], "score": number(one["score"])} for one in clip["labels"]
            ],
        }
        for row in evidence.watched["actions"].to_pylist()
        for clip in row or []
    ]


def remarks(evidence: Evidence, duration_s: float) -> list[dict[str, Any]]:
    """What a vision-language model said of the moments that it was shown."""
    return [
        {
            "kind": row["kind"],
            "start": time(row["start_s"], duration_s),
            "end": time(row["stop_s"], duration_s),
            "reason": row["reason"],
            "summary": row["summary"],
            "emotion": row["emotion"] if row["emotion"] in LABELS else None,
            "confidence": number(row["confidence"]),
            "model": row["answered_by"],
            "answer": row["answer"],
        }
        for row in sorted(evidence.notes, key=lambda row: (row["start_s"], row["kind"]))
    ]


def _portrait(face: Face) -> tuple[float, Sequence[float]]:
    """Time and box of the best picture of a person."""
    shown = face.detections
    if not len(shown):
        return float(face.visible.time_s[0]), face.visible.box[0].tolist()
    quality = np.nan_to_num(shown["quality"], nan=-1.0)
    best = int(np.argmax(np.where(quality < 0, np.nan_to_num(shown["score"]) - 1, quality)))
    return float(shown.time_s[best]), shown.box[best].tolist()
