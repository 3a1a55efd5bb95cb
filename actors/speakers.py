"""Speakers: who speaks when."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ..datasets import audio
from ..datasets.schema import TURNS
from . import embedding
from .actor import MACHINE, Actor, answer
from .clustering import (
    Floats,
    Ints,
    Likelihood,
    Turn,
    cluster,
    exclusive,
    label_spans,
    merge,
    shares,
    windows,
)
from .embedding import FRAME_RATE_HZ, HOP, RATE_HZ, TAIL, Encoder
from .sound import sources

BLOCK_S = 300  # of audio in memory at a time


def _revision(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@dataclass(kw_only=True)
class Speakers(Actor):
    """Turns by speaker, from speech: windows, an embedding for each, clusters of these.

    The embedding is `embedding.Phonetic`, which needs no network and no weights beyond
    pocketsphinx's; it compares voices within a recording, not across recordings, and two voices
    much alike, acted in many emotions, it does not tell apart. `between`, `within`, `short_s`,
    `min_speech_s` and `min_share` were chosen on made-up conversations
    (`benchmarks/conversations.py`), with a look at the recordings that `benchmarks/speakers.py`
    scores besides.

    Attributes:
        min_speakers: Fewer are reported only where no more can be found.
        max_speakers: More are never reported.
        between: Variance of voices; see `clustering.Likelihood`, also for the next two.
        within: Variance of one voice from occasion to occasion; larger finds fewer speakers.
        short_s: Speech at which chance doubles `within`; larger finds fewer in short recordings.
        min_speech_s: Who speaks less in all is given to the likeliest other speaker.
        min_share: And so is who has less of the speech, from 0 to 1.
        switch_cost: Of changing speaker within a span of speech; larger makes longer turns.
        window_s: Audio per embedding.
        hop_s: From window to window.
        max_gap_s: A pause up to this long does not end a turn.
    """

    reads: ClassVar[tuple[str, ...]] = ("uri", "speech")
    adds: ClassVar[pa.Schema] = TURNS
    packages: ClassVar[tuple[str, ...]] = ("pocketsphinx", "sklearn")
    model: ClassVar[str] = "phonetic offsets (pocketsphinx en-us) + clustering"
    revision: ClassVar[str] = _revision("pocketsphinx")
    licence: ClassVar[str] = "BSD-2-Clause"
    quality: ClassVar[str] = (
        "diarization error 37% on 48 made-up conversations not tuned on, with the count of "
        "speakers off by 0.9 (one speaker for all: 52%, 1.5); 15% on five clean dialogues (52%), "
        "43% on eight AMI meeting excerpts (41%: no gain) and 46% on a phone call (51%), which "
        "were looked at while tuning"
    )

    min_speakers: int = 1
    max_speakers: int = 10
    between: float = 1.3
    within: float = 0.3
    short_s: float = 1.0
    min_speech_s: float = 1.0
    min_share: float = 0.05
    switch_cost: float = 2.0
    window_s: float = 1.2
    hop_s: float = 0.25
    max_gap_s: float = 0.5
    memory_gb: float = field(default=1.5, metadata=MACHINE)

    def __post_init__(self) -> None:
        if not 1 <= self.min_speakers <= self.max_speakers:
            raise ValueError(
                f"`min_speakers` must lie between 1 and `max_speakers` ({self.max_speakers}), "
                f"but is {self.min_speakers}."
            )
        for name in ("between", "within", "window_s", "hop_s"):
            if (value := getattr(self, name)) <= 0:
                raise ValueError(f"`{name}` must be greater than 0, but is {value:g}.")
        for name in ("short_s", "min_speech_s", "min_share", "switch_cost", "max_gap_s"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"`{name}` must not be negative, but is {value:g}.")

    def setup(self) -> None:
        """Load the encoder."""
        self.encoder = self._load()

    def process(self, rows: pa.Table) -> pa.Table:
        """Find the speakers of whole recordings."""
        pairs = zip(sources(rows), rows["speech"].to_pylist(), strict=True)
        found = [self._row(uri, speech) for uri, speech in pairs]
        return answer({name: [one.get(name) for one in found] for name in TURNS.names}, self.adds)

    def close(self) -> None:
        """Drop the encoder."""
        del self.encoder

    def _load(self) -> Encoder:
        return embedding.Phonetic()

    def _row(self, uri: str, speech: Sequence[dict[str, float]] | None) -> dict[str, Any]:
        if speech is None:
            return {}
        spans = np.array([(span["start_s"], span["stop_s"]) for span in speech]).reshape(-1, 2)
        if not len(spans):
            return {key: [] for key in TURNS.names}
        cut, span = windows(spans, length_s=self.window_s, hop_s=self.hop_s)
        seconds = shares(cut, span)
        embeddings = self.encoder.embed(read_frames(self.encoder, uri, spans), cut)
        labels = cluster(
            embeddings,
            span,
            seconds,
            likelihood=Likelihood(self.between, self.within, self.short_s),
            switch_cost=self.switch_cost,
            min_speech_s=max(self.min_speech_s, self.min_share * float(seconds.sum())),
            min_speakers=self.min_speakers,
            max_speakers=self.max_speakers,
        )
        turns = merge(label_spans(spans, cut, span, labels), self.max_gap_s)
        return {
            "turns": records(turns),
            "exclusive_turns": records(exclusive(turns)),
            "speakers": portraits(turns, embeddings, labels),
        }


@dataclass(kw_only=True)
class ResemblyzerSpeakers(Speakers):
    """Turns by speaker, with resemblyzer's network; its embeddings compare across recordings.

    Attributes:
        device: As torch names it.
        threads: Of torch.
    """

    packages: ClassVar[tuple[str, ...]] = ("resemblyzer", "torch", "sklearn")
    model: ClassVar[str] = "resemblyzer (GE2E) + clustering"
    revision: ClassVar[str] = _revision("resemblyzer")
    licence: ClassVar[str] = "Apache-2.0"
    quality: ClassVar[str] = (
        "diarization error 11% on five clean dialogues (one speaker for all: 52%), 40% on eight "
        "AMI meeting excerpts (41%) and 51% on a phone call (51%: no gain)"
    )

    max_speakers: int = 5
    between: float = 1.733e-3  # with `within` and `short_s`: two from a distance of 0.65
    within: float = 4.0e-4
    short_s: float = 0.0
    min_speech_s: float = 0.0
    min_share: float = 0.0
    switch_cost: float = 0.05
    device: str = field(default="cpu", metadata=MACHINE)
    threads: int = field(default=1, metadata=MACHINE)

    def _load(self) -> Encoder:
        return embedding.Resemblyzer(self.device, self.threads)


def read_frames(encoder: Encoder, uri: str, spans: Floats) -> embedding.F32:
    """Read a recording's features, block by block.

    Args:
        encoder: Makes the features.
        uri: Of the recording.
        spans: Speech, `(n, 2)`, in order; blocks without any are not read, and stay 0.

    Returns:
        `(n, d)` float32, at 100 Hz from the start of the recording to the end of speech.

    Raises:
        ValueError: The recording has no sound, though speech was found in it.
    """
    end = int(np.ceil(spans[-1, 1] * FRAME_RATE_HZ))
    size = BLOCK_S * FRAME_RATE_HZ
    blocks: list[embedding.F32 | int] = []
    for first in range(0, end, size):
        count = min(size, end - first)
        start_s, stop_s = first / FRAME_RATE_HZ, (first + count) / FRAME_RATE_HZ
        if not ((spans[:, 0] < stop_s) & (spans[:, 1] > start_s)).any():
            blocks.append(count)
            continue
        samples = audio.read(uri, start_s, stop_s + TAIL / RATE_HZ)
        if samples is None:
            raise ValueError(f"`speech` needs sound, but the file has none ({uri!r}).")
        wanted = count * HOP + TAIL
        samples = np.pad(samples[:wanted], (0, max(0, wanted - len(samples))))
        blocks.append(encoder.frames(samples))
    width = next(block.shape[1] for block in blocks if not isinstance(block, int))
    empty = [np.zeros((b, width), np.float32) if isinstance(b, int) else b for b in blocks]
    return np.concatenate(empty)


def name(speaker: int) -> str:
    """The name of the `speaker`-th voice to appear.

    Example:
        >>> name(3)
        'SPEAKER_03'
    """
    return f"SPEAKER_{speaker:02d}"


def records(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns as rows of the table."""
    return [turn._asdict() | {"speaker": name(turn.speaker)} for turn in turns]


def portraits(turns: Sequence[Turn], embeddings: Floats, labels: Ints) -> list[dict[str, Any]]:
    """What is known of each speaker: seconds of speech, and the mean embedding at unit length."""
    found = []
    for speaker in range(labels.max() + 1):
        mean = embeddings[labels == speaker].mean(0)
        unit = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
        spoken = sum(turn.stop_s - turn.start_s for turn in turns if turn.speaker == speaker)
        found.append({"speaker": name(speaker), "speech_s": spoken, "embedding": unit})
    return found
