"""Batches for the networks: examples as tensors, in an order that follows from a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...datasets.frames import Frames, Sounds
from .folds import Rows

Batch = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What a network learns from.

    Attributes:
        table: `labelled.EXAMPLES`.
        frames: Their frames, decoded.
        sounds: Their sound, for networks that listen.
        labels: In the order of the classes.
        inputs: See `actors.nets.network.Network`.
        length: Frames of a clip, at most.
    """

    table: pa.Table
    frames: Frames
    sounds: Sounds | None
    labels: tuple[str, ...]
    inputs: str
    length: int

    @cached_property
    def truth(self) -> Rows:
        """Class of each example, `(n,)` int64."""
        places = {label: i for i, label in enumerate(self.labels)}
        return np.array([places[label] for label in self.table["label"].to_pylist()], np.int64)

    @cached_property
    def persons(self) -> Rows:
        """Number of each example's person, `(n,)` int64."""
        return np.unique(self.table["person"].to_pylist(), return_inverse=True)[1]

    @cached_property
    def _offsets(self) -> tuple[Rows, Rows]:
        """Frames of all examples in a row, and where each example's begin."""
        lists = self.table["frames"].combine_chunks()
        return lists.flatten().to_numpy(), lists.offsets.to_numpy()

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Some examples as a network wants them, with `truth` and `person`, `(n,)` int64."""
        places, starts = self._offsets
        found = {
            "truth": torch.from_numpy(self.truth[rows]),
            "person": torch.from_numpy(self.persons[rows]),
        }
        if self.inputs == "frames":
            return found | {"frames": self._pictures(places[starts[rows]])}
        side = self.frames.pixels.shape[1]
        clip = torch.zeros(len(rows), self.length, 3, side, side, dtype=torch.uint8)
        mask = torch.zeros(len(rows), self.length, dtype=torch.bool)
        for at, row in enumerate(rows):
            shown = places[starts[row] : starts[row + 1]]
            clip[at, : len(shown)], mask[at, : len(shown)] = self._pictures(shown), True
        found |= {"clip": clip, "mask": mask}
        return found if self.sounds is None else found | self._heard(self.sounds, rows)

    def _pictures(self, places: NDArray) -> Tensor:
        """`(n, 3, side, side)` uint8."""
        return torch.from_numpy(self.frames.pixels[places]).permute(0, 3, 1, 2).contiguous()

    def _heard(self, sounds: Sounds, rows: Sequence[int]) -> dict[str, Tensor]:
        real = torch.from_numpy(sounds.real[rows])
        samples = torch.from_numpy(sounds.samples[rows])
        return {"audio": samples, "audio_mask": torch.arange(samples.shape[1]) < real[:, None]}


class _Batches(Dataset):
    """Batches by number, so that a loader's worker makes a whole one at a time."""

    def __init__(self, examples: Examples, batches: Sequence[Sequence[int]]) -> None:
        self._examples, self._batches = examples, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return self._examples.batch(self._batches[number])


def loader(
    examples: Examples,
    batches: Sequence[Sequence[int]],
    *,
    workers: int = 0,
    pin: bool = False,
) -> DataLoader:
    """Load batches, in their order.

    Args:
        examples: Of which.
        batches: Rows of each batch.
        workers: Processes that prepare batches ahead; 0: none, each is made when it is asked for.
        pin: Whether to hold them where a GPU can fetch them by itself.
    """
    return DataLoader(
        _Batches(examples, batches), batch_size=None, num_workers=workers, pin_memory=pin
    )


def shuffled(
    rows: Rows, size: int, *, seed: int, epoch: int, rank: int = 0, ranks: int = 1
) -> list[list[int]]:
    """The batches of an epoch: an order that depends on nothing but its arguments.

    Args:
        rows: To be shown, each once.
        size: Of a batch; the last one has what is left.
        seed: Of the training.
        epoch: Counted from the start of the training.
        rank: Which of several processes this is.
        ranks: How many they are. All get as many rows: some are shown twice where they do not
            come out even.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    order = np.resize(order, -(-len(order) // ranks) * ranks)[rank::ranks]
    return in_batches(order, size)


def in_batches(rows: Rows, size: int) -> list[list[int]]:
    """Rows in their order, cut into batches.

    Example:
        >>> in_batches(np.arange(5), 2)
        [[0, 1], [2, 3], [4]]
    """
    return [rows[first : first + size].tolist() for first in range(0, len(rows), size)]
