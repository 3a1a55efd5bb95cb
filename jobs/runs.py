"""Finding runs that measured something, and reading them."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..datasets.store import Place, below, opened, place
from .evaluation.results import RESULTS
from .evaluation.save import RESULT
from .status import RECORD

CONTENT = {"clips", "cuts", "features", "folds", "judged", "media", "tables", "trials", "videos"}
"""Folders inside a run: no other run is looked for there."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that came to its end.

    Attributes:
        folder: Where it stands.
        record: Its `run.json`.
        results: `RESULTS`; `None` of a run that analysed videos.
    """

    folder: Place
    record: Mapping[str, Any]
    results: pa.Table | None = field(repr=False)

    @property
    def config_hash(self) -> str:
        """Names what of its configuration changes the numbers."""
        return str(self.record.get("config_hash") or "")

    @property
    def finished(self) -> str:
        """When it came to its end, ISO 8601."""
        return str(self.record.get("finished") or "")

    @property
    def hardware(self) -> str:
        """What it ran on, in words."""
        machine = self.record.get("machine") or {}
        cores = machine.get("cores")
        memory = machine.get("memory_gb")
        known = [
            *(machine.get("gpus") or []),
            machine.get("processor"),
            f"{cores} cores" if cores else None,
            f"{memory:g} GB" if memory else None,
        ]
        return ", ".join(str(fact) for fact in known if fact)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A run that cannot be shown.

    Attributes:
        folder: Where it stands.
        reason: What is wrong with it.
    """

    folder: Place
    reason: str


def found(folders: Iterable[str]) -> Iterator[Run | Broken]:
    """The runs in some folders, at any depth, each once, by their place.

    Raises:
        ValueError: A folder does not exist.
    """
    seen: dict[str, Place] = {}
    for text in folders:
        folder = place(text)
        if not folder.exists():
            raise ValueError(f"there is no folder '{folder}' to look for runs in.")
        seen.update((str(one), one) for one in _holding(folder))
    for _, folder in sorted(seen.items()):
        yield read(folder)


def read(folder: Place) -> Run | Broken:
    """Read one run."""
    try:
        record = json.loads((folder / RECORD).read_text())
        if not isinstance(record, dict):
            return Broken(folder=folder, reason=f"{RECORD} is no record of a run")
    except (OSError, ValueError) as error:
        return Broken(folder=folder, reason=f"{RECORD} cannot be read ({error})")
    if record.get("error"):
        return Broken(folder=folder, reason=f"it failed: {record['error']}")
    if not record.get("finished"):
        return Broken(folder=folder, reason="it is not finished")
    if "kind" not in record:
        return Run(folder=folder, record=record, results=None)
    try:
        with opened(str(folder / RESULT)) as file:
            results = pq.read_table(file)
    except FileNotFoundError:
        return Broken(folder=folder, reason=f"it has no {RESULT}")
    except (OSError, pa.ArrowException) as error:
        return Broken(folder=folder, reason=f"{RESULT} cannot be read ({error})")
    if not results.schema.equals(RESULTS):
        return Broken(folder=folder, reason=f"{RESULT} has other columns than results have")
    return Run(folder=folder, record=record, results=results)


def _holding(folder: Place) -> Iterator[Place]:
    """Folders that hold the record of a run."""
    if isinstance(folder, Path):
        for path, inside, files in os.walk(folder):
            skipped = CONTENT if RECORD in files else set()
            inside[:] = [x for x in inside if x not in skipped and not x.startswith(".")]
            if RECORD in files:
                yield Path(path)
        return
    found = {path.rpartition("/")[0]: file.place for path, file in below(folder) if _named(path)}
    for path, record in found.items():
        parts = path.split("/")
        heads = (("/".join(parts[:at]), name) for at, name in enumerate(parts))
        if not any(head in found and name in CONTENT for head, name in heads):
            yield record.parent


def _named(path: str) -> bool:
    return path.rpartition("/")[2] == RECORD
