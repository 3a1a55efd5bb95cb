"""Fine-grained emotions and attributes of voices: LAION's Empathic Insight on Whisper's encoder."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.audio import RATE_HZ
from ..datasets.laion import (
    LAION_VOICE_ATTRIBUTES,
    LAION_VOICE_NAMES,
    LAION_VOICE_QUALITY,
    file_of,
    read_statistics,
)
from ..datasets.schema import LAION_VOICE
from ..datasets.segmentation import MAX_S, MIN_S
from .actor import MACHINE, answer
from .neural import Neural
from .sound import Samples, listen
from .weights import Weights

ENCODER = Weights(
    name="laion/BUD-E-Whisper",
    licence="CC-BY-4.0",
    files=("config.json", "*.safetensors"),
    size_gb=1.0,
)
HEADS = Weights(
    name="laion/Empathic-Insight-Voice-Small",
    licence="CC-BY-4.0",
    files=("model_*_best.pth",),
    size_gb=16.3,
)
EMOTIONS, ATTRIBUTES = len(LAION_VOICE_NAMES), len(LAION_VOICE_ATTRIBUTES)
SLACK = 16
"""Samples beyond 30 s that rounding may give a span."""

Scores = NDArray[np.float32]


@dataclass(kw_only=True)
class LaionVoice(Neural):
    """Scores of 40 emotions, 15 attributes and, with Voice-Plus, 4 of quality, for each segment.

    The sound is heard as it is, for loudness is part of the emotion. A segment of less than `min_s`
    or without any sound is null; one of more than 30 s fails, for the encoder would not hear the
    rest of it. Not probabilities. The model's card warns that the EU AI Act restricts inferring
    emotions at work and in education.

    All heads read the same 1.15 million numbers of a segment, so that their first layers are one
    matrix, 8.1 GB in half precision (Large: 16.2), and one product per micro-batch.

    Attributes:
        encoder: The Whisper that the heads were trained on; its decoder is not kept.
        heads: Folder of the 55 or 59 checkpoints, which decide on sizes and kinds.
        shards: Above 1 the heads are read from disk in so many parts for each batch, one part in
            memory at a time: for little memory, and large batches. Encoded segments wait for them
            on the device, 2.3 MB each in half precision.
        neutral: JSON with the mean (and standard deviation) of each emotion over neutral voices,
            which are then taken off `laion_voice`; see `datasets.laion.read_statistics`.
        neutral_std: Whether to divide by the standard deviation too.
        min_s: Shorter segments are null.
    """

    reads: ClassVar[tuple[str, ...]] = ("uri", "start_s", "stop_s")
    adds: ClassVar[pa.Schema] = LAION_VOICE
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    model: ClassVar[str] = HEADS.name
    revision: ClassVar[str] = HEADS.revision
    licence: ClassVar[str] = HEADS.licence
    quality: ClassVar[str] = (
        "Not measured here, for want of the weights. Take it for a weak signal: about half of the "
        "training data are synthetic (the model's card)."
    )

    encoder: Weights = ENCODER
    heads: Weights = HEADS
    shards: int = field(default=1, metadata=MACHINE)
    neutral: str | None = None
    neutral_std: bool = False
    min_s: float = MIN_S
    micro_batch: int = field(default=32, metadata=MACHINE)
    memory_gb: float = field(default=11.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shards < 1:
            raise ValueError(f"`shards` must be at least 1, but is {self.shards}.")
        if not 0 < self.min_s <= MAX_S:
            raise ValueError(
                f"`min_s` must be greater than 0 and at most {MAX_S:g}, but is {self.min_s:g}."
            )
        if self.neutral_std and self.neutral is None:
            raise ValueError("`neutral_std` needs `neutral`, a file of statistics, but has none.")

    def missing(self) -> str | None:
        """Why it cannot work here: a package, weights, or the neutral statistics."""
        absent = self.neutral is not None and not Path(self.neutral).expanduser().is_file()
        why = f"`neutral` must be a JSON file, but {self.neutral!r} is none" if absent else None
        return "; ".join(reason for reason in (super().missing(), why) if reason) or None

    def identity(self) -> dict[str, Any]:
        """As of any actor, with what the neutral statistics hold instead of where they lie."""
        known = super().identity()
        file = None if self.neutral is None else Path(self.neutral).expanduser()
        if file is not None and file.is_file():
            known["neutral"] = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        return known

    def setup(self) -> None:
        """Load the encoder and, unless they come in shards, all heads."""
        import torch
        from transformers import WhisperFeatureExtractor

        from . import laion_net

        network = laion_net.whisper(self.encoder.resolved())
        config = network.config
        times, channels = config.max_source_positions, config.d_model
        self._views = {
            times * channels: laion_net.View(torch.nn.Flatten(), self.dtype),
            4 * channels: laion_net.View(laion_net.pooled, torch.float32),
        }
        self._files = self._checkpoints()
        laion_net.shapes(self._files, self._views)
        self._usual = None
        if self.neutral is not None:
            self._usual = read_statistics(Path(self.neutral).expanduser(), LAION_VOICE_NAMES)
        # Whisper's extractors differ in nothing else.
        self._extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
        self._network = self.placed(network)
        self._heads = self._read(self._files) if self.shards == 1 else None

    def close(self) -> None:
        """Release the networks."""
        del self._network, self._heads, self._extractor

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge each segment."""
        heard = listen(rows)
        for sound, row in zip(heard, rows.select(self.reads).to_pylist(), strict=True):
            if sound is not None and len(sound) > MAX_S * RATE_HZ + SLACK:
                raise ValueError(
                    f"a segment must be at most {MAX_S:g} s long, but is {len(sound) / RATE_HZ:g} s"
                    f" (from {row['start_s'] or 0:g} s of {row['uri']!r}); see "
                    "`datasets.segmentation.segment`."
                )
        known = [i for i, sound in enumerate(heard) if self._audible(sound)]
        found: list[Scores | None] = [None] * len(heard)
        scores = self.scores([sound for i in known if (sound := heard[i]) is not None])
        for i, one in zip(known, scores, strict=True):
            found[i] = one
        return answer(self._columns(found), LAION_VOICE)

    def scores(self, sounds: Sequence[Samples]) -> Scores:
        """Scores of some segments, `(n, 55 or 59)` in the order of the columns."""
        if not sounds:  # no need to read the heads
            return np.empty((0, len(self._files)), np.float32)
        states = self.through(sounds, self.prepared, self.encoded)
        parts = [self._judged(states, files) for files in self._parts()]
        return np.concatenate(parts, axis=1)

    def prepared(self, sounds: Sequence[Samples]) -> Any:  # noqa: ANN401
        """Log-mel pictures of 30 s, `(n, 80, 3000)`; what is shorter is filled up with silence."""
        made = self._extractor(list(sounds), sampling_rate=RATE_HZ, return_tensors="pt")
        return made["input_features"]

    def encoded(self, mels: Any) -> list[Any]:  # noqa: ANN401
        """What the encoder hears: one `(1500, 768)` tensor per segment."""
        return list(self._network(self.moved(mels)).last_hidden_state)

    def _judged(self, states: Sequence[Any], files: Sequence[Path]) -> Scores:
        from .laion_net import batched

        heads = self._heads or self._read(files)
        found = self.through(states, list, lambda some: heads(batched(some)).cpu().numpy())
        return np.array(found, np.float32).reshape(-1, len(files))

    def _read(self, files: Sequence[Path]) -> Any:  # noqa: ANN401
        from .laion_net import Heads

        return Heads(files, self._views, self.place)

    def _parts(self) -> Iterator[list[Path]]:
        """The checkpoints in `shards` parts of about one size."""
        count = min(self.shards, len(self._files))
        for part in np.array_split(np.arange(len(self._files)), count):
            yield [self._files[i] for i in part]

    def _checkpoints(self) -> list[Path]:
        """The files of all heads; those of quality belong to them where there is one."""
        folder = self.heads.resolved()
        quality = [folder / file_of(name) for name in LAION_VOICE_QUALITY]
        names = (*LAION_VOICE_NAMES, *LAION_VOICE_ATTRIBUTES)
        more = quality if any(file.is_file() for file in quality) else []
        return [*(folder / file_of(name) for name in names), *more]

    def _audible(self, sound: Samples | None) -> bool:
        return (
            sound is not None and len(sound) >= self.min_s * RATE_HZ - SLACK and bool(sound.any())
        )

    def _columns(self, found: Sequence[Scores | None]) -> dict[str, list]:
        emotions = [None if one is None else self._adjusted(one[:EMOTIONS]) for one in found]
        rest = [None if one is None else one[EMOTIONS:] for one in found]
        return {
            "laion_voice": emotions,
            "laion_voice_attributes": [None if r is None else r[:ATTRIBUTES] for r in rest],
            "laion_voice_quality": [
                None if r is None or len(r) == ATTRIBUTES else r[ATTRIBUTES:] for r in rest
            ],
        }

    def _adjusted(self, scores: Scores) -> NDArray[np.floating]:
        if self._usual is None:
            return scores
        return self._usual.adjusted(scores.astype(np.float64), scaled=self.neutral_std)
