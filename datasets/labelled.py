"""Labelled frames: pictures of people with a label each, who is on them, and from which video.

Neighbouring frames of a video are near copies of each other. A split by frame puts copies on both
sides and measures memory; so every frame here has a person and a video, and what has neither is
refused. Rows stand in order of video and time.
"""

import csv
import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from .ids import row_id
from .schema import F64, I32, TEXT
from .store import Place, place

FRAMES = pa.schema(
    [
        pa.field("id", TEXT, nullable=False),
        pa.field("uri", TEXT, nullable=False),  # of the picture, or of the video it is from
        pa.field("label", TEXT, nullable=False),
        pa.field("person", TEXT, nullable=False),
        pa.field("video", TEXT, nullable=False),
        ("time_s", F64),  # in the video; null: unknown, the order of the rows holds
        ("sound", TEXT),  # file whose sound goes with the video; null: none
        pa.field("status", TEXT, nullable=False),  # ok | failed
        ("error_message", TEXT),
    ]
)
"""A frame."""

EXAMPLES = pa.schema(
    [
        pa.field("id", TEXT, nullable=False),
        pa.field("frames", pa.list_(I32), nullable=False),  # places of its frames among `FRAMES`
        pa.field("label", TEXT, nullable=False),
        pa.field("person", TEXT, nullable=False),
        pa.field("video", TEXT, nullable=False),
        ("start_s", F64),
        ("stop_s", F64),
        ("sound", TEXT),
    ]
)
"""What is judged as one: a frame, or several of one video in order of time."""

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
"""Files that count as pictures."""

LEAK = (
    "without it frames of one person or one video would stand on both sides of a split, and the "
    "score would measure memory"
)


@dataclass(kw_only=True)
class Source(ABC):
    """Where labelled frames come from.

    Attributes:
        synthetic: Whether they are generated: every number that comes of them is then marked.
        licence: SPDX name of their licence, which a network trained on them carries on.
    """

    synthetic: bool = False
    licence: str = "unknown"

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the data, for tables and pages."""

    @abstractmethod
    def survey(self) -> pa.Table:
        """List the frames, `FRAMES`, in order of video and time; opens no picture."""

    @abstractmethod
    def pictures(self, rows: pa.Table) -> Iterator[Callable[[], bytes]]:
        """For each of some rows of one video: what reads its picture, as the bytes of a file."""


@dataclass(kw_only=True)
class Folder(Source):
    """A folder of pictures: `LABEL/PERSON/*.jpg`, `LABEL/PERSON/VIDEO/*.jpg`, or a table.

    The table has a line for each picture, with the columns `file` (relative to `path`), `label`,
    `person` or `video` or both, and possibly `time_s` and `sound` (a media file, relative too).
    Without one the folders' names are read; where there is no folder VIDEO all pictures of a
    person are one video. Numbers in the names of pictures give their order.

    Attributes:
        path: The folder; a path or a URL.
        labels: The table, CSV; `None`: `labels.csv` in the folder, where there is one.
    """

    path: str
    labels: str | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return place(self.path).name

    def survey(self) -> pa.Table:
        """List the frames.

        Raises:
            ValueError: There are none, or one has no label, or neither person nor video.
        """
        root = place(self.path)
        if not root.is_dir():
            raise ValueError(f"`data.path` must be a folder, but {self.path!r} is none.")
        table = place(self.labels) if self.labels else root / "labels.csv"
        if self.labels or table.exists():
            return tabled(_listed(table, root))
        return tabled(_found(root))

    def pictures(self, rows: pa.Table) -> Iterator[Callable[[], bytes]]:
        """Read the files."""
        return (partial(_content, uri) for uri in rows["uri"].to_pylist())


def tabled(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Frames as `FRAMES`: sorted by video and person, and within one as they came.

    Raises:
        ValueError: One is there twice.
    """
    found = sorted(rows, key=lambda row: (row["video"], row["person"]))
    seen: dict[str, dict[str, Any]] = {}
    for row in found:
        if seen.setdefault(row["id"], row) is not row:
            raise ValueError(
                f"a frame must be labelled once, but that of {row['uri']!r} at "
                f"{row['time_s']} s is twice: as {seen[row['id']]['label']!r} and {row['label']!r}."
            )
    good = {"status": "ok", "error_message": None}
    return pa.Table.from_pylist([row | good for row in found], schema=FRAMES)


def _content(uri: str) -> bytes:
    return place(uri).read_bytes()


