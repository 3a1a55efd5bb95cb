"""Training one network in several processes, by Ray Train: checkpoints, failures, going on.

A training is named by its folder. Ray Train keeps in it what was reported last, and a training
that is begun again in the same folder, by a new driver after a kill or by new workers after one of
them died, is given that checkpoint.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from . import settings  # noqa: F401 # pyright: ignore[reportUnusedImport] - before Ray

# isort: split
from ..actors.packages import absent, cure
from .session import Cluster, session
from .tasks import Share

Common = TypeVar("Common")
Metrics = Mapping[str, float]

_GB = 10**9
PATIENCE = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # each report waits until it is asked for
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a busy machine is no failure
}
"""In seconds; Ray Train reads them from the environment."""


class TrainingError(RuntimeError):
    """A training could not be brought to its end. Says why, and that the same command goes on."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who trains a network together.

    Attributes:
        workers: Processes; each is shown its share of the rows.
        share: Of one of them.
        failures: How often workers may die before the training is given up.
    """

    workers: int = 1
    share: Share = field(default_factory=lambda: Share(gpus=None))
    failures: int = 3

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"`workers` must be at least 1, but is {self.workers}.")
        if self.failures < 0:
            raise ValueError(f"`failures` must be at least 0, but is {self.failures}.")


class Shift:
    """What a training knows of its surroundings, within a worker."""

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """The folder of the last checkpoint, for as long as the block runs; `None` at the start."""
        from ray import train

        last = train.get_checkpoint()
        with last.as_directory() if last else nullcontext() as folder:
            yield Path(folder) if folder else None

    def report(self, metrics: Metrics, write: Callable[[Path], None]) -> None:
        """Keep a checkpoint; all workers must call this equally often.

        Ray Train keeps metrics only with a checkpoint: without one its result has none.

        Args:
            metrics: Stand with the checkpoint.
            write: Writes the checkpoint into a folder; called in the first worker alone.
        """
        from ray import train

        if train.get_context().get_world_rank():
            train.report(dict(metrics))
            return
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            train.report(dict(metrics), checkpoint=train.Checkpoint.from_directory(folder))


def fit(
    function: Callable[[Common, Shift], None],
    common: Common,
    folder: Path,
    *,
    cluster: Cluster,
    crew: Crew,
    watch: Callable[[], None] = lambda: None,
) -> tuple[Path, dict[str, Any]]:
    """Train to the end, from where it was left.

    Starts Ray unless a session is open. Within `function`, `torch.distributed` is set up: over NCCL
    with GPUs, over Gloo without.

    Args:
        function: Trains, and reports after each epoch; of a module of ours, so that workers can
            import it.
        common: Its first argument.
        folder: Names the training, and holds its checkpoints. Of a file system that all workers
            share.
        cluster: On what.
        crew: Who.
        watch: Called about once a second meanwhile.

    Returns:
        Folder of the last checkpoint, and the metrics that stand with it.

    Raises:
        ValueError: The crew does not fit the cluster.
        TrainingError: It failed more often than it may.
    """
    lacking = absent(["torch", "ray.train"])
    if lacking:
        raise ModuleNotFoundError(f"training needs {', '.join(lacking)}: {cure(lacking)}.")
    with session(cluster):
        machine = cluster.machine()
        crew = replace(crew, share=crew.share.on(machine))
        most = crew.share.fits(machine)
        if most < crew.workers:
            raise ValueError(
                f"`workers` is {crew.workers}, but the cluster has room for {most}, each with "
                f"{crew.share.cpus} cores and {crew.share.gpus or 0:g} GPUs: lower one of them."
            )
        return _ended(lambda: _fit(function, common, folder, crew), watch)


def _ended(call: Callable[[], Any], watch: Callable[[], None]) -> Any:  # noqa: ANN401
    """Wait for a call in a thread of its own: in the main one Ray Train would take over Ctrl-C."""
    answers: list[Any] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(1.0)
        watch()
    if errors:
        raise errors[0]
    return answers[0]


def _fit(
    function: Callable[[Common, Shift], None], common: Common, folder: Path, crew: Crew
) -> tuple[Path, dict[str, Any]]:
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    from ray import train
    from ray.train.torch import TorchTrainer

    share = crew.share
    resources: dict[str, float] = {"CPU": share.cpus}
    if share.gpus:
        resources["GPU"] = share.gpus
    if share.memory_gb:
        resources["memory"] = share.memory_gb * _GB
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"function": function, "common": common, "cpus": share.cpus},
        scaling_config=train.ScalingConfig(
            num_workers=crew.workers, use_gpu=bool(share.gpus), resources_per_worker=resources
        ),
        run_config=train.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=train.FailureConfig(max_failures=crew.failures),
            checkpoint_config=train.CheckpointConfig(num_to_keep=1),
            logging_config=train.LoggingConfig(log_level="CRITICAL"),
        ),
    )
    try:
        result = trainer.fit()
    except train.TrainingFailedError as error:
        reason = str(error.__cause__ or error).strip().splitlines()
        raise TrainingError(
            f"the training in '{folder}' failed more than {crew.failures} times "
            f"({reason[-1] if reason else type(error).__name__}). Mend the cause: the same command "
            "goes on after the last epoch that was kept."
        ) from error
    if result.checkpoint is None:
        raise TrainingError(f"the training in '{folder}' ended without a checkpoint.")
    return Path(result.checkpoint.path), dict(result.metrics or {})


def _worker(config: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(config["cpus"])
    config["function"](config["common"], Shift())
