"""A small convolutional network, trained from scratch."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from .layers import classifier
from .network import Inputs, Network, Trunk, checked

CHANNELS = (32, 64, 128)
GRID = 7
"""Side of the last layer's map, whatever the size of the picture."""


class Convolutions(Trunk):
    """Three blocks of convolution, norm and ReLU; the first two halve the picture."""

    def __init__(self, *, dropout: tuple[float, float]) -> None:
        super().__init__()
        first, second, third = CHANNELS
        self.layers = nn.Sequential(
            *(*block(3, first), nn.MaxPool2d(2), nn.Dropout2d(dropout[0])),
            *(*block(first, second), nn.MaxPool2d(2), nn.Dropout2d(dropout[1])),
            *block(second, third),
        )
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.width = third * GRID * GRID

    @property
    def maps(self) -> nn.Module:
        """The third block."""
        return self.layers

    def forward(self, pictures: Tensor) -> Tensor:
        """Features of pictures."""
        return self.pool(self.layers(pictures)).flatten(1)


def block(before: int, after: int) -> tuple[nn.Module, ...]:
    """Convolution, norm, ReLU."""
    return nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()


class ImprovedCnn(Network):
    """The baseline: convolutions, and a head with heavy dropout.

    Args:
        dropout: Of the two blocks that halve the picture: whole channels.
        head_dropout: Before each layer of the head.
        hidden: Width of the head's first layer.
    """

    inputs: ClassVar[Inputs] = "frames"

    def __init__(
        self,
        *,
        classes: int,
        size_px: int,
        dropout: tuple[float, float] = (0.3, 0.4),
        head_dropout: tuple[float, float] = (0.7, 0.5),
        hidden: int = 256,
    ) -> None:
        checked("size_px", size_px, 28, 4096)  # the last map must hold `GRID` cells
        super().__init__(classes=classes, size_px=size_px, trunk=Convolutions(dropout=dropout))
        self.classifier = classifier(self.trunk.width, hidden, self.outputs, head_dropout)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of frames."""
        return self.classifier(self.trunk(self.normalised(batch["frames"])))
