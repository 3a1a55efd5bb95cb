"""What the tables of `mien analyze` say of a clip, as one row of numbers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...datasets.laion import LAION_FACE_NAMES, LAION_VOICE_NAMES
from ...datasets.schema import LABELS, MEASURES, PROSODY, VOICE_AFFECT
from ..fusion.evidence import Evidence
from ..fusion.faces import Face, faces_of
from ..gather import beside
from ..graph import Graph

Array = NDArray[np.float64]
Read = tuple[tuple[str, ...], dict[str, Array]]
"""Names of the columns, and the numbers of each video."""
VIDEOS = 256
"""Clips that are read together."""
HEARD = (*PROSODY.names, *VOICE_AFFECT.names)
SEEN = (
    *LABELS,
    *(f"{label}, at most" for label in LABELS),
    *MEASURES,
    *(f"{name}, spread" for name in MEASURES),
    *("faces", "mouth"),
)


def heard(graph: Graph, videos: Sequence[str]) -> Read:
    """Means over what is said in each clip, weighted by its length; LAION's where they stand."""
    voice = graph.table("voice")
    own = [name for name in HEARD if name in voice.schema.names]
    rows = voice.read(["video_id", "start_s", "stop_s", *own], video_ids=videos, status="ok")
    found = {
        video: np.append(weighted(values, length_s), length_s.sum())
        for video, length_s, values in _spoken(rows, own)
    }
    names = [*own, "speech_s"]
    segments = graph.table("segments") if "segments" in graph.phases else None
    if segments is not None and "laion_voice" in segments.schema.names:
        columns = ["video_id", "start_s", "stop_s", "laion_voice"]
        rows = segments.read(columns, video_ids=videos, status="ok")
        rows = rows.filter(pc.is_valid(rows["laion_voice"]))
        fine = {
            video: weighted(values[:, 0], length_s)
            for video, length_s, values in _spoken(rows, ["laion_voice"])
        }
        names += LAION_VOICE_NAMES
        blank = np.full(len(LAION_VOICE_NAMES), np.nan)
        found = {video: np.append(one, fine.get(video, blank)) for video, one in found.items()}
    return tuple(names), found


def _spoken(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[str, Array, Array]]:
    """By video: length of its rows in seconds `(n,)`, and their values `(n, column, ...)`."""
    parts: dict[str, list[dict]] = defaultdict(list)
    for row in rows.to_pylist():
        parts[row["video_id"]].append(row)
    for video, every in parts.items():
        length_s = np.array([row["stop_s"] - row["start_s"] for row in every])
        yield video, length_s, np.array([[row[name] for name in names] for row in every], float)


def seen(graph: Graph, videos: Sequence[str]) -> Read:
    """What the face of each clip shows that moves its mouth most, which is taken for the speaker's.

    Expressions are the fusion's own, or a model's where the profile has one; `mouth` is how far it
    moves as in speech. LAION's scores stand behind them where there are any.
    """
    found: dict[str, Array] = {}
    fine: dict[str, Array] = {}
    for video, evidence in _watched(graph, videos):
        faces = [face for face in faces_of(evidence).values() if len(face.visible)]
        if faces:
            main = max(faces, key=_speaking)
            found[video] = shown(main, len(faces))
            fine[video] = _mean(main.fine)
    names, width = list(SEEN), len(LAION_FACE_NAMES)
    if any(len(one) == width for one in fine.values()):
        names += LAION_FACE_NAMES
        blank = np.full(width, np.nan)
        found = {
            video: np.append(one, fine[video] if len(fine[video]) == width else blank)
            for video, one in found.items()
        }
    return tuple(names), found


def _watched(graph: Graph, videos: Sequence[str]) -> Iterator[tuple[str, Evidence]]:
    for at in range(0, len(videos), VIDEOS):
        some = videos[at : at + VIDEOS]
        watch = graph.table("watch").read(video_ids=some, status="ok")
        faces = None
        if "faces" in graph.phases:
            faces = graph.table("faces").read(video_ids=some, status="ok")
        for video in pc.unique(watch["video_id"]).to_pylist():
            rows = watch.filter(pc.equal(watch["video_id"], video))
            if faces is not None:
                rows = beside(rows, faces.filter(pc.equal(faces["video_id"], video)))
            yield video, Evidence(video={}, watch=rows)


def _speaking(face: Face) -> tuple[float, int]:
    """How much a mouth moves, all in all; of still ones, how long the face is seen."""
    return float(np.nansum(face.mouth.value)), len(face.visible)


def shown(face: Face, faces: int) -> Array:
    """The columns `SEEN` of a face.

    Args:
        face: Whose.
        faces: How many persons are seen.
    """
    look = face.expression
    known = np.isfinite(look.scores).all(1) & (np.nan_to_num(look.confidence) > 0)
    scores, sure = look.scores[known], look.confidence[known]
    blank = np.full(len(LABELS), np.nan)
    measures = np.array([face.signals[name] for name in MEASURES])
    spread = [one[np.isfinite(one)] for one in measures]
    return np.concatenate(
        [
            weighted(scores, sure) if len(scores) else blank,
            scores.max(0) if len(scores) else blank,
            [one.mean() if len(one) else np.nan for one in spread],
            [one.std() if len(one) else np.nan for one in spread],
            [faces, _mean(face.mouth.value[:, None])[0]],
        ]
    )


def weighted(values: Array, weight: Array) -> Array:
    """Mean of each column over the rows where it is known; NaN where it is nowhere.

    Example:
        >>> weighted(np.array([[1.0, np.nan], [4.0, 2.0]]), np.array([2.0, 1.0])).tolist()
        [2.0, 2.0]
    """
    known = np.isfinite(values)
    total = (known * weight[:, None]).sum(0)
    summed = (np.where(known, values, 0.0) * weight[:, None]).sum(0)
    return np.divide(summed, total, out=np.full(values.shape[1], np.nan), where=total > 0)


def _mean(values: Array) -> Array:
    return weighted(values, np.ones(len(values)))


def failures(graph: Graph, modality: str, videos: Sequence[str]) -> Mapping[str, str]:
    """Why a clip could not be analysed, by video."""
    tables = ("videos", "turns", "voice") if modality == "audio" else ("videos", "watch", "faces")
    found: dict[str, str] = {}
    for name in tables:
        if name in graph.phases:
            columns = ["video_id", "error_message"]
            rows = graph.table(name).read(columns, video_ids=videos, status="failed")
            for row in rows.to_pylist():
                found.setdefault(row["video_id"], f"{name} failed: {row['error_message']}")
    return found
