"""Training of the dual-stream network. Needs torch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torchvision.transforms.v2 import RandomErasing

from ...actors.clip_flow import packed
from ...actors.nets import dual_stream as nets
from ...actors.nets.network import MEAN, STD
from .loso import Seen, Step
from .micro_dual import DualStream
from .micro_losses import class_weights, contrastive, crossed, same_label, units_in_common
from .micro_samples import Samples

MOUTH_UNITS = (*range(10, 29), 38)
"""Action units that belong to the lower half of a face; the others stay with the upper one."""
ERASED = (0.02, 0.3)
"""Share of a picture that an erased rectangle takes."""
JUDGED = 64
"""Pictures that are judged at once."""


class Training:
    """One network while it is trained.

    Its random numbers are its own: another training beside it, in turns, changes nothing.
    """

    def __init__(self, recipe: DualStream, learn: Samples, seed: int) -> None:
        """Build the network.

        Args:
            recipe: All numbers.
            learn: Clips to learn from.
            seed: Of weights, order, dropout and augmentation.
        """
        self._recipe = recipe
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        self._pictures = tensor(learn.pictures)
        self._truth = torch.from_numpy(learn.truth)
        self._units = torch.from_numpy(learn.units)
        with torch.random.fork_rng(self._gpus):
            torch.manual_seed(seed)
            network = nets.DualStream(len(learn.labels), recipe.weights)
            self._keep_random()
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network = network.to(self._device)
        self._weights = class_weights(self._truth, len(learn.labels)).to(self._device)
        self._optimizer = AdamW(
            network.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._schedule = CosineAnnealingWarmRestarts(
            self._optimizer, recipe.restart, recipe.restart_factor
        )

    def judged(self, judge: Samples) -> Iterator[Step]:
        """Train, and judge clips after each epoch.

        Raises:
            RuntimeError: The loss is no longer finite.
        """
        pictures = tensor(judge.pictures)
        for epoch in range(1, self._recipe.epochs + 1):
            if not np.isfinite(self.epoch()):
                raise RuntimeError(
                    f"the loss is not finite after epoch {epoch}: lower `learning_rate` "
                    f"({self._recipe.learning_rate:g})."
                )
            scores = self.scores(pictures)
            yield Step(scores, lambda scores=scores: self.seen(pictures, scores.argmax(1)))

    def epoch(self) -> float:
        """Train once on every clip; the mean loss."""
        self.network.train()
        losses = []
        with torch.random.fork_rng(self._gpus):
            torch.set_rng_state(self._random)
            if self._gpus:
                torch.cuda.set_rng_state(self._gpu_random)
            for rows in batches(torch.randperm(len(self._truth)), self._recipe.batch_size):
                pictures, units = self.augmented(rows)
                loss = self.loss(pictures, self._truth[rows], units)
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
                losses.append(loss.item() * len(rows))
            self._keep_random()
        self._schedule.step()
        return sum(losses) / len(self._truth)

    def _keep_random(self) -> None:
        self._random = torch.get_rng_state()
        if self._gpus:
            self._gpu_random = torch.cuda.get_rng_state()

    def loss(self, pictures: Tensor, truth: Tensor, units: Tensor) -> Tensor:
        """Of a batch: both heads' cross-entropy, and the contrast of what the areas make."""
        recipe = self._recipe
        answer = self.network(self._normalised(pictures))
        truth, units = truth.to(self._device), units.to(self._device)
        heads = sum(
            crossed(logits, truth, self._weights, recipe.smoothing)
            for logits in (answer.eyes, answer.mouth)
        )
        alike = same_label(truth) if recipe.alike == "labels" else units_in_common(units)
        contrast = contrastive(answer.units, alike, recipe.temperature)
        return (1 - recipe.contrast) * heads + recipe.contrast * contrast

    def augmented(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some clips' pictures and units, as they vary: mouths, then mirrored, then erased."""
        recipe = self._recipe
        pictures, units = self._pictures[rows].clone(), self._units[rows].clone()
        noise: Any = "random"  # typed as a number in torchvision
        erase = RandomErasing(p=recipe.erase, scale=ERASED, value=noise)
        middle = pictures.shape[2] // 2
        for i, row in enumerate(rows.tolist()):
            others = (self._truth == self._truth[row]).nonzero()[:, 0]
            others = others[others != row]
            if len(others) and torch.rand(()) < recipe.exchange:
                other = others[torch.randint(len(others), ())]
                pictures[i, :, middle:] = self._pictures[other, :, middle:]
                units[i, MOUTH_UNITS] = self._units[other, MOUTH_UNITS]
            if torch.rand(()) < recipe.flip:
                pictures[i] = pictures[i].flip(-1)
            pictures[i] = erase(pictures[i])
        return pictures, units

    def scores(self, pictures: Tensor) -> NDArray[np.float32]:
        """Probabilities, `(n, classes)`."""
        self.network.eval()
        with torch.inference_mode():
            parts = [
                self.network(self._normalised(part)).logits.softmax(dim=1).cpu()
                for part in pictures.split(JUDGED)
            ]
        return torch.cat(parts).numpy()

    def seen(self, pictures: Tensor, classes: NDArray[np.int64]) -> Seen:
        """Where the layers as they are now find a class in each picture."""
        images: list[bytes] = []
        areas: list[Tensor] = []
        said = torch.from_numpy(classes).to(self._device).split(JUDGED)
        for part, mine in zip(pictures.split(JUDGED), said, strict=True):
            ready = self._normalised(part)
            maps = nets.attention(self.network, ready, mine).cpu().numpy()
            images += [packed(np.round(one * 255).astype(np.uint8)) for one in maps]
            with torch.inference_mode():
                areas.append(self.network(ready).areas.cpu())
        return Seen(images, torch.cat(areas).numpy())

    def _normalised(self, pictures: Tensor) -> Tensor:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        made = ((pictures - mean) / std).to(self._device)
        return made.contiguous(memory_format=torch.channels_last)


def tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """`(n, side, side, 3)` uint8 to `(n, 3, side, side)` float32, 0-1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(255)


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Rows in batches; a last one of a single row, which has no variance, joins its neighbour.

    Example:
        >>> [part.tolist() for part in batches(torch.arange(5), 2)]
        [[0, 1], [2, 3, 4]]
    """
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
