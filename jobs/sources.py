"""What `mien fetch` brought: one record for each folder of models, and its check."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..actors.weights import Weights, content
from ..datasets.store import replace
from . import provenance

RECORD = "SOURCES.json"
"""In a folder of models: of each set of weights where it came from, and its files' hashes."""


def records(folder: Path) -> dict[str, Any]:
    """All that is written down in a folder of models, by the weights' names.

    Raises:
        ValueError: The record cannot be read; names it.
    """
    path = folder / RECORD
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"'{path}' is no JSON ({error}): remove it, and fetch again.") from error


def record(weights: Weights, folder: Path, place: Path, commit: str | None) -> None:
    """Write down what was brought.

    Args:
        weights: What they are.
        folder: Of models.
        place: Where they stand in it; other actors may have brought other files of them.
        commit: Of the hub's repository.
    """
    known = records(folder)
    before = known.get(weights.name, {})
    same = before.get("revision") == weights.revision and before.get("url") == weights.url
    patterns = {*weights.files, *(before["patterns"] if same else ())}
    whole = not weights.files or (same and not before["patterns"])
    known[weights.name] = {
        "revision": weights.revision,
        "commit": commit,
        "url": weights.url,
        "licence": weights.licence,
        "patterns": [] if whole else sorted(patterns),
        "fetched": provenance.now(),
        "files": {
            str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256(path)}
            for path in content(place)
        },
    }
    replace(folder / RECORD, json.dumps(known, indent=1, sort_keys=True).encode())


def standing(weights: Weights) -> Path | None:
    """Where weights stand already, as they are asked for; `None` where they must be fetched.

    With a folder of models only what is in that counts, so that it can be carried elsewhere; what
    is written down there must be there whole, at the revision that is asked for.
    """
    place = weights.find()
    if place is None or weights.path is not None or weights.dir is None:
        return place
    folder = Path(weights.dir).expanduser()
    if not place.is_relative_to(folder):
        return None
    known = records(folder).get(weights.name)
    if known is None:
        return place
    whole = all(
        (folder / name).is_file() and (folder / name).stat().st_size == facts["size"]
        for name, facts in known["files"].items()
    )
    same = known["revision"] == weights.revision and known["url"] == weights.url
    brought = set(known["patterns"])
    asked = not brought or (weights.files and set(weights.files) <= brought)
    return place if whole and same and asked else None


def faults(weights: Weights) -> Iterator[str]:
    """Files of weights whose content is not what was brought; reads all of it.

    Yields:
        The file and what is wrong with it.
    """
    place = weights.find()
    if place is None:
        yield weights.missing() or ""
        return
    for path, wanted in _hashes(weights, place):
        if not path.exists():
            yield f"'{path}' is gone"
        elif (sha256 if len(wanted) == 64 else blob)(path) != wanted:
            yield f"'{path}' is corrupted: its content does not have the hash {wanted[:12]}"


def checkable(weights: Weights) -> bool:
    """Whether hashes of these weights are known."""
    place = weights.find()
    return place is None or any(True for _ in _hashes(weights, place))


def _hashes(weights: Weights, place: Path) -> Iterator[tuple[Path, str]]:
    """Files with the hash that they must have: from the record, the cache, or the configuration."""
    folder = Path(weights.dir).expanduser() if weights.dir else None
    known = records(folder).get(weights.name) if folder else None
    if folder and known and place.is_relative_to(folder):
        for name, facts in known["files"].items():
            yield folder / name, facts["sha256"]
    elif place.parent.name == "snapshots":
        for path in content(place):
            kept = path.resolve()
            yield kept, kept.name  # the cache names a file by its hash
    elif weights.sha256:
        yield from ((path, weights.sha256) for path in content(place, weights.files))


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def blob(path: Path) -> str:
    """What git calls a file's content: how the hub names small files."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
