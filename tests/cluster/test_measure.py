"""Measuring an actor in a process of its own: what works, and what goes wrong in it."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import psutil
import pyarrow as pa
import pytest

from mien.actors.actor import Actor, answer
from mien.cluster.host import Stage, begin
from mien.cluster.measure import Finding, Limits, measure

QUICK = Limits(seconds=0.2, timeout_s=60.0)


def rows(doubles: ModuleType, orders: list[str | None]) -> pa.Table:
    return begin(doubles.manifest(orders), "hash", [1] * len(orders))


def tried(actor: Actor, manifest: pa.Table, *, largest: int = 1, limits: Limits = QUICK) -> Finding:
    return measure(Stage(role="double", actor=actor), manifest, largest=largest, limits=limits)


def test_an_actor_is_measured_and_answers_its_rows(doubles: ModuleType) -> None:
    began = time.monotonic()
    found = tried(doubles.Double(slow_s=0.02), rows(doubles, [None] * 3), largest=6)
    wall_s = time.monotonic() - began
    assert [step.size for step in found.steps] == [1, 2, 4, 6]
    assert found.answer is not None
    assert found.answer["twice"].to_pylist() == [0, 2, 4]
    assert (found.rows, found.longest_s, found.ended) == (3, 1.0, "largest batch")
    assert not found.failed
    known = found.measured()
    assert known is not None
    assert 0 < known.startup_s < wall_s
    for size, rate in known.rates.items():
        assert 15 < rate < 51, size  # at most one row each 0.02 s
    assert list(known.memory_gb) == [1, 2, 4, 6]
    assert all(0.03 < gb < 2 for gb in known.memory_gb.values())
    if not Path("/proc/driver/nvidia").exists():
        assert known.gpu_memory_gb == {}


def test_rows_have_a_length_or_none(doubles: ModuleType) -> None:
    manifest = rows(doubles, [None] * 2)
    (step,) = tried(doubles.Double(slow_s=0.05), manifest).steps
    assert step.media_s_s == pytest.approx(step.rows_s)  # rows of one second
    at = manifest.schema.get_field_index("stop_s")
    manifest = manifest.set_column(at, "stop_s", pa.nulls(2, pa.float64()))
    (step,) = tried(doubles.Double(slow_s=0.05), manifest).steps
    assert step.media_s_s == 0


def test_without_a_batch_size_it_only_answers(doubles: ModuleType) -> None:
    found = tried(doubles.Double(), rows(doubles, [None, "raise", None]), largest=0)
    assert found.measured() is None
    assert not found.failed
    assert found.answer is not None
    assert found.answer["twice"].to_pylist() == [0, None, 4]
    assert found.answer["status"].to_pylist() == ["ok", "failed", "ok"]
    assert found.errors == ("ValueError: row row001 cannot be doubled",)


def test_only_rows_that_can_be_answered_are_measured(doubles: ModuleType) -> None:
    found = tried(doubles.Double(), rows(doubles, ["raise", None]), largest=2)
    assert [step.size for step in found.steps] == [1, 2]
    found = tried(doubles.Double(), rows(doubles, ["raise"]), largest=2)
    assert found.measured() is None
    assert found.ended == "no row could be answered"
    assert len(found.errors) == 1


def test_a_crash_is_an_answer(doubles: ModuleType) -> None:
    found = tried(doubles.Double(), rows(doubles, [None, "die"]))
    assert found.failed
    assert found.ended == "killed by SIGKILL during answer"
    assert found.startup_s is not None
    assert (found.answer, found.measured()) == (None, None)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [("exit", "ended (7) during setup"), ("raise", "no such weights: 'double.pt'")],
)
def test_a_setup_that_fails_is_an_answer(doubles: ModuleType, broken: str, reason: str) -> None:
    found = tried(doubles.Double(broken=broken), rows(doubles, [None]))
    assert found.failed
    assert reason in found.ended
    assert (found.startup_s, found.measured()) == (None, None)


def test_a_hang_ends_and_what_was_measured_before_it_stands(doubles: ModuleType) -> None:
    began = time.monotonic()
    found = tried(
        doubles.Double(slow_s=0.5),
        rows(doubles, [None]),
        largest=64,
        limits=Limits(seconds=0.1, timeout_s=6.0),
    )
    assert time.monotonic() - began < 45
    assert found.failed
    assert found.ended == "batch took more than 6 s"
    assert [step.size for step in found.steps][:2] == [1, 2]
    assert found.measured() is not None
    assert found.answer is not None
    assert not [p for p in psutil.Process().children() if probing(p)]


def probing(process: psutil.Process) -> bool:
    try:
        return "mien.cluster.probe" in process.cmdline()
    except psutil.Error:  # it has ended
        return False


@dataclass(kw_only=True)
class _Parameters(Actor):
    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("y", pa.int64())])

    row_gb: float = 0.0
    limit_gb: float | None = None
    growth: float = 1.0
    call_s: float = 0.1


def hog(**parameters: float) -> Actor:
    """An actor that takes memory for each row, and time for each by some power of their count."""

    class Hog(_Parameters):  # local: pickled by value
        def setup(self) -> None:
            if self.limit_gb is not None:
                held = psutil.Process().memory_info().vms
                most = held + int(self.limit_gb * 1e9)
                resource.setrlimit(resource.RLIMIT_AS, (most, most))

        def process(self, rows: pa.Table) -> pa.Table:
            held = np.empty(int(self.row_gb * 1e9) * len(rows), np.uint8)
            if self.limit_gb is None:
                held[::4096] = 1  # now it is really there
            time.sleep(self.call_s * len(rows) ** self.growth)
            return answer({"y": [0] * len(rows)}, self.adds)

    Hog.__module__ = "__main__"
    return Hog(**parameters)  # type: ignore[arg-type]


def test_memory_is_the_peak_of_each_batch_size(doubles: ModuleType) -> None:
    taker = hog(row_gb=0.2, growth=0.0, call_s=1.0)  # against which the taking counts little
    found = tried(taker, rows(doubles, [None]), largest=4)
    gb = {step.size: step.memory_gb or 0.0 for step in found.steps}
    assert gb[2] - gb[1] == pytest.approx(0.2, abs=0.05)
    assert gb[4] - gb[2] == pytest.approx(0.4, abs=0.05)


def test_the_end_of_memory_is_an_answer(doubles: ModuleType) -> None:
    found = tried(hog(row_gb=8.0, limit_gb=28.0, growth=0.0), rows(doubles, [None]), largest=64)
    assert [step.size for step in found.steps] == [1, 2], found
    assert found.ended == "memory ended at 4 rows"
    assert not found.failed


def test_it_ends_before_the_machine_has_no_memory_left(doubles: ModuleType) -> None:
    limits = Limits(seconds=0.2, reserve_gb=1e6)
    found = tried(doubles.Double(), rows(doubles, [None]), limits=limits)
    assert found.failed
    assert "memory ended during" in found.ended


def test_larger_batches_are_tried_while_they_pay(doubles: ModuleType) -> None:
    found = tried(hog(growth=2.0), rows(doubles, [None]), largest=64)
    assert [step.size for step in found.steps] == [1, 2]
    assert found.ended == "2 rows were slower"
    assert found.best.size == 1


@dataclass(kw_only=True)
class _Remembers(Actor):
    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("y", pa.int64())])


def test_the_work_is_timed_and_not_what_is_remembered_of_it(doubles: ModuleType) -> None:
    class Remembers(_Remembers):  # local: pickled by value
        def setup(self) -> None:
            self.known: set[int] = set()

        def forget(self) -> None:
            self.known.clear()

        def process(self, rows: pa.Table) -> pa.Table:
            asked = rows["x"].to_pylist()
            time.sleep(0.1 * len(set(asked) - self.known))
            self.known.update(asked)
            return answer({"y": asked}, self.adds)

    Remembers.__module__ = "__main__"
    (step,) = tried(Remembers(), rows(doubles, [None] * 4)).steps
    assert 5 < step.rows_s < 10.5


def test_a_death_is_seen_though_a_child_holds_the_pipe(doubles: ModuleType) -> None:
    class Leaves(_Remembers):
        def process(self, rows: pa.Table) -> pa.Table:
            import os

            if os.fork():
                os._exit(5)
            time.sleep(30.0)
            return answer({"y": [0] * len(rows)}, self.adds)

    Leaves.__module__ = "__main__"
    began = time.monotonic()
    found = tried(Leaves(), rows(doubles, [None]))
    assert time.monotonic() - began < 25
    assert (found.failed, found.ended[:9]) == (True, "ended (5)")


def test_limits_check_themselves() -> None:
    with pytest.raises(ValueError, match="`seconds` must be greater than 0, but is 0"):
        Limits(seconds=0)
    with pytest.raises(ValueError, match="`timeout_s` must be greater than `seconds`"):
        Limits(seconds=3, timeout_s=3)
