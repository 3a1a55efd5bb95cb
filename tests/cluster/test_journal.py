"""Whose death is laid to which row."""

import time
from collections.abc import Iterator

import pytest

from mien.cluster.journal import Journal, Loss, RemoteJournal, Seat, ray_journal
from mien.cluster.session import Cluster, session

ONE = Seat(name="one", node="here")
TWO = Seat(name="two", node="here")
DIED = Loss(allowed_s=None, reason="")


@pytest.fixture
def journal() -> Journal:
    return Journal()


def test_what_a_process_held_is_lost_when_the_next_one_takes_its_seat(journal: Journal) -> None:
    journal.hold(ONE, "watch", ["a", "b"], 10)
    journal.hold(TWO, "watch", ["c"], 10)
    journal.enter(ONE)
    assert journal.hold(ONE, "watch", ["a"], 10) == {"a": [DIED]}
    assert journal.hold(ONE, "watch", ["c"], 10) == {}


def test_a_row_that_was_lost_is_taken_alone(journal: Journal) -> None:
    journal.hold(ONE, "watch", ["a"], 10)
    journal.enter(ONE)
    assert journal.hold(ONE, "watch", ["a", "b"], 10) == {"a": [DIED]}
    journal.enter(ONE)  # it died, but had not taken them
    assert journal.hold(ONE, "watch", ["b"], 10) == {}
    assert journal.hold(ONE, "watch", ["a"], 10) == {"a": [DIED]}
    journal.enter(ONE)
    assert journal.hold(ONE, "watch", ["a"], 10) == {"a": [DIED, DIED]}


def test_only_the_rows_of_the_last_batch_are_at_risk(journal: Journal) -> None:
    journal.hold(ONE, "watch", ["a"], 10)
    journal.hold(ONE, "watch", ["b"], 10)
    journal.enter(ONE)
    assert journal.hold(ONE, "watch", ["a"], 10) == {}
    journal.release(ONE)
    journal.enter(ONE)
    assert journal.hold(ONE, "watch", ["a"], 10) == {}
    assert journal.hold(ONE, "watch", ["b"], 10) == {"b": [DIED]}


def test_a_loss_is_laid_to_the_actor_that_had_the_row(journal: Journal) -> None:
    journal.hold(ONE, "emotion", ["a"], 10)
    journal.enter(ONE)
    assert journal.hold(ONE, "watch", ["a"], 10) == {}
    assert journal.hold(ONE, "emotion", ["a"], 10) == {"a": [DIED]}


def test_the_end_of_a_node_is_no_rows_fault() -> None:
    alive = {"here", "there"}
    journal = Journal(nodes=lambda: alive)
    away, moved = Seat(name="away", node="there"), Seat(name="away", node="here")
    journal.hold(away, "watch", ["a"], 10)
    journal.hold(ONE, "watch", ["b"], 10)
    alive.remove("there")
    journal.enter(moved)
    journal.enter(ONE)
    assert journal.hold(moved, "watch", ["a"], 10) == {}
    assert journal.hold(ONE, "watch", ["b"], 10) == {"b": [DIED]}


def test_the_end_of_a_node_is_no_setups_fault() -> None:
    alive = {"here", "there"}
    journal = Journal(nodes=lambda: alive)
    journal.enter(Seat(name="one", node="there"))
    alive.remove("there")
    assert journal.enter(ONE) == 0
    assert journal.enter(ONE) == 1


def test_a_traceback_tells_who_hung() -> None:
    now = [0.0]
    journal = Journal(clock=lambda: now[0])
    journal.hold(ONE, "watch", ["a"], 10)
    now[0] = 11
    journal.enter(ONE, "File x")
    assert journal.hold(ONE, "watch", ["a"], 10) == {"a": [Loss(allowed_s=10, reason="File x")]}
    now[0] = 30  # it left none on this machine: it died, and the next one came late
    journal.enter(ONE)
    assert journal.hold(ONE, "watch", ["a"], 10)["a"][1] == DIED


@pytest.mark.parametrize(("seconds", "allowed_s"), [(9, None), (10, 10)])
def test_on_another_machine_the_clock_tells_who_hung(
    seconds: float, allowed_s: float | None
) -> None:
    now = [0.0]
    journal = Journal(clock=lambda: now[0])
    journal.hold(ONE, "watch", ["a"], 10)
    now[0] = seconds
    moved = Seat(name="one", node="there")
    journal.enter(moved)
    assert journal.hold(moved, "watch", ["a"], 10)["a"] == [Loss(allowed_s=allowed_s, reason="")]


def test_a_process_says_why_it_ends(journal: Journal) -> None:
    journal.hold(ONE, "watch", ["a"], 10)
    journal.explain(ONE, "MemoryError")
    journal.enter(ONE)
    losses = journal.hold(ONE, "watch", ["a"], 10)
    assert losses == {"a": [Loss(allowed_s=None, reason="MemoryError")]}


def test_setups_that_kill_their_process_are_counted_in_a_row(journal: Journal) -> None:
    assert [journal.enter(ONE), journal.enter(TWO)] == [0, 0]
    assert [journal.enter(ONE), journal.enter(TWO)] == [1, 2]
    journal.ready(TWO)
    assert journal.enter(ONE) == 1
    journal.ready(ONE)
    assert journal.enter(ONE) == 0


def test_what_is_unknown_is_no_error(journal: Journal) -> None:
    """A journal whose process died begins anew in the middle of a run."""
    journal.ready(ONE)
    journal.explain(ONE, "late")
    journal.release(ONE)
    assert journal.enter(ONE) == 0


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteJournal]:
    with session(Cluster(cores=1)):
        yield ray_journal()


@pytest.mark.ray
def test_a_remote_journal_says_the_same(remote: RemoteJournal) -> None:
    here = remote.seat().node
    seat = Seat(name="seat", node=here)
    assert remote.enter(seat) == 0
    assert remote.enter(seat) == 1
    remote.ready(seat)
    assert remote.hold(seat, "watch", ["a"], 10) == {}
    remote.explain(seat, "why")
    remote.enter(seat)
    losses = {"a": [Loss(allowed_s=None, reason="why")]}
    assert remote.hold(seat, "watch", ["a"], 10) == losses
    remote.release(seat)
    gone = Seat(name="gone", node="0" * len(here))
    remote.hold(gone, "watch", ["b"], 10)
    remote.enter(Seat(name="gone", node=here))
    assert remote.hold(gone, "watch", ["b"], 10) == {}


@pytest.mark.ray
def test_a_remote_journal_costs_milliseconds(remote: RemoteJournal) -> None:
    seat = remote.seat()
    began = time.perf_counter()
    for _ in range(100):
        remote.hold(seat, "watch", ["a"], 10)
    assert (time.perf_counter() - began) / 100 < 0.05
