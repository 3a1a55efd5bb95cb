"""Fine-grained emotions: the strongest of LAION's 40 in a face and a voice, per utterance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.laion import LAION_FACE_NAMES, LAION_VOICE_NAMES
from .evidence import Evidence
from .faces import Face
from .plain import number

Array = NDArray[np.float64]
SHOWN = 5
"""Emotions that are listed, at most."""


def strongest(scores: Array, names: Sequence[str]) -> list[dict[str, Any]] | None:
    """The strongest emotions of some samples, by mean score.

    Args:
        scores: `(n, len(names))`; rows with NaN do not count.
        names: Of the columns.

    Returns:
        Records with `label` and `score` (the heads' own scale, no probability), best first; `None`
        where nothing is known.
    """
    known = scores[np.isfinite(scores).all(axis=1)]
    if not len(known):
        return None
    mean = known.mean(axis=0)
    best = np.argsort(-mean, kind="stable")[:SHOWN]
    return [{"label": names[i], "score": number(float(mean[i]), 3)} for i in best.tolist()]


def of_face(face: Face | None, start_s: float, stop_s: float) -> list[dict[str, Any]] | None:
    """What a face showed from `start_s` to `stop_s`."""
    if face is None or face.fine.shape[1] != len(LAION_FACE_NAMES):
        return None
    time_s = face.detections.time_s
    return strongest(face.fine[(time_s >= start_s) & (time_s < stop_s)], LAION_FACE_NAMES)


def of_voice(evidence: Evidence, start_s: float, stop_s: float) -> list[dict[str, Any]] | None:
    """How the voices sounded in the judged segments that lie in the span, or hold most of it."""
    found = []
    for row in evidence.segments:
        shared = min(row["stop_s"], stop_s) - max(row["start_s"], start_s)
        shorter = min(row["stop_s"] - row["start_s"], stop_s - start_s)
        if row.get("laion_voice") and shared > 0 and shared >= shorter / 2:
            found.append(row["laion_voice"])
    width = len(LAION_VOICE_NAMES)
    return strongest(np.array(found, dtype=np.float64).reshape(-1, width), LAION_VOICE_NAMES)
