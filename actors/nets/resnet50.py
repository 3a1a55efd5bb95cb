"""ResNet-50, with torchvision's weights of ImageNet where they are at hand."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from .layers import classifier
from .network import Inputs, Network, Trunk, checked
from .pretrained import fill, located, read


class Residual(Trunk):
    """ResNet-50 (He et al., 2016) as torchvision builds it, without its last layer.

    Args:
        weights: See `pretrained.located`.
    """

    def __init__(self, *, weights: str) -> None:
        super().__init__()
        path = located(weights, ResNet50_Weights.IMAGENET1K_V2.url)
        self.layers = resnet50()
        if path is not None:
            fill(self, self.layers, read(path), path)
        self.width = self.layers.fc.in_features
        self.layers.fc = nn.Identity()  # type: ignore[assignment]

    @property
    def maps(self) -> nn.Module:
        """The fourth stage."""
        return self.layers.layer4

    def forward(self, pictures: Tensor) -> Tensor:
        """Features of pictures."""
        return self.layers(pictures)


class ResNet50(Network):
    """ResNet-50 with a head of two layers.

    Args:
        weights: `auto`, `imagenet`, `random` or a path.
        hidden: Width of the head's first layer.
        dropout: Before each layer of the head.
    """

    inputs: ClassVar[Inputs] = "frames"

    def __init__(
        self,
        *,
        classes: int,
        size_px: int,
        weights: str = "auto",
        hidden: int = 512,
        dropout: tuple[float, float] = (0.3, 0.2),
    ) -> None:
        checked("size_px", size_px, 32, 4096)
        super().__init__(classes=classes, size_px=size_px, trunk=Residual(weights=weights))
        self.classifier = classifier(self.trunk.width, hidden, self.outputs, dropout)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of frames."""
        return self.classifier(self.trunk(self.normalised(batch["frames"])))
