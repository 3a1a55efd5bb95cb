"""Reading memory: the only code that does."""

import threading
from pathlib import Path
from types import TracebackType

import psutil


def tree_gb(root: psutil.Process) -> float:
    """Memory of a process and all that it started, in GB (10^9), shared pages counted once.

    Proportional set size where the system tells it (Linux 4.14 and later), else resident size.
    """
    return sum(map(_bytes, [root, *root.children(recursive=True)])) / 1e9


def _bytes(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("Pss:"))
    except (OSError, StopIteration):
        try:
            return process.memory_info().rss
        except psutil.Error:  # gone, or not ours to read
            return 0


class PeakMemory:
    """Watches the memory of this process and its children, for as long as the block runs.

    Attributes:
        peak_gb: The highest reading so far; 0 before the first.
    """

    def __init__(self, every_s: float = 1.0) -> None:
        self.peak_gb = 0.0
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(self._every_s):
            self.peak_gb = max(self.peak_gb, tree_gb(me))

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
