"""Trials as runs of MLflow, in a SQLite file of the sweep's folder."""

import logging
import time
from pathlib import Path
from typing import Any

from ...actors.packages import absent, cure
from ...cluster.tuning import Tried
from ...datasets.store import Place
from .. import provenance
from .domains import written

FILE = "mlflow.db"
STATUS = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
LONGEST = 6000
"""Letters of a parameter or a tag that MLflow takes."""


class Tracking:
    """One MLflow run for each trial; a trial that is recorded already is not recorded again."""

    def __init__(self, folder: Place, name: str) -> None:
        """Open the file, or begin it.

        Args:
            folder: Of the sweep; on a disk.
            name: Of the experiment.

        Raises:
            ValueError: MLflow is not installed, or the folder is no place for SQLite.
        """
        if absent(["mlflow"]):
            raise ValueError(f"`sweep.mlflow` needs mlflow: {cure(['mlflow'])} installs it.")
        if not isinstance(folder, Path):
            raise ValueError(f"`sweep.mlflow` needs `out` on a disk, but it is {folder}.")
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client: Any = MlflowClient(tracking_uri=f"sqlite:///{folder / FILE}")
        found = self._client.get_experiment_by_name(name)
        if found is None:
            artifacts = (folder / "mlflow").as_uri()
            self._experiment = self._client.create_experiment(name, artifact_location=artifacts)
        else:
            self._experiment = found.experiment_id
        self._known = set(self._recorded())

    def log(self, key: str, fold: str, tried: Tried) -> None:
        """Record a trial: its parameters, its score after each step, where it comes from.

        Args:
            key: Hash of what is tuned, over what space.
            fold: The outer one.
            tried: What came of it.
        """
        from mlflow.entities import Metric, Param, RunTag

        name = f"{key} {fold} {tried.number}"
        if name in self._known:
            return
        now_ms = int(time.time() * 1000)
        began_ms = now_ms - int(tried.seconds * 1000)
        run = self._client.create_run(
            self._experiment, start_time=began_ms, run_name=f"{fold} {tried.number}"
        )
        tags = {
            "mien.trial": name,
            "mien.config_hash": key,
            "mien.fold": fold,
            "mien.git": provenance.git() or "",
            "mien.state": tried.state,
            "mien.error": tried.error or "",
        }
        self._client.log_batch(
            run.info.run_id,
            metrics=[
                Metric("inner_score", score, now_ms, step)
                for step, score in enumerate(tried.scores, start=1)
            ],
            params=[
                Param(key, written(value)[:LONGEST]) for key, value in tried.parameters.items()
            ],
            tags=[RunTag(key, value[:LONGEST]) for key, value in tags.items()],
        )
        self._client.set_terminated(run.info.run_id, STATUS[tried.state], end_time=now_ms)
        self._known.add(name)

    def _recorded(self) -> Any:  # noqa: ANN401
        token = None
        while True:
            page = self._client.search_runs([self._experiment], page_token=token)
            yield from (
                run.data.tags.get("mien.trial") for run in page if run.info.status != "RUNNING"
            )
            token = page.token
            if not token:
                return
