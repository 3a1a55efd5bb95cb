"""The record of a run that measured something: what was asked, where it ran, how long it took."""

import hashlib
import json
import shlex
import sys
import time
from dataclasses import fields, is_dataclass
from types import TracebackType
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf

from ...cluster.memory import PeakMemory, read
from ...cluster.phase import plain
from ...datasets.store import Place, replace
from .. import provenance
from ..status import RECORD

MACHINE = {
    *("cluster", "out", "hung", "measured", "retry", "tracking"),
    *("dir", "model_dir", "models_dir"),
}
"""Keys of a job, at any depth, that change where and how fast it runs, and no number."""


class Record:
    """Writes `run.json` when a run begins and when it ends; of a run that fails it says why.

    Facts that a job adds (`record.add(hours=2.5)`) stand in it, too.

    Attributes:
        facts: What is written.
    """

    def __init__(self, folder: Place, *, kind: str, config: str) -> None:
        """Begin.

        Args:
            folder: Of the run.
            kind: `benchmark`, `train` or `sweep`.
            config: The composed configuration, as YAML.
        """
        self._folder = folder
        self._memory = PeakMemory()
        self._began = time.perf_counter()
        self.facts: dict[str, Any] = {
            "mien": provenance.version(),
            "kind": kind,
            "command": shlex.join(["mien", *sys.argv[1:]]),
            "config": config,
            "config_hash": config_hash(config),
            "git": provenance.git(),
            "machine": {**provenance.machine(), "gpus": [one.name for one in read().devices]},
            "versions": provenance.versions(),
            "started": provenance.now(),
            "finished": None,
            "wall_s": None,
            "peak_memory_gb": None,
            "error": None,
        }

    def add(self, **facts: Any) -> None:  # noqa: ANN401
        """Add facts, and write the record."""
        self.facts.update(facts)
        self._write()

    @property
    def wall_s(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    def __enter__(self) -> "Record":
        self._memory.__enter__()
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._memory.__exit__(kind, error, trace)
        self.facts.update(wall_s=self.wall_s, peak_memory_gb=self._memory.peak_gb)
        if error is None:
            self.facts["finished"] = provenance.now()
        else:
            self.facts["error"] = f"{type(error).__name__}: {error}"
        self._write()

    def _write(self) -> None:
        replace(self._folder / RECORD, json.dumps(self.facts, indent=1, default=str).encode())


def config_hash(config: str) -> str:
    """Names what of a configuration changes the numbers: the job, less the machine's settings.

    Args:
        config: The composed configuration, as YAML; only what its `job` refers to counts.
    """
    cfg = OmegaConf.create(config)
    job = OmegaConf.to_container(cfg.job, resolve=True) if "job" in cfg else {}
    text = json.dumps(plain(_less(job)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _less(value: Any) -> Any:  # noqa: ANN401
    """The same without the machine's settings, those of actors among them."""
    if isinstance(value, dict):
        dropped = MACHINE | _speed(str(value.get("_target_", "")))
        return {key: _less(item) for key, item in value.items() if key not in dropped}
    return [_less(item) for item in value] if isinstance(value, list) else value


def _speed(target: str) -> set[str]:
    """Fields of an actor that change how fast it runs, and not what it answers."""
    made = get_object(target) if target.startswith("mien.actors.") else None
    known = fields(made) if is_dataclass(made) else ()
    return {field.name for field in known if "machine" in field.metadata}
