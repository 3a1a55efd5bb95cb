"""What all networks of `mien train` share: their inputs, their head, their loss."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Inputs = Literal["frames", "clip", "clip+audio"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, 0-1: what torchvision's weights were trained with."""


class Trunk(nn.Module):
    """Turns pictures into features, `(n, 3, height, width)` to `(n, width)`.

    Attributes:
        width: Features of a picture.
        origin: Where its weights come from: `random`, or the name of a file.
    """

    width: int
    origin: str = "random"

    @property
    def maps(self) -> nn.Module | None:
        """The layer whose output is the last map of the picture; `None`: it is cut into patches."""
        return None


class Network(nn.Module):
    """A classifier with a trunk, which may come pretrained, and a head, which is all the rest.

    A batch is a mapping of tensors. Pictures are RGB, uint8 (0-255) or floats (0-1); the network
    itself shifts and scales them as its trunk wants them.

    | `inputs` | keys of a batch |
    |---|---|
    | `frames` | `frames` `(n, 3, size, size)` |
    | `clip` | `clip` `(n, time, 3, size, size)`, `mask` `(n, time)` bool: the frames that are real, at least one of each clip |
    | `clip+audio` | those of `clip`, `audio` `(n, sample)` float, mono 16 kHz, -1 to 1, `audio_mask` `(n, sample)` bool: the samples that are real, none where the sound is missing |

    Attributes:
        trunk: What a first phase of training leaves as it is.
        classes: How many there are, two at least.
        size_px: Side of its pictures.
    """  # noqa: E501

    inputs: ClassVar[Inputs]

    trunk: Trunk
    classes: int
    size_px: int
    mean: Tensor
    std: Tensor

    def __init__(self, *, classes: int, size_px: int, trunk: Trunk) -> None:
        if classes < 2:
            raise ValueError(f"`classes` must be at least 2, but is {classes}.")
        super().__init__()
        self.classes, self.size_px, self.trunk = classes, size_px, trunk
        self._frozen = False
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    @property
    def outputs(self) -> int:
        """Logits: one where there are two classes, else one per class."""
        return 1 if self.classes == 2 else self.classes

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits `(n, outputs)` of a batch."""

    def example(self, rows: int) -> dict[str, Tensor]:
        """A black batch, as large as they come."""
        side = self.size_px
        return {"frames": torch.zeros(rows, 3, side, side, dtype=torch.uint8)}

    def normalised(self, pictures: Tensor) -> Tensor:
        """Pictures of any leading shape `(..., 3, size, size)` as the trunk wants them."""
        if pictures.dtype == torch.uint8:
            pictures = pictures.to(self.mean.dtype) / 255
        return (pictures - self.mean) / self.std

    def backbone(self) -> list[nn.Parameter]:
        """Parameters of the trunk."""
        return list(self.trunk.parameters())

    def head(self) -> list[nn.Parameter]:
        """All other parameters."""
        known = {id(parameter) for parameter in self.trunk.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in known]

    def freeze(self, frozen: bool = True) -> None:
        """Leave the trunk as it is, dropout and the statistics of its norms included; or not."""
        self._frozen = frozen
        self.trunk.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """Switch to training; a frozen trunk stays as it answers."""
        super().train(mode)
        if self._frozen:
            self.trunk.eval()
        return self


def loss(
    logits: Tensor, truth: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy, averaged over a batch; binary where there is one logit.

    Args:
        logits: `(n, outputs)` of a `Network`.
        truth: `(n,)` int64, the class of each row; 1 is the one that a single logit speaks for.
        weight: `(classes,)` of each class; the average is then a weighted one.
        smoothing: Share of each row's truth that is spread evenly over all classes (0-1).
    """
    if logits.shape[1] > 1:
        return functional.cross_entropy(logits, truth, weight, label_smoothing=smoothing)
    target = truth.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    weights = torch.ones_like(each) if weight is None else weight[truth].to(each.dtype)
    return (each * weights).sum() / weights.sum()


def probabilities(logits: Tensor) -> Tensor:
    """Probability of each class, `(n, classes)` float32, rows sum to 1."""
    logits = logits.float()
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    positive = logits.sigmoid()
    return torch.cat([1 - positive, positive], dim=1)


def checked(name: str, value: Any, least: float, most: float) -> None:  # noqa: ANN401
    """Refuse a parameter outside its range.

    Raises:
        ValueError: It is.
    """
    if not least <= value <= most:
        raise ValueError(f"`{name}` must be between {least:g} and {most:g}, but is {value:g}.")
