"""Room on the disk: refused before a run that cannot fit, and watched while files are written."""

import shlex
import shutil
from dataclasses import dataclass

from ..datasets.store import Place, on_disk


class DiskFullError(RuntimeError):
    """A run does not fit the disk; what stands is kept."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a run leaves free.

    Attributes:
        reserve_gb: The run ends, and can be resumed, before less than this is free, in GB (10^9).
        slack: An estimate of what a run needs may be this many times too low or too high.
    """

    reserve_gb: float = 2.0
    slack: float = 2.0

    def __post_init__(self) -> None:
        if self.reserve_gb < 0:
            raise ValueError(f"`reserve_gb` must be at least 0, but is {self.reserve_gb:g}.")
        if self.slack < 1:
            raise ValueError(f"`slack` must be at least 1, but is {self.slack:g}.")

    def judge(self, folder: Place, needed_gb: float) -> str | None:
        """Compare what a run will write with what is free.

        Args:
            folder: Of the run; need not exist yet.
            needed_gb: That it will still write, as estimated.

        Returns:
            A warning, where it may not fit.

        Raises:
            DiskFullError: It does not fit, even if the estimate is `slack` times too high.
        """
        free = free_gb(folder)
        if free is None:
            return None
        room = max(0.0, free - self.reserve_gb)
        facts = (
            f"the run will write about {needed_gb:.3g} GB into '{folder}', where {free:.3g} GB are "
            f"free, of which {self.reserve_gb:g} GB are kept free (`disk.reserve_gb`)"
        )
        if needed_gb / self.slack > room or free < self.reserve_gb:
            raise DiskFullError(f"{facts}. {_cure(folder)}, or analyse less at a time.")
        return f"{facts}: it may not fit." if needed_gb * self.slack > room else None


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Watches the disk of a run between the files that it writes.

    Attributes:
        folder: Of the run.
        disk: What is left free.
    """

    folder: Place
    disk: Disk

    def check(self) -> None:
        """Look at what is free.

        Raises:
            DiskFullError: Less than the reserve.
        """
        free = free_gb(self.folder)
        if free is not None and free < self.disk.reserve_gb:
            raise DiskFullError(
                f"the disk of '{self.folder}' has {free:.3g} GB left, and "
                f"{self.disk.reserve_gb:g} GB must stay free (`disk.reserve_gb`): the run has "
                f"ended, and what is done stands. {_cure(self.folder)}; the same command takes up "
                "the rest."
            )


def free_gb(folder: Place) -> float | None:
    """What a user may still write, in GB (10^9).

    Args:
        folder: Need not exist yet.

    Returns:
        `None` where there is no limit that could be read: an object store.
    """
    if not on_disk(folder):
        return None
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(str(there)).free / 1e9


def _cure(folder: Place) -> str:
    return (
        f"Make room (`mien clean {shlex.quote(str(folder))}` shows what it can free), or take an "
        "`out` on a larger disk"
    )
