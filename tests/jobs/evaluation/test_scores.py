from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mien.jobs.evaluation.scores import METRICS, Scores, confusion, macro_f1, metric, scores, uar

SMIC = {"negative": 70, "positive": 51, "surprise": 43}
MELD_TEST = {
    "neutral": 1256,
    "joy": 402,
    "surprise": 281,
    "anger": 345,
    "sadness": 208,
    "disgust": 68,
    "fear": 50,
}


Answers = tuple[tuple[str, ...], list[str], list[str]]


@st.composite
def answers(draw: st.DrawFn) -> Answers:
    labels = tuple("abcdefg"[: draw(st.integers(2, 7))])
    rows = draw(st.lists(st.tuples(st.sampled_from(labels), st.sampled_from(labels)), min_size=1))
    return labels, [t for t, _ in rows], [p for _, p in rows]


@given(answers())
@settings(max_examples=40, deadline=None)
def test_every_score_is_that_of_scikit_learn(
    given: tuple[tuple[str, ...], list[str], list[str]],
) -> None:
    labels, truth, predicted = given
    ours = scores(truth, predicted, labels)
    occurring: dict[str, Any] = {"labels": sorted(set(truth)), "zero_division": 0}
    pinned: dict[str, Any] = {"labels": list(labels), "zero_division": 0}
    np.testing.assert_array_equal(
        ours.confusion, metrics.confusion_matrix(truth, predicted, labels=list(labels))
    )
    expected: Any = metrics.precision_recall_fscore_support(truth, predicted, **pinned)
    found = (ours.precision, ours.recall, ours.f1, ours.support)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    recall = metrics.recall_score(truth, predicted, average="macro", **pinned)
    weighted = metrics.f1_score(truth, predicted, average="weighted", **pinned)
    macro = metrics.f1_score(truth, predicted, average="macro", **pinned)
    balanced = metrics.recall_score(truth, predicted, average="macro", **occurring)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert ours.uar == pytest.approx(recall)
    assert ours.weighted_f1 == pytest.approx(weighted)
    assert ours.macro_f1 == ours.uf1 == pytest.approx(macro)
    assert ours.balanced_accuracy == pytest.approx(balanced)


def test_auc_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels = ("a", "b", "c")
    truth = random.choice(labels, 60).tolist()
    probabilities = random.dirichlet((1, 1, 1), 60)
    ours = scores(truth, truth, labels, probabilities).auc
    theirs = metrics.roc_auc_score(truth, probabilities, multi_class="ovr", labels=list(labels))
    assert ours == pytest.approx(theirs)
    two = scores(truth, truth, (*labels, "never"), np.pad(probabilities, ((0, 0), (0, 1))))
    assert two.auc == pytest.approx(theirs)  # a label that never occurs is left out
    assert scores(["a"], ["a"], labels, [[1, 0, 0]]).auc is None
    with pytest.raises(ValueError, match="shape"):
        scores(truth, truth, labels, probabilities[:, :2])


def test_metrics_work_on_many_matrices_at_once() -> None:
    counts = np.random.default_rng(1).integers(0, 9, (4, 5, 3, 3))
    for judge in METRICS.values():
        every = judge(counts)
        assert every.shape == (4, 5)
        assert every[2, 3] == pytest.approx(float(judge(counts[2, 3])))


def test_trivial_answers_give_the_values_of_their_counts() -> None:
    def always(label: str, counts: dict[str, int]) -> Scores:
        truth = [name for name, count in counts.items() for _ in range(count)]
        return scores(truth, [label] * len(truth), tuple(counts))

    smic = always("negative", SMIC)
    assert round(smic.uf1, 4) == 0.1994
    assert round(smic.uar, 4) == 0.3333
    assert round(always("neutral", MELD_TEST).weighted_f1, 4) == 0.3127


def test_pooled_counts_are_not_the_average_of_folds() -> None:
    labels = ("a", "b")
    folds = [(["a", "a", "b"], ["a", "a", "a"]), (["b"], ["b"])]
    pooled = confusion([x for t, _ in folds for x in t], [x for _, p in folds for x in p], labels)
    each = [confusion(*fold, labels) for fold in folds]
    assert float(macro_f1(pooled)) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert np.mean([macro_f1(one) for one in each]) == pytest.approx((2 / 5 + 1 / 2) / 2)
    assert float(uar(pooled)) == pytest.approx(0.75)
    assert np.mean([uar(one) for one in each]) == pytest.approx(0.5)


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(ValueError, match="one of a, b, but is 'c'"):
        scores(["a"], ["c"], ("a", "b"))
    with pytest.raises(ValueError, match="2 rows"):
        scores(["a", "b"], ["a"], ("a", "b"))
    with pytest.raises(ValueError, match=r"weighted_f1.*'f2'"):
        metric("f2")
