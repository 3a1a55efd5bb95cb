"""Voice activity: when anybody speaks, with Silero's packaged network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets import audio
from ..datasets.schema import SPEECH_ACTIVITY
from .actor import MACHINE, Actor, answer
from .sound import sources

RATE_HZ = 16_000
WINDOW = 512  # samples per probability
CONTEXT = 64  # samples before each window that the network also reads
RELEASE = 0.15  # speech ends this far below `threshold`, as in Silero
BLOCK = 4096  # windows per call of the network: two minutes

Span = tuple[float, float]


@dataclass(kw_only=True)
class VoiceActivity(Actor):
    """Spans of speech, whoever speaks.

    The network is Silero VAD v6 as faster-whisper carries it; defaults are Silero's own.

    Attributes:
        threshold: Probability from which a window of 32 ms is speech.
        min_speech_s: Shorter speech is dropped.
        min_silence_s: A shorter gap does not end speech.
        padding_s: Added at both ends, at most up to the middle of the gap.
        threads: Of the network.
    """

    reads: ClassVar[tuple[str, ...]] = ("uri", "has_audio")
    adds: ClassVar[pa.Schema] = SPEECH_ACTIVITY
    packages: ClassVar[tuple[str, ...]] = ("faster_whisper", "onnxruntime")
    model: ClassVar[str] = "silero-vad v6 (faster-whisper)"
    revision: ClassVar[str] = version("faster-whisper")
    licence: ClassVar[str] = "MIT"
    quality: ClassVar[str] = (
        "misses 3% and invents 2% of the speech of five clean dialogues; "
        "in eight AMI meeting excerpts 41% of speaker time is missed, overlaps and pauses included"
    )

    threshold: float = 0.5
    min_speech_s: float = 0.25
    min_silence_s: float = 0.1
    padding_s: float = 0.03
    threads: int = field(default=1, metadata=MACHINE)
    memory_gb: float = field(default=2.0, metadata=MACHINE)  # three hours of sound, and a copy

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"`threshold` must lie between 0 and 1, but is {self.threshold:g}.")
        for name in ("min_speech_s", "min_silence_s", "padding_s"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"`{name}` must not be negative, but is {value:g}.")

    def setup(self) -> None:
        """Load the network."""
        onnxruntime: Any = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self.threads
        options.log_severity_level = 3
        self.network = onnxruntime.InferenceSession(
            network_file(), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def process(self, rows: pa.Table) -> pa.Table:
        """Find speech in whole recordings."""
        pairs = zip(sources(rows), rows["has_audio"].to_pylist(), strict=True)
        found = [self._speech(uri) if has_audio is not False else None for uri, has_audio in pairs]
        return answer({"speech": found}, self.adds)

    def spans(self, samples: NDArray[np.float32]) -> list[Span]:
        """Find speech in samples.

        Args:
            samples: `(n,)` float32, mono, 16 kHz, in [-1, 1].

        Returns:
            Start and stop of each span, in seconds, in order.
        """
        return speech_spans(
            probabilities(self.network, samples),
            n_samples=len(samples),
            threshold=self.threshold,
            min_speech_s=self.min_speech_s,
            min_silence_s=self.min_silence_s,
            padding_s=self.padding_s,
        )

    def close(self) -> None:
        """Drop the network."""
        del self.network

    def _speech(self, uri: str) -> list[dict[str, float]] | None:
        samples = audio.read(uri)
        if samples is None:
            return None
        return [{"start_s": start, "stop_s": stop} for start, stop in self.spans(samples)]


def network_file() -> str:
    """Where faster-whisper keeps Silero's network, found without importing it.

    Raises:
        FileNotFoundError: Another version of faster-whisper carries none, or under another name.
    """
    spec = find_spec("faster_whisper")
    places = (spec and spec.submodule_search_locations) or []
    for place in places:
        if files := sorted(Path(place, "assets").glob("silero_vad*.onnx")):
            return str(files[-1])
    raise FileNotFoundError("faster-whisper carries no `assets/silero_vad*.onnx`; install 1.2.1.")


def probabilities(network: Any, samples: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ANN401
    """Probability of speech, window by window.

    Args:
        network: Silero's ONNX session. It reads windows with the context before each, and hands
            its state (h, c) on, so that blocks give what one long call gives.
        samples: `(n,)` float32, mono, 16 kHz.

    Returns:
        `(n // 512 + 1,)` float32 in [0, 1]; the last window is filled up with silence.
    """
    windows = len(samples) // WINDOW + 1
    h = c = np.zeros((1, 1, 128), np.float32)
    found = []
    for first in range(0, windows, BLOCK):
        count = min(BLOCK, windows - first)
        start = first * WINDOW - CONTEXT
        stop = (first + count) * WINDOW
        block = samples[max(start, 0) : stop]
        block = np.pad(block, (max(-start, 0), stop - max(start, 0) - len(block)))
        framed = np.lib.stride_tricks.sliding_window_view(block, CONTEXT + WINDOW)[::WINDOW]
        values, h, c = network.run(
            None, {"input": np.ascontiguousarray(framed, np.float32), "h": h, "c": c}
        )
        found.append(values.reshape(-1))
    return np.concatenate(found)


def speech_spans(
    probability: Sequence[float] | NDArray[np.float32],
    *,
    n_samples: int,
    threshold: float = 0.5,
    min_speech_s: float = 0.25,
    min_silence_s: float = 0.1,
    padding_s: float = 0.03,
) -> list[Span]:
    """Turn probabilities into spans, as Silero's `get_speech_timestamps` does.

    Speech starts at `threshold` and ends where the probability fell below `threshold - 0.15`, if
    it does not come back to `threshold` within `min_silence_s`.

    Args:
        probability: One value per window of 512 samples.
        n_samples: Length of the audio; no span goes beyond it.
        threshold: See `VoiceActivity`, as the others.
        min_speech_s: Seconds.
        min_silence_s: Seconds.
        padding_s: Seconds.

    Returns:
        Start and stop in seconds, in order, without overlap.
    """
    release = max(threshold - RELEASE, 0.01)
    runs: list[tuple[int, int]] = []
    start = end = None
    for i, value in enumerate(probability):
        if value >= threshold:
            end = None
            start = i * WINDOW if start is None else start
        elif value < release and start is not None:
            end = i * WINDOW if end is None else end
            if i * WINDOW - end >= min_silence_s * RATE_HZ:
                runs.append((start, end))
                start = end = None
    if start is not None:
        runs.append((start, n_samples))
    kept = [(a, b) for a, b in runs if b - a > min_speech_s * RATE_HZ]
    return _padded(kept, round(padding_s * RATE_HZ), n_samples)


def _padded(runs: list[tuple[int, int]], padding: int, n_samples: int) -> list[Span]:
    """Widen runs by `padding` samples, at most to the middle of the gap; to seconds."""
    stops = [0, *(b for _, b in runs)]
    starts = [*(a for a, _ in runs), n_samples]
    spans = []
    for i, (a, b) in enumerate(runs):
        gap_before, gap_after = a - stops[i], starts[i + 1] - b
        before = min(padding, gap_before if i == 0 else gap_before // 2)
        after = min(padding, gap_after if i == len(runs) - 1 else gap_after // 2)
        spans.append(((a - before) / RATE_HZ, (b + after) / RATE_HZ))
    return spans
