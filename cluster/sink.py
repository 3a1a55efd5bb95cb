"""Writing finished rows: the one writer of a phase."""

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from ..datasets.table import Table
from .disk import DiskFullError


@dataclass(kw_only=True)
class Sink:
    """Collects finished rows on the driver and writes them, few files and often.

    There is one writer, and it dies with the driver: a row is written once or not at all.

    Attributes:
        table: Where to.
        guard: Called after a file is written; raises where little room is left.
        every_s: A file is written at least this often, so that little is lost with the driver.
        every_mb: A file is written when this much has come together.
    """

    table: Table
    guard: Callable[[], None] = lambda: None
    every_s: float = 10.0
    every_mb: float = 64.0
    _held: list[pa.Table] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _written: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _timer: threading.Timer | None = None
    _error: Exception | None = None

    def add(self, rows: pa.Table) -> pa.Table:
        """Take finished rows; they are written after `every_s` at the latest.

        Returns:
            Those that had not come before: a worker's death may make Ray do rows twice.

        Raises:
            DiskFullError: Rows could not be written, now or since the last call.
        """
        rows = self._new(rows)
        held = rows.select(self.table.schema.names).cast(self.table.schema)
        with self._lock:
            self._raise()
            self._held.append(held)
            if sum(t.nbytes for t in self._held) > self.every_mb * 2**20:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(self.every_s, self._flush_later)
                self._timer.daemon = True
                self._timer.start()
        return rows

    def _new(self, rows: pa.Table) -> pa.Table:
        ids = rows["id"].to_pylist()
        fresh = [i not in self._seen for i in ids]
        self._seen.update(ids)
        return rows if all(fresh) else rows.filter(pa.array(fresh))

    def flush(self) -> None:
        """Write what is held.

        Raises:
            DiskFullError: There is no room; the rows will be done again.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            held, self._held, self._timer = self._held, [], None
            if not held:
                return
            rows = pa.concat_tables(held)
            try:
                self.table.write(rows)
                self._written.update(rows["id"].to_pylist())
                self.guard()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise DiskFullError(
                    f"{len(rows)} finished rows could not be written to "
                    f"'{self.table.folder}': {error.strerror}. Make room (`mien clean` shows what "
                    "can go), then give the same command again: it does them once more."
                ) from error

    def _flush_later(self) -> None:
        """Write in the timer's thread; what goes wrong is raised by the next call."""
        with self._lock:
            try:
                self.flush()
            except Exception as error:
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Write the rest.

        Raises:
            DiskFullError: Rows could not be written, now or before.
        """
        with self._lock:
            self.flush()
            self._raise()

    def absent(self, ids: set[str]) -> set[str]:
        """Those of some rows that have not been written."""
        return ids - self._written
