"""Deadlines: no actor hangs for ever."""

import faulthandler
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """How long an actor may take for a batch before it counts as hung, and its worker is ended.

    Attributes:
        base_s: Allowed for any batch, also where the length of its media is not known; `inf`:
            an actor may take for ever.
        factor: Seconds allowed besides for each second of media.
        start_s: How long the setup of an actor may take, and how long a pool may be without any
            worker: others hold the machine, or a node is lost.
    """

    base_s: float = 600.0
    factor: float = 60.0
    start_s: float = 1800.0

    def __post_init__(self) -> None:
        if not self.base_s > 0:
            raise ValueError(f"`hung.base_s` must be greater than 0, but is {self.base_s:g}.")
        if not self.start_s > 0:
            raise ValueError(f"`hung.start_s` must be greater than 0, but is {self.start_s:g}.")
        if not self.factor >= 0:
            raise ValueError(f"`hung.factor` must be at least 0, but is {self.factor:g}.")

    def allowed_s(self, batch: pa.Table) -> float:
        """Seconds that a batch may take."""
        return self.base_s + self.factor * media_s(batch)


GENEROUS = Deadline()
"""Ten minutes, and an hour for each minute of media."""

CALLS = 5
"""So many of the innermost calls say where an actor hung."""


def media_s(batch: pa.Table) -> float:
    """Length of the media of some rows together, as far as it is known, in seconds."""
    return pc.sum(pc.subtract(batch["stop_s"], batch["start_s"])).as_py() or 0.0


@contextmanager
def within(allowed_s: float, note: Path) -> Iterator[None]:
    """End this process if the block takes longer, also where native code never returns.

    Args:
        allowed_s: By the clock.
        note: File to write to where the process stood then; it is there only in the meantime.
    """
    if math.isinf(allowed_s):
        yield
        return
    with _opened(note) as file:
        faulthandler.dump_traceback_later(allowed_s, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            note.unlink(missing_ok=True)


def _opened(note: Path) -> TextIO:
    """The file; where there is no room for it the deadline holds all the same."""
    try:
        return note.open("w")
    except OSError:
        return Path(os.devnull).open("w")


def folder() -> Path:
    """What the workers of this user on this machine share."""
    shared = Path(tempfile.gettempdir()) / f"mien-{os.getuid()}"
    shared.mkdir(mode=0o700, exist_ok=True)
    return shared


def left_behind(path: Path) -> str:
    """Where the last process in a seat stood when its deadline passed; empty if it did not.

    `faulthandler` writes the main thread last, and in it the innermost call first.
    """
    try:
        text = path.read_text(errors="replace")
        path.unlink()
    except OSError:
        return ""
    if not text.startswith("Timeout"):
        return ""
    lines = [line.strip() for line in text.strip().split("\n\n")[-1].splitlines()]
    calls = [line for line in lines if line.startswith("File")]
    return "; ".join(calls[:CALLS]) or "an unknown place"
