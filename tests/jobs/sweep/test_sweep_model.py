"""Whole sweeps on a real local Ray, with Ray Tune, Optuna and MLflow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from mien.cluster.session import Cluster
from mien.cluster.tuning import Halving
from mien.jobs.sweep.domains import Choice, LogUniform, Uniform
from mien.jobs.sweep.inner import Inner
from mien.jobs.sweep.job import Sweep
from mien.jobs.sweep.search import Search
from mien.jobs.sweep.study import Study

pytest.importorskip("optuna")
pytest.importorskip("ray.tune")
pytestmark = [
    pytest.mark.models,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's use of SQLAlchemy
]

SPACE = {"x": Uniform(low=0, high=1), "c": LogUniform(low=1e-4, high=10)}


def sweep(out: Path, space: dict[str, Any], **values: Any) -> Sweep:  # noqa: ANN401
    toy = values.pop("toy", {})
    config = {
        "job": {"_target_": "toy.Job", "benchmark": "${benchmark}"},
        "benchmark": {"_target_": "toy.Quadratic", "x": 0.9, "c": 1.0, "kind": "plain", **toy},
    }
    return Sweep(
        search=Search(space={"benchmark": space}, **values),
        cluster=Cluster(cores=2),
        out=str(out),
        config="job: {}",
        inner=Inner(name="toy", config=yaml.safe_dump(config)),
    )


@pytest.fixture
def _seen_by_workers(toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(str(toy.__file__)).parent))


@pytest.mark.usefixtures("_seen_by_workers")
def test_a_sweep_with_trials_that_fail_die_and_fall_behind(tmp_path: Path) -> None:
    kinds = Choice(of=["plain", "raise", "die"])
    one = sweep(
        tmp_path,
        {**SPACE, "kind": kinds},
        trials=8,
        outer=1,
        halving=Halving(grace=1, factor=3, max_steps=3),
        mlflow=True,
        seed=7,
        toy={"pause_s": 0.05},
    )
    assert one() == 0
    trials = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert [row["trial"] for row in trials] == list(range(8))
    assert trials[0]["benchmark.x"] == 0.9  # the configuration as it stands
    by = {kind: [row for row in trials if row["benchmark.kind"] == kind] for kind in kinds.of}
    assert all(by.values())
    assert {row["error"] for row in by["raise"]} == {"ValueError: this kind"}
    assert {row["error"][:16] for row in by["die"]} == {"its process died"}
    assert {row["state"] for row in by["plain"]} == {"complete", "stopped"}
    assert all(row["steps"] == 3 for row in trials if row["state"] == "complete")
    assert all(row["steps"] < 4 for row in trials if row["state"] == "stopped")

    results = pq.read_table(tmp_path / "results.parquet").to_pylist()
    kept = {(row["split"], row["system"], row["metric"]): row for row in results}
    assert kept["loso", "tuned", "accuracy"]["value"] > kept["loso", "default", "accuracy"]["value"]
    assert kept["inner", "tuned", "accuracy"]["kind"] == "oracle"
    best = max((row for row in trials if row["state"] == "complete"), key=lambda row: row["score"])
    words = (tmp_path / "best" / "a.txt").read_text().split()
    assert f"benchmark.x={best['benchmark.x']}" in words

    page = (tmp_path / "index.html").read_text()
    assert page.count("<polyline") >= 8 - len(by["die"]) - len(by["raise"])
    assert "script-src ;" in page or "<script" not in page
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["kind"] == "sweep"
    assert record["finished"]
    assert "toy.Quadratic" in record["config"]
    assert _recorded(tmp_path) == set(range(8))

    again = time.perf_counter()
    one()  # nothing is left to do, and Ray is not started
    assert time.perf_counter() - again < 10
    assert pq.read_table(tmp_path / "trials.parquet").to_pylist() == trials
    assert _recorded(tmp_path) == set(range(8))


def _recorded(folder: Path) -> set[int]:
    """The trials that MLflow has, each once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(str(folder))
    assert experiment
    names = [run.data.tags["mien.trial"] for run in client.search_runs([experiment.experiment_id])]
    assert len(names) == len(set(names))
    return {int(name.split()[-1]) for name in names}


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_sweep_model import SPACE, sweep
sweep(Path(sys.argv[2]), SPACE, trials=12, outer=1, concurrent=1, toy={"pause_s": 0.1})()
"""


@pytest.mark.usefixtures("_seen_by_workers")
def test_a_sweep_that_was_killed_goes_on_and_comes_to_the_same(
    toy: ModuleType, tmp_path: Path
) -> None:
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, here, str(tmp_path)],
        env={**os.environ, "MIEN_DEBUG": "1"},
        stdout=subprocess.DEVNULL,
    )
    ended_s = time.monotonic() + 120
    while len(list(tmp_path.glob("trials/*/*/*.json"))) < 3:
        assert process.poll() is None, "the sweep ended by itself"
        assert time.monotonic() < ended_s, "no trial was made"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stand = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("trials/*/*/*.json")}
    assert 3 <= len(stand) < 12

    sweep(tmp_path, SPACE, trials=12, outer=1, concurrent=1, toy={"pause_s": 0.1})()
    after = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("trials/*/*/*.json")}
    assert len(after) == 12
    assert {name: after[name] for name in stand} == stand  # they were not made again

    domains = {f"benchmark.{key}": domain for key, domain in SPACE.items()}
    first = {"benchmark.x": 0.9, "benchmark.c": 1.0}
    whole = Study(tmp_path / "whole", domains, trials=12, seed=0, first=first)
    trials = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    for row in trials:  # the same numbers as a loop in one process that nobody killed
        asked = whole.ask()
        assert asked
        assert dict(asked.parameters) == {key: row[key] for key in domains}
        task = toy.Quadratic(x=row["benchmark.x"], c=row["benchmark.c"])
        assert list(task.tune("a")) == pytest.approx(row["scores"])
        whole.tell(_tried(asked, row))


def _tried(asked: Any, row: dict[str, Any]) -> Any:  # noqa: ANN401
    from mien.cluster.tuning import Tried

    return Tried(
        number=asked.number,
        parameters=asked.parameters,
        state="complete",
        scores=tuple(row["scores"]),
    )
