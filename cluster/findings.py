"""What was measured of the actors on this machine, and for what it holds."""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..actors.actor import Actor
from ..datasets import table
from .measure import Finding, Step
from .need import Measured
from .phase import plain

ENGINES = (
    *("av", "ctranslate2", "faster-whisper", "mediapipe", "numpy", "onnxruntime"),
    *("opencv-contrib-python-headless", "pocketsphinx", "scipy", "torch", "transformers", "vllm"),
)
"""What does the work inside the actors: other versions of it are measured anew."""
DECIDED = ("cpus", "gpus", "memory_gb", "batch_size", "folder", "run", "tables", "models")
"""Fields that say what a plan decides, or where a run lies, and nothing of the work."""


@dataclass(frozen=True)
class Store:
    """What was measured on this machine: a folder of JSON files, named by what matters.

    Attributes:
        folder: Need not exist yet.
    """

    folder: Path

    def path(self, actor: Actor) -> Path:
        """Where the measurement of an actor stands, if it was ever made."""
        digest = hashlib.sha256(json.dumps(subject(actor), sort_keys=True).encode()).hexdigest()[
            :16
        ]
        return self.folder / f"{type(actor).__name__}-{digest}.json"

    def find(self, actor: Actor, *, row_s: float | None = None) -> Measured | None:
        """What is known of an actor, in these versions and on this device.

        Where rows can be longer than those measured, it takes no less memory than it declares.

        Args:
            actor: Whose.
            row_s: Length of the rows to come, where time goes with it; `None`: as those measured.

        Returns:
            `None` where it was not measured, or where the memory of its device could not be read:
            then what is declared holds.
        """
        found = self.read(actor)
        known = found.measured(row_s=row_s) if found else None
        if found is None or known is None or (actor.gpus and not known.gpu_memory_gb):
            return None
        if not found.short:
            return known
        name = "gpu_memory_gb" if actor.gpus else "memory_gb"
        least = {n: max(gb, actor.memory_gb) for n, gb in getattr(known, name).items()}
        return replace(known, **{name: least})

    def read(self, actor: Actor) -> Finding | None:
        """The whole record.

        Raises:
            ValueError: It cannot be read; names the file.
        """
        path = self.path(actor)
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text())["finding"]
            found["steps"] = tuple(Step(**step) for step in found["steps"])
            return Finding(**{**found, "errors": tuple(found["errors"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"'{path}' is no measurement ({error}): remove it.") from error

    def save(self, actor: Actor, found: Finding) -> Path:
        """Keep a measurement."""
        kept = asdict(replace(found, answer=None))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = {**subject(actor), "when": now, "finding": kept}
        path = self.path(actor)
        table.replace(path, json.dumps(record, indent=1).encode())
        return path


def subject(actor: Actor) -> dict[str, Any]:
    """What a measurement holds for: the actor, how it works, with what, and on what."""
    own = {
        f.name: getattr(actor, f.name) for f in fields(actor) if f.init and "machine" in f.metadata
    }
    return {
        "identity": plain(actor.identity()),
        "machine": {name: plain(getattr(actor, name)) for name in own if name not in DECIDED},
        "versions": versions(),
        "device": device(),
    }


@cache
def versions() -> dict[str, str]:
    """Of the engines that are installed here."""
    found = {}
    for name in ENGINES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def device() -> str:
    """The processor and the GPUs of this machine, for example `aarch64, 0xd87, NVIDIA GB10`."""
    names = {platform.machine(): None, **_facts("/proc/cpuinfo", ("model name", "CPU part"))}
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        names |= _facts(str(path), ("Model",))
    return ", ".join(names)


def _facts(path: str, keys: tuple[str, ...]) -> dict[str, None]:
    """Values of some keys in a file of lines `key : value`, each once."""
    try:
        pairs = [line.partition(":") for line in Path(path).read_text().splitlines()]
    except OSError:
        return {}
    return {value.strip(): None for key, _, value in pairs if key.strip() in keys}
