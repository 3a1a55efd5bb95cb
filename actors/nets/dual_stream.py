"""The dual-stream network of "Mimicking the Annotation Process" (ACM MM 2022), on torchvision.

Re-implemented from its description alone; no line is the authors'. Eyes and mouth, the upper and
the lower half of a picture of motion, go through a shared stem and a branch each.

Where the description leaves room: dropout is by element; each head reads its own branch, the area
weights left out; those make the feature that is compared by action units, and only that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet18_Weights, resnet18

from .pretrained import RANDOM, located, read

WIDTH = 512
"""Of the feature of one region."""


class Answer(NamedTuple):
    """What the network says of `n` pictures.

    Attributes:
        eyes: Logits of the upper half, `(n, classes)`.
        mouth: Logits of the lower half, `(n, classes)`.
        units: Feature of length 1 for the action units, `(n, 1024)`.
        weights: How much each of its components counts, 0-1, `(n, 1024)`: eyes, then mouth.
    """

    eyes: Tensor
    mouth: Tensor
    units: Tensor
    weights: Tensor

    @property
    def logits(self) -> Tensor:
        """What predicts: the sum of both, `(n, classes)`."""
        return self.eyes + self.mouth

    @property
    def areas(self) -> Tensor:
        """Mean weight of eyes and of mouth, `(n, 2)`."""
        return self.weights.unflatten(1, (2, WIDTH)).mean(dim=2)


class DualStream(nn.Module):
    """Two ResNet-18 that share their first half.

    Attributes:
        origin: Where the backbone's weights come from: `random`, or the name of a file.
    """

    def __init__(self, classes: int, weights: str = RANDOM) -> None:
        """Build it.

        Args:
            classes: To tell apart.
            weights: Of torchvision's ResNet-18, as `pretrained.located` finds them.

        Raises:
            FileNotFoundError: They are not there.
            ValueError: The file holds another network.
        """
        super().__init__()
        base = resnet18(weights=None)
        file = located(weights, ResNet18_Weights.IMAGENET1K_V1.url)
        if file is not None:
            try:
                base.load_state_dict(read(file))
            except RuntimeError as error:
                raise ValueError(
                    f"'{file}' must hold torchvision's ResNet-18, but holds another network."
                ) from error
        self.origin = file.name if file else RANDOM
        self.stem = nn.Sequential(
            *(base.conv1, base.bn1, base.relu, base.maxpool),
            *(base.layer1, nn.Dropout(0.2), base.layer2, nn.Dropout(0.2)),
        )
        self.eyes = nn.Sequential(
            base.layer3, nn.Dropout(0.2), base.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.mouth = deepcopy(self.eyes)
        self.area = nn.Sequential(
            *(nn.Linear(2 * WIDTH, 2 * WIDTH), nn.LayerNorm(2 * WIDTH), nn.ReLU(), nn.Dropout(0.3)),
            *(nn.Linear(2 * WIDTH, 2 * WIDTH), nn.LayerNorm(2 * WIDTH), nn.Sigmoid()),
        )
        self.units_dropout = nn.Dropout(0.1)
        self.eyes_head, self.mouth_head = _head(classes), _head(classes)

    def forward(self, pictures: Tensor) -> Answer:
        """Judge pictures.

        Args:
            pictures: `(n, 3, side, side)`, normalised as for ImageNet; `side` even, at least 32.
        """
        upper, lower = halves(pictures)
        eyes = functional.normalize(self.eyes(self.stem(upper)))  # (n, 512)
        mouth = functional.normalize(self.mouth(self.stem(lower)))
        both = torch.cat([eyes, mouth], dim=1)
        weights = self.area(both.detach())
        units = self.units_dropout(functional.normalize(weights * both))
        return Answer(self.eyes_head(eyes), self.mouth_head(mouth), units, weights)


def halves(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower rows of `(..., side, side)`: eyes and mouth."""
    middle = pictures.shape[-2] // 2
    return pictures[..., :middle, :], pictures[..., middle:, :]


def attention(network: DualStream, pictures: Tensor, classes: Tensor) -> Tensor:
    """Where the last layers of both branches find a class: Grad-CAM (Selvaraju et al. 2017).

    Args:
        network: As it is; put into evaluation mode for the call.
        pictures: `(n, 3, side, side)`, as for the network.
        classes: Which class is explained in each, `(n,)` int64.

    Returns:
        `(n, side, side)`, 0-1, the highest of a picture 1 (all 0 where nothing speaks for it);
        eyes and mouth on one scale.
    """
    was, _ = network.training, network.eval()
    try:
        with _kept(network.eyes[2], network.mouth[2]) as kept, torch.enable_grad():
            answer = network(pictures)
            score = answer.logits.gather(1, classes[:, None]).sum()
            slopes = torch.autograd.grad(score, kept)
    finally:
        network.train(was)
    parts = []
    for layer, slope, half in zip(kept, slopes, halves(pictures), strict=True):
        found = (slope.mean(dim=(2, 3), keepdim=True) * layer).sum(dim=1, keepdim=True).relu()
        parts.append(functional.interpolate(found, half.shape[-2:], mode="bilinear")[:, 0])
    whole = torch.cat(parts, dim=1).detach()
    highest = whole.amax(dim=(1, 2), keepdim=True)
    return whole / highest.where(highest > 0, 1.0)


@contextmanager
def _kept(*layers: nn.Module) -> Iterator[list[Tensor]]:
    """What layers answer while the block runs, in the order of their calls."""
    kept: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor) -> None:
        kept.append(output)

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _head(classes: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU(), nn.Dropout(0.3)),
        nn.Linear(WIDTH, classes),
    )
