"""Fusion of probabilities: what is learnt, what is missing, what is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from mien.jobs.benchmark.late_fusion import (
    Equal,
    Fusion,
    Scores,
    Stacked,
    Weighted,
    cross_validated,
    judged,
    parted,
    pooled,
    simplex,
)

CLASSES = 3


def truth(rows: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).choice(CLASSES, rows, p=[0.6, 0.3, 0.1])


def scores(labels: NDArray[np.int64], strength: float, seed: int) -> Scores:
    """Probabilities that know the label as well as `strength` says; 0: not at all."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += strength
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_a_row_without_a_modality_is_judged_by_the_others() -> None:
    said = {"a": np.array([[0.8, 0.2], [np.nan, np.nan]]), "b": np.array([[0.2, 0.8], [0.3, 0.7]])}
    fused = pooled(said, {"a": 3.0, "b": 1.0}, np.array([0.5, 0.5]))
    assert fused == pytest.approx(np.array([[0.65, 0.35], [0.3, 0.7]]))


def test_a_row_without_any_gets_the_frequencies() -> None:
    labels = np.array([0, 0, 0, 1])
    nothing = {"a": np.full((4, 2), np.nan)}
    for way in (Equal(), Weighted(), Stacked()):
        fused = way.fit({"a": np.tile([0.7, 0.3], (4, 1))}, labels)(nothing)
        assert fused.argmax(1).tolist() == [0, 0, 0, 0]
    assert Equal().fit(nothing, labels)(nothing)[0].tolist() == [0.75, 0.25]


def test_the_grid_holds_all_weights_that_sum_to_one() -> None:
    grid = list(simplex(["a", "b", "c"], 10))
    assert len(grid) == 66  # (10 + 2) choose 2
    assert all(sum(weights.values()) == pytest.approx(1) for weights in grid)
    assert {"a": 0.1, "b": 0.2, "c": 0.7} in grid


def test_the_weights_are_the_best_of_the_grid() -> None:
    labels = truth(400)
    said = {"good": scores(labels, 2.0, 1), "noise": scores(labels, 0.0, 2)}
    best = Weighted(steps=10).best(said, labels)
    prior = np.bincount(labels, minlength=CLASSES) / len(labels)
    every = {
        weights["good"]: f1_score(
            labels,
            pooled(said, weights, prior).argmax(1),
            average="weighted",
            zero_division=0,  # pyright: ignore[reportArgumentType]
        )
        for weights in simplex(["good", "noise"], 10)
    }
    assert every[best["good"]] == pytest.approx(max(every.values()))
    assert best["good"] > best["noise"]


def test_of_equally_good_weights_the_nearest_to_equal_ones_are_taken() -> None:
    labels = truth(50)
    one = scores(labels, 2.0, 1)
    assert Weighted(steps=10).best({"a": one, "b": one}, labels) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("way", [Weighted(), Stacked()])
def test_what_is_learnt_ignores_noise_and_uses_what_complements(way: Fusion) -> None:
    labels, held = truth(1500), truth(1500, seed=9)
    for strength, least in ((0.0, -0.02), (1.5, 0.04)):  # the second modality: noise, or signal
        learnt = {"a": scores(labels, 1.5, 1), "b": scores(labels, strength, 2)}
        asked = {"a": scores(held, 1.5, 3), "b": scores(held, strength, 4)}
        fused = judged(way.fit(learnt, labels)(asked), held, "weighted_f1")
        assert fused - judged(asked["a"], held, "weighted_f1") > least


def test_equal_weights_are_degraded_by_noise() -> None:
    labels, held = truth(1500), truth(1500, seed=9)
    learnt = {"a": scores(labels, 1.5, 1), "b": scores(labels, 0.0, 2)}
    asked = {"a": scores(held, 1.5, 3), "b": scores(held, 0.0, 4)}
    fused = judged(Equal().fit(learnt, labels)(asked), held, "weighted_f1")
    assert fused < judged(asked["a"], held, "weighted_f1") - 0.03


def test_stacking_knows_a_label_that_training_lacks() -> None:
    labels = np.array([0, 1] * 20)
    fused = Stacked().fit({"a": scores(labels, 2.0, 1)}, labels)({"a": scores(labels, 2.0, 2)})
    assert fused.shape == (40, CLASSES)
    assert (fused[:, 2] == 0).all()
    assert fused.sum(1) == pytest.approx(np.ones(40))
    alone = {"a": scores(labels, 2.0, 1)}
    assert Stacked().fit(alone, np.zeros(40, int))(alone) == pytest.approx(alone["a"])


def test_parts_hold_whole_groups_and_are_the_same_each_time() -> None:
    groups = [f"dialogue {i // 4}" for i in range(60)]
    parts = list(parted(groups, 5))
    assert sorted(np.concatenate([held for _, held in parts]).tolist()) == list(range(60))
    for learnt, held in parts:
        assert not {groups[i] for i in learnt} & {groups[i] for i in held}
    again = [held.tolist() for _, held in parted(groups, 5)]
    assert [held.tolist() for _, held in parts] == again
    with pytest.raises(ValueError, match=r"at most the number of groups \(15\), but is 16"):
        list(parted(groups, 16))


def test_cross_validation_gives_the_mean_so_far() -> None:
    labels = truth(200)
    groups = [str(i // 5) for i in range(200)]
    said = {"a": scores(labels, 1.5, 1), "b": scores(labels, 1.0, 2)}
    steps = list(cross_validated(Equal(), said, labels, groups, "weighted_f1", 4))
    each = [
        judged(pooled({n: s[held] for n, s in said.items()}, {"a": 1, "b": 1}, said["a"][0]), t, m)
        for _, held in parted(groups, 4)
        for t, m in [(labels[held], "weighted_f1")]
    ]
    assert steps == pytest.approx([np.mean(each[: i + 1]) for i in range(4)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Weighted(steps=0), "`steps` must be at least 1, but is 0"),
        (lambda: Weighted(metric="luck"), "`metric` must be one of .*, but is 'luck'"),
        (lambda: Stacked(c=0), "`c` must be greater than 0, but is 0"),
    ],
)
def test_parameters_are_checked(build: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
