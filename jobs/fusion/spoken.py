"""What was said: the utterances of a video, and what its voice and text models found in them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS
from .assignment import times
from .evidence import Evidence, Record
from .plain import number
from .rules import Rules
from .utterances import utterances_of

Array = NDArray[np.float64]
VOICE_REACH_S = 1.0
"""A voice row belongs to the utterance that begins this near and shares half of its time."""


def spoken(evidence: Evidence, rules: Rules) -> list[dict[str, Any]]:
    """The utterances of a video, each with its row of table `voice` as `voice` or `None`.

    Where there is neither a turn nor a word, the rows of table `voice` are the utterances.
    """
    said = utterances_of(
        {"exclusive_turns": evidence.exclusive_turns, "words": evidence.words},
        rule=rules.assignment,
        fill_nearest_s=rules.fill_nearest_s,
        max_gap_s=rules.max_gap_s,
        max_s=rules.max_utterance_s,
    )
    rows = sorted(evidence.voice, key=lambda row: (row["start_s"], row["stop_s"]))
    if not said:
        names = ("start_s", "stop_s", "speaker", "text")
        said = [{**{n: row.get(n) for n in names}, "words": row.get("words") or []} for row in rows]
    return [{**one, "voice": row} for one, row in zip(said, _voices(said, rows), strict=True)]


def _voices(said: Sequence[Record], rows: Sequence[Record]) -> list[Record | None]:
    starts: dict[str | None, tuple[Array, list[Record]]] = {}
    for speaker in {row.get("speaker") for row in rows}:
        mine = [row for row in rows if row.get("speaker") == speaker]
        starts[speaker] = (times(mine, "start_s"), mine)
    found: list[Record | None] = []
    for one in said:
        start, mine = starts.get(one["speaker"], (np.zeros(0), []))
        if not mine:
            found.append(None)
            continue
        row = mine[int(np.abs(start - one["start_s"]).argmin())]
        shared = min(row["stop_s"], one["stop_s"]) - max(row["start_s"], one["start_s"])
        longest = max(row["stop_s"] - row["start_s"], one["stop_s"] - one["start_s"])
        near = abs(row["start_s"] - one["start_s"]) <= VOICE_REACH_S
        found.append(row if near and shared >= longest / 2 else None)
    return found


def scores_of(voice: Record | None) -> Array | None:
    """Classes of an utterance's text, `(7,)`; `None` unless all seven are known."""
    listed = {s["label"]: s["score"] for s in (voice or {}).get("text_scores") or []}
    values = [listed.get(label) for label in LABELS]
    known = [v for v in values if v is not None]
    return np.array(known, dtype=np.float64) if len(known) == len(LABELS) else None


def value(voice: Record | None, name: str) -> float | None:
    """A number of a voice row; `None` where it is unknown."""
    return number((voice or {}).get(name))
