from typing import Any

import pyarrow as pa
import pytest

from mien.jobs.evaluation.predictions import PREDICTIONS, check, predictions, probabilities
from mien.jobs.evaluation.results import RESULTS, Anchor, anchors, measured

LABELS = ("joy", "fear")
TRUTH = ["joy", "joy", "fear", "fear"]


def said(system: str, predicted: list, scores: list | None = None, **change: Any) -> pa.Table:  # noqa: ANN401
    given: dict[str, Any] = {
        "benchmark": "b",
        "system": system,
        "split": "dev",
        "fold": "dev",
        "ids": ["1", "2", "3", "4"],
        "groups": ["x", "x", "y", "y"],
        "truth": TRUTH,
    }
    return predictions(**(given | change), predicted=predicted, scores=scores)


def judged(table: pa.Table, **change: Any) -> pa.Table:  # noqa: ANN401
    given: dict[str, Any] = {
        "labels": LABELS,
        "inputs": {"a": "T"},
        "kinds": {"b": "baseline"},
        "metrics": ["accuracy", "auc"],
        "split": "dev",
        "resamples": 50,
    }
    return measured("b", table, **(given | change))


def test_every_system_is_judged_with_its_kind_and_interval() -> None:
    sure = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]]
    both = pa.concat_tables(
        [said("a", ["joy", "fear", "fear", "fear"], sure), said("b", ["joy"] * 4)]
    )
    found = judged(both, notes={"a": "no context"})
    assert found.schema.equals(RESULTS)
    a, area, b = found.to_pylist()
    assert (a["system"], a["kind"], a["inputs"], a["note"]) == ("a", "system", "T", "no context")
    assert (a["metric"], a["value"], a["rows"], a["groups"]) == ("accuracy", 0.75, 4, 2)
    assert (a["low"], a["high"], a["level"]) == (0.5, 1.0, 0.95)
    assert (area["metric"], area["value"], area["low"]) == ("auc", 1.0, 1.0)
    assert (b["kind"], b["metric"], b["value"]) == ("baseline", "accuracy", 0.5)


def test_one_group_has_no_interval() -> None:
    alone = said("a", ["joy", "joy", "joy", "fear"], groups=["x"] * 4)
    (row,) = judged(alone, metrics=["accuracy"]).to_pylist()
    assert (row["low"], row["high"], row["level"], row["groups"]) == (None, None, None, 1)
    assert 0 < row["value"] < 1


def test_folds_are_pooled() -> None:
    rows = said("a", ["joy", "joy", "joy", "fear"], fold=["s1", "s2", "s2", "s2"], split="loso")
    (one,) = judged(rows, split="loso", metrics=["uar"]).to_pylist()
    assert one["value"] == 0.75


def test_anchors_are_dated_and_sourced() -> None:
    one = Anchor(
        system="TelME", metric="weighted_f1", value=0.67, inputs="T+A+V", source="N", date="2024"
    )
    (row,) = anchors("meld", [one]).to_pylist()
    assert (row["kind"], row["source"], row["date"], row["low"]) == ("anchor", "N", "2024", None)
    with pytest.raises(ValueError, match=r"from 0 to 1, but is 67.*TelME"):
        Anchor(system="TelME", metric="uar", value=67, inputs="", source="N", date="2024")
    with pytest.raises(ValueError, match="must say its `date`"):
        Anchor(system="TelME", metric="uar", value=0.67, inputs="", source="N", date="")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (said("b", ["joy"] * 4, ids=["1", "2", "3", "5"]), "'b' was judged on other rows"),
        (said("b", ["joy"] * 4, truth=["joy"] * 4), "'b' was judged on other rows or labels"),
        (said("b", ["joy"] * 4, ids=["1", "2", "3", "3"]), "an id of 'dev' more than once"),
        (said("b", ["joy", "joy", "joy", "anger"]), "one of joy, fear, but is 'anger'"),
        (said("b", ["joy", "joy", "joy", None]), "lack `predicted` in 1 rows"),
    ],
)
def test_what_cannot_be_compared_is_refused(other: pa.Table, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judged(pa.concat_tables([said("a", TRUTH), other]))


def test_a_table_of_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the columns"):
        check(pa.table({"id": ["1"]}), LABELS)


def test_an_empty_split_and_an_unknown_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="no predictions of the split 'test'"):
        judged(said("a", TRUTH), split="test")
    with pytest.raises(ValueError, match=r"a kind must be one of system.*'sota'"):
        judged(said("a", TRUTH), kinds={"a": "sota"})


def test_probabilities() -> None:
    rows = said("a", TRUTH, [[0.5, 0.5]] * 4)
    assert rows.schema.equals(PREDICTIONS)
    known = probabilities(rows, LABELS)
    assert known is not None
    assert known.shape == (4, 2)
    assert probabilities(said("a", TRUTH), LABELS) is None
    with pytest.raises(ValueError, match="each of the 3 labels"):
        probabilities(rows, ("a", "b", "c"))
