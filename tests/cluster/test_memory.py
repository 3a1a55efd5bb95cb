"""Reading memory: recorded machines, and processes whose need is known."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest

from mien.cluster.memory import (
    Device,
    PeakMemory,
    Reading,
    budget_gb,
    device_gb,
    high_water_gb,
    host,
    read,
    tree_gb,
)

READINGS = Path(__file__).with_name("readings")
GIB = 2**30 / 1e9


class RecordedNvml:
    """Answers like `pynvml`; `asked` says what is open."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818
        pass

    def __init__(self, devices: list[dict[str, Any]] | None) -> None:
        self._devices, self.opened = devices, 0

    def __getattr__(self, name: str) -> Callable:
        return getattr(self, f"_{name.removeprefix('nvml').removeprefix('Device')}")

    def _Init(self) -> None:  # noqa: N802
        if self._devices is None:
            raise self.NVMLError("Driver Not Loaded")
        self.opened += 1

    def _Shutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def _GetCount(self) -> int:  # noqa: N802
        return len(self._devices or [])

    def _GetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        if not 0 <= index < self._GetCount():
            raise self.NVMLError("Invalid Argument")
        return (self._devices or [])[index]

    def _GetHandleByUUID(self, uuid: str) -> dict[str, Any]:  # noqa: N802
        for device in self._devices or []:
            if device["uuid"] == uuid:
                return device
        raise self.NVMLError("Not Found")

    def _GetName(self, device: dict[str, Any]) -> str:  # noqa: N802
        return device["name"]

    def _GetMemoryInfo(self, device: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        if device["memory"] is None:
            raise self.NVMLError_NotSupported
        if isinstance(device["memory"], str):
            raise self.NVMLError(device["memory"])
        return SimpleNamespace(**device["memory"])


def recorded(name: str, environ: dict[str, str] | None = None) -> Reading:
    path = READINGS / name / "nvml.json"
    nvml = RecordedNvml(json.loads(path.read_text()) if path.exists() else None)
    reading = read(READINGS / name / "proc", READINGS / name / "sys", nvml, environ or {})
    assert nvml.opened == 0  # what was opened was closed
    return reading


def test_a_gb10_has_one_memory_and_the_kernel_knows_it() -> None:
    reading = recorded("gb10")
    assert reading.kind == "unified"
    assert reading.total_gb == pytest.approx(121.69 * GIB, abs=1e-4)
    assert reading.available_gb == pytest.approx(52 * GIB)  # of which 2.77 are free
    assert reading.limit_gb is None
    assert reading.devices == (
        Device(name="NVIDIA GB10", total_gb=None, free_gb=None, shared=True),
    )
    assert (reading.some_percent, reading.full_percent) == (3.52, 1.08)


def test_a_driver_that_tells_a_gb10s_memory_changes_nothing() -> None:
    told = [{"uuid": "x", "name": "NVIDIA GB10", "memory": {"total": 130 * 10**9, "free": 10**9}}]
    folder = READINGS / "gb10"
    assert read(folder / "proc", folder / "sys", RecordedNvml(told), {}).kind == "unified"
    told[0]["name"] = "NVIDIA GB100"
    assert read(folder / "proc", folder / "sys", RecordedNvml(told), {}).kind == "discrete"


def test_h200s_have_memories_of_their_own() -> None:
    reading = recorded("h200")
    assert reading.kind == "discrete"
    assert [one.name for one in reading.devices] == ["NVIDIA H200"] * 2
    assert [one.total_gb for one in reading.devices] == [pytest.approx(143771 * 2**20 / 1e9)] * 2
    assert [one.free_gb for one in reading.devices] == [150.122790912, 90.194313216]
    assert reading.total_gb == pytest.approx(2164.2, abs=0.1)


def test_a_device_that_fails_to_answer_is_unknown_and_not_shared() -> None:
    lost = RecordedNvml([{"uuid": "x", "name": "NVIDIA H200", "memory": "GPU is lost"}])
    reading = read(READINGS / "h200" / "proc", READINGS / "h200" / "sys", lost, {})
    assert reading.kind == "discrete"
    assert reading.devices == (Device(name="NVIDIA H200", total_gb=None, free_gb=None),)


UUID = "GPU-6c1f0a52-0b11-4c3e-9a70-10de23300001"


@pytest.mark.parametrize(
    ("visible", "free_gb"),
    [
        ("0,1", [150.122790912, 90.194313216]),
        ("1", [90.194313216]),
        ("1, 0", [90.194313216, 150.122790912]),
        (UUID, [90.194313216]),
        ("1,7,0", [90.194313216]),  # CUDA stops at the first that is none
        ("-1", []),
        ("", []),
    ],
)
def test_only_visible_devices_count(visible: str, free_gb: list[float]) -> None:
    reading = recorded("h200", {"CUDA_VISIBLE_DEVICES": visible})
    assert [one.free_gb for one in reading.devices] == free_gb
    assert reading.kind == ("discrete" if free_gb else "none")


def test_a_laptop_has_no_device_and_some_swap() -> None:
    reading = recorded("laptop")
    assert reading.kind == "none"
    assert reading.devices == ()
    assert reading.available_gb == pytest.approx(7.5 * GIB)
    assert reading.swap_gb == pytest.approx(8 * GIB, abs=1e-4)
    assert reading.capacity_gb == reading.total_gb == pytest.approx(16.56, abs=0.01)


def test_a_container_may_use_what_is_left_of_its_limit() -> None:
    reading = recorded("container_v2")
    assert reading.limit_gb == reading.capacity_gb == pytest.approx(8 * GIB)
    # 6 of 8 GiB are taken, of which 3 are files, and 51.2 MiB the kernel's own caches
    assert reading.available_gb == pytest.approx(5 * GIB + 0.053687091)
    assert reading.total_gb == pytest.approx(67.42, abs=0.01)


def test_the_smallest_limit_and_the_least_left_can_lie_in_different_groups() -> None:
    reading = recorded("nested_v2")
    assert reading.limit_gb == pytest.approx(16 * GIB)  # the job's
    assert reading.available_gb == pytest.approx(1 * GIB)  # of the slice around it


def test_control_groups_of_version_1_are_found_below_the_mounted_one() -> None:
    reading = recorded("container_v1")
    assert reading.limit_gb == pytest.approx(4 * GIB)
    assert reading.available_gb == pytest.approx(2.5 * GIB)
    assert reading.full_percent is None


def test_no_limit_and_no_pressure_are_answers() -> None:
    reading = recorded("no_psi")
    assert reading.limit_gb is None
    assert reading.available_gb == pytest.approx(24205072 * 1024 / 1e9)
    assert (reading.some_percent, reading.full_percent) == (None, None)


def test_a_system_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    assert read(tmp_path, tmp_path, RecordedNvml(None), {}) == Reading()
    assert budget_gb(Reading(), reserve_gb=1, object_store_gb=1) is None


def test_this_machine_tells_what_psutil_says_of_it() -> None:
    reading, known = host(), psutil.virtual_memory()
    assert reading.total_gb == pytest.approx(known.total / 1e9)
    assert reading.available_gb
    assert reading.available_gb <= known.available / 1e9 + 1.0  # others come and go


def test_the_library_is_asked_by_its_own_names() -> None:
    """The recorded one answers to any name."""
    import pynvml

    for name in ("Init", "Shutdown", "DeviceGetCount", "DeviceGetName", "DeviceGetMemoryInfo"):
        assert callable(getattr(pynvml, f"nvml{name}"))
    for name in ("ByIndex", "ByUUID"):
        assert callable(getattr(pynvml, f"nvmlDeviceGetHandle{name}"))
    for name in ("NVMLError", "NVMLError_NotSupported"):
        assert issubclass(getattr(pynvml, name), Exception)
    assert read().kind in ("none", "discrete", "unified")


def test_the_budget_is_what_is_left_less_the_reserve_and_the_object_store() -> None:
    spark = Reading(kind="unified", total_gb=130.7, available_gb=126.0)
    assert budget_gb(spark, reserve_gb=12, object_store_gb=10) == pytest.approx(104)
    contained = Reading(total_gb=67.0, limit_gb=8.0, available_gb=7.5)
    assert budget_gb(contained, reserve_gb=2, object_store_gb=1) == pytest.approx(4.5)
    assert budget_gb(contained, reserve_gb=6, object_store_gb=4) == 0
    old_kernel = Reading(total_gb=67.0, limit_gb=8.0)
    assert budget_gb(old_kernel, reserve_gb=2, object_store_gb=1) == pytest.approx(5)


HOG = "import time; held = bytearray(b'x' * 200_000_000); print('held', flush=True); time.sleep(60)"


def test_children_count() -> None:
    alone = tree_gb(psutil.Process())
    hog = subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE)
    try:
        assert hog.stdout
        hog.stdout.readline()
        assert 0.18 < tree_gb(psutil.Process()) - alone < 0.4
    finally:
        hog.kill()
        hog.wait()


