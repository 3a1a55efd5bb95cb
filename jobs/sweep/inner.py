"""The job that a sweep tunes: built anew for each trial from its configuration and a few values."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
from omegaconf import DictConfig, OmegaConf

from ...cluster.phase import plain
from ...cluster.session import Cluster
from ...cluster.tuning import Parameters
from ...datasets.store import place
from ..benchmark.task import Task
from .domains import Choice, Domain, override

PARTS = ("benchmark", "training")
"""Where a job has its task."""


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A job's configuration, and how to build its task.

    Attributes:
        name: Of the job.
        config: Composed, as YAML, with its interpolations.
    """

    name: str
    config: str

    def task(self, parameters: Parameters | None = None) -> Task:
        """Build the benchmark or the training.

        Args:
            parameters: Values that differ from the configuration, by key.

        Raises:
            ValueError: A constructor refuses a value.
        """
        from ..main import built  # the configuration is read where Hydra is known

        cfg = self._cfg()
        for key, value in (parameters or {}).items():
            OmegaConf.update(cfg, key, value)
        job = built(cfg.job)
        for part in PARTS:
            if hasattr(job, part):
                return getattr(job, part)
        raise ValueError(f"`mien {self.name}` has nothing that a sweep could tune.")

    def value(self, key: str) -> Any:  # noqa: ANN401
        """What the configuration has at a key."""
        found = OmegaConf.select(self._cfg(), key)
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found

    def check(self, keys: Mapping[str, Domain]) -> None:
        """Refuse keys that the job does not have, and values that it cannot take.

        Raises:
            ValueError: Names the key, and the nearest that exist.
        """
        self.task()  # it can be built as it stands
        used = sorted(set(_used(OmegaConf.to_container(self._cfg(), resolve=False))))
        for key, domain in keys.items():
            if key not in used:
                close = get_close_matches(key, used, n=3, cutoff=0.5)
                hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
                raise ValueError(
                    f"`sweep.space` varies {key!r}, but `mien {self.name}` has no such key{hint}"
                )
            for value in domain.ends():
                try:
                    self.task({key: value})
                except ValueError as error:
                    raise ValueError(
                        f"`sweep.space` reaches {override(key, value)}, which `mien {self.name}` "
                        f"refuses: {error}"
                    ) from error

    def extractors(self, domains: Mapping[str, Domain]) -> dict[str, Domain]:
        """Those of the parameters on which features depend."""
        base = self.task().extraction()
        return {
            key: domain
            for key, domain in domains.items()
            if any(self.task({key: value}).extraction() != base for value in domain.ends())
        }

    def _cfg(self) -> DictConfig:
        cfg = OmegaConf.create(self.config)
        assert isinstance(cfg, DictConfig)
        return cfg


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial does: the inner score of one outer fold, step by step.

    Attributes:
        inner: What is tuned.
        fold: The outer one; its rows are not seen.
        cluster: Where features would be made; they stand already.
        features: The folder whose features are read.
        extractions: Hashes of the features that stand.
    """

    inner: Inner
    fold: str
    cluster: Cluster
    features: str
    extractions: frozenset[str]

    def __call__(self, parameters: Parameters) -> Iterator[float]:
        """Tune with these parameters."""
        yield from self._prepared(parameters).tune(self.fold)

    def judge(self, parameters: Parameters) -> pa.Table:
        """Predict the rows that the fold holds out."""
        return self._prepared(parameters).judge(self.fold)

    def _prepared(self, parameters: Parameters) -> Task:
        task = self.inner.task(parameters)
        if task.extraction() not in self.extractions:
            raise ValueError("these parameters need features that were not extracted")
        task.prepare(self.cluster, place(self.features))
        return task


def judged(item: tuple[Trial, Parameters], common: None) -> pa.Table:
    """One piece of `tasks.run`: the answers with some parameters on what a fold holds out."""
    trial, parameters = item
    return trial.judge(parameters)


def hashed(*content: Any) -> str:  # noqa: ANN401
    """Names what changes numbers."""
    text = json.dumps(plain(content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def refuse_extractors(found: Mapping[str, Domain], *, extract: bool) -> None:
    """Refuse a space that would change features, unless it is wanted and can be counted out.

    Raises:
        ValueError: Names the keys and the cure.
    """
    if found and not extract:
        raise ValueError(
            f"`sweep.space` varies {', '.join(found)}: features depend on it, and would be "
            "extracted anew. Leave it out, or give `sweep.extract=true`."
        )
    endless = [key for key, domain in found.items() if not isinstance(domain, Choice)]
    if endless:
        raise ValueError(
            f"`sweep.space` varies {', '.join(endless)} over a range: features depend on it, and "
            "are extracted before the first trial, for each value. Give a Choice."
        )


def _used(raw: Any) -> Iterator[str]:  # noqa: ANN401
    """All keys that a job reads, dotted: its own, and those of the groups that it refers to."""

    def walk(node: Any, prefix: str) -> Iterator[str]:  # noqa: ANN401
        if isinstance(node, dict):
            for name, child in node.items():
                if name == "_target_":
                    continue
                yield f"{prefix}{name}"
                yield from walk(child, f"{prefix}{name}.")
        elif isinstance(node, str) and node.startswith("${") and node.endswith("}"):
            key = node[2:-1]
            yield key
            yield from walk(_at(raw, key), f"{key}.")

    yield from walk(raw["job"], "job.")


def _at(raw: Any, key: str) -> Any:  # noqa: ANN401
    for name in key.split("."):
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw
