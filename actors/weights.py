"""Weights: what an actor loads, where it is looked for, and under which licence it came."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .actor import MACHINE

_NON_COMMERCIAL = re.compile(r"-NC(?![A-Za-z0-9])|non-?commercial", re.IGNORECASE)
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\..*)")


def commercial(licence: str) -> bool:
    """Whether a licence lets one use a model commercially.

    Args:
        licence: SPDX name or expression; `LicenseRef-...-NC` for what stands outside SPDX.

    Example:
        >>> [commercial(name) for name in ("NCSA", "CC-BY-NC-SA-4.0", "MIT AND LicenseRef-X-NC")]
        [True, False, False]
    """
    return _NON_COMMERCIAL.search(licence) is None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One set of weights.

    It is looked for at `path` alone where that is set, else, in this order, below `dir` (as
    `org/name` or `name`), in the Hugging Face cache at `revision`, and where the package that made
    it keeps it (`cached`). Nothing is downloaded here: `mien fetch` brings what is missing.

    Attributes:
        name: `org/name` on the Hugging Face hub, or any name where the weights are elsewhere.
        revision: Commit, tag or branch on the hub.
        licence: SPDX name, `LicenseRef-...-NC` for a non-commercial one outside SPDX.
        files: Patterns of the files that are needed, each of which must match at least one; of a
            file that is cut into shards all must be there.
        optional: Patterns of files that `mien fetch` brings where the repository has them.
        path: Folder or file to take instead of all else.
        url: Of a single file that is not on the hub: below `dir` it stands as `name` itself or,
            where `files` gives its one name, in the folder `name`.
        sha256: Of that file.
        cached: Where its own package keeps it, the file or the folder of `files`; `~` allowed.
        terms: Page on which terms must be accepted before the weights can be fetched.
        size_gb: To download, about.
        dir: Folder of models, usually `${models.dir}`.
    """

    name: str
    revision: str = "main"
    licence: str
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = field(default=(), metadata=MACHINE)
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    cached: str | None = None
    terms: str | None = None
    size_gb: float | None = field(default=None, metadata=MACHINE)
    dir: str | None = field(default=None, metadata=MACHINE)

    def __post_init__(self) -> None:
        for name in ("files", "optional"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def commercial(self) -> bool:
        """Whether the licence lets one use the weights commercially."""
        return commercial(self.licence)

    @property
    def on_hub(self) -> bool:
        """Whether it is a repository of the Hugging Face hub."""
        return self.url is None and "/" in self.name

    def find(self) -> Path | None:
        """The folder (or single file) to load; `None` where no place holds all files."""
        return next((place for place in self._places() if self._whole(place)), None)

    def resolved(self) -> Path:
        """The folder (or single file) to load.

        Raises:
            FileNotFoundError: Says where it was looked for, and the cure.
        """
        place = self.find()
        if place is None:
            raise FileNotFoundError(self.missing())
        return place

    def missing(self) -> str | None:
        """Why the weights cannot be loaded, and the cure; `None` where they can."""
        if self.find() is not None:
            return None
        if self.path is not None:
            place, needed = Path(self.path).expanduser(), ", ".join(self.files) or "any file"
            state = "lacks some of them" if place.exists() else "does not exist"
            return f"`path` must hold {needed} of {self.name}, but {self.path!r} {state}"
        terms = f" (accept its terms first: {self.terms})" if self.terms else ""
        which = self.name if self.url else f"{self.name}, revision {self.revision}"
        cache = " or into the Hugging Face cache" if self.on_hub else ""
        return (
            f"needs the weights {which}{terms}: `mien fetch` brings them, or copy them below "
            f"`models.dir` ({self.dir or 'not set'}){cache}"
        )

    def identity(self) -> dict[str, Any]:
        """What the weights are, rather than where: part of the table's hash.

        A commit of the hub where one is known, otherwise a digest of the files.
        """
        place = self.find()
        if place is None:
            return {"model": self.name, "revision": self.revision}
        if place.parent.name == "snapshots" and place.parents[1].name.startswith("models--"):
            return {"model": self.name, "revision": place.name}
        return {"model": self.name, "revision": digest(place, self.files)}

    def _places(self) -> Iterator[Path]:
        if self.path is not None:
            yield Path(self.path).expanduser()
            return
        if self.dir is not None:
            for name in (self.name, self.name.rpartition("/")[2]):
                yield Path(self.dir).expanduser() / name
        if self.on_hub:
            repository = hub_cache() / f"models--{self.name.replace('/', '--')}"
            reference = repository / "refs" / self.revision
            commit = reference.read_text().strip() if reference.is_file() else self.revision
            yield repository / "snapshots" / commit
        if self.cached is not None:
            yield Path(self.cached).expanduser()

    def _whole(self, place: Path) -> bool:
        if not place.is_dir():
            return place.is_file()
        found = [content(place, (pattern,)) for pattern in self.files or (ANY,)]
        return all(found) and not any(_lost_shards(path) for paths in found for path in paths)


def hub_cache() -> Path:
    """The Hugging Face cache, as its own variables name it."""
    known = os.environ
    user = known.get("XDG_CACHE_HOME") or "~/.cache"
    home = known.get("HF_HOME") or f"{user}/huggingface"
    place = known.get("HF_HUB_CACHE") or known.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return Path(os.path.expandvars(place)).expanduser()


ANY = "**/*"
SAMPLE = 1 << 16


def content(place: Path, files: Sequence[str] = ()) -> list[Path]:
    """The files of weights, sorted; hidden ones are the downloader's own and left out.

    Args:
        place: File or folder.
        files: Patterns in that folder; empty: all files.
    """
    if place.is_file():
        return [place]
    names = {path for pattern in files or (ANY,) for path in place.glob(pattern)}
    return sorted(
        path
        for path in names
        if path.is_file() and not any(x.startswith(".") for x in path.relative_to(place).parts)
    )


def digest(place: Path, files: Sequence[str] = ()) -> str:
    """A short digest of weights: names, sizes, and head, middle and tail of each file.

    Args:
        place: File or folder.
        files: Patterns in that folder; empty: all files.
    """
    root = place.parent if place.is_file() else place
    paths = content(place, files)
    stats = [path.stat() for path in paths]
    return _digest(
        tuple(
            (str(path), str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns)
            for path, stat in zip(paths, stats, strict=True)
        )
    )


@lru_cache(maxsize=256)
def _digest(files: tuple[tuple[str, str, int, int], ...]) -> str:
    """Of path, name, size and time of change: a file is read again only when it was changed."""
    found = hashlib.sha256()
    for path, name, size, _ in files:
        found.update(f"{name} {size} ".encode())
        with Path(path).open("rb") as file:
            for at in sorted({0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)}):
                file.seek(at)
                found.update(file.read(SAMPLE))
    return found.hexdigest()[:12]


def _lost_shards(path: Path) -> bool:
    """Whether a file is one of several, `x-00001-of-00004.y`, of which one is absent."""
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return False
    stem, _, count, suffix = shard.groups()
    names = (f"{stem}-{i:05d}-of-{count}{suffix}" for i in range(1, int(count) + 1))
    return not all(path.with_name(name).exists() for name in names)
