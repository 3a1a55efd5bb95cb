"""One process at a time works on a run."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import provenance


class BusyError(RuntimeError):
    """Another process works on the same run."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes off a run for as long as the block runs.

    Raises:
        BusyError: Another one holds it; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise BusyError(
                f"another process works on this run ({file.read().strip()}, folder '{folder}'). "
                "Wait for it, end it, or choose another `out`."
            ) from error
        file.truncate(0)
        file.write(provenance.who())
        file.flush()
        yield
