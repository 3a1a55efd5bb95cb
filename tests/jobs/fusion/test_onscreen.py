from collections.abc import Callable

import numpy as np
import pytest

from mien.jobs.fusion.onscreen import Presence, Trace, locate, pair

Mask = Callable[[np.ndarray], np.ndarray]
RATE_HZ = 10.0
START = np.arange(0, 20, 2, dtype=np.float64)  # ten turns of two seconds, A and B in turn
STOP = START + np.float64(2.0)
WHO = ["A", "B"] * 5


def always(t: np.ndarray) -> np.ndarray:
    return np.ones(len(t), bool)


def never(t: np.ndarray) -> np.ndarray:
    return np.zeros(len(t), bool)


def early(t: np.ndarray) -> np.ndarray:
    return t < 10


def mouth(speaks: Mask, seen: Mask = always, seed: int = 0) -> Trace:
    """A face whose mouth moves where `speaks(t)`."""
    t = np.arange(0, 20, 1 / RATE_HZ, dtype=np.float64)
    t = t[seen(t)]
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, len(t))
    return Trace(time_s=t, value=np.where(speaks(t), 0.8, 0.15) + noise, step_s=1 / RATE_HZ)


def odd(t: np.ndarray) -> np.ndarray:
    return (t // 2) % 2 == 1


def even(t: np.ndarray) -> np.ndarray:
    return ~odd(t)


def located(
    mouths: dict[str, Trace],
    persons: dict[str, str],
    faces: np.ndarray | None = None,
    watched: np.ndarray | None = None,
) -> list[Presence]:
    return locate(
        mouths,
        START,
        STOP,
        WHO,
        persons,
        watched=np.ones(10, bool) if watched is None else watched,
        faces=np.full(10, 1) if faces is None else faces,
    )


def test_two_shot() -> None:
    mouths = {"P0": mouth(odd), "P1": mouth(even, seed=1)}
    persons = pair(mouths, START, STOP, WHO)
    assert persons == {"A": "P1", "B": "P0"}
    found = located(mouths, persons)
    assert [one.person for one in found] == ["P1", "P0"] * 5
    assert all(one.on_screen and (one.confidence or 0) > 0.7 for one in found)


def test_names_do_not_matter() -> None:
    mouths = {"Z": mouth(odd), "Y": mouth(even, seed=1)}
    assert pair(mouths, START, STOP, WHO) == {"A": "Y", "B": "Z"}
    assert pair(mouths, START[::-1], STOP[::-1], WHO[::-1]) == {"A": "Y", "B": "Z"}


def test_reaction_shots_show_the_listener() -> None:
    mouths = {"P0": mouth(never)}
    assert pair(mouths, START, STOP, WHO) == {}
    found = located(mouths, {})
    assert {(one.person, one.on_screen) for one in found} == {(None, False)}
    assert all((one.confidence or 0) > 0.6 for one in found)


def test_off_screen_turns_keep_the_speakers_name() -> None:
    mouths = {"P0": mouth(even, early)}
    persons = pair(mouths, START, STOP, WHO)
    assert persons == {"A": "P0"}
    found = located(mouths, persons, faces=np.where(START < 10, 1, 0))
    assert [(one.person, one.on_screen) for one in found[:2]] == [("P0", True), (None, False)]
    assert [(one.person, one.on_screen) for one in found[6:8]] == [("P0", False), (None, False)]


def test_what_nobody_measured_is_unknown() -> None:
    found = located({}, {}, faces=np.ones(10, int))
    assert {(one.person, one.on_screen, one.confidence) for one in found} == {(None, None, None)}
    found = located({}, {}, watched=np.zeros(10, bool), faces=np.zeros(10, int))
    assert {one.on_screen for one in found} == {None}
    found = located({}, {}, faces=np.zeros(10, int))
    assert {one.on_screen for one in found} == {False}


def test_pairs_one_to_one() -> None:
    persons = pair({"P0": mouth(always)}, START, STOP, WHO)
    assert len(persons) == 1


def test_means_in_spans() -> None:
    trace = Trace(
        time_s=np.array([0.0, 1.0, 2.0, 3.0]), value=np.array([1, np.nan, 0, 1.0]), step_s=1.0
    )
    mean, seen = trace.during(np.array([0.0, 1.0, 5.0]), np.array([3.0, 2.0, 6.0]))
    np.testing.assert_equal(mean, [0.5, np.nan, np.nan])
    assert seen == pytest.approx([2, 0, 0])
