"""What `mien train` trains: a network and the phases of its training, without loading torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...actors.nets.catalogue import FRAMES, NETWORKS, build

if TYPE_CHECKING:
    from ...actors.nets.network import Network


@dataclass(frozen=True, kw_only=True)
class TrainPhase:
    """Some epochs with the same learning rates.

    Attributes:
        epochs: At most.
        head_rate: Learning rate of the head.
        backbone_rate: Learning rate of the trunk; 0 leaves it frozen.
    """

    epochs: int
    head_rate: float
    backbone_rate: float

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"`epochs` must be at least 1, but is {self.epochs}.")
        if self.head_rate <= 0:
            raise ValueError(f"`head_rate` must be greater than 0, but is {self.head_rate:g}.")
        if self.backbone_rate < 0:
            raise ValueError(
                f"`backbone_rate` must be at least 0 (0: frozen), but is {self.backbone_rate:g}."
            )

    @property
    def frozen(self) -> bool:
        """Whether the trunk stays as it is."""
        return self.backbone_rate == 0


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network and how it is trained.

    Attributes:
        network: Name of `NETWORKS`.
        size_px: Side of the pictures that it sees.
        batch_size: Rows of a step.
        phases: Of the training, by name, in order.
        parameters: Of the network, by name.
    """

    network: str
    size_px: int
    batch_size: int
    phases: Mapping[str, TrainPhase]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(
                f"`network` must be one of {', '.join(NETWORKS)}, but is {self.network!r}."
            )
        for name in ("size_px", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")
        if not self.phases:
            raise ValueError("`phases` must name at least one phase of training.")

    @property
    def inputs(self) -> str:
        """What a batch holds: `frames`, `clip` or `clip+audio`; see `Network`."""
        return NETWORKS[self.network][1]

    @property
    def frames(self) -> int:
        """Frames of a clip, at most; 1 for a network of single frames."""
        return 1 if self.inputs == "frames" else int(self.parameters.get("frames", FRAMES))

    def build(self, classes: int, seed: int = 0) -> "Network":
        """The network, untrained; see `catalogue.build`."""
        return build(
            self.network, classes=classes, size_px=self.size_px, seed=seed, **self.parameters
        )
