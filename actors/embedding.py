"""Speaker encoders: what a voice sounds like, whatever it says, as one vector per window.

Both work in two steps, so that hours of audio need little memory: `frames` turns audio, block by
block, into features at 100 Hz; `embed` turns the features of all blocks into embeddings.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .clustering import Floats

F32 = NDArray[np.float32]

RATE_HZ = 16_000
HOP = 160  # samples from frame to frame
FRAME_RATE_HZ = 100
TAIL = 256  # samples that the last frame of a block needs beyond it

# Sphinx's front end, as `feat.params` beside the model says.
FRAME, FFT, FILTERS, LOW_HZ, HIGH_HZ, LIFTER, CEPSTRA = 410, 512, 25, 130, 6800, 22, 13
PREEMPHASIS = 0.97
BLOCK = 500  # frames per call of the Gaussians

WITHIN = np.array(
    [0.399, 0.386, 0.263, 0.261, 0.289, 0.291, 0.327, 0.281, 0.278, 0.251, 0.284, 0.308]
)
"""Standard deviation of each coefficient between 1.2 s windows of one speaker, over emotions and
sentences: from the 206 clips of four EmoDB speakers (CC0) in the test data."""


class Encoder(Protocol):
    """What `Speakers` needs of an encoder."""

    def frames(self, samples: F32) -> F32:
        """Turn audio into features.

        Args:
            samples: `(n,)` float32, mono, 16 kHz, with `TAIL` samples more than is asked for.

        Returns:
            `((n - TAIL) // 160, d)`, at 100 Hz.
        """
        ...

    def embed(self, frames: F32, cut: Floats) -> Floats:
        """Turn the features of a recording into embeddings.

        Args:
            frames: `(n, d)`, frame `i` at `i / 100` seconds from the start of the recording.
            cut: Windows of speech, `(m, 2)`, in seconds.

        Returns:
            `(m, e)`, for Euclidean distances.
        """
        ...


class Phonetic:
    """How the voice shifts each sound away from how people on average say it.

    The Gaussians of pocketsphinx's English acoustic model (42 sounds, 128 each) tell which sound a
    frame is. The embedding is the constant offset of the cepstrum that explains the window best:
    with responsibilities g, means m and variances v it is sum(g (x - m) / v) / sum(g / v), the bias
    of Sankar and Lee's stochastic matching (1996). What is said cancels out, and the channel does
    with the mean of the recording; so embeddings of different recordings do not compare.
    """

    def __init__(self) -> None:
        folder = _sphinx_model()
        means, variances = (
            read_gaussians(folder / name)[:, 0].reshape(-1, CEPSTRA)
            for name in ("means", "variances")
        )
        alive = (variances > 1e-4).all(1)
        self.precision = 1 / variances[alive]
        self.weighted = means[alive] * self.precision
        self._constant = 0.5 * (
            np.log(self.precision).sum(1) - (means[alive] * self.weighted).sum(1)
        )
        self._filters = mel_filters()

    def frames(self, samples: F32) -> F32:
        """Compute Sphinx's cepstra, `(n, 13)`; see `Encoder.frames`."""
        return cepstra(samples, self._filters)

    def embed(self, frames: F32, cut: Floats) -> Floats:
        """Estimate offsets, `(m, 12)`, in standard deviations within a speaker."""
        bounds = frame_bounds(cut, len(frames))
        heard = np.zeros(len(frames), bool)
        for start, stop in bounds:
            heard[start:stop] = True
        speech = frames[heard] - frames[heard].mean(0)
        precision, evidence = self._statistics(speech)
        place = np.concatenate([[0], np.cumsum(heard)])
        start, stop = place[bounds[:, 0]], place[bounds[:, 1]]
        total, shift = (
            np.concatenate([np.zeros((1, CEPSTRA)), np.cumsum(x, 0, dtype=np.float64)])
            for x in (precision, evidence)
        )
        offset = (shift[stop] - shift[start]) / (total[stop] - total[start])
        return (offset * np.sqrt(precision.mean(0)))[:, 1:] / WITHIN  # without loudness

    def _statistics(self, speech: F32) -> tuple[F32, F32]:
        """For each frame the expected precision, and precision times distance from the means."""
        precision, evidence = np.empty_like(speech), np.empty_like(speech)
        for i in range(0, len(speech), BLOCK):
            x = speech[i : i + BLOCK]
            g = x @ self.weighted.T
            g -= (x * x / 2) @ self.precision.T
            g += self._constant
            g -= g.max(1, keepdims=True)
            np.exp(g, out=g)
            g /= g.sum(1, keepdims=True)
            precision[i : i + BLOCK] = g @ self.precision
            evidence[i : i + BLOCK] = x * precision[i : i + BLOCK] - g @ self.weighted
        return precision, evidence


