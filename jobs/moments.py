"""Moments: which spans of a video are shown to a vision-language model, and with which question."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ..actors.actor import MACHINE, Actor, answer
from ..actors.prompts import KINDS
from ..datasets import schema
from .fusion.evidence import Columns, Evidence, columns
from .fusion.rules import Rules
from .fusion.timeline import RULES, fuse
from .gather import Gather

FRAMES = schema.rows(("id", pa.string()), ("index", pa.int32()), ("time_s", pa.float64()))
MOMENTS = pa.schema(
    [
        (
            "moments",
            schema.rows(
                ("start_s", pa.float64()),
                ("stop_s", pa.float64()),
                *((f.name, f.type) for f in schema.MOMENT),
                ("frames", FRAMES),  # rows of table `watch`, and places in their `frames`
            ),
        )
    ]
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which moments are worth a question.

    Attributes:
        kinds: Of the questions, in order of importance: `flag` asks about the flagged utterances,
            `facs` about the faces in them, `no_face` about speech in whose pictures no face was
            found, `keyframe` about everything, `every_s` at a time.
        frames: Pictures of a moment, at most.
        margin_s: Time around an utterance from which they may be taken.
        every_s: Length of a `keyframe` moment; it also ends at a cut.
        most_per_hour: Moments for each hour of video and each kind; the surest flags come first.
    """

    kinds: tuple[str, ...] = ("flag",)
    frames: int = 4
    margin_s: float = 1.0
    every_s: float = 10.0
    most_per_hour: float = 360.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"`kinds` must be of {', '.join(KINDS)}, but names {unknown[0]!r}.")
        if self.frames < 1:
            raise ValueError(f"`frames` must be at least 1, but is {self.frames}.")
        for name in ("every_s", "most_per_hour"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, but is {getattr(self, name):g}."
                )
        if self.margin_s < 0:
            raise ValueError(f"`margin_s` must not be negative, but is {self.margin_s:g}.")


@dataclass(kw_only=True)
class Moments(Actor):
    """The moments of a video that are worth a question, from all other evidence.

    Attributes:
        choice: Which.
        rules: Of the fusion, whose flags it follows.
        run: The run's folder.
        tables: Folder of each table, by name.
        likeness: From which cosine two tracks of faces are one person.
    """

    reads: ClassVar[tuple[str, ...]] = ("video_id", "uri", "evidence", "digest")
    adds: ClassVar[pa.Schema] = MOMENTS
    model: ClassVar[str] = "mien fusion"
    licence: ClassVar[str] = "Apache-2.0"

    choice: Choice = field(default_factory=Choice)
    rules: Rules = RULES
    run: str = field(metadata=MACHINE)
    tables: dict[str, str] = field(metadata=MACHINE)
    likeness: float = 0.5
    memory_gb: float = field(default=0.5, metadata=MACHINE)
    batch_size: int = field(default=4, metadata=MACHINE)

    def process(self, rows: pa.Table) -> pa.Table:
        """Choose the moments of each video."""
        gather = Gather(run=self.run, tables=self.tables, likeness=self.likeness)
        found = [chosen(evidence, self.rules, self.choice) for _, evidence in gather(rows)]
        return answer({"moments": found}, MOMENTS)


def chosen(evidence: Evidence, rules: Rules, choice: Choice) -> list[dict[str, Any]]:
    """The moments of a video, by kind and time, as records of `MOMENTS`.

    A moment without a picture is left out: there is nothing to show.
    """
    made = fuse(evidence, rules)
    frames = columns(evidence.watched["frames"], ("time_s",))
    ids = evidence.watched["id"].to_pylist()
    most = max(1, round(choice.most_per_hour * made["duration"] / 3600))
    makers = {
        "flag": lambda: _flagged("flag", made),
        "facs": lambda: _flagged("facs", made),
        "no_face": lambda: _faceless(made, evidence),
        "keyframe": lambda: _everything(made, choice.every_s),
    }
    found = []
    for kind in choice.kinds:
        shown = []
        for moment in makers[kind]():
            pictures = _frames(moment, frames, ids, choice)
            if pictures:
                shown.append({"kind": kind, **moment, "frames": pictures})
        best = sorted(shown, key=lambda m: -m["weight"])[:most]
        found += sorted(best, key=lambda m: m["start_s"])
    return [{name: m[name] for name in m if name != "weight"} for m in found]


def _flagged(kind: str, made: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The flagged segments, one moment each."""
    for i, segment in enumerate(made["segments"]):
        flags = [flag for flag in made["flags"] if flag["segment"] == i]
        face = segment["emotion"]["by_channel"]["face"]
        if flags and (kind == "flag" or face is not None):
            sure = max(flag["confidence"] or 0.0 for flag in flags)
            reason = "; ".join(f"{flag['type']}: {flag['detail']}" for flag in flags)
            yield _moment(segment, reason, sure)


def _faceless(made: Mapping[str, Any], evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Segments in whose time no face was found."""
    times = evidence.faces.time_s
    for segment in made["segments"]:
        seen = np.searchsorted(times, segment["end"]) - np.searchsorted(times, segment["start"])
        if not seen:
            yield _moment(segment, "no face was found while this was said", 0.0)


def _everything(made: Mapping[str, Any], every_s: float) -> Iterator[dict[str, Any]]:
    """The whole video in pieces, cut at its shots."""
    for shot in made["shots"] or [{"start": 0.0, "end": made["duration"]}]:
        count = max(1, int(np.ceil((shot["end"] - shot["start"]) / every_s - 1e-9)))
        edges = np.linspace(shot["start"], shot["end"], count + 1).tolist()
        for start, stop in pairwise(edges):
            said = [s for s in made["segments"] if s["start"] < stop and start < s["end"]]
            speakers = {s["speaker"] for s in said}
            yield {
                "start_s": start,
                "stop_s": stop,
                "reason": "keyframes",
                "speaker": speakers.pop() if len(speakers) == 1 else None,
                "text": " ".join(s["transcript"] for s in said if s["transcript"]) or None,
                "context": json.dumps([_context(s) for s in said]),
                "weight": 0.0,
            }


def _moment(segment: Mapping[str, Any], reason: str, weight: float) -> dict[str, Any]:
    return {
        "start_s": segment["start"],
        "stop_s": segment["end"],
        "reason": reason,
        "speaker": segment["speaker"],
        "text": segment["transcript"],
        "context": json.dumps(_context(segment)),
        "weight": weight,
    }


def _context(segment: Mapping[str, Any]) -> dict[str, Any]:
    """What the other models found, short enough for a prompt."""
    emotion = segment["emotion"]
    face, voice, text = (emotion["by_channel"][name] for name in ("face", "voice", "text"))
    return {
        "speaker": segment["speaker"],
        "on_screen": segment["on_screen"],
        "face": face and {name: face[name] for name in ("dominant", "confidence")},
        "voice": voice,
        "text": text and text["polarity"],
        "fused": emotion["dominant"],
    }


def _frames(
    moment: Mapping[str, Any], frames: Columns, ids: Sequence[str], choice: Choice
) -> list[dict[str, Any]]:
    """The frames of a moment, evenly spread."""
    times = frames.time_s
    first = int(np.searchsorted(times, moment["start_s"] - choice.margin_s))
    stop = int(np.searchsorted(times, moment["stop_s"] + choice.margin_s))
    if stop <= first:
        return []
    count = min(choice.frames, stop - first)
    at = np.unique(np.linspace(first, stop - 1, count).round().astype(int))
    return [
        {"id": ids[int(frames.row[i])], "index": int(frames.item[i]), "time_s": float(times[i])}
        for i in at.tolist()
    ]
