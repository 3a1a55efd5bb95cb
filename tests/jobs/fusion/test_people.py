import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from mien.jobs.fusion.people import UNKNOWN, People, join, name, people, rank

Array = NDArray[np.float64]


def noisy(truth: list[int], seed: int = 0) -> Array:
    """Embeddings: one random direction per person, with noise."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(max(truth) + 1, 64))
    vectors = directions[truth] + 0.4 * rng.normal(size=(len(truth), 64))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def run(truth: list[int], span: list[int], track: list[int], time_s: list[float]) -> People:
    return people(
        span=np.array(span),
        track=np.array(track),
        time_s=np.array(time_s),
        embedding=noisy(truth),
    )


def test_a_person_who_returns_is_one_person_across_spans() -> None:
    # Track numbers start again in each span.
    found = run([0, 0, 1, 0, 2], [0, 0, 0, 1, 1], [3, 3, 4, 3, 4], [0.0, 1.0, 5.0, 60.0, 70.0])
    assert found.keys.tolist() == [[0, 3], [0, 4], [1, 3], [1, 4]]
    assert found.person.tolist() == [0, 1, 0, 2]
    assert found.face.tolist() == [0, 0, 1, 0, 2]
    assert found.count == 3
    assert found.of(1, 3) == 0
    assert found.of(7, 7) == UNKNOWN
    assert [name(person) for person in (0, 12, UNKNOWN)] == ["PERSON_00", "PERSON_12", None]


def test_faces_seen_at_once_are_two_persons_however_alike() -> None:
    found = run([0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1], [0.0, 0.0, 1.0, 1.0])
    assert found.count == 2
    apart = run([0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1], [0.0, 5.0, 1.0, 6.0])
    assert apart.count == 1


def test_a_track_without_embedding_is_unknown() -> None:
    vectors = noisy([0, 0, 1])
    vectors[1] = np.nan
    found = people(
        span=np.zeros(3, int), track=np.arange(3), time_s=np.arange(3.0), embedding=vectors
    )
    assert found.person.tolist() == [0, UNKNOWN, 1]
    assert found.of(0, 1) == UNKNOWN


def test_good_faces_count_more() -> None:
    vectors = noisy([0, 1, 0, 1])
    arguments = {
        "span": np.zeros(4, int),
        "track": np.array([0, 0, 1, 2]),
        "time_s": np.array([0.0, 1.0, 5.0, 9.0]),
        "embedding": vectors,
    }
    first = people(**arguments, weight=np.array([1.0, 0.0, 1.0, 1.0]))
    second = people(**arguments, weight=np.array([0.0, 1.0, 1.0, 1.0]))
    assert first.person.tolist() == [0, 0, 1]
    assert second.person.tolist() == [0, 1, 0]


def test_nobody() -> None:
    found = people(
        span=np.zeros(0, int),
        track=np.zeros(0, int),
        time_s=np.zeros(0),
        embedding=np.zeros((0, 8)),
    )
    assert found.count == 0
    assert found.face.shape == (0,)


@given(st.integers(2, 25), st.integers(0, 10_000), st.floats(-0.3, 0.9))
def test_unconstrained_joins_equal_scipys_average_linkage(
    count: int, seed: int, least: float
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors.T
    ours = join(alike, np.zeros((count, count), bool), least)
    gap = squareform(1 - alike, checks=False)
    theirs = fcluster(linkage(gap, "average"), 1 - least, criterion="distance")
    np.testing.assert_array_equal(ours[:, None] == ours, theirs[:, None] == theirs)


@given(st.integers(2, 20), st.integers(0, 10_000))
def test_constraints_hold_for_whole_groups(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    apart = rng.random((count, count)) < 0.3
    apart |= apart.T
    alike = rng.random((count, count))
    group = join((alike + alike.T) / 2, apart, 0.1)
    together = (group[:, None] == group) & ~np.eye(count, dtype=bool)
    assert not (together & apart).any()


def test_persons_are_numbered_by_first_appearance() -> None:
    assert rank(np.array([7, 2, 7, 5]), np.array([4.0, 1.0, 3.0, 1.0])).tolist() == [2, 0, 2, 1]


def test_an_impossible_likeness_is_refused() -> None:
    with pytest.raises(ValueError, match="`likeness` must be between -1 and 1"):
        people(
            span=np.zeros(0, int),
            track=np.zeros(0, int),
            time_s=np.zeros(0),
            embedding=np.zeros((0, 8)),
            likeness=3,
        )
