"""Trials in MLflow, read by its own client."""

from pathlib import Path

import pytest

from mien.cluster.tuning import Tried
from mien.jobs.sweep import tracking
from mien.jobs.sweep.tracking import Tracking

pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's use of SQLAlchemy
]

TRIALS = [
    Tried(number=0, parameters={"a.c": 0.5}, state="complete", scores=(0.1, 0.4), seconds=2.0),
    Tried(number=1, parameters={"a.c": 2.0, "b": None}, state="stopped", scores=(0.05,)),
    Tried(number=2, parameters={"a.c": [1, 2]}, state="failed", error="ValueError: no luck"),
]


def test_each_trial_is_a_run_once(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    for trials in (TRIALS[:2], TRIALS):  # the second time as a sweep that is taken up again
        record = Tracking(tmp_path, "sweep")
        for one in trials:
            record.log("hash", "dev", one)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sweep")
    assert experiment
    runs = {r.data.tags["mien.trial"]: r for r in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["hash dev 0", "hash dev 1", "hash dev 2"]
    first, stopped, failed = (runs[name] for name in sorted(runs))
    assert [r.info.status for r in (first, stopped, failed)] == ["FINISHED", "KILLED", "FAILED"]
    assert first.data.params == {"a.c": "0.5"}
    assert stopped.data.params == {"a.c": "2.0", "b": "null"}
    assert failed.data.tags["mien.error"] == "ValueError: no luck"
    assert first.info.end_time == first.info.start_time + 2000
    history = client.get_metric_history(first.info.run_id, "inner_score")
    assert sorted((m.step, m.value) for m in history) == [(1, 0.1), (2, 0.4)]
    assert list(tmp_path.iterdir()) == [tmp_path / "mlflow.db"]


def test_without_mlflow_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "absent", lambda names: names)
    with pytest.raises(ValueError, match=r"needs mlflow: .* installs it"):
        Tracking(tmp_path, "sweep")
