"""What a frozen wav2vec 2.0 hears: its hidden states, pooled over an utterance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .actor import MACHINE, answer
from .neural import Neural
from .sound import listen
from .voice_affect import Piece, cut, padded
from .weights import Weights

VOICE_STATES = pa.schema([("voice_states", pa.list_(pa.float32()))])
"""Mean, then standard deviation, of each hidden dimension over the frames of an utterance."""
BASE = Weights(
    name="facebook/wav2vec2-base",
    licence="Apache-2.0",
    files=("config.json", "*model.*[ns]"),
    size_gb=0.38,
)


@dataclass(kw_only=True)
class VoiceStates(Neural):
    """Hidden states of a wav2vec 2.0 (Baevski et al. 2020), its mean and spread over an utterance.

    The network is not trained further. A long utterance is cut into equal pieces, whose moments
    are put together. Checkpoints whose first layer is normalised over time (the base models) are
    asked piece by piece, because padding would change their answers; others in micro-batches.

    Attributes:
        layer: After which block the states are taken; 0 is what goes into the first one, negative
            numbers count from the last. Middle blocks tell more of how something is said, late
            ones more of what (Pepino et al. 2021, "Emotion recognition from speech using wav2vec
            2.0 embeddings").
        chunk_s: Longest piece; attention costs grow with its square.
        checkpoint: The weights.
    """

    packages = ("torch", "transformers")
    reads: ClassVar[tuple[str, ...]] = ("uri", "start_s", "stop_s")
    adds: ClassVar[pa.Schema] = VOICE_STATES
    model = BASE.name
    licence = BASE.licence
    quality = "Not measured here: its weights were not at hand."

    layer: int = -5
    chunk_s: float = 15.0
    checkpoint: Weights = field(default_factory=lambda: BASE)
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.chunk_s >= 1:
            raise ValueError(f"`chunk_s` must be at least 1, but is {self.chunk_s:g}.")

    def setup(self) -> None:
        """Load the network, up to the block that is asked."""
        from .voice_states_net import load

        self._network = self.placed(load(self.checkpoint.resolved(), self.layer))

    def close(self) -> None:
        """Release the network."""
        self._network = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Describe utterances; null without sound, in silence, or under 0.1 s."""
        heard = listen(rows)
        pieces = [
            piece for row, samples in enumerate(heard) for piece in cut(row, samples, self.chunk_s)
        ]
        pieces.sort(key=lambda piece: len(piece.samples))
        found = self.through(pieces, list, self.described)
        return answer({"voice_states": pooled(pieces, found, len(heard))}, VOICE_STATES)

    def described(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Mean and mean square of each dimension over the frames of each piece, `(2, hidden)`."""
        parts = [pieces] if self._network.padding else [[piece] for piece in pieces]
        return [one for part in parts for one in self._together(part)]

    def _together(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        import torch

        sound, mask = (self.moved(torch.from_numpy(array)) for array in padded(pieces))
        return list(self._network(sound, mask).double().cpu().numpy())


def pooled(
    pieces: Sequence[Piece], found: Sequence[NDArray[np.float64]], count: int
) -> list[NDArray[np.float32] | None]:
    """Put the moments of pieces together, weighted by length.

    Args:
        pieces: In any order.
        found: `(2, hidden)` for each: mean and mean square.
        count: Utterances.

    Returns:
        `(2 * hidden,)` for each utterance, mean and standard deviation; `None` without a piece.
    """
    parts: list[list[tuple[int, NDArray[np.float64]]]] = [[] for _ in range(count)]
    for piece, moments in zip(pieces, found, strict=True):
        parts[piece.row].append((len(piece.samples), moments))
    answers: list[NDArray[np.float32] | None] = []
    for some in parts:
        if not some:
            answers.append(None)
            continue
        lengths, moments = zip(*some, strict=True)
        mean, square = np.average(moments, axis=0, weights=lengths)
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        answers.append(np.concatenate([mean, spread]).astype(np.float32))
    return answers
