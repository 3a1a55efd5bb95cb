from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.datasets.schema import LABELS
from mien.jobs.fusion.conflict import DEAD_ZONE, conflict, from_affect, of_label, of_value, signed

SEED = [
    ("happy", -0.312, "angry", True),
    ("sad", -0.158, "sad", False),
    ("angry", 0.234, "angry", False),
]
SIDES = st.sampled_from([-1, 0, 1, None])


def judged(face: str, voice: float, text: str, dead_zone: float) -> bool | None:
    return conflict([of_label(face), of_value(voice, dead_zone), of_label(text)])


def test_the_three_example_rows() -> None:
    assert [judged(f, v, t, DEAD_ZONE) for f, v, t, _ in SEED] == [wanted for *_, wanted in SEED]


@pytest.mark.parametrize(("zone", "fits"), [(0.1, 0), (0.2, 0), (0.25, 1), (0.3, 1), (0.35, 0)])
def test_only_dead_zones_between_them_reproduce_the_rows(zone: float, fits: int) -> None:
    assert all(judged(f, v, t, zone) is wanted for f, v, t, wanted in SEED) == bool(fits)


@given(st.lists(SIDES, min_size=3, max_size=3))
def test_symmetric_in_channels_and_signs(sides: list[int | None]) -> None:
    answers = {conflict(order) for order in permutations(sides)}
    answers.add(conflict([None if s is None else -s for s in sides]))
    assert len(answers) == 1
    assert (answers == {None}) == (sum(s is not None for s in sides) < 2)


def test_all_cases_of_two_and_three_channels() -> None:
    assert conflict([1, -1]) is True
    assert conflict([1, 0]) is False
    assert conflict([1, 1, -1]) is True
    assert conflict([1, 0, -1]) is False  # one of three pairs
    assert conflict([]) is None


def test_unknown_is_not_neutral() -> None:
    assert of_value(None) is None
    assert of_value(float("nan")) is None
    assert of_value(0.0) == 0
    assert of_label(None) is None
    assert signed(None) is None
    assert (signed(0.0), signed(0.5), signed(1.0)) == (-1, 0, 1)


def test_projection_finds_the_nearest_label() -> None:
    for label, valence, arousal in [
        ("happy", 0.8, 0.5),
        ("sad", -0.7, -0.4),
        ("neutral", 0.0, 0.0),
    ]:
        shares = from_affect(valence, arousal)
        assert shares is not None
        assert LABELS[int(shares.argmax())] == label
        assert np.isclose(shares.sum(), 1)
    assert from_affect(None, 0.5) is None
