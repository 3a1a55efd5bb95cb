import numpy as np
import pytest

from mien.actors.excursions import Brief, alone, excursions, overlap

FPS = 60


def ways(*shapes: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Series that go to the right as given, over the noise that flow has."""
    count = len(shapes[0])
    noise = np.random.default_rng(seed).normal(0, 0.0005, (count, len(shapes), 2))
    noise[:, :, 0] += np.stack(shapes, axis=1)
    return np.arange(count) / FPS, noise


def triangle(
    onset: int, apex: int, offset: int, high: float = 0.03, count: int = 240
) -> np.ndarray:
    return np.interp(np.arange(count), [onset, apex, offset], [0, high, 0])


def test_finds_where_a_movement_begins_peaks_and_ends() -> None:
    (one,) = excursions(*ways(triangle(100, 110, 124)), Brief(rest=0.1))
    assert abs(one.apex - 110) <= 1
    assert abs(one.onset - 101) <= 1
    assert abs(one.offset - 122) <= 1
    assert one.peak == pytest.approx(0.03, abs=0.002)
    assert one.clear > 10


@pytest.mark.parametrize(
    "shape",
    [
        np.interp(np.arange(240), [100, 118], [0, 0.05]),  # stays
        np.interp(np.arange(240), [0, 240], [0, 0.3]),  # drifts
        triangle(60, 100, 160),  # takes 1.7 s
        triangle(100, 101, 102),  # one frame
        triangle(100, 110, 124, high=0.004),  # too small
        np.abs(np.sin(np.arange(240) / 7)) * 0.03,  # goes on and on, as speech does
        triangle(-20, 0, 10),  # began before
        triangle(225, 235, 260),  # not over yet
    ],
    ids=["step", "drift", "long", "frame", "small", "speech", "begun", "unfinished"],
)
def test_passes_over_what_is_not_brief_or_does_not_return(shape: np.ndarray) -> None:
    assert excursions(*ways(shape), Brief()) == []


def test_a_movement_on_top_of_a_slow_one_is_found() -> None:
    slow = np.interp(np.arange(240), [40, 200], [0, 0.2])
    (one,) = excursions(*ways(slow + triangle(110, 118, 126)), Brief())
    assert abs(one.apex - 118) <= 2


def test_longest_is_a_choice() -> None:
    moved = ways(triangle(100, 112, 124))
    assert len(excursions(*moved, Brief(max_s=0.5))) == 1
    assert excursions(*moved, Brief(max_s=0.2)) == []


def test_of_those_that_overlap_the_strongest_stays() -> None:
    moved = ways(
        triangle(100, 110, 120), triangle(104, 112, 124, high=0.05), triangle(180, 188, 196)
    )
    found = excursions(*moved, Brief())
    assert len(found) == 3
    assert [one.series for one in alone(found)] == [1, 2]


def test_too_few_frames_hold_nothing() -> None:
    assert excursions(np.arange(3) / FPS, np.zeros((3, 2, 2)), Brief()) == []


def test_overlap() -> None:
    assert overlap((0, 2), (0, 2)) == 1
    assert overlap((0, 1), (2, 3)) == 0
    assert overlap((0, 4), (2, 6)) == pytest.approx(1 / 3)


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="`min_s` must be greater than 0 and less than `max_s`"):
        Brief(min_s=0.6)
    with pytest.raises(ValueError, match="`rest` must be between 0 and 1"):
        Brief(rest=1.0)
    with pytest.raises(ValueError, match="`delta` must be greater than 0"):
        Brief(delta=0.0)
