"""Manifests: the files of a corpus as rows, and their names."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from uuid import uuid5

import pyarrow as pa
from upath import UPath

from .ids import NAMESPACE, row_id
from .schema import I64, KEY
from .store import Place, info, mtime_ns

FILES = pa.schema([*KEY, ("size_bytes", I64), ("mtime_ns", I64)])
"""Columns of a manifest; size and time are null where the file could not be looked at."""


class Skip(NamedTuple):
    """What is in the corpus and not in its rows.

    Attributes:
        uri: The file, folder or URL.
        reason: Why, and the cure, in one sentence.
    """

    uri: str
    reason: str


class Listing(NamedTuple):
    """What a corpus holds: rows with the columns of `FILES`, and what was passed over."""

    rows: pa.Table
    skips: list[Skip]


class Entry(NamedTuple):
    """A file: where it is, what it is called inside its corpus, its size and time."""

    uri: str
    name: str
    size_bytes: int | None = None
    mtime_ns: int | None = None
    video_id: str | None = None


def look(path: os.DirEntry[str] | Place, name: str, video_id: str | None = None) -> Entry:
    """Look at a file without opening it; one that cannot be looked at is an entry too."""
    if isinstance(path, UPath):
        return _look_there(path, name, video_id)
    uri = os.fspath(path)
    try:
        status = path.stat()
    except OSError:  # the probe says why it cannot be opened
        return Entry(uri, name, video_id=video_id)
    return Entry(uri, name, status.st_size, status.st_mtime_ns, video_id)


def _look_there(url: UPath, name: str, video_id: str | None) -> Entry:
    try:
        facts = info(str(url))
    except (FileNotFoundError, PermissionError):
        return Entry(str(url), name, video_id=video_id)
    return Entry(str(url), name, facts["size"], mtime_ns(facts), video_id)


def slug(text: str) -> str:
    """Make a name that is safe in a path and a URL: ASCII letters, digits, hyphens; at most 48.

    Example:
        >>> slug("Été  2024 (final).mp4"), slug("日本")
        ('ete-2024-final-mp4', 'video')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-") or "video"


def manifest(entries: Sequence[Entry]) -> pa.Table:
    """Name the files and build the manifest.

    A video is named by its place inside the corpus, which may be moved as a whole; a row also by
    size and time, so that a changed file is probed again.
    """
    digests = [uuid5(NAMESPACE, entry.name).hex for entry in entries]
    slugs = [slug(PurePosixPath(entry.name).stem) for entry in entries]
    names = [
        entry.video_id or f"{text}-{digest[:8]}"
        for entry, text, digest in zip(entries, slugs, digests, strict=True)
    ]
    taken = Counter(names)
    for i, name in enumerate(names):  # among very many files of one name
        if taken[name] > 1:
            names[i] = f"{slugs[i]}-{digests[i][:24]}"
    return pa.table(
        {
            "id": [row_id(e.name, e.size_bytes, e.mtime_ns) for e in entries],
            "video_id": names,
            "uri": [entry.uri for entry in entries],
            "start_s": pa.nulls(len(entries), pa.float64()),
            "stop_s": pa.nulls(len(entries), pa.float64()),
            "size_bytes": [entry.size_bytes for entry in entries],
            "mtime_ns": [entry.mtime_ns for entry in entries],
        },
        schema=FILES,
    )
