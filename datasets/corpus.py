"""Corpora: what to analyse, as the rows of a manifest.

A corpus answers `survey()`: one row per file (`manifest.FILES`), and what it passed over,
with the reason. It opens no media: a file that cannot be read is a row, which the probe fails with
the reason. Rows stand in order of their paths.
"""

import logging
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from glob import has_magic
from pathlib import Path

import pyarrow as pa
from upath import UPath

from .manifest import Entry, Listing, Skip, look, manifest
from .store import SCHEMES, Place, below, is_url, place

log = logging.getLogger(__name__)

EXTENSIONS = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ogv", ".ts", ".webm", ".wmv"),
    *(".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"),
)

LOOKS = 32
"""Objects of a store that are looked at at a time, where a table names them one by one."""


@dataclass(kw_only=True)
class Corpus(ABC):
    """What all corpora share: subclasses give `survey`."""

    @abstractmethod
    def survey(self) -> Listing:
        """Look at everything once."""

    def files(self) -> pa.Table:
        """The rows alone; what was passed over goes to the log."""
        rows, skips = self.survey()
        for skip in skips:
            log.warning("skipped %r: %s", skip.uri, skip.reason)
        return rows


@dataclass(kw_only=True)
class Folder(Corpus):
    """Media files below a folder; also a single file, or a glob such as `clips/**/*.mp4`.

    Hidden files and folders are not looked at. Links are followed, loops end.

    Attributes:
        path: A file, a folder or a glob; a path, or the URL of a store (`s3://bucket/videos`).
        pattern: Which files below the folder; `*` stays in a folder, `**` crosses them.
        extensions: Which files count as media; a file that `path` names always counts.
    """

    path: str
    pattern: str = "**/*"
    extensions: Sequence[str] = EXTENSIONS

    def __post_init__(self) -> None:
        wrong = [name for name in self.extensions if not name.startswith(".")]
        if wrong:
            raise ValueError(f"`corpus.extensions` must start with a dot, but one is {wrong[0]!r}.")

    def survey(self) -> Listing:
        """Walk the folder."""
        skips: list[Skip] = []
        entries = self._there() if is_url(self.path) else self._here(skips)
        if not entries:
            why = "".join(f" {skip.uri!r}: {skip.reason}." for skip in skips[:3])
            raise ValueError(
                f"`corpus.path` must hold media files, but {self.path!r} has none that match "
                f"{self.pattern!r} and end with one of {' '.join(self.extensions)}.{why}"
            )
        return Listing(manifest(entries), skips)

    def _there(self) -> list[Entry]:
        """What a store lists: size and time come with the names."""
        url = place(self.path)
        if isinstance(url, Path):
            return Folder(path=str(url), pattern=self.pattern, extensions=self.extensions)._here([])
        root, pattern = url, self.pattern
        found = below(url)
        if not found:
            if url.exists():
                return [look(url, url.name)]
            if not has_magic(url.path):
                raise ValueError(
                    f"`corpus.path` must be a file, folder or glob that exists, but {self.path!r} "
                    "holds nothing."
                )
            root, pattern = _parted(url)
            found = below(root)
        wanted, endings = _regex(pattern), tuple(name.lower() for name in self.extensions)
        return [
            Entry(str(file.place), name, file.size_bytes, file.mtime_ns)
            for name, file in found
            if name.lower().endswith(endings)
            and wanted.fullmatch(name)
            and not any(part.startswith(".") for part in name.split("/"))
        ]

    def _here(self, skips: list[Skip]) -> list[Entry]:
        path = Path(self.path).expanduser().absolute()
        if path.is_dir():
            return list(self._walk(path, self.pattern, skips))
        if os.path.lexists(path):
            return [look(path, path.name)]
        if has_magic(str(path)):
            count = next(i for i, part in enumerate(path.parts) if has_magic(part))
            root = Path(*path.parts[:count])
            return list(self._walk(root, "/".join(path.parts[count:]), skips))
        raise ValueError(
            f"`corpus.path` must be a file, folder or glob that exists, but is "
            f"{self.path!r}. {_nearest(path)}"
        )

    def _walk(self, root: Path, pattern: str, skips: list[Skip]) -> Iterator[Entry]:
        wanted, endings = _regex(pattern), tuple(name.lower() for name in self.extensions)
        open_folders, seen = [(str(root), "")], set()
        while open_folders:
            folder, inside = open_folders.pop()
            try:
                status = Path(folder).stat()
                if (status.st_dev, status.st_ino) in seen:
                    skips.append(
                        Skip(_printable(folder), "links to a folder that is already in the corpus")
                    )
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as scan:
                    found = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                skips.append(
                    Skip(_printable(folder), f"the folder cannot be read ({error.strerror})")
                )
                continue
            folders = []
            for entry in found:
                name = inside + entry.name
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.append((entry.path, name + "/"))
                    if entry.name.lower().endswith(endings):
                        skips.append(Skip(_printable(entry.path), "is a folder, named like a file"))
                elif entry.name.lower().endswith(endings) and wanted.fullmatch(name):
                    problem = _problem(entry)
                    if problem:
                        skips.append(Skip(_printable(entry.path), problem))
                    else:
                        yield look(entry, name)
            open_folders += reversed(folders)


