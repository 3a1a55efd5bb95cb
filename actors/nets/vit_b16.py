"""ViT-B/16, with torchvision's weights of ImageNet where they are at hand."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torchvision.models import VisionTransformer, ViT_B_16_Weights
from torchvision.models.vision_transformer import interpolate_embeddings

from .layers import classifier
from .network import Inputs, Network, Trunk
from .pretrained import fill, located, read


class Vision(Trunk):
    """A vision transformer (Dosovitskiy et al., 2021) as torchvision builds it, without its head.

    The positions of weights made for another size of pictures are interpolated.

    Args:
        size_px: Side of a picture, a multiple of `patch_px`.
        weights: See `pretrained.located`; `auto` and `imagenet` are those of ViT-B/16.

    Attributes:
        grid: Patches along each side of a picture.
    """

    def __init__(
        self,
        *,
        size_px: int,
        weights: str,
        patch_px: int,
        width: int,
        layers: int,
        heads: int,
        mlp: int,
        dropout: float,
    ) -> None:
        if size_px % patch_px:
            raise ValueError(
                f"`size_px` must be a multiple of `patch_px` ({patch_px}), but is {size_px}."
            )
        super().__init__()
        path = located(weights, ViT_B_16_Weights.IMAGENET1K_V1.url)
        self.width, self.grid = width, size_px // patch_px
        self.layers = VisionTransformer(size_px, patch_px, layers, heads, width, mlp, dropout)
        if path is not None:
            state = interpolate_embeddings(size_px, patch_px, read(path))  # type: ignore[arg-type]
            fill(self, self.layers, dict(state), path)
        self.layers.heads = nn.Identity()  # type: ignore[assignment]

    def forward(self, pictures: Tensor) -> Tensor:
        """The class token after the last layer."""
        return self.layers(pictures)


class VitB16(Network):
    """ViT-B/16 with a head of two layers.

    Args:
        weights: `auto`, `imagenet`, `random` or a path.
        patch_px: Side of a patch; divides `size_px`.
        width: Of a token; a multiple of `heads`.
        layers: Of the transformer.
        heads: Of attention.
        mlp: Width inside a layer.
        layer_dropout: Inside the layers.
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
        patch_px: int = 16,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        mlp: int = 3072,
        layer_dropout: float = 0.0,
        hidden: int = 256,
        dropout: tuple[float, float] = (0.3, 0.2),
    ) -> None:
        trunk = Vision(
            size_px=size_px,
            weights=weights,
            patch_px=patch_px,
            width=width,
            layers=layers,
            heads=heads,
            mlp=mlp,
            dropout=layer_dropout,
        )
        super().__init__(classes=classes, size_px=size_px, trunk=trunk)
        self.classifier = classifier(width, hidden, self.outputs, dropout)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of frames."""
        return self.classifier(self.trunk(self.normalised(batch["frames"])))
