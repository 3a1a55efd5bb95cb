"""Pairs of systems, and the words that are drawn from them."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import false_discovery_control

from mien.jobs.benchmark.baselines import by_key, commonest, random_labels
from mien.jobs.benchmark.comparisons import (
    additions,
    compared,
    holm,
    hypothesis,
    subsets,
    tabled,
    verdict,
)
from mien.jobs.evaluation.predictions import PREDICTIONS, predictions

LABELS = ("no", "yes")


def said(system: str, right: float, rows: int = 400, seed: int = 0) -> tuple[str, list[str]]:
    random = np.random.default_rng(seed)
    truth = ["yes" if i % 3 else "no" for i in range(rows)]
    flip = {"yes": "no", "no": "yes"}
    return system, [t if random.random() < right else flip[t] for t in truth]


def table(*systems: tuple[str, list[str]]) -> pa.Table:
    parts = [
        predictions(
            benchmark="b",
            system=system,
            split="dev",
            fold="dev",
            ids=[str(i) for i in range(len(answers))],
            groups=[str(i // 8) for i in range(len(answers))],
            truth=["yes" if i % 3 else "no" for i in range(len(answers))],
            predicted=answers,
        )
        for system, answers in systems
    ]
    return pa.concat_tables(parts)


def test_holm_is_what_its_definition_says() -> None:
    values = [0.01, 0.02, 0.03, 0.005, 0.5]
    order = np.argsort(values)
    stepped = [(len(values) - rank) * values[i] for rank, i in enumerate(order)]
    expected = np.minimum(1, np.maximum.accumulate(stepped))
    assert [holm(values)[i] for i in order] == pytest.approx(expected)
    assert (np.array(holm(values)) >= false_discovery_control(values) - 1e-12).all()
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_clear_difference_is_decided_and_a_small_one_is_not() -> None:
    rows = table(said("good", 0.9), said("bad", 0.6, seed=1), said("as good", 0.9, seed=2))
    worse = compared(rows, "bad", "good", LABELS, "weighted_f1")
    assert verdict(worse) == "supported"
    assert "supported. bad less good: -0." in hypothesis("bad degrades", worse)
    assert verdict(compared(rows, "good", "bad", LABELS, "weighted_f1")) == "not supported"
    assert verdict(compared(rows, "good", "as good", LABELS, "weighted_f1")) == "undecided"
    assert verdict(compared(rows, "good", "good", LABELS, "weighted_f1")) == "undecided"


def test_rows_are_matched_by_their_name_not_by_their_order() -> None:
    rows = table(said("a", 0.9), said("b", 0.6, seed=1))
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    pairs = [compared(t, "a", "b", LABELS, "weighted_f1") for t in (rows, shuffled)]
    assert pairs[0].difference.value == pytest.approx(pairs[1].difference.value)
    assert pairs[0].test == pairs[1].test


def test_systems_on_other_rows_are_refused() -> None:
    rows = table(said("a", 0.9), said("b", 0.9, rows=300))
    with pytest.raises(ValueError, match="must have answered the same rows"):
        compared(rows, "a", "b", LABELS, "weighted_f1")
    with pytest.raises(ValueError, match=r"there must be predictions of 'c', but .* 'a', 'b'"):
        compared(rows, "a", "c", LABELS, "weighted_f1")


def test_the_table_adjusts_for_all_its_pairs() -> None:
    rows = table(said("a", 0.9), said("b", 0.8, seed=1), said("c", 0.78, seed=2))
    pairs = [compared(rows, *p, LABELS, "weighted_f1") for p in (("a", "b"), ("a", "c"))]
    found = tabled(pairs)
    assert found["p, Holm"].to_pylist() == pytest.approx(holm([p.test.p for p in pairs]))
    assert found["only a right"].to_pylist() == [p.test.only_a for p in pairs]


def test_every_subset_and_what_each_modality_adds() -> None:
    found = subsets(["text", "audio", "face"])
    assert len(found) == 7
    assert found[-1] == ("text", "audio", "face")
    named = {subset: "+".join(subset) for subset in found}
    assert len(additions(named)) == 3 * 2 + 3  # each pair less one, the whole less one
    assert ("audio", "text+audio", "text") in additions(named)


def test_baselines_need_no_look_at_the_row() -> None:
    truth = ["neutral"] * 3 + ["joy"] * 2
    assert commonest(truth) == "neutral"
    assert commonest(["b", "a"]) == "a"
    asked = by_key(["x", "x", "x", "y", "y"], truth, ["y", "x", "stranger"])
    assert asked == ["joy", "neutral", "neutral"]


def test_random_labels_are_what_many_draws_come_to() -> None:
    truth, labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10, ("a", "b", "c")
    metrics = ("accuracy", "uar", "weighted_f1")
    rows = random_labels("x", truth, truth, labels=labels, metrics=metrics, split="dev")
    found = dict(zip(rows["metric"].to_pylist(), rows["value"].to_pylist(), strict=True))
    assert found["accuracy"] == pytest.approx(0.6**2 + 0.3**2 + 0.1**2)
    assert found["uar"] == pytest.approx(1 / 3)
    assert found["weighted_f1"] == pytest.approx(0.6**2 + 0.3**2 + 0.1**2)  # precision = share
    assert set(rows["kind"].to_pylist()) == {"baseline"}
    assert PREDICTIONS.names[0] == rows.schema.names[0] == "benchmark"
