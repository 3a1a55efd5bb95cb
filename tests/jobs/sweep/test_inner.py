from types import ModuleType
from typing import Any

import pytest
import yaml

from mien.cluster.session import Cluster
from mien.jobs.sweep.domains import Choice, LogUniform, Uniform
from mien.jobs.sweep.inner import Inner, Trial, refuse_extractors
from mien.jobs.sweep.job import Sweep
from mien.jobs.sweep.search import Search

CONFIG = {
    "job": {"_target_": "toy.Job", "benchmark": "${benchmark}"},
    "benchmark": {"_target_": "toy.Quadratic", "x": 0.9, "window_s": "${elsewhere.s}"},
    "elsewhere": {"s": 1.0},
    "unused": {"x": 1.0},
}


@pytest.fixture
def inner(toy: ModuleType) -> Inner:
    return Inner(name="toy", config=yaml.safe_dump(CONFIG))


def test_a_trial_is_the_configuration_with_a_few_other_values(inner: Inner) -> None:
    task: Any = inner.task({"benchmark.x": 0.25, "elsewhere.s": 2})
    assert (task.x, task.window_s) == (0.25, 2)
    assert vars(inner.task())["x"] == 0.9
    assert inner.value("benchmark.window_s") == 1.0


def test_a_list_of_the_configuration_is_found_among_the_choices() -> None:
    inner = Inner(name="toy", config=yaml.safe_dump({"job": {"before": [0.5, 0.3]}}))
    value = inner.value("job.before")
    assert type(value) is list  # it is written as JSON with the trial
    assert Choice(of=[[], [0.5, 0.3]]).holds(value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("benchmark.xx", "no such key; did you mean 'benchmark.x'"),
        ("unused.x", "no such key"),  # it is there, but the job does not read it
        ("elsewhere", None),
        ("benchmark.x", None),
    ],
)
def test_keys_are_those_that_the_job_reads(inner: Inner, key: str, message: str | None) -> None:
    domains = {key: Choice(of=[0.1, 0.2])}
    if message is None and key == "benchmark.x":
        inner.check(domains)
    elif message:
        with pytest.raises(ValueError, match=message):
            inner.check(domains)


def test_values_that_the_job_refuses_are_found_before_anything_starts(inner: Inner) -> None:
    message = r"reaches benchmark.x=2, which `mien toy` refuses: `x` must be from 0 to 1"
    with pytest.raises(ValueError, match=message):
        inner.check({"benchmark.x": Uniform(low=0, high=2)})


def test_parameters_on_which_features_depend_are_refused(inner: Inner) -> None:
    domains = {
        "benchmark.x": Uniform(low=0, high=1),
        "benchmark.window_s": Choice(of=[1.0, 2.0]),
        "elsewhere.s": Uniform(low=1, high=3),
    }
    found = inner.extractors(domains)
    assert list(found) == ["benchmark.window_s", "elsewhere.s"]
    with pytest.raises(ValueError, match=r"benchmark.window_s, elsewhere.s.*sweep.extract=true"):
        refuse_extractors(found, extract=False)
    with pytest.raises(ValueError, match=r"elsewhere.s over a range.*Give a Choice"):
        refuse_extractors(found, extract=True)
    refuse_extractors({"benchmark.window_s": domains["benchmark.window_s"]}, extract=True)
    refuse_extractors({}, extract=False)


def test_a_sweep_refuses_such_a_space_before_anything_starts(
    inner: Inner,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    space = {"benchmark": {"window_s": Choice(of=[1.0, 2.0])}}
    sweep = Sweep(search=Search(space=space), cluster=Cluster(), out=str(tmp_path), inner=inner)
    with pytest.raises(ValueError, match=r"sweep.extract=true|a sweep needs optuna"):
        sweep()
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_needs_other_features_fails(inner: Inner) -> None:
    trial = Trial(
        inner=inner, fold="a", cluster=Cluster(), features="f", extractions=frozenset(["window 1"])
    )
    assert len(list(trial({"benchmark.x": 0.3}))) == 4
    with pytest.raises(ValueError, match="features that were not extracted"):
        list(trial({"benchmark.window_s": 2}))


def test_a_sweep_without_a_job_says_so(tmp_path: Any) -> None:  # noqa: ANN401
    space = {"x": LogUniform(low=1, high=2)}
    with pytest.raises(ValueError, match="needs a job to tune"):
        Sweep(search=Search(space=space), cluster=Cluster(), out=str(tmp_path))()
