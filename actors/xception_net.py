"""The mini-Xception of Arriaga et al. (2017) in torch, read from its Keras file.

Octavio Arriaga, Matias Valdenegro-Toro, Paul Plöger: Real-time convolutional neural networks for
emotion and gender classification, https://arxiv.org/abs/1710.07557.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 0.001  # of Keras' batch normalisation
WIDTHS = (8, 16, 32, 64, 128)
CLASSES = 7


class MiniXception(nn.Module):
    """Probabilities of seven emotions from grey faces."""

    def __init__(self) -> None:
        super().__init__()
        first = WIDTHS[0]
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 3, bias=False),
            nn.BatchNorm2d(first, EPSILON),
            nn.ReLU(),
            nn.Conv2d(first, first, 3, bias=False),
            nn.BatchNorm2d(first, EPSILON),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(Block(*widths) for widths in pairwise(WIDTHS)))
        self.head = nn.Conv2d(WIDTHS[-1], CLASSES, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify.

        Args:
            pictures: `(n, 1, 64, 64)`, -1 (black) to 1 (white).

        Returns:
            `(n, 7)` probabilities, in the order of `LABELS`.
        """
        return self.head(self.blocks(self.stem(pictures))).mean(dim=(2, 3)).softmax(dim=1)


class Block(nn.Module):
    """Two separable convolutions at half the resolution, beside a shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *separable(before, after),
            nn.BatchNorm2d(after, EPSILON),
            nn.ReLU(),
            *separable(after, after),
            nn.BatchNorm2d(after, EPSILON),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after, EPSILON)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Halve `(n, before, side, side)` to `(n, after, ceil(side / 2), ...)`."""
        low = features.shape[-1] % 2  # Keras' "same" pads an even side only at its end
        padded = functional.pad(self.body(features), (low, 1, low, 1), value=-torch.inf)
        return functional.max_pool2d(padded, 3, stride=2) + self.shortcut(features)


def separable(before: int, after: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A depthwise convolution and the pointwise one that follows."""
    return (
        nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
        nn.Conv2d(before, after, 1, bias=False),
    )


KERNEL = (3, 2, 0, 1)  # Keras has height, width, in, out
DEPTHWISE = (2, 3, 0, 1)
NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def load(path: Path) -> MiniXception:
    """Read the weights that Keras saved.

    Args:
        path: The `.hdf5` of a whole model, as its authors publish it.

    Raises:
        ValueError: It is another model.
    """
    found, wanted = stored(path), sources()
    if set(found) != set(wanted) or len(found["conv2d_7/bias"]) != CLASSES:
        raise ValueError(
            f"{path.name} must be a mini-Xception of {CLASSES} emotions, but is another model."
        )
    network = MiniXception()
    state = {
        target: torch.from_numpy(found[source].transpose(axes) if axes else found[source])
        for source, (target, axes) in wanted.items()
    }
    network.load_state_dict(state, strict=False)  # the counts of batches seen stay 0
    return network.eval()


def stored(path: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of a Keras file, named `layer/part`."""
    import h5py

    found = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            parts = name.split("/")
            found[f"{parts[0]}/{parts[-1].removesuffix(':0')}"] = np.asarray(item, np.float32)

    with h5py.File(path) as file:
        weights = file.get("model_weights")
        if isinstance(weights, h5py.Group):
            weights.visititems(keep)
    return found


def sources() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Where each stored array belongs, and its axes in torch's order.

    Keras numbers layers in the order they were made: within a block the shortcut's first.
    """
    convolutions = {1: "stem.0", 2: "stem.3", 7: "head"}
    found: dict[str, tuple[str, tuple[int, ...]]] = {"conv2d_7/bias": ("head.bias", ())}
    norms = {1: "stem.1", 2: "stem.4"}
    for k in range(len(WIDTHS) - 1):
        block = f"blocks.{k}"
        convolutions[k + 3] = f"{block}.shortcut.0"
        norms |= {3 * k + 3: f"{block}.shortcut.1", 3 * k + 4: f"{block}.body.2"}
        norms[3 * k + 5] = f"{block}.body.6"
        for part in (0, 1):
            layer, first = f"separable_conv2d_{2 * k + 1 + part}", 4 * part
            found[f"{layer}/depthwise_kernel"] = (f"{block}.body.{first}.weight", DEPTHWISE)
            found[f"{layer}/pointwise_kernel"] = (f"{block}.body.{first + 1}.weight", KERNEL)
    for i, place in convolutions.items():
        found[f"conv2d_{i}/kernel"] = (f"{place}.weight", KERNEL)
    for i, place in norms.items():
        for theirs, ours in NORM.items():
            found[f"batch_normalization_{i}/{theirs}"] = (f"{place}.{ours}", ())
    return found
