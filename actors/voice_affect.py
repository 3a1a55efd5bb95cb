"""Voice affect: arousal, dominance and valence of utterances, by audeering's network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.audio import RATE_HZ
from ..datasets.schema import VOICE_AFFECT
from .actor import MACHINE, answer
from .neural import Neural
from .sound import Samples, listen
from .weights import Weights

SILENT = 1e-4
"""A sound that never leaves this amplitude (-80 dBFS) is silence: normalised, it would be noise."""
SHORT_S = 0.1
"""Under this there is nothing to hear; the network's own frames are 25 ms."""


class Piece(NamedTuple):
    """A stretch of one utterance, normalised with it.

    Attributes:
        row: Which utterance.
        samples: Mean 0 and variance 1 over the utterance.
    """

    row: int
    samples: Samples


class Batch(NamedTuple):
    """Pieces behind each other, padded with zeros to the longest.

    Attributes:
        sound: `(n, samples)` float32.
        mask: `(n, samples)` int64, 1 where there is sound.
    """

    sound: NDArray[np.float32]
    mask: NDArray[np.int64]


@dataclass(kw_only=True)
class Audeering(Neural):
    """Arousal, dominance and valence of utterances (Wagner et al. 2023, trained on MSP-Podcast).

    The numbers are the network's own, about 0-1 with 0.5 in the middle; they are clipped to 0-1.
    Utterances of like length share a micro-batch, and padding does not change an answer. A long
    one is cut into equal pieces, whose answers are averaged by their length.

    Attributes:
        chunk_s: Longest piece; attention costs grow with its square.
        checkpoint: The weights.
    """

    packages = ("torch", "transformers")
    reads: ClassVar[tuple[str, ...]] = ("uri", "start_s", "stop_s")
    adds: ClassVar[pa.Schema] = VOICE_AFFECT
    model = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
    licence = "CC-BY-NC-SA-4.0"
    quality = "Not measured here: its weights were not at hand."

    chunk_s: float = 15.0
    checkpoint: Weights = field(
        default_factory=lambda: Weights(
            name=Audeering.model,
            licence=Audeering.licence,
            files=("config.json", "*model.*[ns]"),
        )
    )
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.chunk_s >= 1:
            raise ValueError(f"`chunk_s` must be at least 1, but is {self.chunk_s:g}.")

    def setup(self) -> None:
        """Load the network."""
        from .voice_affect_net import load

        self._network = self.placed(load(self.checkpoint.resolved()))

    def close(self) -> None:
        """Release the network."""
        self._network = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge utterances; null without sound, in silence, or under 0.1 s."""
        heard = listen(rows)
        pieces = [
            piece for row, samples in enumerate(heard) for piece in cut(row, samples, self.chunk_s)
        ]
        pieces.sort(key=lambda piece: len(piece.samples))
        found = self.through(pieces, padded, self.judged)
        scores = averaged(pieces, found, len(heard))
        columns = {
            f.name: pa.array(column, type=f.type, from_pandas=True)
            for f, column in zip(VOICE_AFFECT, scores.T, strict=True)
        }
        return answer(columns, VOICE_AFFECT)

    def judged(self, batch: Batch) -> list[NDArray[np.float32]]:
        """Arousal, dominance and valence of each piece, unclipped."""
        import torch

        sound, mask = (self.moved(torch.from_numpy(array)) for array in batch)
        return list(self._network(sound, mask).float().cpu().numpy())


def cut(row: int, samples: Samples | None, chunk_s: float) -> list[Piece]:
    """Cut an utterance into equal pieces of at most `chunk_s`, normalised as a whole.

    Args:
        row: Its number.
        samples: At 16 kHz; `None` for no sound.
        chunk_s: In seconds.

    Returns:
        No piece for what cannot be judged.

    Example:
        >>> sound = np.sin(np.arange(40 * RATE_HZ, dtype=np.float32))
        >>> [len(piece.samples) for piece in cut(0, sound, 15.0)]
        [213333, 213333, 213334]
    """
    if samples is None or len(samples) < SHORT_S * RATE_HZ or np.abs(samples).max() < SILENT:
        return []
    normal = normalised(samples)
    count = math.ceil(len(normal) / (chunk_s * RATE_HZ))
    edges = [len(normal) * i // count for i in range(count + 1)]
    return [Piece(row, normal[a:b]) for a, b in pairwise(edges)]


def normalised(samples: Samples) -> Samples:
    """Mean 0 and variance 1, as `Wav2Vec2FeatureExtractor(do_normalize=True)` does it."""
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def padded(pieces: Sequence[Piece]) -> Batch:
    """Stack pieces of different lengths."""
    longest = max(len(piece.samples) for piece in pieces)
    sound = np.zeros((len(pieces), longest), np.float32)
    mask = np.zeros((len(pieces), longest), np.int64)
    for i, piece in enumerate(pieces):
        sound[i, : len(piece.samples)] = piece.samples
        mask[i, : len(piece.samples)] = 1
    return Batch(sound, mask)


def averaged(
    pieces: Sequence[Piece], found: Sequence[NDArray[np.float32]], count: int
) -> NDArray[np.float64]:
    """Put the answers to pieces together, weighted by length.

    Args:
        pieces: In any order.
        found: `(3,)` for each.
        count: Utterances.

    Returns:
        `(count, 3)` in 0-1; NaN for an utterance without a piece.
    """
    total, length = np.zeros((count, 3)), np.zeros((count, 1))
    for piece, scores in zip(pieces, found, strict=True):
        total[piece.row] += np.float64(scores) * len(piece.samples)
        length[piece.row] += len(piece.samples)
    with np.errstate(invalid="ignore"):
        return np.clip(total / length, 0, 1)
