"""Reading memory: the only code that does. "Unknown" (`None`) is an answer."""

import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from .cgroups import bounds, text

if TYPE_CHECKING:
    import psutil

Kind = Literal["unified", "discrete", "none"]

INTEGRATED = re.compile(r"\b(GB10|Thor|Orin|Xavier|Tegra)\b")
"""Devices that have no memory of their own, whatever their driver says of it."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU.

    Attributes:
        name: As its driver calls it.
        total_gb: Memory of its own; `None` where the driver does not tell, as on a GB10.
        free_gb: Of that, what nobody holds now.
        shared: Whether it has none of its own, and uses the machine's.
    """

    name: str
    total_gb: float | None = None
    free_gb: float | None = None
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What there is of memory, in GB (10^9 bytes), and what is left of it.

    Attributes:
        kind: `unified` where devices and processes share the machine's memory, so that the numbers
            below hold for both; `discrete` where devices have their own; `none` without devices.
        total_gb: Of the machine.
        available_gb: What can still be taken without swapping: by the kernel's estimate, or by
            what is left of the tightest limit, whichever is less.
        limit_gb: The smallest limit of the control groups that this process lies in (a container,
            a batch job); `None` where none is smaller than the machine.
        swap_gb: Of swap, in all.
        some_percent: Share of the last 10 s in which a process stood still for want of memory.
        full_percent: Share of the last 10 s in which all processes did.
        devices: The GPUs that this process may use.
    """

    kind: Kind = "none"
    total_gb: float | None = None
    available_gb: float | None = None
    limit_gb: float | None = None
    swap_gb: float | None = None
    some_percent: float | None = None
    full_percent: float | None = None
    devices: tuple[Device, ...] = ()

    @property
    def capacity_gb(self) -> float | None:
        """What this process and its like may hold at most: the limit, or else all."""
        return self.total_gb if self.limit_gb is None else self.limit_gb


def host(proc: str | Path = "/proc", sys: str | Path = "/sys") -> Reading:
    """Read the machine's memory alone: cheap enough for every batch."""
    proc, sys = Path(proc), Path(sys)
    fields = (line.split() for line in text(proc / "meminfo").splitlines())
    known_gb = {f[0].rstrip(":"): int(f[1]) * 1024 / 1e9 for f in fields if len(f) > 1}
    total_gb = known_gb.get("MemTotal")
    limits = [x for x in bounds(proc, sys) if total_gb is None or x.limit_gb < total_gb]
    left_gb = [known_gb.get("MemAvailable"), *(x.available_gb for x in limits)]
    stalls = _stalls(text(proc / "pressure" / "memory"))
    return Reading(
        total_gb=total_gb,
        available_gb=min((x for x in left_gb if x is not None), default=None),
        limit_gb=min((x.limit_gb for x in limits), default=None),
        swap_gb=known_gb.get("SwapTotal"),
        some_percent=stalls.get("some"),
        full_percent=stalls.get("full"),
    )


def _stalls(said: str) -> dict[str, float]:
    return {kind: float(x) for kind, x in re.findall(r"^(\w+) avg10=([\d.]+)", said, re.MULTILINE)}


def read(
    proc: str | Path = "/proc",
    sys: str | Path = "/sys",
    nvml: Any = None,  # noqa: ANN401
    environ: Mapping[str, str] = os.environ,
) -> Reading:
    """Read the memory of the machine and its devices.

    Args:
        proc: Where the kernel's `/proc` is.
        sys: Where the kernel's `/sys` is.
        nvml: NVIDIA's management library, as `pynvml` has it; `None`: that one.
        environ: Its `CUDA_VISIBLE_DEVICES` says which devices count.
    """
    found = list(_devices(nvml, environ.get("CUDA_VISIBLE_DEVICES")))
    shared = any(one.shared for one in found)
    kind: Kind = "unified" if shared else "discrete" if found else "none"
    return replace(host(proc, sys), kind=kind, devices=tuple(found))


def _devices(nvml: Any, visible: str | None) -> Iterator[Device]:  # noqa: ANN401
    with _opened(nvml) as driver:
        if driver is None:
            return
        for handle in _handles(driver, visible):
            shared = False
            try:
                memory = driver.nvmlDeviceGetMemoryInfo(handle)
                sizes = {"total_gb": memory.total / 1e9, "free_gb": memory.free / 1e9}
            except driver.NVMLError_NotSupported:  # a GB10
                sizes, shared = {}, True
            except driver.NVMLError:
                sizes = {}
            name = driver.nvmlDeviceGetName(handle)
            shared = shared or bool(INTEGRATED.search(name))
            yield Device(name=name, shared=shared, **sizes)


@contextmanager
def _opened(nvml: Any) -> Iterator[Any]:  # noqa: ANN401
    """The library, ready to be asked; `None` where there is no driver."""
    if nvml is None:
        import pynvml as nvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _handles(driver: Any, visible: str | None) -> Iterator[Any]:  # noqa: ANN401
    """The devices that CUDA would show: numbers or names, up to the first that is none."""
    count = driver.nvmlDeviceGetCount()
    words = map(str, range(count)) if visible is None else visible.split(",")
    for word in map(str.strip, words):
        try:
            if word.isdigit():
                yield driver.nvmlDeviceGetHandleByIndex(int(word))
            else:
                yield driver.nvmlDeviceGetHandleByUUID(word)
        except driver.NVMLError:
            return


def budget_gb(reading: Reading, *, reserve_gb: float, object_store_gb: float) -> float | None:
    """What workers may take of a machine's memory; `None` where that is unknown.

    Args:
        reading: Taken before Ray starts: the object store is not counted as taken yet.
        reserve_gb: For Ray's own processes, for the command itself, and what must stay available.
        object_store_gb: Ray's shared memory.
    """
    left_gb = reading.capacity_gb if reading.available_gb is None else reading.available_gb
    return None if left_gb is None else max(0.0, left_gb - reserve_gb - object_store_gb)


def tree_gb(root: "psutil.Process") -> float:
    """Memory of a process and all that it started, in GB (10^9), shared pages counted once.

    Proportional set size where the system tells it (Linux 4.14 and later), else resident size.
    """
    return sum(map(_bytes, [root, *root.children(recursive=True)])) / 1e9


def _bytes(process: "psutil.Process") -> int:
    import psutil

    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("Pss:"))
    except (OSError, StopIteration):
        try:
            return process.memory_info().rss
        except psutil.Error:  # gone, or not ours to read
            return 0


def high_water_gb(pid: int | str = "self") -> float | None:
    """The most that a process ever had resident, GB; `None` where the kernel does not tell."""
    lines = text(Path(f"/proc/{pid}/status")).splitlines()
    return next((int(x.split()[1]) * 1024 / 1e9 for x in lines if x.startswith("VmHWM:")), None)


def device_gb(pids: Collection[int], nvml: Any = None) -> float | None:  # noqa: ANN401
    """Memory that some processes hold on all devices, GB; works on a GB10 as well.

    Args:
        pids: The processes.
        nvml: See `read`.

    Returns:
        `None` where the driver does not tell, as in a container that has its own numbers of
        processes, or where none of them holds any.
    """
    used = []
    with _opened(nvml) as driver:
        for handle in _handles(driver, None) if driver else ():
            with suppress(driver.NVMLError):
                running = driver.nvmlDeviceGetComputeRunningProcesses(handle)
                used += [one.usedGpuMemory for one in running if one.pid in pids]
    known = [x for x in used if x is not None]
    return sum(known) / 1e9 if known else None


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
        import psutil

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