def _parted(url: UPath) -> tuple[UPath, str]:
    """The folder above a glob, and the glob."""
    parents = [url, *url.parents]
    root = next(parent for parent in parents if not has_magic(parent.path))
    return root, url.path.removeprefix(root.path.rstrip("/") + "/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _problem(entry: os.DirEntry[str]) -> str | None:
    """Why a name cannot even be a row."""
    try:
        entry.path.encode()
    except UnicodeEncodeError:
        return "its name, or a folder's, is not valid UTF-8: rename it"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return None  # the probe says why it cannot be opened
    return None if stat.S_ISREG(mode) else "is no file but a pipe, socket or device"


def _printable(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _nearest(path: Path) -> str:
    """Names the closest thing that does exist."""
    parent = path.parent
    if not parent.is_dir():
        return f"Its folder {str(parent)!r} does not exist either."
    close = get_close_matches(path.name, [entry.name for entry in parent.iterdir()], n=1)
    return f"Did you mean {str(parent / close[0])!r}?" if close else f"See {str(parent)!r}."


def _regex(pattern: str) -> re.Pattern[str]:
    """Translate a glob: `**/` is any folders, `*` and `?` stay within a name.

    Example:
        >>> [bool(_regex("**/*.mp4").fullmatch(name)) for name in ("a.mp4", "x/y/a.mp4", "a.mkv")]
        [True, True, False]
        >>> bool(_regex("*.mp4").fullmatch("x/a.mp4"))
        False
    """
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\])", pattern)
    translated = (
        tokens.get(part)
        or (part.replace("[!", "[^") if part.startswith("[") and part[-1] == "]" else None)
        or re.escape(part)
        for part in parts
    )
    return re.compile("".join(translated), re.DOTALL)


