from typing import Any

import pytest

from mien.cluster.tuning import Halving
from mien.jobs.sweep.domains import Uniform
from mien.jobs.sweep.search import Search

SPACE = {"x": Uniform(low=0, high=1)}


@pytest.mark.parametrize(
    ("outer", "folds"),
    [
        ("all", ["a", "b", "c", "d"]),
        (2, ["a", "c"]),
        (["d", "b"], ["d", "b"]),
        ("c", ["c"]),
    ],
)
def test_outer_folds_are_all_some_or_so_many(outer: Any, folds: list[str]) -> None:  # noqa: ANN401
    assert Search(space=SPACE, outer=outer).folds(["a", "b", "c", "d"]) == folds


@pytest.mark.parametrize("outer", [3, ["a", "x"], "x", []])
def test_outer_folds_that_are_not_there_are_refused(outer: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=r"`sweep.outer` must be"):
        Search(space=SPACE, outer=outer).folds(["a", "b"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 0}, "`sweep.trials` must be at least 1"),
        ({"concurrent": 0}, "`sweep.concurrent` must be at least 1"),
        ({"outer": 0}, "`sweep.outer` must be at least 1"),
        ({"seed": -1}, "`sweep.seed` must be at least 0"),
        ({"space": {}}, "at least one parameter"),
    ],
)
def test_a_search_refuses_what_makes_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Search(**{"space": SPACE, **values})


@pytest.mark.parametrize("values", [{"grace": 0}, {"factor": 1}, {"grace": 5, "max_steps": 4}])
def test_halving_refuses_what_stops_nothing_or_everything(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"`halving\.\w+` must be"):
        Halving(**values)
