from itertools import pairwise, product
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal as normal

from mien.actors.clustering import (
    Likelihood,
    Turn,
    cluster,
    exclusive,
    label_spans,
    merge,
    shares,
    smooth,
    windows,
)

TICK_S = 0.25
VOICES = Likelihood(between=6.0, within=0.5, short_s=0.5)
turns = st.lists(
    st.builds(
        lambda start, length, who: Turn(start * TICK_S, (start + length) * TICK_S, who),
        st.integers(0, 40),
        st.integers(1, 12),
        st.integers(0, 3),
    ),
    max_size=12,
)


def speakers_at(found: list[Turn], time_s: float) -> set[int]:
    return {t.speaker for t in found if t.start_s <= time_s < t.stop_s}


@given(turns)
def test_exclusive_turns_cover_the_same_time_without_overlap(found: list[Turn]) -> None:
    alone = exclusive(found)
    assert all(a.stop_s <= b.start_s for a, b in pairwise(alone))
    for tick in range(60):
        time_s = (tick + 0.5) * TICK_S
        before, after = speakers_at(found, time_s), speakers_at(alone, time_s)
        assert len(after) == min(len(before), 1)
        assert after <= before


@given(turns)
def test_merged_turns_contain_the_turns_and_add_only_gaps(found: list[Turn]) -> None:
    merged = merge(found, 2 * TICK_S)
    assert merged == sorted(merged)
    for who in range(4):
        mine = [t for t in merged if t.speaker == who]
        assert all(b.start_s - a.stop_s > 2 * TICK_S for a, b in pairwise(mine))
        spoken = [tick for tick in range(60) if who in speakers_at(found, (tick + 0.5) * TICK_S)]
        joined = [tick for tick in range(60) if who in speakers_at(merged, (tick + 0.5) * TICK_S)]
        assert set(spoken) <= set(joined)
        for tick in set(joined) - set(spoken):
            gap = [t for t in spoken if t < tick][-1], next(t for t in spoken if t > tick)
            assert gap[1] - gap[0] - 1 <= 2


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 1000), st.floats(0, 3))
def test_smoothing_is_the_best_path_of_all(n: int, k: int, seed: int, price: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, k))
    cost = np.where(rng.random(n) < 0.7, price, 0.0)

    def value(path: tuple[int, ...]) -> float:
        changes = sum(cost[i] for i in range(1, n) if path[i] != path[i - 1])
        return float(sum(scores[i, state] for i, state in enumerate(path)) - changes)

    best = max(value(path) for path in product(range(k), repeat=n))
    assert value(tuple(smooth(scores, cost))) == pytest.approx(best)


@given(st.lists(st.tuples(st.floats(0.05, 2), st.floats(0.1, 8)), min_size=1, max_size=8))
def test_windows_cover_their_spans(steps: list[tuple[float, float]]) -> None:
    edges = np.cumsum(np.array(steps).ravel())
    spans = edges.reshape(-1, 2)
    cut, span = windows(spans, length_s=1.2, hop_s=0.25)
    for i, (start, stop) in enumerate(spans):
        mine = cut[span == i]
        assert mine[0, 0] == pytest.approx(start)
        assert mine[-1, 1] == pytest.approx(stop)
        assert np.all(np.diff(mine[:, 0]) <= 0.25 + 1e-6)
        assert np.allclose(mine[:, 1] - mine[:, 0], min(1.2, stop - start))


