"""The watchdog: ends a run, cleanly, before memory runs out on the machine."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType

import psutil

from .levels import LOOK_S, Levels, MemoryPressureError
from .memory import Reading, host

WORKER = "ray::MapWorker"
"""How Ray Data titles the processes of its pools. Others of Ray's must not be ended one by one."""

AGAIN_S = 15.0
"""A run that has not ended by then is struck again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Held:
    """A process of the run, and the memory that would come back with its end.

    Attributes:
        pid: Its number.
        name: Its title.
        gb: What it holds alone.
    """

    pid: int
    name: str
    gb: float


def held() -> list[Held]:
    """This process and all that it started, the biggest first."""
    me = psutil.Process()
    found = []
    for process in [me, *me.children(recursive=True)]:
        try:
            memory = process.memory_info()
            words = process.cmdline() or [process.name()]
        except psutil.Error:  # gone
            continue
        name = "this command" if process == me else words[0].rpartition("/")[2]
        own = memory.rss - memory.shared
        found.append(Held(pid=process.pid, name=name, gb=own / 1e9))
    return sorted(found, key=lambda one: -one.gb)


class Watchdog:
    """Reads this machine's memory while the block runs, and ends the block at the hard level.

    It wraps the session: at the hard level the block is left as by Ctrl-C (`KeyboardInterrupt`),
    rows that are done are written on the way out, the workers are killed at once so that their
    memory comes back, and what leaves the block is `MemoryPressureError`.

    The block must run in the main thread. The signal SIGUSR1 is the watchdog's own meanwhile.

    Attributes:
        lowest_gb: The least that was available; `None` while unknown.
        short_s: For how long it was below the soft level.
    """

    def __init__(
        self,
        levels: Levels,
        *,
        read: Callable[[], Reading] = host,
        every_s: float = LOOK_S,
    ) -> None:
        self.lowest_gb: float | None = None
        self.short_s = 0.0
        self._levels, self._read, self._every_s = levels, read, every_s
        self._short = self._over = False
        self._error: MemoryPressureError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self._before = signal.signal(signal.SIGUSR1, self._interrupt)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True  # a signal that comes now has come too late
        self._stop.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before or signal.SIG_DFL)
        if self._error is not None and error is not None:
            raise self._error from error

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._over:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while self._error is None and not self._stop.wait(self._every_s):
            self._look(self._read())
        while not self._stop.wait(AGAIN_S):  # library code may have swallowed the interrupt
            self._strike()

    def _look(self, reading: Reading) -> None:
        left_gb = reading.available_gb
        if left_gb is not None:
            self.lowest_gb = min(left_gb, left_gb if self.lowest_gb is None else self.lowest_gb)
        level = self._levels.level(reading)
        if level == "hard":
            self._end(reading)
        elif level and not self._short:
            self._short = True
            _log.warning("memory is short, workers wait: %s", self._levels.told(reading))
        elif self._short:
            self.short_s += self._every_s
            self._short = not self._levels.relieved(reading)

    def _end(self, reading: Reading) -> None:
        processes = held()
        self._error = MemoryPressureError(self._explained(reading, processes))
        self._strike(processes)

    def _strike(self, processes: Sequence[Held] | None = None) -> None:
        """Interrupt the main thread, and end the workers."""
        if self._over:
            return
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        for process in held() if processes is None else processes:
            if process.name.startswith(WORKER):
                _kill(process.pid)

    def _explained(self, reading: Reading, processes: Sequence[Held]) -> str:
        biggest = ", ".join(f"{p.name} (pid {p.pid}) {p.gb:.1f} GB" for p in processes[:3])
        ours_gb = sum(process.gb for process in processes)
        return (
            f"memory ran short, and the run was ended before the machine would stand still: "
            f"{self._levels.told(reading)}. The run held {ours_gb:.1f} GB, most of it: {biggest}. "
            "What is done is kept; the same command takes up the rest. If others hold the memory, "
            "wait for them; else give the run fewer workers (`cluster.cores`) or smaller batches "
            "(`mien plan` shows who needs what)."
        )


def _kill(pid: int) -> None:
    """End a worker and what it started, for example vLLM's engine."""
    try:
        worker = psutil.Process(pid)
        for process in [*worker.children(recursive=True), worker]:
            os.kill(process.pid, signal.SIGKILL)
    except (psutil.Error, ProcessLookupError):  # gone
        return
