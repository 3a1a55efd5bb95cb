"""One process at a time works on a run."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..datasets.store import Place
from . import provenance
from .lease import LEASE_S, BusyError, busy, leased

__all__ = ["BusyError", "locked"]


@contextmanager
def locked(folder: Place, lease_s: float = LEASE_S) -> Iterator[None]:
    """Keep other processes off a run for as long as the block runs.

    On a file system the lock ends with the process, however it ends. In a store it is a lease: a
    process that died holds it until `lease_s` after its last sign of life.

    Raises:
        BusyError: Another one holds it; says which.
        LostError: This process was silent for so long that another one has taken the lease.
    """
    if not isinstance(folder, Path):
        with leased(folder, lease_s):
            yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise busy(file.read().strip(), folder) from error
        file.truncate(0)
        file.write(provenance.who())
        file.flush()
        yield
