from typing import Any

import numpy as np
import pytest
from scipy import stats

from mien.jobs.evaluation.intervals import (
    corrected_t,
    difference,
    interval,
    mcnemar,
    overfitting,
)

LABELS = ("no", "yes")


def grouped(
    random: np.random.Generator, groups: int = 40, rows: int = 15, spread: float = 3.0
) -> tuple[list[str], list[str], list[str]]:
    """Answers whose share of right ones differs from group to group; `accuracy` is 0.5 at large."""
    right = random.beta(1 / spread, 1 / spread, groups)
    hits = random.random((groups, rows)) < right[:, None]
    truth = random.choice(LABELS, (groups, rows))
    predicted = np.where(hits, truth, np.where(truth == "no", "yes", "no"))
    names = np.repeat([f"g{i}" for i in range(groups)], rows)
    return truth.ravel().tolist(), predicted.ravel().tolist(), names.tolist()


def test_intervals_by_group_hold_the_truth_and_those_by_row_do_not() -> None:
    random = np.random.default_rng(0)
    held = {"group": 0, "row": 0}
    trials = 120
    for trial in range(trials):
        truth, predicted, groups = grouped(random)
        names = {"group": groups, "row": [str(i) for i in range(len(truth))]}
        found = {
            by: interval(truth, predicted, name, LABELS, "accuracy", resamples=300, seed=trial)
            for by, name in names.items()
        }
        for by, one in found.items():
            held[by] += one.low <= 0.5 <= one.high
        wide = {by: one.high - one.low for by, one in found.items()}
        assert wide["group"] > 1.5 * wide["row"]
        assert found["group"].value == found["row"].value
    assert 0.86 * trials <= held["group"]
    assert held["row"] <= 0.75 * trials


def test_an_interval_of_independent_rows_is_that_of_theory() -> None:
    random = np.random.default_rng(1)
    hits = random.random(900) < 0.7
    predicted = np.where(hits, "yes", "no").tolist()
    rows = [str(i) for i in range(900)]
    one = interval(["yes"] * 900, predicted, rows, LABELS, "accuracy", resamples=4000)
    margin = 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / 900)
    assert one.low == pytest.approx(one.value - margin, abs=0.004)
    assert one.high == pytest.approx(one.value + margin, abs=0.004)


def test_the_same_seed_gives_the_same_interval() -> None:
    given = grouped(np.random.default_rng(2))
    one = interval(*given, LABELS, "macro_f1", seed=3, resamples=250)
    assert one == interval(*given, LABELS, "macro_f1", seed=3, resamples=250)
    assert one != interval(*given, LABELS, "macro_f1", seed=4, resamples=250)


def test_a_difference_is_paired() -> None:
    random = np.random.default_rng(3)
    truth, worse, groups = grouped(random, spread=0.5)
    mended = random.random(len(truth)) < 0.1
    better = [t if m else w for t, w, m in zip(truth, worse, mended, strict=True)]
    found = difference(truth, better, worse, groups, LABELS, "accuracy")
    assert 0 < found.low < found.value < found.high
    assert found.p < 0.01
    alone = interval(truth, better, groups, LABELS, "accuracy")
    assert found.high - found.low < alone.high - alone.low  # what both share cancels
    back = difference(truth, worse, better, groups, LABELS, "accuracy")
    assert back.value == pytest.approx(-found.value)
    same = difference(truth, worse, worse, groups, LABELS, "accuracy")
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(("only_a", "only_b"), [(8, 2), (0, 5), (7, 7), (30, 12)])
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int) -> None:
    truth = ["yes"] * (only_a + only_b + 4)
    a = ["yes"] * only_a + ["no"] * only_b + ["yes", "yes", "no", "no"]
    b = ["no"] * only_a + ["yes"] * only_b + ["yes", "yes", "no", "no"]
    found = mcnemar(truth, a, b)
    few, both = min(only_a, only_b), only_a + only_b
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p == pytest.approx(min(1.0, 2 * stats.binom.cdf(few, both, 0.5)))


def test_mcnemar_of_equals() -> None:
    assert mcnemar(["yes"], ["no"], ["no"]).p == 1.0


def test_corrected_t_by_hand() -> None:
    # differences .1 .2 .3: mean .2, variance .01; 1/3 + (1/10)/(9/10) = 4/9; t = .2 / (2/3 * .1)
    t, p = corrected_t([0.5, 0.7, 0.9], [0.4, 0.5, 0.6], test_share=0.1)
    assert t == pytest.approx(3.0)
    assert p == pytest.approx(2 * stats.t.sf(3.0, 2))


def test_corrected_t_is_never_surer_than_the_plain_one() -> None:
    random = np.random.default_rng(4)
    for _ in range(50):
        a, b = random.normal(0.6, 0.1, 10), random.normal(0.55, 0.1, 10)
        t, p = corrected_t(a, b, test_share=random.uniform(0.01, 0.9))
        plain = stats.ttest_rel(a, b)
        assert p >= plain.pvalue
        assert np.sign(t) == np.sign(plain.statistic)


def test_corrected_t_where_all_folds_agree() -> None:
    assert corrected_t([0.5, 0.6], [0.5, 0.6], 0.5) == (0.0, 1.0)
    assert corrected_t([0.5, 0.6], [0.4, 0.5], 0.5) == (np.inf, 0.0)


def test_overfitting() -> None:
    assert overfitting(0.0, 0.0) == 0.0
    assert overfitting(0.4, 0.4) == 0.0
    assert overfitting(0.0, 0.3) == 1.0
    assert overfitting(0.2, 0.4) == pytest.approx(1 / 3)
    assert overfitting(0.4, 0.2) == pytest.approx(-1 / 3)
    with pytest.raises(ValueError, match="`train_loss` must be at least 0"):
        overfitting(-1.0, 0.1)
    with pytest.raises(ValueError, match=r"`validation_loss`.*nan"):
        overfitting(0.1, float("nan"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 1.0}, "`level` must be between 0 and 1"),
        ({"resamples": 0}, "`resamples` must be at least 1"),
        ({"groups": ["g"]}, "2, 2 and 1 rows"),
        ({"truth": [], "predicted": [], "groups": []}, "no rows"),
    ],
)
def test_what_cannot_be_judged_is_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "truth": ["no", "yes"],
        "predicted": ["no", "no"],
        "groups": ["g", "h"],
        "labels": LABELS,
        "metric": "uar",
    }
    with pytest.raises(ValueError, match=message):
        interval(**(given | change))


def test_folds_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 folds"):
        corrected_t([0.5], [0.4], 0.1)
    with pytest.raises(ValueError, match="`test_share` must be between 0 and 1"):
        corrected_t([0.5, 0.6], [0.4, 0.4], 1.0)