def _found(root: Place) -> Iterator[dict[str, Any]]:
    """Frames by the names of their folders."""
    depth = len(root.parts)
    paths = [p for p in root.glob("**/*") if p.suffix.lower() in EXTENSIONS]
    names = {path: PurePosixPath(*path.parts[depth:]) for path in paths}
    names = {p: name for p, name in names.items() if not any(x.startswith(".") for x in name.parts)}
    if not names:
        raise ValueError(
            f"`data.path` must hold pictures ({' '.join(EXTENSIONS)}), but {str(root)!r} has none."
        )
    for path in sorted(names, key=lambda path: _natural(str(names[path]))):
        parts = names[path].parts
        if len(parts) not in (3, 4):
            raise ValueError(
                f"a picture must lie in LABEL/PERSON/ or LABEL/PERSON/VIDEO/, but "
                f"{str(names[path])!r} does not: {LEAK}. Move it, or give `data.labels`, a CSV "
                "with the columns file, label, person, video."
            )
        label, person = parts[:2]
        yield {
            "id": row_id(str(names[path])),
            "uri": str(path),
            "label": label,
            "person": person,
            "video": "/".join(parts[1:-1]),
            "time_s": None,
            "sound": None,
        }


def _listed(table: Place, root: Place) -> Iterator[dict[str, Any]]:
    """Frames by the lines of a table."""
    found = list(lines(table, ("file", "label")))
    known = {said.get("video") for said, _ in found if said.get("person")} - {"", None}
    for said, where in found:
        if not said.get("person") and said.get("video") in known:
            raise ValueError(
                f"{where} must name a `person`, as other lines of the video {said['video']!r} do: "
                f"{LEAK}."
            )
    rows = [_line(said, where, root) for said, where in found]
    return iter(sorted(rows, key=lambda row: (row["time_s"] or 0.0, _natural(row["uri"]))))


def lines(table: Place, needed: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str]]:
    """The lines of a table of labels, each with its name for a message.

    Args:
        table: CSV with a header.
        needed: Columns that it must have; all but `person` must be filled.

    Raises:
        ValueError: The file, a column or a value is missing, or there is no line.
    """
    if not table.exists():
        raise ValueError(f"`data.labels` must be a file, but {str(table)!r} is none.")
    rows = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""))
    missing = [name for name in needed if name not in (rows.fieldnames or [])]
    if missing:
        raise ValueError(f"{str(table)!r} must have a column {missing[0]!r}, but has none.")
    empty = True
    for row in rows:
        said = {name: (text or "").strip() for name, text in row.items() if isinstance(name, str)}
        where, empty = f"line {rows.line_num} of {str(table)!r}", False
        for name in needed:
            if name != "person" and not said[name]:
                raise ValueError(f"{where} must have a `{name}`, but it is empty.")
        yield said, where
    if empty:
        raise ValueError(f"{str(table)!r} must have lines below its header, but has none.")


def _line(said: dict[str, str], where: str, root: Place) -> dict[str, Any]:
    person, video, sound = (said.get(name, "") for name in ("person", "video", "sound"))
    if not (person or video):
        raise ValueError(f"{where} must name a `person` or a `video`: {LEAK}.")
    return {
        "id": row_id(said["file"]),
        "uri": str(root / said["file"]),
        "label": said["label"],
        "person": person or video,
        "video": video or person,
        "time_s": seconds(said.get("time_s", ""), where),
        "sound": str(root / sound) if sound else None,
    }


def seconds(text: str, where: str) -> float | None:
    """A time of a table's line; `None` where it is empty.

    Raises:
        ValueError: It is no number; names the line.
    """
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"a time must be a number of seconds, but is {text!r} ({where}).")
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `f10` behind `f9`."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]


def examples(frames: pa.Table, length: int = 1) -> pa.Table:
    """Cut each video into what is judged as one.

    Args:
        frames: `FRAMES`, in order; failed ones are left out.
        length: Frames of an example, at most: neighbours of one video with the same label. The
            last example of a stretch has what is left.

    Returns:
        `EXAMPLES`; `start_s` and `stop_s` are the times of the first and the last frame.
    """
    if length < 1:
        raise ValueError(f"`length` must be at least 1, but is {length}.")
    rows = [(i, row) for i, row in enumerate(frames.to_pylist()) if row["status"] == "ok"]
    found: list[dict[str, Any]] = []
    for _, stretch in groupby(rows, key=lambda r: (r[1]["video"], r[1]["person"], r[1]["label"])):
        items = list(stretch)
        for first in range(0, len(items), length):
            cut = items[first : first + length]
            head, tail = cut[0][1], cut[-1][1]
            found.append(
                {name: head[name] for name in ("label", "person", "video", "sound")}
                | {
                    "id": head["id"] if length == 1 else row_id(head["id"], length),
                    "frames": [i for i, _ in cut],
                    "start_s": head["time_s"],
                    "stop_s": tail["time_s"],
                }
            )
    return pa.Table.from_pylist(found, schema=EXAMPLES)
