"""Control groups: what a container, a batch job or a service may use of a machine's memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

_UNLIMITED = 2**60
"""Version 1 says "no limit" with a number of pages near 2^63 bytes."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A limit that holds for this process.

    Attributes:
        limit_gb: Of all processes in the group.
        available_gb: What is left of it, when the files kept in memory are dropped; `None` where
            the group does not tell.
    """

    limit_gb: float
    available_gb: float | None


@dataclass(frozen=True)
class _Files:
    """How a version of control groups calls its files, and the numbers in `memory.stat`."""

    limits: tuple[str, ...]
    usage: str
    reclaimable: tuple[str, ...]


_FILES = {
    "cgroup2": _Files(
        limits=("memory.max", "memory.high"),
        usage="memory.current",
        reclaimable=("active_file", "inactive_file", "slab_reclaimable"),
    ),
    "cgroup": _Files(
        limits=("memory.limit_in_bytes",),
        usage="memory.usage_in_bytes",
        reclaimable=("total_active_file", "total_inactive_file"),
    ),
}


def bounds(proc: Path, sys: Path) -> Iterator[Bound]:
    """The limits on this process's memory: of its own group, and of each that it lies in.

    Args:
        proc: Where the kernel's `/proc` is.
        sys: Where the kernel's `/sys` is.
    """
    for kind, folder in _groups(proc, sys):
        files = _FILES[kind]
        limits = [_number(text(folder / name)) for name in files.limits]
        limit = min((x for x in limits if x is not None and x < _UNLIMITED), default=None)
        if limit is None:
            continue
        used = _number(text(folder / files.usage))
        stat = dict(line.split(" ", 1) for line in text(folder / "memory.stat").splitlines())
        cache = sum(_number(stat.get(name, "")) or 0 for name in files.reclaimable)
        left = None if used is None else max(0, limit - max(0, used - cache)) / 1e9
        yield Bound(limit_gb=limit / 1e9, available_gb=left)


def text(path: Path) -> str:
    """A file of the kernel's; empty where there is none, or none that we may read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(said: str) -> int | None:
    return int(said) if said.strip().isdigit() else None  # not "max", and not nothing


@cache  # a process stays where it was started
def _groups(proc: Path, sys: Path) -> tuple[tuple[str, Path], ...]:
    """Version and folder of each group whose memory is accounted, from this process's own out."""
    return tuple(_found(proc, sys))


def _found(proc: Path, sys: Path) -> Iterator[tuple[str, Path]]:
    mounts = _mounts(proc, sys)
    for line in text(proc / "self" / "cgroup").splitlines():
        number, controllers, group = line.split(":", 2)
        kind = "cgroup2" if number == "0" else "cgroup"
        if kind not in mounts or (kind == "cgroup" and "memory" not in controllers.split(",")):
            continue
        top, root = mounts[kind]
        folder = top / _below(PurePosixPath(group), root)
        if not folder.is_dir():  # a container that sees its own group alone
            folder = top
        yield kind, folder
        while folder != top:
            folder = folder.parent
            yield kind, folder


def _below(group: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    """A group's path below the one that is mounted."""
    inner = group.relative_to(root if group.is_relative_to(root) else "/")
    return PurePosixPath() if ".." in inner.parts else inner


def _mounts(proc: Path, sys: Path) -> dict[str, tuple[Path, PurePosixPath]]:
    """Where each version's memory groups are mounted, and which group is at the top there."""
    found = {}
    for line in text(proc / "self" / "mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        root, place = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            inside = PurePosixPath(place)
            known = inside.is_relative_to("/sys")
            top = sys / inside.relative_to("/sys") if known else Path(place)
            found.setdefault(kind, (top, PurePosixPath(root)))
    return found
