"""What a sweep takes, beside the same trials in a plain loop.

usage: sweeps.py WORDS... [--trials 20] [--concurrent 2] [--json FILE]

WORDS are those of `mien sweep` (`benchmark=emodb benchmark.path=... sweep=voice`). Features are
made first and are not counted. Then the trials of one outer fold are made three times: by a loop
in this process (Optuna asks, the task answers; nothing else), by Ray Tune one at a time, and by
Ray Tune several at a time. One at a time, all must come to the very same numbers.

Columns: `startup_s` is what passes until Ray stands; `first_s` until the first trial is told after
that (a process starts, imports, reads the features); `trials_s` is the sum of what the trials
took by themselves; `between_s` is what a trial costs beside its own time, the first ones left out.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import arguments, show
from mien.cluster.session import Cluster, session
from mien.cluster.tasks import Share
from mien.cluster.tuning import Tried, tune
from mien.datasets.store import place
from mien.jobs.main import built, configuration, inner
from mien.jobs.sweep.inner import Trial
from mien.jobs.sweep.study import Study
from mien.jobs.sweep.words import divided


def loop(study: Study, trial: Trial) -> None:
    """Make all trials here."""
    while asked := study.ask():
        began = time.perf_counter()
        scores = tuple(trial(asked.parameters))
        study.tell(
            Tried(
                number=asked.number,
                parameters=asked.parameters,
                state="complete",
                scores=scores,
                seconds=time.perf_counter() - began,
            )
        )


def measured(name: str, study: Study, concurrent: int, make: Callable[[], None]) -> dict[str, Any]:
    """Time a way to make the trials."""
    told_s: list[float] = []
    study.told = lambda _: told_s.append(time.perf_counter())
    began = time.perf_counter()
    make()
    wall_s = time.perf_counter() - began
    seconds = sum(one.seconds for one in study.tried)
    late = told_s[-1] - told_s[concurrent - 1]
    rest = [one.seconds for one in study.tried[concurrent:]]
    return {
        "way": name,
        "trials": len(study.tried),
        "wall_s": wall_s,
        "first_s": told_s[0] - began,
        "trials_s": seconds,
        "between_s": (late * concurrent - sum(rest)) / len(rest),
        "best": study.best().score,
        "trial": study.best().number,
    }


def main() -> None:
    """Print the table."""
    given = arguments(
        __doc__,
        words={"bare": True, "nargs": "+"},
        trials={"type": int, "default": 20},
        concurrent={"type": int, "default": 2},
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in the workers
    own, job, words = divided(given.words)
    search = built(configuration("sweep", own).job).search  # type: ignore[attr-defined]
    tuned = inner(job, words)
    with tempfile.TemporaryDirectory() as folder:
        features = search.features or folder
        cluster = Cluster(cores=given.concurrent)
        task = tuned.task()
        task.prepare(cluster, place(features))
        trial = Trial(
            inner=tuned,
            fold=search.folds(task.folds())[0],
            cluster=cluster,
            features=features,
            extractions=frozenset([task.extraction()]),
        )

        def study(name: str) -> Study:
            where = Path(folder) / name
            return Study(where, search.domains, trials=given.trials, seed=search.seed)

        alone = study("loop")
        rows = [measured("loop", alone, 1, lambda: loop(alone, trial))]
        same = False
        for concurrent in dict.fromkeys((1, given.concurrent)):
            one = study(f"tune-{concurrent}")
            began = time.perf_counter()
            with session(cluster):
                startup_s = time.perf_counter() - began

                def make(one: Study = one, concurrent: int = concurrent) -> None:
                    tune(one, trial, share=Share(), concurrent=concurrent)

                row = measured(f"Ray Tune, {concurrent} at a time", one, concurrent, make)
            rows.append({**row, "startup_s": startup_s})
            if concurrent == 1:
                same = [t.scores for t in one.tried] == [t.scores for t in alone.tried]
        show("Trials of one outer fold", rows, given.json, same_numbers=same)


if __name__ == "__main__":
    main()
