"""Weights: what an actor loads, where it is looked for, and under which licence it came."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .actor import MACHINE


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One set of weights.

    It is looked for, in this order, at `path`, below `dir` (as `org/name` or `name`), in the
    Hugging Face cache at `revision`, and where the package that made it keeps it (`cached`).
    Nothing is downloaded here: `mien fetch` brings what is missing.

    Attributes:
        name: `org/name` on the Hugging Face hub, or any name where the weights are elsewhere.
        revision: Commit, tag or branch on the hub.
        licence: SPDX name, `LicenseRef-...-NC` for a non-commercial one outside SPDX.
        files: Patterns of the files that are needed, each of which must match at least one.
        path: Folder or file to take instead of all else.
        url: Of a single file that is not on the hub.
        sha256: Of that file.
        cached: Where its own package keeps that file, `~` allowed.
        terms: Page on which terms must be accepted before the weights can be fetched.
        size_gb: To download, about.
        dir: Folder of models, usually `${models.dir}`.
    """

    name: str
    revision: str = "main"
    licence: str
    files: tuple[str, ...] = ()
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    cached: str | None = None
    terms: str | None = None
    size_gb: float | None = field(default=None, metadata=MACHINE)
    dir: str | None = field(default=None, metadata=MACHINE)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(self.files))

    @property
    def commercial(self) -> bool:
        """Whether the licence lets one use the weights commercially."""
        return "-NC" not in self.licence.upper()

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
            path, needed = Path(self.path), ", ".join(self.files) or "any file"
            state = "does not exist" if not path.exists() else "lacks some of them"
            return f"`path` must hold {needed} of {self.name}, but {self.path!r} {state}"
        terms = f" (accept its terms first: {self.terms})" if self.terms else ""
        return (
            f"needs the weights {self.name}, revision {self.revision}{terms}: `mien fetch` brings "
            f"them, or copy them below `models.dir` ({self.dir or 'not set'}) or into the cache"
        )

    def identity(self) -> dict[str, Any]:
        """What the weights are, rather than where: part of the table's hash.

        A commit of the hub where one is known, otherwise a digest of the files.
        """
        place = self.find()
        if place is None:
            return {"model": self.name, "revision": self.revision}
        if place.parent.name == "snapshots":
            return {"model": self.name, "revision": place.name}
        return {"model": self.name, "revision": digest(place, self.files)}

    def _places(self) -> Iterator[Path]:
        if self.path is not None:
            yield Path(self.path).expanduser()
            return
        if self.dir is not None:
            for name in (self.name, self.name.rpartition("/")[2]):
                yield Path(self.dir).expanduser() / name
        if "/" in self.name:
            repository = hub_cache() / f"models--{self.name.replace('/', '--')}"
            reference = repository / "refs" / self.revision
            commit = reference.read_text().strip() if reference.is_file() else self.revision
            yield repository / "snapshots" / commit
        if self.cached is not None:
            yield Path(self.cached).expanduser()

    def _whole(self, place: Path) -> bool:
        if place.is_file():
            return True
        return place.is_dir() and all(any(place.glob(name)) for name in self.files or ("*",))


def hub_cache() -> Path:
    """The Hugging Face cache, as its own variables name it."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


SAMPLE = 1 << 16


def digest(place: Path, files: tuple[str, ...] = ()) -> str:
    """A short digest of the content of weights: names, sizes, head, middle and tail of each file.

    Args:
        place: File or folder.
        files: Patterns in that folder; empty: all files.
    """
    names = [place] if place.is_file() else {p for f in files or ("**/*",) for p in place.glob(f)}
    content = hashlib.sha256()
    for path in sorted(p for p in names if p.is_file()):
        size = path.stat().st_size
        content.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            for at in sorted({0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)}):
                file.seek(at)
                content.update(file.read(SAMPLE))
    return content.hexdigest()[:12]