def voices(order: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """20 windows of unit noise for each turn; means 10 apart; each turn in its own span."""
    rng = np.random.default_rng(seed)
    who = np.repeat(order, 20)
    return np.eye(8)[who] * 10 / np.sqrt(2) + rng.normal(0, 0.5, (len(who), 8)), who


@pytest.mark.parametrize("order", [[0], [0, 1], [2, 0, 2, 1], [0, 1, 2, 3, 4, 0]])
@pytest.mark.parametrize("one_span", [True, False])
def test_distinct_voices_are_told_apart(order: list[int], one_span: bool) -> None:
    embeddings, who = voices(order)
    span = np.zeros(len(who), int) if one_span else np.repeat(np.arange(len(order)), 20)
    seconds = np.full(len(who), TICK_S)
    labels = cluster(embeddings, span, seconds, likelihood=VOICES, switch_cost=2)
    assert len(set(labels)) == len(set(order))
    assert {(a, b) for a, b in zip(who, labels, strict=True)} == {
        (w, list(dict.fromkeys(order)).index(w)) for w in set(order)
    }


def test_bounds_of_the_count_hold() -> None:
    embeddings, who = voices([0, 1, 2, 3])
    span, seconds = np.zeros(len(who), int), np.full(len(who), TICK_S)
    few = cluster(embeddings, span, seconds, likelihood=VOICES, switch_cost=2, max_speakers=2)
    assert len(set(few)) == 2
    alike = Likelihood(between=6.0, within=1e4, short_s=0.0)
    many = cluster(embeddings, span, seconds, likelihood=alike, switch_cost=0, min_speakers=3)
    assert len(set(many)) == 3
    for n in (0, 1):
        found = cluster(embeddings[:n], span[:n], seconds[:n], likelihood=VOICES, switch_cost=2)
        assert found.tolist() == [0] * n


def test_who_hardly_speaks_is_given_to_another() -> None:
    embeddings, who = voices([0, 1, 2])
    span, seconds = np.repeat([0, 1, 2], 20), np.repeat([0.25, 0.25, 0.05], 20)
    for min_speech_s, count in ((0.9, 3), (1.1, 2)):
        labels = cluster(
            embeddings,
            span,
            seconds,
            likelihood=VOICES,
            switch_cost=2,
            min_speech_s=min_speech_s,
        )
        assert len(set(labels)) == count
        assert labels[who == 0].max() == 0
        assert labels[who == 1].min() == 1


def test_likelihood_is_that_of_the_densities() -> None:
    """Means of two clusters, jointly normal, with a vague prior on where the recording lies."""
    model = Likelihood(between=1.3, within=0.3, short_s=0.5)
    means, speech_s = np.array([[0.0, 1.0], [2.0, 0.5], [-1.0, 3.0]]), np.array([1.0, 2.0, 50.0])
    found = model.of_two(means, speech_s)
    vague, density = 1e7, cast(Any, normal)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        noise = np.diag(0.3 * (1 + 0.5 / speech_s[[i, j]]))
        two = vague + noise + 1.3 * np.eye(2)
        one = vague + noise + 1.3
        expected = sum(
            density.logpdf(pair, cov=two) - density.logpdf(pair, cov=one)
            for pair in means[[i, j]].T
        )
        assert found[i, j] == pytest.approx(expected, abs=1e-4)


def test_the_less_speech_the_farther_apart_two_voices_must_be() -> None:
    model = Likelihood(between=1.3, within=0.3, short_s=0.5)
    means = np.zeros((2, 12))
    means[1, 0] = 4.0
    assert model.of_two(means, np.array([20.0, 20.0]))[0, 1] > 0
    assert model.of_two(means, np.array([1.0, 1.0]))[0, 1] < 0


def test_seconds_of_windows_add_up_to_their_spans() -> None:
    spans = np.array([[0.0, 2.0], [3.0, 3.5], [4.0, 9.1]])
    cut, span = windows(spans, length_s=1.2, hop_s=0.25)
    np.testing.assert_allclose(np.bincount(span, shares(cut, span)), spans[:, 1] - spans[:, 0])


def test_many_windows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.actors.clustering.SAMPLE", 50)
    embeddings, who = voices([0, 1] * 20)
    span, seconds = np.zeros(len(who), int), np.full(len(who), TICK_S)
    labels = cluster(embeddings, span, seconds, likelihood=VOICES, switch_cost=2)
    assert (labels == who).all()


def test_spans_are_split_where_the_label_changes() -> None:
    spans = np.array([[0.0, 2.0], [3.0, 4.0]])
    cut, span = windows(spans, length_s=1.0, hop_s=0.5)
    found = label_spans(spans, cut, span, np.array([0, 0, 1, 1]))
    assert found == [Turn(0.0, 1.25, 0), Turn(1.25, 2.0, 1), Turn(3.0, 4.0, 1)]
