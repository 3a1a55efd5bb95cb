"""Where files are: folders of this machine, and object stores by URL.

A place is a `pathlib.Path` or, for a URL such as `s3://bucket/run`, a `upath.UPath`: both know `/`,
`name`, `exists`, `read_bytes`, `glob`. Here is what differs between them: how a file appears whole,
how it is read in parts, what a listing tells. Credentials and addresses come from the environment
(`AWS_ENDPOINT_URL`, ...), never from a configuration.
"""

import errno
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pyarrow as pa
import pyarrow.fs as pf
from upath import UPath

Place = Path | UPath

PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "memory": "fsspec",
}
"""The stores that a URL may name, and the package that each needs."""
SCHEMES = ("file", *PACKAGES)
"""What a place's URL may begin with; `file` is this machine."""
BLOCK_BYTES = 2**21
"""Media are read from a store in blocks of this size, the next one while the last is decoded."""
BLOCKS = 16
"""Blocks of a media file that are held, at most: an index at its end, sound far from pictures."""
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


class StoreError(OSError):
    """A store cannot be used. Names the URL, the reason and the cure."""


class File(NamedTuple):
    """A file of a listing: where it is, its size and the time it was written."""

    place: Place
    size_bytes: int
    mtime_ns: int


def is_url(text: str) -> bool:
    """Whether a text names something by URL rather than by path.

    Example:
        >>> is_url("s3://bucket/a.mp4"), is_url("/videos/a.mp4"), is_url("C://a.mp4")
        (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def place(text: str) -> Place:
    """A path made absolute, links resolved, or a URL.

    Raises:
        ValueError: The URL is of no store that is known; says which are.
    """
    if not is_url(text):
        return Path(text).expanduser().resolve()
    scheme = text.partition("://")[0].lower()
    if scheme == "file":
        return Path(unquote(urlsplit(text).path)).resolve()
    if scheme not in PACKAGES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"a place must be a path, or a URL with one of {known}, but is {text!r}.")
    url = UPath(text, use_listings_cache=False)  # others write there, too
    try:
        url.fs  # noqa: B018 - imports the package
    except ImportError as error:
        package = PACKAGES[scheme]
        raise StoreError(f"{text!r} needs the package {package}: install it.") from error
    return url


def reference(uri: str, folder: Place) -> str:
    """How a page in a folder names a media file, so that a browser finds it.

    Where both are in one bucket it is a relative path: over whatever address the page is read,
    the file lies beside it.

    Example:
        >>> reference("s3://bucket/films/a.mp4", place("s3://bucket/run/videos/a"))
        '../../../films/a.mp4'
    """
    if isinstance(folder, Path) or not is_url(uri):
        return uri
    path = place(uri)
    if isinstance(path, Path) or path.parts[0] != folder.parts[0] or path.fs is not folder.fs:
        return uri
    return posixpath.relpath(path.path, folder.path)


def on_disk(where: Place) -> bool:
    """Whether a place is of this machine's file system."""
    return isinstance(where, Path)


def remove(where: Place) -> None:
    """Remove a file, or a folder with all that is in it; nothing where nothing is."""
    if not isinstance(where, Path):
        with _reached(where):
            if where.exists():
                where.fs.rm(where.path, recursive=True)
    elif where.is_dir() and not where.is_symlink():
        shutil.rmtree(where)
    else:
        where.unlink(missing_ok=True)


