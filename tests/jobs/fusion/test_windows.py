from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.datasets.schema import LABELS
from mien.jobs.fusion.windows import Expression, around, chosen, offset

HAPPY, SAD = LABELS.index("happy"), LABELS.index("sad")


def face(*samples: tuple[float, int, float]) -> Expression:
    """Samples of (time, label index, confidence)."""
    t, k, c = (np.array(column) for column in zip(*samples, strict=True))
    return Expression(
        time_s=t.astype(float), scores=np.eye(7)[k.astype(int)], confidence=c.astype(float)
    )


def one(
    expression: Expression, start: float = 10.0, stop: float = 12.0, **rules: float
) -> tuple[str | None, Any]:
    windows = around(expression, np.array([start]), np.array([stop]), **rules)
    name = chosen(windows, 0)
    return name, None if name is None else windows[name]


@pytest.mark.parametrize(
    ("t", "window"),
    [
        *[(4.99, None), (5.0, "nearby"), (8.49, "nearby"), (8.5, "before"), (9.99, "before")],
        *[(10.0, "during"), (11.99, "during"), (12.0, "after"), (13.49, "after")],
        *[(13.5, "nearby"), (16.99, "nearby"), (17.0, None)],
    ],
)
def test_windows_are_half_open(t: float, window: str | None) -> None:
    assert one(face((t, HAPPY, 0.9)))[0] == window


def test_during_goes_before_before_before_after() -> None:
    samples = [(9.0, HAPPY, 1.0), (11.0, SAD, 0.1), (12.5, HAPPY, 1.0)]
    name, votes = one(face(*samples))
    assert (name, votes.label(0), votes.certainty(0)) == ("during", "sad", pytest.approx(0.1))
    name, votes = one(face(samples[0], (12.5, SAD, 1.0)))
    assert (name, votes.label(0)) == ("before", "happy")


def test_far_faces_have_the_fallback_confidence() -> None:
    _, votes = one(face((15.0, HAPPY, 0.99)))
    assert votes.certainty(0) == pytest.approx(0.4)


def test_votes_are_weighted_by_confidence() -> None:
    _, votes = one(face((10.1, HAPPY, 0.2), (10.2, HAPPY, 0.2), (10.3, SAD, 0.9)))
    assert votes.label(0) == "sad"
    assert votes.scores[0, SAD] == pytest.approx(0.9 / 1.3)
    assert votes.certainty(0) == pytest.approx(1.3 / 3)


def test_unknown_samples_have_no_vote() -> None:
    looks = Expression(
        time_s=np.array([10.5, 11.0]), scores=np.full((2, 7), np.nan), confidence=np.ones(2)
    )
    assert one(looks) == (None, None)
    votes = looks.votes(np.array([10.0]), np.array([12.0]))
    assert (votes.label(0), votes.certainty(0)) == (None, None)
    assert np.isnan(votes.scores).all()


@given(st.integers(0, 9999))
def test_agrees_with_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(0, 60), 8
    t = np.sort(rng.uniform(0, 20, n))
    scores = rng.dirichlet(np.ones(7), n) if n else np.zeros((0, 7))
    scores[rng.random(n) < 0.2] = np.nan
    sure = np.where(rng.random(n) < 0.1, 0, rng.random(n))
    looks = Expression(time_s=t, scores=scores, confidence=sure)
    start = rng.uniform(0, 20, m)
    stop = start + rng.uniform(-1, 4, m)
    votes = looks.votes(start, stop)
    for i in range(m):
        inside = (t >= start[i]) & (t < stop[i]) & np.isfinite(scores).all(axis=1) & (sure > 0)
        assert votes.seen[i] == inside.sum()
        if inside.any():
            wanted = np.average(scores[inside], axis=0, weights=sure[inside])
            np.testing.assert_allclose(votes.scores[i], wanted, atol=1e-9)
            assert votes.confidence[i] == pytest.approx(sure[inside].mean())
        else:
            assert np.isnan(votes.scores[i]).all()
            assert np.isnan(votes.confidence[i])


def test_offset_needs_a_minute() -> None:
    assert offset(670.1, 10.0, 600.0, tolerance_s=60) == pytest.approx(660.1)
    assert offset(660.0, 10.0, 600.0) == 0
    assert offset(None, 10.0, 600.0) == 0
    assert offset(700.0, None, None) == 0
