"""Concluding a video: its evidence fused into a timeline, and its page written."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.dataset as ds

from ..actors.actor import MACHINE, Actor, answer
from ..datasets import schema, timeline
from ..datasets.table import newest, replace
from .fusion.evidence import Evidence
from .fusion.rules import Rules
from .fusion.timeline import RULES, UTTERANCES, fuse, utterance_rows

EVIDENCE = schema.rows(
    ("table", pa.string()), ("id", pa.string()), ("attempt", pa.int32()), ("file", pa.string())
)
"""The rows that a timeline is made from, and the files that hold them."""

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
    """

    reads: ClassVar[tuple[str, ...]] = ("video_id", "uri", "evidence", "digest")
    adds: ClassVar[pa.Schema] = TIMELINE
    model: ClassVar[str] = "mien fusion"
    licence: ClassVar[str] = "Apache-2.0"

    rules: Rules = RULES
    run: str = field(metadata=MACHINE)
    tables: dict[str, str] = field(metadata=MACHINE)
    models: list[dict] = field(metadata=MACHINE)
    memory_gb: float = field(default=0.5, metadata=MACHINE)
    batch_size: int = field(default=4, metadata=MACHINE)

    def process(self, rows: pa.Table) -> pa.Table:
        """Fuse, validate and write each video's timeline and page."""
        found = self._gather(rows)
        made = [self._conclude(row, found[row["video_id"]]) for row in rows.to_pylist()]
        return answer({name: [m[name] for m in made] for name in TIMELINE.names}, TIMELINE)

    def _gather(self, rows: pa.Table) -> dict[str, dict[str, pa.Table]]:
        """The evidence of some videos, by video and table."""
        files, ids = defaultdict(set), defaultdict(list)
        for row in rows["evidence"].to_pylist():
            for item in row or []:
                files[item["table"]].add(item["file"])
                ids[item["table"]].append(item["id"])
        found: dict[str, dict[str, pa.Table]] = defaultdict(dict)
        for name, names in files.items():
            folder = Path(self.run) / "tables" / self.tables[name]
            scan = ds.dataset([str(folder / n) for n in sorted(names)], format="parquet")
            table = newest(scan.to_table(filter=ds.field("id").isin(ids[name])))
            for video in rows["video_id"].to_pylist():
                mine = table.filter(ds.field("video_id") == video)
                found[video][name] = mine.sort_by("start_s")
        videos = ds.dataset(Path(self.run) / "tables" / self.tables["videos"], format="parquet")
        known = ds.field("video_id").isin(rows["video_id"].to_pylist())
        probes = newest(videos.to_table(filter=known & (ds.field("status") == "ok")))
        for video in rows["video_id"].to_pylist():
            found[video]["videos"] = probes.filter(ds.field("video_id") == video)
        return found

    def _conclude(self, row: dict, found: dict[str, pa.Table]) -> dict:
        done = {name: t.filter(ds.field("status") == "ok") for name, t in found.items()}
        turns = done["turns"].to_pylist() if "turns" in done else []
        probes = found["videos"].to_pylist()
        probe = next(v for v in reversed(probes) if v["fingerprint"] == row["fingerprint"])
        probe |= {"video_id": row["video_id"], "uri": row["uri"]}  # as the corpus has it now
        made = fuse(
            Evidence(
                video=probe,
                turns=turns[0] if turns else None,
                speech=done["speech"].to_pylist() if "speech" in done else (),
                watch=done.get("watch", ()),
                voice=done["voice"].to_pylist() if "voice" in done else (),
                models=self.models,
                failures=_failures(found),
            ),
            self.rules,
        )
        problems = timeline.validate(made)
        if problems:
            raise ValueError(f"the timeline breaks its own schema: {'; '.join(problems[:5])}")
        pictures = thumbnails(done.get("watch"))
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
        folder = Path(self.run) / "videos" / made["video_id"]
        text = json.dumps(made, ensure_ascii=False, allow_nan=False, indent=1)
        replace(folder / "timeline.json", text.encode())
        from .pages.page import render  # it draws with Bokeh, which the driver has no use for

        html = render(made, media=made["uri"], thumbnails=pictures)
        replace(folder / "report.html", html.encode())
        replace(folder / MARK, mark.encode())


def mark(config_hash: str, row: str, digest: str) -> str:
    """Name a timeline: of which configuration, which content, on what evidence."""
    return f"{config_hash} {row} {digest}"


def thumbnails(watch: pa.Table | None, most: int = THUMBNAILS) -> list[tuple[float, bytes]]:
    """Pictures of a video by time, evenly thinned."""
    if watch is None:
        return []
    frames = [f for row in watch["frames"].to_pylist() for f in row or []]
    shown = [(f["time_s"], f["thumbnail"]) for f in frames if f["thumbnail"]]
    step = max(1, -(-len(shown) // most))
    return shown[::step]


def _failures(found: dict[str, pa.Table]) -> Sequence[dict]:
    columns = ["error_stage", "start_s", "stop_s", "error_message"]
    return [
        {"stage": row.pop("error_stage"), **row}
        for table in found.values()
        for row in table.filter(ds.field("status") == "failed").select(columns).to_pylist()
    ]


def _emotions(made: dict) -> list[dict]:
    """Share of the spoken time by dominant emotion."""
    time: dict[str, float] = defaultdict(float)
    for segment in made["segments"]:
        if segment["emotion"]["dominant"]:
            time[segment["emotion"]["dominant"]] += segment["end"] - segment["start"]
    total = sum(time.values())
    return [{"label": k, "share": v / total} for k, v in sorted(time.items())] if total else []
