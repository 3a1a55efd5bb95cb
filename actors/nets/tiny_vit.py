"""A small vision transformer, trained from scratch."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from .layers import positions, transformer
from .network import Inputs, Network, Trunk, checked


class Patches(Trunk):
    """A vision transformer (Dosovitskiy et al., 2021): patches, a class token, layers.

    Attributes:
        grid: Patches along each side of a picture.
    """

    def __init__(
        self, *, size_px: int, patch_px: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        if size_px % patch_px:
            raise ValueError(
                f"`size_px` must be a multiple of `patch_px` ({patch_px}), but is {size_px}."
            )
        super().__init__()
        self.width, self.grid = width, size_px // patch_px
        self.embed = nn.Conv2d(3, width, patch_px, patch_px)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = positions(self.grid**2 + 1, width)
        self.encoder = transformer(width, layers, heads, dropout)

    def forward(self, pictures: Tensor) -> Tensor:
        """The class token after the last layer."""
        patches = self.embed(pictures).flatten(2).transpose(1, 2)
        token = self.token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([token, patches], dim=1) + self.positions
        return self.encoder(tokens)[:, 0]


class TinyVit(Network):
    """A vision transformer small enough for a small set of pictures.

    The layers norm their inputs, not their outputs, and the class token is normed before the
    head: without that such a network learns from scratch only with a warm-up of its rate.

    Args:
        patch_px: Side of a patch; divides `size_px`.
        width: Of a token; a multiple of `heads`.
        layers: Of the transformer.
        heads: Of attention.
        dropout: Inside the layers.
    """

    inputs: ClassVar[Inputs] = "frames"

    def __init__(
        self,
        *,
        classes: int,
        size_px: int,
        patch_px: int = 16,
        width: int = 192,
        layers: int = 4,
        heads: int = 3,
        dropout: float = 0.1,
    ) -> None:
        checked("layers", layers, 1, 64)
        trunk = Patches(
            size_px=size_px,
            patch_px=patch_px,
            width=width,
            layers=layers,
            heads=heads,
            dropout=dropout,
        )
        super().__init__(classes=classes, size_px=size_px, trunk=trunk)
        self.classifier = nn.Linear(width, self.outputs)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of frames."""
        return self.classifier(self.trunk(self.normalised(batch["frames"])))