def replace(where: Place, content: bytes | pa.Buffer) -> None:
    """Write a file whole or not at all, in the place of one that may be there.

    On a file system the bytes go to a hidden neighbour first, which is synced and then renamed: a
    reader sees the old file or the new one, also when the power fails in between. On an object
    store they are sent as one object, which appears when all of it has arrived.
    """
    if not isinstance(where, Path):
        with _reached(where):
            where.fs.pipe_file(where.path, memoryview(content).tobytes())
        return
    where.parent.mkdir(parents=True, exist_ok=True)
    draft = where.with_name(f".{where.name[:40]}.{uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _rename(draft, where)
    finally:
        draft.unlink(missing_ok=True)


def _rename(draft: Path, where: Path) -> None:
    """Give a draft its name, for good: also that the folder has it is synced."""
    draft.replace(where)
    if os.name != "posix":
        return
    folder = os.open(where.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems of some networks
            raise
    finally:
        os.close(folder)


@contextmanager
def drafted(where: Place) -> Iterator[Path]:
    """A file of this machine to write into, which takes the place of `where`, whole.

    It does when the block ends; when it raises, all stays as it was.
    """
    folder = where.parent if isinstance(where, Path) else Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{where.name[:40]}.{uuid4().hex}"
    try:
        yield draft
        if isinstance(where, Path):
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            _rename(draft, where)
        else:
            with _reached(where):
                where.fs.put_file(str(draft), where.path)
    finally:
        draft.unlink(missing_ok=True)


def create(where: UPath, content: bytes) -> bool:
    """Write an object unless one of its name is there; of several that try at once one succeeds.

    Returns:
        Whether it was written.
    """
    try:
        with _reached(where):
            where.fs.pipe_file(where.path, content, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if "ConditionalRequestConflict" in str(error.__cause__):  # S3: another one is writing it
            return False
        raise
    return True


def listed(folder: Place, pattern: str = "*") -> list[File]:
    """The files of a folder whose names match, by name; none where there is no such folder.

    On an object store this asks once for every thousand, and never for a file alone.
    """
    if isinstance(folder, Path):
        found = []
        with _scanned(folder) as entries:
            for entry in entries:
                if fnmatchcase(entry.name, pattern) and entry.is_file():
                    status = entry.stat()
                    found.append(File(folder / entry.name, status.st_size, status.st_mtime_ns))
        return sorted(found)
    try:
        with _reached(folder):
            infos = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return []
    files = (info for info in infos if info["type"] == "file")
    named = {info["name"].rstrip("/").rpartition("/")[2]: info for info in files}
    return [
        File(folder / name, *_facts(named[name]))
        for name in sorted(named)
        if fnmatchcase(name, pattern)
    ]


def below(folder: UPath) -> list[tuple[str, File]]:
    """All objects below a folder, by their path inside it: asks once for every thousand."""
    with _reached(folder):
        found = cast(dict[str, dict[str, Any]], folder.fs.find(folder.path, detail=True))
    root = folder.path.rstrip("/") + "/"
    files = (
        (path.removeprefix(root), File(folder / path.removeprefix(root), *_facts(info)))
        for path, info in found.items()
        if path.startswith(root) and path != root
    )
    return sorted(files, key=lambda file: file[0])


def _facts(info: dict[str, Any]) -> tuple[int, int]:
    return info["size"], mtime_ns(info)


@contextmanager
def _scanned(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        scan = os.scandir(folder)
    except FileNotFoundError:
        yield iter(())
        return
    with scan:
        yield scan


def mtime_ns(info: dict[str, Any]) -> int:
    """When an object was written, by what its store says of it; 0 where it does not say."""
    stamp = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp)
    if isinstance(stamp, datetime):
        stamp = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    return round((stamp or 0) * 1e9)


def info(url: str) -> dict[str, Any]:
    """What a store says of an object: at least `type` and `size`.

    Raises:
        FileNotFoundError: There is none.
    """
    where = place(url)
    with _reached(where):
        return where.fs.info(where.path) if isinstance(where, UPath) else {}


def opened(uri: str, size_bytes: int | None = None) -> BinaryIO:
    """Open a file for reading, from anywhere in it.

    Args:
        uri: Path or URL. Of a URL blocks are read, one ahead of what is asked for.
        size_bytes: If it is known: saves a request.
    """
    if not is_url(uri):
        return Path(uri).open("rb")
    where = place(uri)
    if isinstance(where, Path):
        return where.open("rb")
    with _reached(where):
        file = where.fs.open(
            where.path,
            "rb",
            block_size=BLOCK_BYTES,
            cache_type="background",
            cache_options={"maxblocks": BLOCKS},
            size=size_bytes,
        )
    return cast(BinaryIO, file)


def ranges(uri: str, starts: Sequence[int], length: int) -> list[bytes]:
    """Read parts of a file: `length` bytes from each of `starts`, fewer at its end."""
    if is_url(uri) and isinstance(where := place(uri), UPath):
        stops = [start + length for start in starts]
        with _reached(where):
            paths = [where.path] * len(starts)
            return where.fs.cat_ranges(paths, list(starts), stops, on_error="raise")
    parts = []
    with opened(uri) as file:
        for start in starts:
            file.seek(start)
            parts.append(file.read(length))
    return parts


def arrow(folder: Place) -> pf.FileSystem:
    """The file system through which pyarrow reads a folder's files; see `inside`."""
    if isinstance(folder, Path):
        return pf.LocalFileSystem()
    return pf.PyFileSystem(_Ranges(folder.fs))


def inside(where: Place) -> str:
    """A file's name for `arrow`."""
    return str(where) if isinstance(where, Path) else where.path


class _Ranges(pf.FSSpecHandler):
    """Reads what pyarrow asks for and nothing beyond: it plans its reads itself."""

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(self.fs.open(path, "rb", cache_type="none"), mode="r")


@contextmanager
def _reached(where: Place) -> Iterator[None]:
    """Turn what the libraries of a store raise into an error that says what to do."""
    try:
        yield
    except (OSError, TypeError, ValueError, MemoryError):
        raise
    except Exception as error:
        raise StoreError(
            f"'{where}' cannot be reached ({error}): check the address and the credentials, which "
            "are read from the environment."
        ) from error
