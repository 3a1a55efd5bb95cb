"""Concluding a video: its evidence fused into a timeline, and its page written."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from ..actors.actor import MACHINE, Actor, answer
from ..datasets import schema, timeline
from ..datasets.store import place, reference, replace
from .fusion.evidence import Evidence
from .fusion.rules import Rules
from .fusion.timeline import RULES, UTTERANCES, fuse, utterance_rows
from .gather import Gather

TIMELINE = pa.schema(
    [
        ("people", pa.int32()),
        ("speakers", pa.int32()),
        ("segments", pa.int32()),
        ("flags", pa.int32()),
        ("emotions", schema.rows(("label", pa.string()), ("share", pa.float32()))),
        ("warnings", pa.list_(pa.string())),
        ("timeline", pa.string()),  # the text of timeline.json
        ("utterances", pa.list_(pa.struct(list(UTTERANCES)))),
        ("thumbnail", pa.binary()),  # one picture of the video, JPEG
    ]
)
MARK = ".timeline"
"""Beside a page: the `mark` of the timeline that it shows."""
THUMBNAILS = 120
"""Pictures on a page, at most."""


@dataclass(kw_only=True)
class Conclude(Actor):
    """The timeline and the page of a video, from the tables of the phases before.

    Attributes:
        rules: Of the fusion.
        run: The run's folder.
        tables: Folder of each table, by name.
        models: What filled each role, for the page.
        likeness: From which cosine two tracks of faces are one person.
        pictures: Whether the page shows some, and the table keeps one.
    """

    reads: ClassVar[tuple[str, ...]] = ("video_id", "uri", "evidence", "digest")
    adds: ClassVar[pa.Schema] = TIMELINE
    model: ClassVar[str] = "mien fusion"
    licence: ClassVar[str] = "Apache-2.0"

    rules: Rules = RULES
    run: str = field(metadata=MACHINE)
    tables: dict[str, str] = field(metadata=MACHINE)
    models: list[dict] = field(metadata=MACHINE)
    likeness: float = 0.5
    pictures: bool = field(default=True, metadata=MACHINE)
    memory_gb: float = field(default=0.5, metadata=MACHINE)
    batch_size: int = field(default=4, metadata=MACHINE)

    def process(self, rows: pa.Table) -> pa.Table:
        """Fuse, validate and write each video's timeline and page."""
        gather = Gather(
            run=self.run, tables=self.tables, models=self.models, likeness=self.likeness
        )
        made = [self._conclude(row, evidence) for row, evidence in gather(rows)]
        return answer({name: [m[name] for m in made] for name in TIMELINE.names}, TIMELINE)

    def _conclude(self, row: dict, evidence: Evidence) -> dict:
        made = fuse(evidence, self.rules)
        problems = timeline.validate(made)
        if problems:
            raise ValueError(f"the timeline breaks its own schema: {'; '.join(problems[:5])}")
        pictures = thumbnails(evidence.watch) if self.pictures else []
        self._write(made, pictures, mark(row["config_hash"], row["id"], row["digest"]))
        return {
            "people": len(made["people"]),
            "speakers": len(made["speakers"]),
            "segments": len(made["segments"]),
            "flags": len(made["flags"]),
            "emotions": _emotions(made),
            "warnings": made["warnings"],
            "timeline": json.dumps(made, ensure_ascii=False, allow_nan=False),
            "utterances": utterance_rows(made),
            "thumbnail": pictures[len(pictures) // 2][1] if pictures else None,
        }

    def _write(self, made: dict, pictures: list[tuple[float, bytes]], mark: str) -> None:
        folder = place(self.run) / "videos" / made["video_id"]
        text = json.dumps(made, ensure_ascii=False, allow_nan=False, indent=1)
        replace(folder / "timeline.json", text.encode())
        from .pages.page import render  # it draws with Bokeh, which the driver has no use for

        html = render(made, media=reference(made["uri"], folder), thumbnails=pictures)
        replace(folder / "report.html", html.encode())
        replace(folder / MARK, mark.encode())


def mark(config_hash: str, row: str, digest: str) -> str:
    """Name a timeline: of which configuration, which content, on what evidence."""
    return f"{config_hash} {row} {digest}"


def thumbnails(
    watch: pa.Table | Sequence[object], most: int = THUMBNAILS
) -> list[tuple[float, bytes]]:
    """Pictures of a video by time, evenly thinned."""
    if isinstance(watch, Sequence):
        return []
    frames = [f for row in watch["frames"].to_pylist() for f in row or []]
    shown = [(f["time_s"], f["thumbnail"]) for f in frames if f["thumbnail"]]
    step = max(1, -(-len(shown) // most))
    return shown[::step]


def _emotions(made: dict) -> list[dict]:
    """Share of the spoken time by dominant emotion."""
    time: dict[str, float] = defaultdict(float)
    for segment in made["segments"]:
        if segment["emotion"]["dominant"]:
            time[segment["emotion"]["dominant"]] += segment["end"] - segment["start"]
    total = sum(time.values())
    return [{"label": k, "share": v / total} for k, v in sorted(time.items())] if total else []
