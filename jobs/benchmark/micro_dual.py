"""The dual-stream network as a system: its numbers, all of which a user may change."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ...actors.packages import absent, cure
from .loso import Step
from .micro_samples import Samples

PACKAGES = ("torch", "torchvision")
LEAST = (("epochs", 1), ("batch_size", 2), ("restart", 1), ("restart_factor", 1))
Alike = Literal["units", "labels"]


@dataclass(frozen=True, kw_only=True)
class DualStream:
    """Eyes and mouth through a ResNet-18 each, whose first half they share.

    After "Mimicking the Annotation Process" (ACM MM 2022), from its description; the defaults are
    the paper's.

    Attributes:
        epochs: Of training; each is judged.
        batch_size: Clips per step.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        restart: Epochs until the learning rate starts again, the first time.
        restart_factor: By which that grows each time.
        smoothing: Of the labels (0-1).
        contrast: Share of the contrastive loss (0-1); the rest is cross-entropy.
        alike: What makes two clips alike for it: `units`, the action units that they share
            (Jaccard), or `labels`, for sets without coded units.
        temperature: Of the contrastive loss.
        flip: Chance that a picture is mirrored (0-1).
        erase: Chance that a random rectangle of it is erased (0-1).
        exchange: Chance that it gets the mouth of another clip of its class (0-1).
        weights: Of the backbone: `auto` (torchvision's cache, else random), `imagenet`, `random`
            or a file.
    """

    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-5
    restart: int = 10
    restart_factor: int = 2
    smoothing: float = 0.1
    contrast: float = 0.3
    alike: Alike = "units"
    temperature: float = 0.1
    flip: float = 0.5
    erase: float = 0.5
    exchange: float = 0.5
    weights: str = "auto"
    inputs: str = field(default="apex, flow", init=False)
    probable: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("batch_size", 2),
            ("restart", 1),
            ("restart_factor", 1),
        ):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, but is {value}.")
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if value <= 0:
                raise ValueError(f"`{name}` must be greater than 0, but is {value:g}.")
        for name in ("smoothing", "contrast", "flip", "erase", "exchange"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, but is {value:g}.")
        if self.alike not in ("units", "labels"):
            raise ValueError(f"`alike` must be units or labels, but is {self.alike!r}.")

    def missing(self) -> str | None:
        """Which package is, and the cure."""
        lacking = absent(PACKAGES)
        return f"needs {' and '.join(lacking)}: {cure(lacking)}" if lacking else None

    def origin(self) -> str:
        """Of the backbone's weights: `random`, or the name of a file."""
        from torchvision.models import ResNet18_Weights

        from ...actors.nets.pretrained import RANDOM, located

        file = located(self.weights, ResNet18_Weights.IMAGENET1K_V1.url)
        return file.name if file else RANDOM

    def steps(self, learn: Samples, judge: Samples, seed: int) -> Iterator[Step]:
        """Train, and judge after each epoch: probabilities."""
        from .micro_training import Training

        yield from Training(self, learn, seed).judged(judge)
