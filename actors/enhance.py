"""Enhancing sound before speech is looked for: each is cleaned once, into a file of its own."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ..datasets import audio
from ..datasets.audio import RATE_HZ, Sound
from ..datasets.media import fingerprint
from ..datasets.schema import SOUND
from .actor import MACHINE, Actor, answer
from .neural import Neural
from .overlap import Windows, overlapped
from .weights import Weights

PIECE_S = 10.0
"""Sound that is decoded at a time."""


@dataclass(kw_only=True)
class Enhance(Actor):
    """An enhanced copy of a video's sound; the original stays as it is.

    The copy is FLAC, 16 kHz, mono, of the same length, and not shifted in time. Its name says from
    what and how it was made, so that it is made once. However long the sound, a few windows of it
    are in memory.

    Attributes:
        folder: Where the copies are written; made where it is absent.
    """

    reads: ClassVar[tuple[str, ...]] = ("uri", "has_audio")
    adds: ClassVar[pa.Schema] = SOUND
    rate_hz: ClassVar[int]
    """Of the sound that the model works on."""

    folder: str | None = field(default=None, metadata=MACHINE)

    @abstractmethod
    def clean(self, windows: Sequence[Sound]) -> Sequence[Sound]:
        """Clean windows of sound at `rate_hz`: as many samples each as came."""

    @abstractmethod
    def windows(self) -> tuple[Windows, int]:
        """How the sound is cut, and how many windows `clean` gets at once."""

    def process(self, rows: pa.Table) -> pa.Table:
        """Enhance the sound of whole videos.

        Raises:
            ValueError: `folder` is not set.
        """
        if self.folder is None:
            raise ValueError("`folder` must be set, to where enhanced sound is written.")
        folder = Path(self.folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        pairs = zip(rows["uri"].to_pylist(), rows["has_audio"].to_pylist(), strict=True)
        found = [self._row(uri, folder) if audible is not False else None for uri, audible in pairs]
        return answer({"sound_uri": found}, self.adds)

    def _row(self, uri: str, folder: Path) -> str | None:
        path = folder / f"{self.digest(uri)}.flac"
        if path.exists():
            return str(path)
        if audio.read(uri, 0, 1 / RATE_HZ) is None:
            return None
        audio.write(path, audio.resampled(self.enhanced(uri), self.rate_hz))
        return str(path)

    def digest(self, uri: str) -> str:
        """Names what a file holds, and how it is enhanced."""
        made_of = json.dumps([fingerprint(uri), self.identity()], sort_keys=True, default=str)
        return hashlib.sha256(made_of.encode()).hexdigest()[:32]

    def enhanced(self, uri: str) -> Iterator[Sound]:
        """The enhanced sound of a file, in pieces, at `rate_hz`."""
        windows, batch = self.windows()
        return overlapped(self.pieces(uri), self.clean, windows, batch)

    def pieces(self, uri: str) -> Iterator[Sound]:
        """The sound of a file, in pieces, at `rate_hz`."""
        return audio.pieces(uri, self.rate_hz, PIECE_S)


@dataclass(kw_only=True)
class Demucs(Enhance, Neural):
    """The voices of a mixture of speech, music and noise, with Hybrid Transformer Demucs.

    Answers as `demucs.api.Separator` without random shifts. The mean of the sound's channels goes
    in, on both channels, and the mean of those comes out.

    Attributes:
        network: Safetensors as demucs publishes them on the hub since 4.1, or one of its older
            `.th` files, which is read with the few types that it needs and nothing more.
        source: That is kept.
        overlap: Of a window with the next one, as a share of it, at least 0 and less than 1.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "demucs")
    model: ClassVar[str] = "adefossez/HTDemucs"
    licence: ClassVar[str] = "MIT"
    quality: ClassVar[str] = (
        "not measured here, for want of the weights; made for music, published: 9.0 dB of "
        "signal-to-distortion over four sources on MUSDB HQ (demucs' README)"
    )
    rate_hz: ClassVar[int] = 44_100

    network: Weights = field(
        default_factory=lambda: Weights(
            name="adefossez/HTDemucs", licence="MIT", files=("955717e8.safetensors",), size_gb=0.17
        )
    )
    source: str = "vocals"
    overlap: float = 0.25
    micro_batch: int = field(default=8, metadata=MACHINE)
    memory_gb: float = field(default=4.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision != "float32":
            raise ValueError(
                "`precision` must be float32, for Demucs transforms the sound itself, "
                f"but is {self.precision!r}."
            )
        if not 0 <= self.overlap < 1:
            raise ValueError(
                f"`overlap` must be at least 0 and less than 1, but is {self.overlap}."
            )

    def setup(self) -> None:
        """Load the network."""
        from . import demucs_net

        made = demucs_net.load(self.network.resolved(), self.network.files)
        if made.samplerate != self.rate_hz or self.source not in made.sources:
            raise ValueError(
                f"`source` must be one of {', '.join(made.sources)}, at 44100 Hz, but is "
                f"{self.source!r}, at {made.samplerate} Hz."
            )
        self.length = int(made.segment * made.samplerate)
        self.index = made.sources.index(self.source)
        self.net = self.placed(made)

    def windows(self) -> tuple[Windows, int]:
        """Windows as `demucs.apply` cuts them."""
        overlap = self.length - int((1 - self.overlap) * self.length)
        return Windows.triangular(self.length, overlap), self.micro_batch

    def clean(self, windows: Sequence[Sound]) -> Sequence[Sound]:
        """Keep one source of each window."""
        import torch

        def prepare(some: Sequence[Sound]) -> Any:  # noqa: ANN401
            return torch.from_numpy(np.stack(some))[:, None].expand(-1, 2, -1).contiguous()

        def infer(batch: Any) -> Sequence[Sound]:  # noqa: ANN401
            return [*self.net(self.moved(batch))[:, self.index].float().mean(1).cpu().numpy()]

        return self.through(windows, prepare, infer)

    def enhanced(self, uri: str) -> Iterator[Sound]:
        """The voices in a file; the network sees it at the mean 0 and variance 1 of the whole."""
        mean, deviation = moments(self.pieces(uri))
        windows, batch = self.windows()
        scaled = ((piece - mean) / deviation for piece in self.pieces(uri))
        for piece in overlapped(scaled, self.clean, windows, batch):
            yield piece * deviation + mean

    def close(self) -> None:
        """Drop the network."""
        del self.net


def moments(pieces: Iterable[Sound]) -> tuple[np.float32, np.float32]:
    """Mean and standard deviation (of a sample, never 0) of a sound that comes in pieces."""
    count, total, squares = 0, 0.0, 0.0
    for piece in pieces:
        wide = piece.astype(np.float64)
        count, total, squares = count + len(wide), total + wide.sum(), squares + wide @ wide
    mean = total / max(count, 1)
    variance = max(squares - count * mean**2, 0.0) / max(count - 1, 1)
    return np.float32(mean), np.float32(np.sqrt(variance) + 1e-8)
