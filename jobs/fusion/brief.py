"""Brief movements of faces, as the spotting found them: whose they are, and a flag for each.

Nothing judges what such a movement means, so it takes no side in a conflict and weighs nothing: it
is shown, and flagged.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .evidence import Evidence
from .faces import Face
from .plain import number, time

KIND = "brief_facial_movement"
NEAR_S = 0.5
"""A face measured this near to the apex, in the same track, is whose it was."""


def movements(
    evidence: Evidence, faces: Mapping[str, Face], duration_s: float
) -> list[dict[str, Any]]:
    """The candidates of a video, in order of time.

    Args:
        evidence: Its rows of table `micro`.
        faces: By person.
        duration_s: Of the video.

    Returns:
        Records of the timeline's `micro`; `person` is null where the track is nobody's.
    """
    starts = evidence.watched["start_s"].to_pylist()
    spans = {start: at for at, start in enumerate(starts)}
    found = [
        {
            "person": _whose(faces, spans.get(row["start_s"], -1), one),
            "start": time(one["onset_s"], duration_s),
            "apex": time(one["apex_s"], duration_s),
            "end": time(one["offset_s"], duration_s),
            "region": one["region"],
            "part": one["part"],
            "peak": number(one["peak"]),
            "clear": number(one["clear"]),
        }
        for row in evidence.micro
        for one in row["candidates"] or []
    ]
    return sorted(found, key=lambda one: (one["start"], one["person"] or ""))


def _whose(faces: Mapping[str, Face], span: int, one: Mapping[str, Any]) -> str | None:
    """The person whose face was measured in the same track of the same span."""
    for name, face in faces.items():
        mine = (face.signals.row == span) & (face.signals.track == one["track"])
        if (np.abs(face.signals.time_s[mine] - one["apex_s"]) <= NEAR_S).any():
            return name
    return None


def raised(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A flag for each movement. It belongs to no segment: nobody need speak."""
    for one in found:
        long_s = one["end"] - one["start"]
        yield {
            "type": KIND,
            "start": one["start"],
            "end": one["end"],
            "segment": None,
            "confidence": None,
            "detail": f"{one['region']} moved for {long_s:.2f} s and returned; its meaning is open",
        }


def warnings(evidence: Evidence) -> list[str]:
    """What the spotting was warned of, each sentence once."""
    return sorted({row["micro_warning"] for row in evidence.micro if row["micro_warning"]})