def test_the_peak_outlives_its_cause() -> None:
    with PeakMemory(every_s=0.02) as memory:
        held = bytearray(b"x" * 300_000_000)
        time.sleep(0.3)
        del held
        time.sleep(0.1)
    assert memory.peak_gb - tree_gb(psutil.Process()) > 0.25


def test_a_process_that_is_gone_counts_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(gone.pid)
    gone.wait()
    assert tree_gb(psutil.Process()) > 0
    assert not process.is_running()


class _Driver:
    """Two devices on which processes run, as `pynvml` tells it; 11 is in both, 12 is unreadable."""

    class NVMLError(Exception):
        pass

    running: ClassVar = {0: [(11, 3e9), (12, None)], 1: [(11, 1e9), (99, 7e9)]}

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlShutdown(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.running[handle]]


@pytest.mark.parametrize(
    ("pids", "gb"), [([11], 4.0), ([11, 12], 4.0), ([11, 99], 11.0), ([12], None), ([7], None)]
)
def test_memory_of_processes_on_all_devices(pids: list[int], gb: float | None) -> None:
    assert device_gb(pids, _Driver()) == gb


def test_the_high_water_mark_stays() -> None:
    block = np.ones(40_000_000, np.uint8)
    high_gb = high_water_gb()
    del block
    assert high_gb is not None
    assert high_gb >= 0.04
    after_gb = high_water_gb()
    assert after_gb is not None
    assert after_gb > high_gb - 0.01  # the kernel counts in small lots
    assert high_water_gb(2**30) is None  # no such process
