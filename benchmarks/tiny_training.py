"""A very small network and a very small training, for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import drawn
from mien.actors.nets.network import Network, Trunk
from mien.cluster.session import Cluster
from mien.datasets.labelled import Folder
from mien.jobs.training.folds import Protocol
from mien.jobs.training.model import Model, TrainPhase
from mien.jobs.training.schedule import Schedule
from mien.jobs.training.task import Training


class _Trunk(Trunk):
    def __init__(self, size_px: int, norm: bool) -> None:
        super().__init__()
        self.width = 32
        layers = [nn.Flatten(), nn.Linear(3 * size_px**2, self.width)]
        self.layers = nn.Sequential(*layers, *([nn.BatchNorm1d(self.width)] if norm else []))

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.relu(self.layers(pictures))


class Plain(Network):
    """Two linear layers, with dropout between."""

    inputs = "frames"

    def __init__(self, *, classes: int, size_px: int, dropout: float, norm: bool) -> None:
        super().__init__(classes=classes, size_px=size_px, trunk=_Trunk(size_px, norm))
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(self.trunk.width, self.outputs)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of pictures."""
        return self.last(self.dropout(self.trunk(self.normalised(batch["frames"]))))


def plain(
    classes: int = 4, size_px: int = 8, seed: int = 0, *, dropout: float = 0.0, norm: bool = False
) -> Plain:
    """The network, its weights drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Plain(classes=classes, size_px=size_px, dropout=dropout, norm=norm)


def training(folder: Path, *, persons: int = 4, frames: int = 3, **more: Any) -> Training:  # noqa: ANN401
    """A training on drawn faces, prepared.

    Args:
        folder: Holds the faces and the run.
        persons: See `drawn.folder`.
        frames: See `drawn.folder`.
        more: Fields of `Training` that differ.
    """
    path = folder / "set"
    if not path.exists():
        drawn.folder(path, persons=persons, frames=frames, side_px=16)
    phases = {
        "head": TrainPhase(epochs=1, head_rate=1e-3, backbone_rate=0),
        "all": TrainPhase(epochs=2, head_rate=1e-3, backbone_rate=1e-4),
    }
    asked: dict[str, Any] = {
        "model": Model(
            network="tiny_vit",
            size_px=8,
            batch_size=8,
            parameters={"patch_px": 4, "width": 12, "layers": 1, "heads": 3},
            phases=phases,
        ),
        "data": Folder(path=str(path)),
        "protocol": Protocol(folds=2, inner=2),
        "schedule": Schedule(device="cpu"),
    }
    made = Training(**asked | more)
    made.prepare(Cluster(), folder / "run")
    return made
