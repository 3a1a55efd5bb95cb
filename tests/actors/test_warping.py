import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.actors.warping import onsets


def slowly(cost: np.ndarray) -> list[int]:
    """Whisper's own loops."""
    rows, columns = cost.shape
    best, trace = np.full((rows + 1, columns + 1), np.inf), np.zeros((rows + 1, columns + 1), int)
    best[0, 0] = 0
    for j in range(1, columns + 1):
        for i in range(1, rows + 1):
            both, up, left = best[i - 1, j - 1], best[i - 1, j], best[i, j - 1]
            move = 0 if both < up and both < left else 1 if up < both and up < left else 2
            best[i, j] = cost[i - 1, j - 1] + (both, up, left)[move]
            trace[i, j] = move
    trace[0, :], trace[:, 0] = 2, 1
    first, i, j = {}, rows, columns
    while i > 0 or j > 0:
        first[i - 1] = j - 1
        move = trace[i, j]
        i, j = i - (move != 2), j - (move != 1)
    return [first[k] for k in range(rows)]


shapes = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 20)), min_size=1, max_size=5)


@given(shapes, st.integers(0, 999), st.booleans())
@settings(max_examples=60)
def test_paths_are_whispers_own(shapes: list[tuple[int, int]], seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    costs = [rng.normal(size=shape) for shape in shapes]
    costs = [np.round(cost) for cost in costs] if tied else costs
    assert [found.tolist() for found in onsets(costs)] == [slowly(cost) for cost in costs]


def test_a_diagonal_is_followed() -> None:
    (found,) = onsets([1 - np.repeat(np.eye(3), 4, axis=1)])
    assert found == pytest.approx([0, 4, 8])
    assert onsets([]) == []