@dataclass
class Resemblyzer:
    """The GE2E encoder that the package resemblyzer carries (256 numbers of unit length).

    Args:
        device: As torch names it.
        threads: Of torch.
    """

    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        self._torch: Any = import_module("torch")
        self._torch.set_num_threads(self.threads)
        self._audio: Any = import_module("resemblyzer.audio")
        self._model: Any = import_module("resemblyzer").VoiceEncoder(self.device, verbose=False)

    def frames(self, samples: F32) -> F32:
        """Compute resemblyzer's mel energies, `(n, 40)`; see `Encoder.frames`."""
        return self._audio.wav_to_mel_spectrogram(samples)[: (len(samples) - TAIL) // HOP]

    def embed(self, frames: F32, cut: Floats) -> Floats:
        """Run the network, `(m, 256)`; short windows are widened to the length of the longest."""
        length = max(1, round(float((cut[:, 1] - cut[:, 0]).max()) * FRAME_RATE_HZ))
        first = (cut.mean(1) * FRAME_RATE_HZ).astype(int) - length // 2
        wanted = np.clip(first[:, None] + np.arange(length), 0, len(frames) - 1)
        found = []
        with self._torch.inference_mode():
            for i in range(0, len(cut), 64):
                batch = self._torch.from_numpy(frames[wanted[i : i + 64]]).to(self.device)
                found.append(self._model(batch).cpu().numpy())
        return np.concatenate(found)


def cepstra(samples: F32, filters: Floats) -> F32:
    """Compute mel-frequency cepstra as Sphinx does, without its noise removal.

    Args:
        samples: `(n,)`, with `TAIL` samples more than is asked for.
        filters: From `mel_filters`.

    Returns:
        `((n - TAIL) // 160, 13)` float32, the first the loudness.
    """
    from scipy.fft import dct

    count = (len(samples) - TAIL) // HOP
    emphasised = np.append(samples[:1], samples[1:] - PREEMPHASIS * samples[:-1]) * 2**15
    framed = np.lib.stride_tricks.sliding_window_view(emphasised, FRAME)[::HOP][:count]
    window = np.hamming(FRAME).astype(np.float32)
    found = np.empty((count, CEPSTRA), np.float32)
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
    for i in range(0, count, 6000):
        power = np.square(np.abs(np.fft.rfft(framed[i : i + 6000] * window, FFT)))
        energies = np.log(np.maximum(power @ filters, 1.0))
        found[i : i + 6000] = np.asarray(dct(energies, norm="ortho"))[:, :CEPSTRA] * lifter
    return found


def mel_filters() -> Floats:
    """Sphinx's triangular filters, `(257, 25)`, linear in frequency between mel-spaced edges."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, FILTERS + 2) / 2595) - 1)
    bins = np.arange(FFT // 2 + 1)[:, None] * RATE_HZ / FFT
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rise, fall), 0, None)


def read_gaussians(path: Path) -> F32:
    """Read means or variances of a Sphinx acoustic model.

    Returns:
        `(codebook, stream, Gaussian, coefficient)` float32.
    """
    content = path.read_bytes()
    start = content.index(b"endhdr\n") + 7
    magic, codebooks, streams, gaussians = np.frombuffer(content, "<u4", 4, start)
    if magic != 0x11223344:
        raise ValueError(f"not a little-endian Sphinx parameter file: {path.name!r}.")
    widths = np.frombuffer(content, "<u4", streams, start + 16)
    shape = (codebooks, streams, gaussians, widths[0])
    after = start + 16 + 4 * streams + 4
    return np.frombuffer(content, "<f4", int(np.prod(shape)), after).reshape(shape)


def frame_bounds(cut: Floats, count: int) -> NDArray[np.int64]:
    """First frame and the one after the last, `(m, 2)`, of windows; at least one frame each."""
    start = np.clip((cut[:, 0] * FRAME_RATE_HZ).astype(int), 0, count - 1)
    stop = np.clip((cut[:, 1] * FRAME_RATE_HZ).astype(int), start + 1, count)
    return np.stack([start, stop], 1)


def _sphinx_model() -> Path:
    spec = find_spec("pocketsphinx")
    for place in (spec and spec.submodule_search_locations) or []:
        if (folder := Path(place, "model", "en-us", "en-us")).is_dir():
            return folder
    raise FileNotFoundError("pocketsphinx carries no model `en-us`; install 5.1.1.")
