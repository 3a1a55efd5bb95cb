"""What stands beside an exported network: all that one must know to use it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

MODEL, SIDECAR = "model.onnx", "model.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """Of a network that `mien train` exported.

    Attributes:
        network: Name of the network.
        inputs: `frames`, `clip` or `clip+audio`.
        labels: Of the classes, in the order of the probabilities.
        size_px: Side of its pictures: RGB, uint8, the middle square of a frame.
        mean: Of the colours, 0-1; the network itself subtracts it,
        std: and divides by this.
        origin: Where the trunk's weights came from, before the training.
        licence: SPDX name of what was trained, data included.
        trained: How it was: data, split, scores, seed; whatever the training says.
        config_hash: Of the training's configuration.
        calibrated: Whether the probabilities were calibrated.
        sha256: Of the network's file.
        version: Of this format.
    """

    network: str
    inputs: str
    labels: tuple[str, ...]
    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    licence: str
    trained: Mapping[str, Any] = field(default_factory=dict)
    config_hash: str
    calibrated: bool
    sha256: str
    version: int = VERSION

    def __post_init__(self) -> None:
        for name in ("labels", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise ValueError(
                f"`labels` must be two or more, each once, but are {', '.join(self.labels)}."
            )
        if self.version != VERSION:
            raise ValueError(f"`version` must be {VERSION}, but is {self.version}.")

    def write(self, folder: Path) -> None:
        """Write it into the network's folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / SIDECAR).write_text(text + "\n")


def read(folder: Path) -> Sidecar:
    """The sidecar of a folder.

    Raises:
        ValueError: There is none, or it is not one; names the file.
    """
    path = folder / SIDECAR
    try:
        found = json.loads(path.read_text())
        wanted = {f.name for f in fields(Sidecar)}
        if not isinstance(found, dict) or set(found) != wanted:
            raise ValueError(f"its keys must be {', '.join(sorted(wanted))}.")
        return Sidecar(**found)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"'{path}' must say what the classifier beside it is, as `mien train` writes it, but "
            f"does not: {error}"
        ) from error


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
