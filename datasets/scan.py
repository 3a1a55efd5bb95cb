"""Finding the files of a table that can hold rows of some videos, without opening the others.

Phases go through videos by their names, so a file holds a short range of them. The first and the
last name stand in each file's footer, which a process reads once: a file never changes, and one
that takes the place of another has another size or time.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .store import File, Place, arrow, inside, listed

PARTS = "part-*.parquet"
FOLDERS = 64
"""Folders whose index a process keeps."""
SETTLED_NS = 2_000_000_000
"""A folder that did not change for so long is not listed again before its time changes; file
systems tell times of changes no finer than this."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file's footer says.

    Attributes:
        rows: How many it holds.
        first: The least `video_id`; None where the file does not say.
        last: The greatest.
    """

    rows: int
    first: str | None
    last: str | None


@dataclass
class Index:
    """Which files of a folder can hold which videos.

    Attributes:
        folder: Of the table.
    """

    folder: Place
    _files: tuple[File, ...] = ()
    _footers: dict[File, Footer] = field(default_factory=dict)
    _changed_ns: int | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def files(self) -> tuple[File, ...]:
        """Complete files, in a stable order."""
        with self._lock:
            changed_ns = self._folder_ns()
            if changed_ns is None or changed_ns != self._changed_ns:
                now_ns = time.time_ns()
                self._files = tuple(listed(self.folder, PARTS))
                settled = changed_ns is not None and now_ns - changed_ns > SETTLED_NS
                self._changed_ns = changed_ns if settled else None
            return self._files

    def footers(self) -> dict[File, Footer]:
        """Every file and its footer, in a stable order; only new files are opened."""
        with self._lock:
            files, known = self.files(), self._footers
            if len(files) != len(known) or any(file not in known for file in files):
                self._footers = {file: known.get(file) or _footer(file) for file in files}
            return self._footers

    def holding(self, video_ids: Sequence[str]) -> list[File]:
        """The files that can hold rows of some videos."""
        wanted = sorted(video_ids)
        return [file for file, footer in self.footers().items() if _overlap(footer, wanted)]

    def _folder_ns(self) -> int | None:
        """When a file last came, went or was replaced; None where the folder does not say."""
        try:
            return self.folder.stat().st_mtime_ns if isinstance(self.folder, Path) else None
        except FileNotFoundError:
            return None


@lru_cache(maxsize=FOLDERS)
def index(folder: Place) -> Index:
    """The index of a folder, which this process keeps."""
    return Index(folder)


def of_videos(video_ids: Sequence[str]) -> pc.Expression:
    """A filter for rows of some videos.

    The range says nothing new about a row; about a row group it says whether to read it.
    """
    clause = pc.field("video_id").isin(pa.array(video_ids, pa.string()))
    if not video_ids:
        return clause
    first, last = pa.scalar(min(video_ids)), pa.scalar(max(video_ids))
    return clause & (pc.field("video_id") >= first) & (pc.field("video_id") <= last)


def _overlap(footer: Footer, wanted: Sequence[str]) -> bool:
    if not footer.rows:
        return False
    if footer.first is None or footer.last is None:
        return True
    return bisect_left(wanted, footer.first) < bisect_right(wanted, footer.last)


def _footer(file: File) -> Footer:
    metadata = pq.read_metadata(inside(file.place), filesystem=arrow(file.place.parent))
    column = metadata.schema.names.index("video_id")
    firsts, lasts = [], []
    for group in range(metadata.num_row_groups):
        known = metadata.row_group(group).column(column).statistics
        if known is None or not known.has_min_max:
            return Footer(metadata.num_rows, None, None)
        firsts.append(known.min)
        lasts.append(known.max)
    return Footer(metadata.num_rows, min(firsts, default=None), max(lasts, default=None))
