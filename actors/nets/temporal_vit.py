"""A vision transformer over the pixels of each frame, and a transformer over time."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from .catalogue import FRAMES, create
from .layers import classifier, positions, transformer
from .network import Inputs, Network, Trunk, checked

SPATIAL = ("tiny_vit", "resnet50", "vit_b16")
"""Whose trunk can see the frames of a clip; the features of `improved_cnn` are too wide."""
NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})


class ClipNetwork(Network):
    """A network of clips, whose trunk is that of a network of single frames.

    Args:
        frames: Of a clip, at most.
        spatial: Name of the network whose trunk sees the frames.
        spatial_parameters: Of that network.
    """

    def __init__(
        self,
        *,
        classes: int,
        size_px: int,
        frames: int,
        spatial: str,
        spatial_parameters: Mapping[str, Any],
    ) -> None:
        checked("frames", frames, 1, 4096)
        super().__init__(
            classes=classes, size_px=size_px, trunk=trunk(spatial, size_px, spatial_parameters)
        )
        self.frames = frames

    def example(self, rows: int) -> dict[str, Tensor]:
        """A black batch, as large as they come."""
        side = self.size_px
        return {
            "clip": torch.zeros(rows, self.frames, 3, side, side, dtype=torch.uint8),
            "mask": torch.ones(rows, self.frames, dtype=torch.bool),
        }

    def seen(self, clip: Tensor) -> Tensor:
        """Features of each frame, `(n, time, width)`.

        Raises:
            ValueError: A clip is longer than `frames`.
        """
        count, time = clip.shape[:2]
        if time > self.frames:
            raise ValueError(f"a clip must have at most {self.frames} frames, but has {time}.")
        pictures = self.normalised(clip).flatten(0, 1)  # (n, time, ...) -> (n x time, ...)
        return self.trunk(pictures).unflatten(0, (count, time))


def trunk(name: str, size_px: int, parameters: Mapping[str, Any]) -> Trunk:
    """The trunk of a network of single frames.

    Raises:
        ValueError: It is no such network.
    """
    if name not in SPATIAL:
        raise ValueError(f"`spatial` must be one of {', '.join(SPATIAL)}, but is {name!r}.")
    return create(name, classes=2, size_px=size_px, **parameters).trunk


def mean_of(features: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real frames: `(n, time, width)` and `(n, time)` to `(n, width)`."""
    share = mask.to(features.dtype) / mask.sum(dim=1, keepdim=True)
    return (features * share.unsqueeze(2)).sum(dim=1)


class TemporalVit(ClipNetwork):
    """Attention between the frames of a clip, then the mean over those that are real.

    Args:
        frames: Of a clip, at most.
        spatial: Name of the network whose trunk sees the frames.
        spatial_parameters: Of that network.
        layers: Of the temporal transformer.
        heads: Of its attention; divides the trunk's width.
        layer_dropout: Inside its layers.
        hidden: Width of the head's first layer.
        dropout: Before each layer of the head.
    """

    inputs: ClassVar[Inputs] = "clip"

    def __init__(
        self,
        *,
        classes: int,
        size_px: int,
        frames: int = FRAMES,
        spatial: str = "vit_b16",
        spatial_parameters: Mapping[str, Any] = NO_PARAMETERS,
        layers: int = 2,
        heads: int = 8,
        layer_dropout: float = 0.1,
        hidden: int = 256,
        dropout: tuple[float, float] = (0.3, 0.2),
    ) -> None:
        super().__init__(
            classes=classes,
            size_px=size_px,
            frames=frames,
            spatial=spatial,
            spatial_parameters=spatial_parameters,
        )
        width = self.trunk.width
        self.positions = positions(frames, width)
        self.temporal = transformer(width, layers, heads, layer_dropout)
        self.classifier = classifier(width, hidden, self.outputs, dropout)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of clips."""
        clip, mask = batch["clip"], batch["mask"]
        features = self.seen(clip) + self.positions[:, : clip.shape[1]]
        features = self.temporal(features, src_key_padding_mask=~mask)
        return self.classifier(mean_of(features, mask))
