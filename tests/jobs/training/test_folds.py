"""Parting by groups: nothing of a person ever stands on both sides."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mien.jobs.training.folds import Protocol, apart


def data(persons: int, each: int, labels: int) -> tuple[np.ndarray, list[str]]:
    groups = [f"p{i}" for i in range(persons) for _ in range(each)]
    return np.arange(len(groups)) % labels, groups


@given(st.integers(3, 9), st.integers(2, 7), st.integers(2, 4), st.integers(0, 5))
def test_each_row_is_held_out_once_and_no_group_twice(
    persons: int, folds: int, labels: int, seed: int
) -> None:
    truth, groups = data(persons, 6, labels)
    protocol = Protocol(folds=folds, inner=3, seed=seed)
    assume(persons - -(-persons // folds) >= 2)
    held = []
    for name in protocol.names(groups):
        learn, judge = protocol.outer(name, truth, groups)
        held += judge.tolist()
        assert not {groups[i] for i in learn} & {groups[i] for i in judge}
        inner, stop = protocol.within(learn, truth, groups)
        assert sorted([*inner, *stop]) == sorted(learn)
        assert not {groups[i] for i in inner} & {groups[i] for i in stop}
        assert set(inner) | set(stop) <= set(learn)
    assert sorted(held) == list(range(len(groups)))


def test_repeats_part_anew_and_the_same_seed_alike() -> None:
    truth, groups = data(8, 4, 2)
    protocol = Protocol(folds=4, repeats=2)
    assert protocol.names(groups) == [f"r{r}f{f}" for r in (1, 2) for f in (1, 2, 3, 4)]
    first, again = (protocol.outer("r1f1", truth, groups)[1].tolist() for _ in range(2))
    assert first == again
    parts = [
        {tuple(protocol.outer(f"r{r}f{f}", truth, groups)[1]) for f in (1, 2, 3, 4)} for r in (1, 2)
    ]
    assert parts[0] != parts[1]


def test_labels_are_spread_over_the_folds() -> None:
    groups = [f"p{i}" for i in range(8) for _ in range(5)]
    truth = np.repeat([0, 1, 0, 1, 0, 1, 0, 1], 5)
    protocol = Protocol(folds=4)
    for name in protocol.names(groups):
        assert set(truth[protocol.outer(name, truth, groups)[1]]) == {0, 1}


def test_labels_too_rare_to_be_spread_are_parted_all_the_same() -> None:
    groups, truth = [f"p{i}" for i in range(12)], np.arange(12) % 4  # one clip of each person
    protocol = Protocol()
    held = [protocol.outer(name, truth, groups) for name in protocol.names(groups)]
    assert sorted(row for _, judge in held for row in judge) == list(range(12))
    assert all(
        len(stop) for stop in (protocol.within(learn, truth, groups)[1] for learn, _ in held)
    )


def test_a_group_on_both_sides_is_named() -> None:
    with pytest.raises(ValueError, match="one side of a split, but 'bo' does not"):
        apart(np.array([0, 1]), np.array([2]), ["ann", "bo", "bo"])


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 3 groups .* but there are 2"):
        Protocol().names(["a", "b", "a"])
    with pytest.raises(ValueError, match=r"all are of 'a': raise `protocol.folds` \(5\)"):
        Protocol().within(np.array([0, 1]), np.array([0, 1, 0]), ["a", "a", "b"])


@pytest.mark.parametrize("wrong", [{"group": "frame"}, {"folds": 1}, {"inner": 1}, {"repeats": 0}])
def test_a_wrong_protocol_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"`protocol.{next(iter(wrong))}` must be"):
        Protocol(**wrong)
