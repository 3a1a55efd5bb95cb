"""Studies, without Ray: a loop in this process makes the trials."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
import yaml

from mien.cluster.tuning import Parameters, Tried
from mien.jobs.sweep.domains import Choice, Integer, LogUniform, Uniform
from mien.jobs.sweep.inner import Inner
from mien.jobs.sweep.report import DEFAULT, TUNED, Fold, outcome
from mien.jobs.sweep.search import Search
from mien.jobs.sweep.study import Study, read

pytest.importorskip("optuna")
pytestmark = pytest.mark.models

DOMAINS = {"benchmark.x": Uniform(low=0, high=1), "benchmark.c": LogUniform(low=1e-4, high=10)}


def make(study: Study, objective: Callable[[Parameters], Iterator[float]], most: int = 99) -> Study:
    """Make trials, one after the other."""
    while most and (asked := study.ask()):
        try:
            scores, state, error = tuple(objective(asked.parameters)), "complete", None
        except ValueError as fault:
            scores, state, error = (), "failed", str(fault)
        study.tell(
            Tried(
                number=asked.number,
                parameters=asked.parameters,
                state=state,
                scores=scores,
                error=error,
            )
        )
        most -= 1
    return study


def inner(target: str, **values: Any) -> Inner:  # noqa: ANN401
    config = {
        "job": {"_target_": "toy.Job", "benchmark": "${benchmark}"},
        "benchmark": {"_target_": f"toy.{target}", **values},
    }
    return Inner(name="toy", config=yaml.safe_dump(config))


def objective(of: Inner, fold: str = "a") -> Callable[[Parameters], Iterator[float]]:
    return lambda parameters: of.task(parameters).tune(fold)


def asked(study: Study) -> list[tuple[Any, ...]]:
    return [(one.number, dict(one.parameters), one.scores) for one in study.tried]


def test_a_search_finds_the_hill(toy: ModuleType, tmp_path: Path) -> None:
    hill = inner("Quadratic")
    found = make(Study(tmp_path, DOMAINS, trials=40, seed=0), objective(hill))
    best = found.best()
    assert best.scores[-1] > 0.97  # 1 at the top, 0.61 on average
    assert abs(best.parameters["benchmark.x"] - 0.3) < 0.15
    startup = max(one.scores[-1] for one in found.tried[:10])
    assert best.scores[-1] > startup  # it is not luck alone
    importance = found.importance()
    assert sum(importance.values()) == pytest.approx(1)
    assert set(importance) == set(DOMAINS)


def test_the_same_seed_asks_the_same_and_another_does_not(toy: ModuleType, tmp_path: Path) -> None:
    runs = [
        asked(
            make(
                Study(tmp_path / str(i), DOMAINS, trials=14, seed=s), objective(inner("Quadratic"))
            )
        )
        for i, s in enumerate((3, 3, 4))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("stop", [1, 5, 12])
def test_a_study_that_was_ended_goes_on_as_if_it_had_not_been(
    toy: ModuleType, tmp_path: Path, stop: int
) -> None:
    """Also where the sampler learns from what was tried (from the tenth trial)."""
    hill = objective(inner("Quadratic"))
    whole = make(Study(tmp_path / "whole", DOMAINS, trials=15, seed=0), hill)
    make(Study(tmp_path / "cut", DOMAINS, trials=15, seed=0), hill, most=stop)
    rest = Study(tmp_path / "cut", DOMAINS, trials=15, seed=0)
    assert rest.left == 15 - stop
    assert asked(make(rest, hill)) == asked(whole)


def test_a_trial_that_was_under_way_is_made_again(tmp_path: Path) -> None:
    study = Study(tmp_path, DOMAINS, trials=3, seed=0)
    first, second = study.ask(), study.ask()
    assert first
    assert second
    study.tell(Tried(number=1, parameters=second.parameters, state="complete", scores=(0.5,)))
    again = Study(tmp_path, DOMAINS, trials=3, seed=0)
    assert [again.ask(), getattr(again.ask(), "number", None), again.ask()] == [first, 2, None]


def test_values_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    domains = {
        "a": Choice(of=[None, True, 1, "x", ["text", "audio"]]),
        "b": Integer(low=1, high=64, log=True),
    }
    study = Study(tmp_path, domains, trials=12, seed=0)
    make(study, lambda parameters: iter([float(parameters["b"])]))
    assert read(tmp_path) == study.tried
    seen = [one.parameters["a"] for one in study.tried]
    assert all(domains["a"].holds(value) for value in seen)
    assert len({repr(value) for value in seen}) > 2
    assert all(type(one.parameters["b"]) is int for one in study.tried)
    make(Study(tmp_path, domains, trials=14, seed=0), lambda _: iter([0.0]))  # learns from them


def test_trial_0_is_the_configuration_as_it_stands(tmp_path: Path) -> None:
    first = {"benchmark.x": 0.9, "benchmark.c": 1.0}
    study = Study(tmp_path, DOMAINS, trials=2, seed=0, first=first)
    asked = [study.ask(), study.ask()]
    assert asked[0]
    assert asked[0].parameters == first
    assert asked[1]
    assert asked[1].parameters != first


def test_failed_trials_are_kept_and_never_chosen(toy: ModuleType, tmp_path: Path) -> None:
    domains = {**DOMAINS, "benchmark.kind": Choice(of=["plain", "raise"])}
    study = make(Study(tmp_path, domains, trials=12, seed=1), objective(inner("Quadratic")))
    states = {one.state for one in study.tried}
    assert states == {"complete", "failed"}
    assert study.best().parameters["benchmark.kind"] == "plain"
    assert all("fails" in str(one.error) for one in study.tried if one.state == "failed")
    only = Study(tmp_path / "none", domains, trials=1, seed=0)
    make(only, _raise)
    with pytest.raises(ValueError, match=r"none of 1 trials is complete; .* no luck"):
        only.best()


def _raise(parameters: Parameters) -> Iterator[float]:
    raise ValueError("no luck")
    yield 0.0


def nested(toy: ModuleType, folder: Path, **values: Any) -> tuple[float, float]:  # noqa: ANN401
    """Tune on labels that nothing predicts.

    Returns:
        The score that was tuned, and that of the rows held out.
    """
    noise = inner("Noise", **values)
    domains = {"benchmark.seed": Integer(low=0, high=100_000)}
    search = Search(space={"benchmark": {"seed": domains["benchmark.seed"]}}, trials=30)
    folds = []
    for name in noise.task().folds():
        study = make(
            Study(folder / name, domains, trials=30, seed=0, first={"benchmark.seed": 0}),
            objective(noise, name),
        )
        answers: dict[str, pa.Table] = {
            TUNED: noise.task(study.best().parameters).judge(name),
            DEFAULT: noise.task().judge(name),
        }
        folds.append(Fold(name=name, study=study, first={"benchmark.seed": 0}, answers=answers))
    found = outcome(noise.task(), "toy", search, folds)
    rows = {
        (row["split"], row["system"]): row
        for row in found.results.to_pylist()
        if row["metric"] == "accuracy"
    }
    assert rows["inner", TUNED]["kind"] == "oracle"
    assert rows["inner", TUNED]["note"].startswith("tuned, optimistic")
    assert rows["loso", TUNED]["kind"] == "system"
    return rows["inner", TUNED]["value"], rows["loso", TUNED]["value"]


def test_the_outer_score_of_pure_noise_is_chance_and_the_tuned_one_is_not(
    toy: ModuleType, tmp_path: Path
) -> None:
    """That is what the nested choice is for; a task that leaks shows that this test can fail.

    160 rows: the standard deviation of an accuracy by chance is 0.04.
    """
    tuned, judged = nested(toy, tmp_path / "nested")

    assert tuned > 0.56
    assert abs(judged - 0.5) < 2.5 * 0.04
    leaked_tuned, leaked = nested(toy, tmp_path / "leak", leak=True)
    assert leaked == pytest.approx(leaked_tuned)

    assert leaked > 0.5 + 3 * 0.04
