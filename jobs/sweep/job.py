"""`mien sweep`: tune the parameters of a job, and judge them on rows that tuning never saw."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from omegaconf import OmegaConf
from rich.markup import escape

from ...actors.packages import absent, cure
from ...cluster import tasks
from ...cluster.session import Cluster, session
from ...cluster.tuning import Tried, tune
from ...datasets.store import Place, is_url, place, replace
from ..evaluation.record import Record, config_hash
from ..evaluation.save import parquet, save
from ..lock import locked
from ..progress import console
from .domains import Domain, brief, override
from .inner import Inner, Trial, hashed, judged, refuse_extractors
from .report import DEFAULT, TUNED, Fold, outcome, trials
from .search import Search
from .study import Study, best
from .tracking import Tracking

PACKAGES = ("optuna", "pandas", "tensorboardX")
"""Optuna, and what Ray Tune needs beside Ray itself."""


@dataclass(kw_only=True)
class Sweep:
    """Tune a benchmark or a training, and judge what was tuned on rows held out.

    For each outer fold, trials are scored within the rows that it does not hold out. Then the best
    parameters, and those of the configuration as it stands, predict the rows held out: that is the
    number to report.

    Attributes:
        search: What is varied, and how often.
        cluster: On what.
        out: The sweep's folder; trials that stand there are not made again.
        config: The composed configuration, kept with the sweep.
        inner: The job that is tuned.
    """

    search: Search
    cluster: Cluster
    out: str
    config: str = ""
    inner: Inner | None = None

    def __post_init__(self) -> None:
        self.folder = place(self.out)

    def __call__(self) -> int:
        """Run what is outstanding.

        Returns:
            0, also when trials failed: those stand in the table of trials.

        Raises:
            ValueError: The space does not fit the job, or no trial of a fold is complete.
        """
        if self.inner is None:
            raise ValueError("a sweep needs a job to tune: give `job=benchmark` or `job=train`.")
        missing = absent(PACKAGES)
        if missing:
            raise ValueError(f"a sweep needs {', '.join(missing)}: {cure(missing)} installs it.")
        domains = self.search.domains
        self.inner.check(domains)
        extractors = self.inner.extractors(domains)
        refuse_extractors(extractors, extract=self.search.extract)
        config = _with_inner(self.config, self.inner)
        with locked(self.folder), Record(self.folder, kind="sweep", config=config) as record:
            base = Trial(
                inner=self.inner,
                fold="",
                cluster=self.cluster,
                features=str(self._features),
                extractions=self._extracted(self.inner, extractors),
            )
            task = self.inner.task()
            task.prepare(self.cluster, self._features)
            first = self._first(self.inner, domains)
            key = self._key(base, task.content())
            studies = self._studies(key, self.search.folds(task.folds()), first)
            left = sum(study.left for study in studies.values())
            with session(self.cluster) if left else nullcontext():
                if left:
                    self._tune(base, studies, first)
                answers = self._judged(base, studies, key)
            folds = [
                Fold(name=name, study=study, first=first, answers=answers[name])
                for name, study in studies.items()
            ]
            self._keep(folds)
            save(self.folder, outcome(task, self.inner.name, self.search, folds), record)
        return 0

    @property
    def _features(self) -> Place:
        named = self.search.features or self.out
        return place(named if is_url(named) else str(Path(named).absolute()))

    def _extracted(self, inner: Inner, extractors: Mapping[str, Domain]) -> frozenset[str]:
        """Make the features of every value on which they depend.

        Returns:
            Their hashes.
        """
        values = product(*(domain.ends() for domain in extractors.values()))
        made = {inner.task().extraction()}
        for combination in values if extractors else ():
            task = inner.task(dict(zip(extractors, combination, strict=True)))
            task.prepare(self.cluster, self._features)
            made.add(task.extraction())
        return frozenset(made)

    def _first(self, inner: Inner, domains: Mapping[str, Domain]) -> dict[str, Any] | None:
        """The configuration as it stands, if it lies in the space."""
        values = {key: inner.value(key) for key in domains}
        outside = [key for key, domain in domains.items() if not domain.holds(values[key])]
        for key in outside:
            console.print(
                f"{escape(override(key, values[key]))} lies outside `sweep.space`: trial 0 is "
                "sampled like the others.",
                style="yellow",
            )
        return None if outside else values

    def _key(self, base: Trial, data: str) -> str:
        """Names what changes the trials: a folder of theirs."""
        return hashed(
            config_hash(base.inner.config),
            sorted(base.extractions),
            data,
            {key: [type(one).__name__, one] for key, one in self.search.domains.items()},
            self.search.seed,
            self.search.halving,
        )

    def _studies(
        self, key: str, folds: Sequence[str], first: Mapping[str, Any] | None
    ) -> dict[str, Study]:
        """A study for each outer fold, with the trials that stand."""
        tracking = Tracking(self.folder, self.out) if self.search.mlflow else None
        studies = {}
        for fold in folds:
            study = studies[fold] = Study(
                self.folder / "trials" / key / quote(fold, safe=""),
                self.search.domains,
                trials=self.search.trials,
                seed=self.search.seed,
                first=first,
            )
            study.told = partial(self._told, fold, study, tracking, key)
            if tracking:
                for one in study.tried:
                    tracking.log(key, fold, one)
        return studies

    def _tune(
        self, base: Trial, studies: Mapping[str, Study], first: dict[str, Any] | None
    ) -> None:
        search, machine = self.search, self.cluster.machine()
        share = search.share.on(machine)
        most = share.fits(machine)
        concurrent = most if search.concurrent is None else min(most, search.concurrent)
        if concurrent < 1:
            raise ValueError(
                f"a trial takes {share.cpus} cores and {share.gpus:g} GPUs, but no "
                "node of the cluster has that for it: lower `sweep.share`."
            )
        left = sum(study.left for study in studies.values())
        stand = len(studies) * search.trials - left
        console.print(
            f"{search.trials} trials for each of {len(studies)} outer folds"
            + (f" ({stand} stand)" if stand else "")
            + f", {concurrent} at a time with {share.cpus} cores"
            + (f" and {share.gpus:g} GPUs" if share.gpus else "")
            + " each; then the best and the default parameters predict what each fold holds out."
            + (" Trial 0 is the configuration as it stands." if first else "")
        )
        for name, study in studies.items():
            if study.left:
                tune(
                    study,
                    replaced(base, fold=name),
                    share=share,
                    concurrent=concurrent,
                    halving=search.halving,
                )

    def _told(
        self, fold: str, study: Study, tracking: Tracking | None, key: str, tried: Tried
    ) -> None:
        """Say what came of a trial."""
        score = f"{tried.score:.4f}" if tried.score is not None else tried.error
        ended = [one for one in study.tried if one.state == "complete"]
        so_far = f"; best {best(ended).score:.4f}, trial {best(ended).number}" if ended else ""
        console.print(
            escape(
                f"{fold} {len(study.tried)}/{self.search.trials}: trial {tried.number} "
                f"{tried.state}, {score}{so_far} ({tried.seconds:.1f} s; {brief(tried.parameters)})"
            )
        )
        if tracking:
            tracking.log(key, fold, tried)

    def _judged(
        self, base: Trial, studies: Mapping[str, Study], key: str
    ) -> dict[str, dict[str, pa.Table]]:
        """What the best and the default parameters say of the rows held out, by fold and system."""
        asked = {
            (name, system): (replaced(base, fold=name), dict(parameters))
            for name, study in studies.items()
            for system, parameters in ((TUNED, study.best().parameters), (DEFAULT, {}))
        }
        pieces = {pair: f"{pair[0]} {hashed(item[1])}" for pair, item in asked.items()}
        tables = tasks.run(
            judged,
            {pieces[pair]: item for pair, item in asked.items()},
            self.folder / "judged" / key,
            cluster=self.cluster,
            share=self.search.share,
            progress=_done,
        )
        return {
            name: {system: tables[pieces[name, system]] for system in (TUNED, DEFAULT)}
            for name in studies
        }

    def _keep(self, folds: Sequence[Fold]) -> None:
        """Write the trials, and what was chosen as words for the command line."""
        replace(self.folder / "trials.parquet", parquet(trials(folds)))
        for fold in folds:
            words = " ".join(override(*item) for item in fold.best.parameters.items())
            file = self.folder / "best" / f"{quote(fold.name, safe='')}.txt"
            replace(file, f"{words}\n".encode())


def _done(progress: tasks.Progress) -> None:
    if progress.wall_s:
        console.print(f"judged {progress.done}/{progress.total} ({progress.wall_s:.1f} s)")


def _with_inner(config: str, inner: Inner) -> str:
    """The sweep's configuration with that of the job it tunes, as YAML."""
    cfg, tuned = OmegaConf.create(config), OmegaConf.create(inner.config)
    cfg.job.inner = OmegaConf.to_container(tuned.job, resolve=True)
    cfg.job.tunes = inner.name
    return OmegaConf.to_yaml(cfg)
