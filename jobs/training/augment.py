"""Altered frames: other light and other cameras, for whole persons at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

VARIANTS = ("brighter", "contrast", "hue", "darker")


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Shows all frames of a person in another light, drawn anew for each person and epoch.

    The altered frame takes the place of its source in a training batch: it never exists anywhere
    else, so it cannot land on the other side of a split. What is drawn follows from the seed, the
    epoch and the person alone.

    Attributes:
        share: Of the persons in an epoch that are altered (0-1); 0 turns it off.
        brighter: At most so much lighter (0.3: 30%).
        contrast: Contrast stronger by so much, at most.
        hue: Hue shifted by so much either way, at most, in turns of the colour circle (0-0.5).
        darker: At most so much darker (0-1).
    """

    share: float = 0.8
    brighter: float = 0.3
    contrast: float = 0.3
    hue: float = 0.05
    darker: float = 0.3

    def __post_init__(self) -> None:
        for name, most in (("share", 1), ("brighter", 10), ("contrast", 10), ("hue", 0.5)):
            self._check(name, most)
        self._check("darker", 1)

    def _check(self, name: str, most: float) -> None:
        if not 0 <= getattr(self, name) <= most:
            raise ValueError(
                f"`augment.{name}` must be from 0 to {most:g}, but is {getattr(self, name):g}."
            )

    def variant(self, person: int, epoch: int, seed: int) -> tuple[str, float] | None:
        """What a person looks like in an epoch: the alteration and its strength, or `None`."""
        random = np.random.default_rng([seed, epoch, person])
        if random.random() >= self.share:
            return None
        name = VARIANTS[random.integers(len(VARIANTS))]
        most = getattr(self, name)
        return name, float(
            random.uniform(-most, most) if name == "hue" else random.uniform(0, most)
        )

    def __call__(
        self, pictures: "Tensor", persons: Sequence[int], *, epoch: int, seed: int
    ) -> "Tensor":
        """Alter a batch.

        Args:
            pictures: `(n, ..., 3, height, width)` uint8, RGB.
            persons: Number of each row's person.
            epoch: Counted from the start of the training.
            seed: Of the training.

        Returns:
            A new tensor of the same shape.
        """
        made = pictures.clone()
        numbers = np.asarray(persons)
        for person in np.unique(numbers).tolist():
            chosen = self.variant(person, epoch, seed)
            if chosen:
                rows = np.flatnonzero(numbers == person).tolist()
                made[rows] = _ways()[chosen[0]](pictures[rows], chosen[1])
        return made


def _ways() -> dict[str, Callable[["Tensor", float], "Tensor"]]:
    from torchvision.transforms.v2 import functional

    return {
        "brighter": lambda pictures, by: functional.adjust_brightness(pictures, 1 + by),
        "contrast": lambda pictures, by: functional.adjust_contrast(pictures, 1 + by),
        "hue": functional.adjust_hue,
        "darker": lambda pictures, by: functional.adjust_brightness(pictures, 1 - by),
    }
