"""Ray Tune, told what to do: needs the package's extra `tune`, hence a module of its own."""

import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from . import settings  # noqa: F401 # pyright: ignore[reportUnusedImport] - before Ray

# isort: split
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from .tasks import Share
from .tuning import Halving, Objective, Study, Tried

VARIABLES = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the other one cannot be silenced
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths hold in a trial as they do here
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # what a trial said is kept by the study
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the sweep at once
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial's last word is no score
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}

DIED = "its process died: most often for want of memory"


class Attempt(tune.Trainable):
    """A trial, in its process; the process then takes another one."""

    def setup(
        self, config: dict[str, Any], objective: Objective | None = None, gpus: float = 0.0
    ) -> None:
        """Begin."""
        if not gpus:  # Ray hides no device: trials would crowd onto the first one, uncounted
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._objective = objective
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another one."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._parameters, self._most = config["parameters"], config["most"]
        self._steps: Iterator[float] | None = None
        self._count = 0
        self._began = time.perf_counter()

    def step(self) -> dict[str, Any]:
        """Make a step.

        Returns:
            `score` after a step, `finished` after the last one, `error` where it raised; always
            `seconds` since the trial began.
        """
        try:
            if self._steps is None:
                assert self._objective is not None
                self._steps = islice(self._objective(self._parameters), self._most)
            score = next(self._steps, None)
            if score is not None and not math.isfinite(score):
                raise ValueError(f"the score is {score} after step {self._count + 1}")
        except Exception as error:
            said: dict[str, Any] = {"error": _said(error), "done": True}
        else:
            self._count += 1
            said = (
                {"finished": True, "done": True}
                if score is None
                else {"score": float(score), "steps": self._count}
            )
        return {**said, "seconds": time.perf_counter() - self._began}

    def cleanup(self) -> None:
        """Let go of what the trial holds."""
        self._steps = None


class Suggestions(Searcher):
    """The study, as Ray Tune asks it."""

    def __init__(self, study: Study, most: int | None) -> None:
        super().__init__()
        self._study, self._most = study, most

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - Tune's own hint knows no end
        """The next trial."""
        asked = self._study.ask()
        if asked is None:
            return Searcher.FINISHED
        return {
            "number": asked.number,
            "parameters": dict(asked.parameters),
            "most": self._most,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: `Scribe` tells the study."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study keeps itself."""


class Scribe(tune.Callback):
    """Tells the study what came of a trial."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._scores: dict[str, list[float]] = {}
        self._last: dict[str, dict[str, Any]] = {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: object,
    ) -> None:
        """Take a step's score."""
        if "score" in result:
            self._scores.setdefault(trial.trial_id, []).append(result["score"])
        self._last[trial.trial_id] = result

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """Take the end of a trial, be it complete, stopped or failed."""
        last = self._last[trial.trial_id]
        if "error" in last:
            self._tell(trial, "failed", last["error"])
        else:
            self._tell(trial, "complete" if "finished" in last else "stopped", None)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """Take the end of a trial whose process died."""
        error = trial.get_error()
        self._tell(trial, "failed", _said(error) if error else DIED)

    def _tell(self, trial: Trial, state: Any, error: str | None) -> None:  # noqa: ANN401
        scores = self._scores.pop(trial.trial_id, [])
        last = self._last.pop(trial.trial_id, {})
        self._study.tell(
            Tried(
                number=trial.config["number"],
                parameters=trial.config["parameters"],
                state=state,
                scores=tuple(scores),
                seconds=last.get("seconds", 0.0),
                error=error,
            )
        )


def fit(
    study: Study, objective: Objective, share: Share, concurrent: int, halving: Halving | None
) -> None:
    """See `tuning.tune`."""
    os.environ.update(VARIABLES)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what failed, the study says
    resources = {"cpu": share.cpus, "gpu": share.gpus}
    if share.memory_gb is not None:
        resources["memory"] = share.memory_gb * 10**9
    trainable: Any = tune.with_parameters(Attempt, objective=objective, gpus=share.gpus)
    scheduler = halving and ASHAScheduler(
        time_attr="steps",
        metric="score",
        mode="max",
        grace_period=halving.grace,
        reduction_factor=halving.factor,
        max_t=halving.max_steps + 1,  # the last step is the trial's own to make
    )
    with tempfile.TemporaryDirectory(prefix=f"mien-{os.getpid()}-tune-") as folder:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=Suggestions(study, halving and halving.max_steps),
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=folder,
                callbacks=[Scribe(study)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()


def _said(error: BaseException) -> str:
    """An error in a line."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"