@dataclass(kw_only=True)
class List(Corpus):
    """The files that a CSV or Parquet table names, in its order.

    Attributes:
        path: A table with a column `uri` (paths or URLs of stores; relative ones from the table's
            folder) and possibly `video_id`; itself a path or such a URL.
    """

    path: str

    def survey(self) -> Listing:
        """Read the table and look at each file."""
        path = place(self.path) if is_url(self.path) else Path(self.path).expanduser().absolute()
        if not path.is_file():
            near = _nearest(path) if isinstance(path, Path) else ""
            raise ValueError(
                f"`corpus.path` must be a CSV or Parquet file that exists, but is {self.path!r}. "
                f"{near}".rstrip()
            )
        table = _table(path)
        if "uri" not in table.column_names:
            raise ValueError(
                f"`corpus.path` must have a column `uri`, but {self.path!r} has "
                f"{', '.join(table.column_names)}."
            )
        uris = [str(uri or "").strip() for uri in table["uri"].to_pylist()]
        given = [None] * len(uris)
        if "video_id" in table.column_names:
            given = [str(name or "").strip() for name in table["video_id"].to_pylist()]
            self._check("video_id", given, r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
        self._check("uri", uris, rf"(?!(?!(?:{'|'.join(SCHEMES)})://)[A-Za-z0-9+.-]+://).+")
        places = [_from(path.parent, uri) for uri in uris]
        distant = any(isinstance(one, UPath) for one in places)
        with ThreadPoolExecutor(LOOKS if distant else 1) as threads:
            return Listing(manifest(list(threads.map(look, places, uris, given))), [])

    def _check(self, column: str, values: Iterable[str], shape: str) -> None:
        """Every value must be there once and fit; the message names the row."""
        rule = {
            "uri": "a path or the URL of a store (of the web: `corpus=urls`)",
            "video_id": "1 to 80 letters, digits, `.`, `_` or `-`",
        }[column]
        first: dict[str, int] = {}
        for row, value in enumerate(values, start=1):
            where = f"row {row} of {self.path!r}"
            if not re.fullmatch(shape, value, re.DOTALL):
                raise ValueError(f"`{column}` must be {rule}, but is {value!r} ({where}).")
            if value in first:
                raise ValueError(
                    f"`{column}` must be unique, but {value!r} is also in row {first[value]} "
                    f"({where})."
                )
            first[value] = row
        if not first:
            raise ValueError(f"`corpus.path` must have rows, but {self.path!r} has none.")


def _from(folder: Place, uri: str) -> Place:
    if is_url(uri):
        return place(uri)
    return Path(uri) if Path(uri).is_absolute() else folder / uri


def _table(path: Place) -> pa.Table:
    from pyarrow import csv, parquet

    content = pa.BufferReader(path.read_bytes())
    try:
        if path.suffix.lower() == ".parquet":
            return parquet.read_table(content)
        text = csv.ConvertOptions(column_types={"uri": pa.string(), "video_id": pa.string()})
        return csv.read_csv(
            content,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=text,
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"`corpus.path` must be a CSV or Parquet table, but {str(path)!r} cannot be read: "
            f"{error}"
        ) from error


@dataclass(kw_only=True)
class Urls(Corpus):
    """Videos of the web, downloaded with yt-dlp before the run; see `download.Downloader`.

    Attributes:
        urls: What to download: videos, playlists, channels.
        folder: Where the files stay; a second run downloads nothing twice.
        height_px: The largest picture to take.
        pause_s: Between two requests, out of politeness.
    """

    urls: Sequence[str]
    folder: str = "downloads"
    height_px: int = 480
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.urls, str) or not self.urls:
            raise ValueError(f"`corpus.urls` must be a list of URLs, but is {self.urls!r}.")
        wrong = [url for url in self.urls if "://" not in url]
        if wrong:
            raise ValueError(
                f"`corpus.urls` must hold URLs (https://...), but one is {wrong[0]!r}."
            )
        if is_url(self.folder):
            raise ValueError(
                f"`corpus.folder` must be a folder on a file system, but is {self.folder!r}."
            )

    @cached_property
    def _downloaded(self) -> Listing:
        from .download import Downloader

        loader = Downloader(folder=self.folder, height_px=self.height_px, pause_s=self.pause_s)
        entries, skips = [], []
        for url in self.urls:
            for item in loader.fetch(url):
                if item.path is None:
                    skips.append(Skip(item.url, item.reason or "unknown"))
                else:
                    # The readable part of the name is the title's, the hash the address's.
                    name = f"{item.url}/{item.path.name}"
                    entries.append(look(item.path, name))
        if not entries:
            why = " ".join(f"{skip.uri}: {skip.reason}." for skip in skips[:3])
            raise ValueError(f"`corpus.urls` must give at least one video, but none came. {why}")
        return Listing(manifest(entries), skips)

    def survey(self) -> Listing:
        """Download what is not there yet."""
        return self._downloaded
