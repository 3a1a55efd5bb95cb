"""The area under the curve: resampled as scikit-learn weighs it."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mien.jobs.evaluation import area as module
from mien.jobs.evaluation.area import area

LABELS = ("a", "b", "c")


def drawn(seed: int, rows: int = 90) -> tuple[list[str], np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, rows)
    scores = random.random((rows, 3)).round(1) + 0.5 * np.eye(3)[truth]  # rounded: there are ties
    return [LABELS[i] for i in truth], scores, [f"p{i % 9}" for i in range(rows)]


def test_a_resample_is_weighed_as_scikit_learn_does() -> None:
    truth, scores, _ = drawn(0)
    positive = np.array(truth) == "b"
    often = np.random.default_rng(1).integers(0, 4, (5, len(truth)))
    found = module._areas(scores[:, 1], positive, often)  # pyright: ignore[reportPrivateUsage]
    wanted = [roc_auc_score(positive, scores[:, 1], sample_weight=one) for one in often]
    assert found == pytest.approx(wanted)


def test_the_interval_holds_the_value_and_narrows_with_groups() -> None:
    few, many = (area(*drawn(0, rows), LABELS, resamples=300) for rows in (90, 9000))
    assert few is not None
    assert many is not None
    assert few.low < few.value < few.high
    truth, scores, _ = drawn(0)
    wanted = [
        float(roc_auc_score([t == x for t in truth], scores[:, i])) for i, x in enumerate(LABELS)
    ]
    assert few.value == pytest.approx(np.mean(wanted))
    assert many.high - many.low < few.high - few.low
    assert area(*drawn(0), LABELS, resamples=300) == few


def test_one_label_alone_has_no_area() -> None:
    assert area(["a", "a"], np.eye(3)[[0, 0]], ["p", "q"], LABELS) is None


def test_a_perfect_order_is_sure() -> None:
    truth = ["a", "b", "c"] * 10
    found = area(truth, np.eye(3)[[0, 1, 2] * 10], [f"p{i % 5}" for i in range(30)], LABELS)
    assert found is not None
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
