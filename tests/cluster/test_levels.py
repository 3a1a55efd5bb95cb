"""Levels of memory, on readings made up and recorded."""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cloudpickle
import pytest

from mien.cluster import levels
from mien.cluster.levels import Gate, Levels, MemoryPressureError
from mien.cluster.memory import Reading, host

READINGS = Path(__file__).with_name("readings")


def left(available_gb: float | None, full_percent: float | None = None) -> Reading:
    return Reading(total_gb=100.0, available_gb=available_gb, full_percent=full_percent)


def played(readings: Iterable[float]) -> Callable[[], Reading]:
    """A reader that plays readings, and the last one for ever."""
    known = list(readings)
    coming = itertools.chain(known, itertools.repeat(known[-1]))
    return lambda: left(next(coming))


@pytest.mark.parametrize(
    ("machine", "soft_gb", "hard_gb"),
    [
        ("gb10", 7.84, 3.92),  # 6 and 3% of 130.7
        ("laptop", 2.0, 1.0),
        ("container_v2", 1.07, 0.54),
        ("container_v1", 0.54, 0.27),  # an eighth of 4.3: else nothing would ever start
        ("h200", 129.9, 64.9),
    ],
)
def test_the_usual_levels_follow_the_machine(machine: str, soft_gb: float, hard_gb: float) -> None:
    reading = host(READINGS / machine / "proc", READINGS / machine / "sys")
    assert Levels().on(reading) == pytest.approx((soft_gb, hard_gb), rel=0.01)
    assert Levels().level(reading) is None


def test_levels_that_are_given_are_taken_and_the_other_one_fits() -> None:
    reading = left(50)
    assert Levels(soft_gb=20, hard_gb=5).on(reading) == (20, 5)
    assert Levels(soft_gb=20).on(reading) == (20, 3)
    assert Levels(soft_gb=4).on(reading) == (4, 2)
    assert Levels(hard_gb=9).on(reading) == (12, 9)
    assert Levels(hard_gb=0).on(reading) == (6, 0)
    assert Levels(soft_gb=0).on(reading) == (0, 0)
    assert Levels().on(Reading()) == (2, 1)


@pytest.mark.parametrize(
    ("available_gb", "full_percent", "level"),
    [
        (6.0, None, None),
        (5.9, None, "soft"),
        (3.0, 0.0, "soft"),
        (2.9, 0.0, "hard"),
        (50.0, 39.9, None),
        (50.0, 40.0, "soft"),
        (5.9, 40.0, "hard"),
        (None, None, None),
        (None, 90.0, "soft"),
    ],
)
def test_a_level_is_reached_by_memory_or_by_stalls(
    available_gb: float | None, full_percent: float | None, level: str | None
) -> None:
    assert Levels().level(left(available_gb, full_percent)) == level


def test_levels_of_zero_are_off() -> None:
    off = Levels(soft_gb=0, hard_gb=0, stalled_percent=101)
    assert off.level(left(0.0, 100.0)) is None


def test_relief_lies_above_the_level() -> None:
    usual = Levels()  # 6 and 3
    assert not usual.relieved(left(6.5))
    assert usual.relieved(left(6.75))
    assert not usual.relieved(left(50, 20.0))
    assert usual.relieved(left(50, 19.9))
    assert usual.relieved(left(None))
    assert not Levels(soft_gb=0, hard_gb=3).relieved(left(2.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"soft_gb": -1}, r"`watchdog.soft_gb` must be at least 0, but is -1"),
        ({"hard_gb": -1}, r"`watchdog.hard_gb` must be at least 0"),
        ({"patience_s": -1}, r"`watchdog.patience_s` must be at least 0"),
        ({"soft_gb": 2, "hard_gb": 3}, r"must be less than `watchdog.soft_gb` \(2\), but is 3"),
        ({"stalled_percent": 0}, r"`watchdog.stalled_percent` must be greater than 0"),
    ],
)
def test_levels_that_make_no_sense_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Levels(**values)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "LOOK_S", 0.01)


def test_a_batch_passes_where_there_is_memory() -> None:
    gate = Gate(Levels(), read=played([50]))
    gate.admit()
    assert gate.waited_s < 0.1


@pytest.mark.usefixtures("fast")
def test_a_batch_waits_until_there_is_clearly_memory_again() -> None:
    looks: list[float] = []
    coming = played([5.0, 5.5, 6.5, 5.9, 6.5, 7.0])

    def read() -> Reading:
        reading = coming()
        looks.append(reading.available_gb or 0)
        return reading

    gate = Gate(Levels(), read=read)
    gate.admit()
    assert looks == [5.0, 5.5, 6.5, 5.9, 6.5, 7.0]
    assert 0.05 <= gate.waited_s < 2


@pytest.mark.usefixtures("fast")
def test_patience_ends_so_that_nothing_waits_for_ever() -> None:
    gate = Gate(Levels(patience_s=0.2), read=played([5.0]))
    gate.admit()
    assert 0.2 <= gate.waited_s < 2
    time.sleep(0.02)
    gate.admit()
    assert 0.4 <= gate.waited_s < 4  # it let one batch pass, and no more


@pytest.mark.usefixtures("fast")
def test_no_batch_begins_below_the_hard_level() -> None:
    gate = Gate(Levels(patience_s=0.1), read=played([5.0, 2.0]))
    with pytest.raises(MemoryPressureError, match=r"2\.0 GB of 100\.0 GB available .* below 3\.0"):
        gate.admit()


def test_memory_is_not_read_for_every_little_batch() -> None:
    reads = itertools.count()

    def read() -> Reading:
        next(reads)
        return left(50)

    gate = Gate(Levels(), read=read)
    for _ in range(1000):
        gate.admit()
    assert next(reads) < 20


def test_each_worker_gets_a_gate_of_its_own() -> None:
    admit = Gate(Levels(soft_gb=1, hard_gb=0.5)).admit
    sent = cloudpickle.loads(cloudpickle.dumps(admit))
    sent()
    assert sent.__self__ is not admit.__self__


def test_a_workers_environment_needs_no_more_than_what_carries_rows() -> None:
    code = "import sys; sys.modules.update(psutil=None, pynvml=None, torch=None)\n"
    code += "from mien.cluster.levels import Gate, Levels; Gate(Levels()).admit()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("fast")
def test_before_it_waits_a_worker_gives_back_what_it_keeps_for_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[str] = []
    monkeypatch.setattr(levels, "release", lambda: given.append("back"))
    Gate(Levels(), read=played([50])).admit()
    assert given == []
    Gate(Levels(), read=played([5.0, 7.0])).admit()
    assert given == ["back"]
