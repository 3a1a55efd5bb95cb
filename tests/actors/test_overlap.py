from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from mien.actors.overlap import Windows, overlapped
from mien.datasets.audio import Sound

PLANS = {
    "triangular": Windows.triangular(100, 25),
    "odd": Windows.triangular(101, 30),
    "led": Windows.led(100, 20, 6),
}
noise = np.random.default_rng(0).normal(size=1000).astype(np.float32)


def same(windows: Sequence[Sound]) -> list[Sound]:
    return [window.copy() for window in windows]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("count", [0, 1, 7, 75, 99, 100, 101, 125, 175, 176, 200, 333, 1000])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_model_that_changes_nothing_changes_nothing(plan: str, count: int, batch: int) -> None:
    sound = noise[:count]
    pieces = np.array_split(sound, 4) if count else []
    heard = [*overlapped(pieces, same, PLANS[plan], batch)]
    assert np.allclose(np.concatenate([*heard, sound[:0]]), sound, atol=1e-6)


@pytest.mark.parametrize("plan", PLANS)
def test_the_answer_depends_neither_on_the_pieces_nor_on_the_batch(plan: str) -> None:
    def clean(windows: Sequence[Sound]) -> list[Sound]:
        return [np.cumsum(window) for window in windows]

    whole = np.concatenate([*overlapped([noise], clean, PLANS[plan], 1)])
    parts = np.array_split(noise, 37)
    assert np.allclose(np.concatenate([*overlapped(parts, clean, PLANS[plan], 4)]), whole)


def test_windows_of_one_length_are_filled_with_what_is_before_and_silence() -> None:
    seen: list[Sound] = []

    def clean(windows: Sequence[Sound]) -> Sequence[Sound]:
        seen.extend(same(windows))
        return windows

    assert len([*overlapped([noise[:120]], clean, Windows.triangular(100, 25), 2)]) > 0
    assert [len(window) for window in seen] == [100, 100]
    assert (seen[1][:72] == noise[48:120]).all()  # 45 samples of its own, after 27 before it
    assert not seen[1][72:].any()


def test_the_lead_of_a_window_does_not_count() -> None:
    def clean(windows: Sequence[Sound]) -> list[Sound]:
        return [np.where(np.arange(len(w)) < 20, 1e3, w).astype(np.float32) for w in windows]

    made = np.concatenate([*overlapped([noise], clean, Windows.led(100, 20, 6), 1)])
    assert np.allclose(made[20:], noise[20:], atol=2e-3)  # a millionth of what is in the lead


def test_a_jump_between_windows_is_faded() -> None:
    level = iter(range(100))

    def clean(windows: Sequence[Sound]) -> list[Sound]:
        return [np.full(len(window), next(level), np.float32) for window in windows]

    made = np.concatenate([*overlapped([noise], clean, Windows.led(100, 20, 9), 1)])
    assert made.max() == 13
    assert np.abs(np.diff(made)).max() < 0.11


@pytest.mark.parametrize("plan", PLANS)
def test_only_a_few_windows_are_held(plan: str) -> None:
    given = taken = 0
    waiting = []

    def pieces() -> Iterator[Sound]:
        nonlocal given
        for _ in range(200):
            given += 50
            yield np.zeros(50, np.float32)

    for piece in overlapped(pieces(), same, PLANS[plan], 3):
        taken += len(piece)
        waiting.append(given - taken)
    assert taken == 10_000
    assert max(waiting) < 6 * 101


def test_windows_in_the_overlap_at_the_end_are_spared_where_the_model_takes_any_length() -> None:
    assert [*Windows.led(100, 20, 5).offsets(110)] == [0, 75]
    assert [*Windows.led(100, 20, 5).offsets(100)] == [0]
    assert [*Windows.triangular(100, 25).offsets(100)] == [0, 75]
