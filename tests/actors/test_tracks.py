from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.actors.tracks import Tracker, distance

Box = tuple[float, float, float, float]
box = st.tuples(st.floats(0, 600), st.floats(0, 400), st.floats(20, 120), st.floats(20, 120))
pictures = st.lists(st.lists(box, max_size=6), min_size=1, max_size=8)


@given(pictures, st.sets(st.integers(0, 7)))
def test_ids_are_unique_in_a_picture_and_never_return_after_a_cut(
    faces: list[list[Box]], cuts: set[int]
) -> None:
    tracker = Tracker()
    ended: set[int] = set()
    current: set[int] = set()
    for index, boxes in enumerate(faces):
        if index in cuts:
            tracker.cut()
            ended |= current
        ids = tracker.update(index / 4, np.array(boxes).reshape(-1, 4))
        assert ids.dtype == np.int32
        assert len(set(ids.tolist())) == len(boxes)
        assert not set(ids.tolist()) & ended
        current |= set(ids.tolist())
    assert current == set(range(len(current)))  # no id is skipped


@given(pictures, st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_does_not_matter(faces: list[list[Box]], random: Random) -> None:
    plain, shuffled = Tracker(), Tracker()
    for index, boxes in enumerate(faces):
        boxes = [(round(x), round(y), round(w), round(h)) for x, y, w, h in dict.fromkeys(boxes)]
        boxes = list(dict.fromkeys(boxes))
        order = list(range(len(boxes)))
        random.shuffle(order)
        array = np.array(boxes, float).reshape(-1, 4)
        one = plain.update(float(10 * index), array)  # beyond the gap: no ties between tracks
        two = shuffled.update(float(10 * index), array[order].reshape(-1, 4))
        np.testing.assert_array_equal(one[order], two)


def test_two_faces_keep_their_ids_while_they_move() -> None:
    tracker = Tracker()
    left, right = np.array([100.0, 100, 80, 80]), np.array([400.0, 100, 80, 80])
    for step in range(15):  # until they meet
        moved = np.array([8 * step, 0, 0, 0])
        boxes = np.array([left + moved, right - moved])
        flip = step % 2 == 1
        ids = tracker.update(step / 10, boxes[::-1] if flip else boxes)
        assert ids.tolist() == ([1, 0] if flip else [0, 1])


def test_a_gap_is_bridged_up_to_the_tolerance() -> None:
    face = np.array([[10.0, 10, 50, 50]])
    tracker = Tracker(gap_s=1.0)
    assert tracker.update(0.0, face).tolist() == [0]
    assert tracker.update(0.5, np.zeros((0, 4))).tolist() == []
    assert tracker.update(1.0, face).tolist() == [0]
    assert tracker.update(2.01, face).tolist() == [1]


def test_far_or_resized_boxes_are_other_faces() -> None:
    tracker = Tracker()
    tracker.update(0.0, np.array([[0.0, 0, 50, 50]]))
    assert tracker.update(0.1, np.array([[60.0, 0, 50, 50]])).tolist() == [1]
    assert tracker.update(0.2, np.array([[10.0, 0, 150, 150]])).tolist() == [2]


def test_the_best_assignment_wins_not_the_first() -> None:
    tracker = Tracker()
    tracker.update(0.0, np.array([[0.0, 0, 100, 100], [60.0, 0, 100, 100]]))
    # Greedy from the left would give the first box to track 1, its nearest.
    ids = tracker.update(0.1, np.array([[45.0, 0, 100, 100], [100.0, 0, 100, 100]]))
    assert ids.tolist() == [0, 1]


def test_distance_in_closed_form() -> None:
    old = np.array([[0.0, 0, 10, 10]])
    new = np.array([[3.0, 4, 10, 10], [0.0, 0, 20, 20], [0.0, 0, 30, 30]])
    expected = [[0.5, np.hypot(5, 5) / 20 + 0.2, np.inf]]
    np.testing.assert_allclose(distance(old, new, 2.0), expected)


@pytest.mark.parametrize("field", [{"gap_s": -1.0}, {"reach": 0.0}, {"growth": 0.5}])
def test_impossible_parameters_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(field))}` must be"):
        Tracker(**field)
