"""The log of a run: what happened, one JSON object a line, with the rows that it is about."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..datasets.store import Place, replace

LOG = "log.jsonl"
KEPT = 10_000
"""Lines that are kept, at least; the oldest go first."""
_OF_ROW = ("id", "video_id", "uri", "start_s", "stop_s", "attempt")
_OF_ERROR = ("error_stage", "error_type", "error_message")


@dataclass(kw_only=True)
class Logbook:
    """Writes the log of a run.

    Object stores cannot append, so the file is written anew at the end of each phase and of the
    run, however it ends; what is said meanwhile is lost with a driver that is killed: the rows
    themselves stand in the tables.

    Attributes:
        folder: Of the run.
        run: Tells one run in the folder from another.
    """

    folder: Place
    run: str
    _lines: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        path = self.folder / LOG
        if path.exists():
            self._lines = path.read_text().splitlines()[-KEPT:]

    def say(self, event: str, level: str = "info", **facts: object) -> None:
        """Add a line.

        Args:
            event: What happened, in the past tense, for example `phase finished`.
            level: `info`, `warning` or `error`.
            facts: As JSON values.
        """
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": level, "run": self.run, "event": event, **facts}
        with self._lock:
            self._lines.append(json.dumps(line, default=str))
            if len(self._lines) > 2 * KEPT:
                self._lines = self._lines[-KEPT:]

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Tell of an error that ends the run, and of Ctrl-C, and write what was said before."""
        try:
            yield
        except BaseException as error:
            self.say("run ended", "error", error=type(error).__name__, message=str(error))
            with suppress(OSError):  # the disk may be what is full
                self.write()
            raise

    def finished(self, phase: str, rows: pa.Table) -> None:
        """Tell of the rows that failed."""
        failed = rows.filter(pc.equal(rows["status"], "failed"))
        for row in failed.select([*_OF_ROW, *_OF_ERROR]).to_pylist():
            self.say("row failed", "warning", phase=phase, **row)

    def phase(self, name: str, summary: Mapping[str, Any]) -> None:
        """Tell of the end of a phase, and write."""
        self.say("phase finished", phase=name, **{k: v for k, v in summary.items() if k != "name"})
        self.write()

    def write(self) -> None:
        """Write what was said."""
        with self._lock:
            text = "\n".join(self._lines) + "\n"
            replace(self.folder / LOG, text.encode())
