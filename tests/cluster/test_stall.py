"""Nothing waits for ever."""

import threading
import time
from collections.abc import Iterator

import pytest

from mien.cluster import stall
from mien.cluster.journal import Journal, Seat
from mien.cluster.stall import Seats, StalledError, timely


class Clock:
    """Goes when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_pool_without_a_worker_is_named_after_its_time() -> None:
    clock, alive = Clock(), {"n1"}
    pools = {"watch": Journal(nodes=lambda: alive), "notes": Journal(nodes=lambda: alive)}
    seats = Seats(journals=pools, start_s=60.0, clock=clock)
    pools["watch"].enter(Seat(name="a", node="n1"))
    for clock.now_s in (0.0, 59.0):
        seats.check()
    clock.now_s = 61.0
    with pytest.raises(StalledError, match=r"no worker of 'notes' .* 60 s \(`job.hung.start_s`\)"):
        seats.check()


def test_time_is_counted_from_the_loss_and_a_new_worker_ends_it() -> None:
    clock, alive = Clock(), {"n1", "n2"}
    journal = Journal(nodes=lambda: alive)
    seats = Seats(journals={"watch": journal}, start_s=60.0, clock=clock)
    journal.enter(Seat(name="a", node="n1"))
    seats.check()
    alive.discard("n1")
    for clock.now_s in (1000.0, 1050.0):  # rows came for long: nobody looked
        seats.check()
    journal.enter(Seat(name="a", node="n2"))
    clock.now_s = 1100.0
    seats.check()
    alive.discard("n2")
    clock.now_s = 1200.0
    seats.check()
    clock.now_s = 1261.0
    with pytest.raises(StalledError):
        seats.check()


def test_a_journal_that_was_started_again_learns_who_works() -> None:
    journal = Journal()
    assert journal.seated() == 0
    journal.hold(Seat(name="a", node="n1"), "double", ["row"], 60.0)
    assert journal.seated() == 1


def test_items_come_in_order_and_an_error_comes_through() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth")

    found = []
    with pytest.raises(ValueError, match="the fourth"):
        found.extend(timely(items(), lambda: None))
    assert list(timely(iter(range(100)), lambda: None)) == list(range(100))


def test_somebody_looks_while_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "LOOK_S", 0.01)
    monkeypatch.setattr(stall, "END_S", 0.01)
    gate = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        gate.wait(10.0)
        yield 2

    def give_up() -> None:
        raise StalledError("enough")

    coming = timely(items(), give_up)
    assert next(coming) == 1
    with pytest.raises(StalledError, match="enough"):
        next(coming)
    gate.set()


def test_whoever_leaves_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    coming = timely(iter(range(1000)), lambda: None)
    assert next(coming) == 0
    coming.close()
    until = time.monotonic() + 10.0
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_whoever_leaves_early_closes_where_the_items_come_from() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    coming = timely(items(), lambda: None)
    assert next(coming) == 0
    coming.close()
    assert closed.is_set()
