"""Pitch and loudness of speech, frame by frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sound import RATE_HZ, Samples

HOP_S = 0.01
WINDOW_S = 0.025
SILENCE_DB = 25.0
"""Frames this far below the loud ones are silence (de Jong & Wempe 2009, as in Praat)."""
TINY = 1e-10
BLOCK = 1024
"""Frames worked on at once: bounds the memory."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def frames(samples: Samples, length: int, hop: int) -> NDArray[np.float32]:
    """Cut into frames, centred every `hop` samples; the ends are padded with silence.

    Returns:
        `(frame, length)`, a read-only view; empty for empty input.
    """
    count = len(samples) // hop
    if count == 0:
        return np.zeros((0, length), np.float32)
    before = (length - hop) // 2
    padded = np.pad(samples, (before, length))
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::hop][:count]


@dataclass(frozen=True, kw_only=True)
class Contour:
    """Pitch and loudness over time, one value every `HOP_S`.

    Attributes:
        pitch_hz: `(frame,)`, NaN where the voice has no pitch.
        aperiodicity: `(frame,)`, YIN's normalised difference at the chosen period: 0 for a
            perfectly periodic frame, about 1 for noise.
        level_db: `(frame,)`, RMS in dB, 0 for a full-scale square wave.
        speech: `(frame,)`, whether the frame is sound rather than silence.
    """

    pitch_hz: Floats
    aperiodicity: Floats
    level_db: Floats
    speech: Flags

    @property
    def voiced(self) -> Flags:
        """Frames with a pitch."""
        return np.isfinite(self.pitch_hz)


@dataclass(frozen=True, kw_only=True)
class Yin:
    """YIN (de Cheveigne & Kawahara 2002, steps 1-5) over all frames at once, with voicing.

    Attributes:
        low_hz: Lowest pitch looked for.
        high_hz: Highest.
        threshold: The first dip of the normalised difference below it is the period (step 4).
        voicing: A frame whose chosen dip is higher has no pitch.
    """

    low_hz: float = 60.0
    high_hz: float = 600.0
    threshold: float = 0.15
    voicing: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.low_hz < self.high_hz <= RATE_HZ / 4:
            raise ValueError(
                f"`low_hz` and `high_hz` must rise within 0-{RATE_HZ // 4}, "
                f"but are {self.low_hz:g} and {self.high_hz:g}."
            )

    def __call__(self, samples: Samples) -> Contour:
        """Follow pitch and loudness; digital silence has neither."""
        hop = round(HOP_S * RATE_HZ)
        level_db = loudness(samples)
        speech = sounding(level_db)
        longest = int(np.ceil(RATE_HZ / self.low_hz)) + 1
        window = max(round(WINDOW_S * RATE_HZ), longest)
        cut = frames(samples - samples.mean() if len(samples) else samples, window + longest, hop)
        blocks = [self._track(cut[i : i + BLOCK], window) for i in range(0, len(cut), BLOCK)]
        pitch_hz, dip = np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 0))
        pitch_hz[(dip > self.voicing) | ~speech] = np.nan
        return Contour(
            pitch_hz=_without_leaps(pitch_hz), aperiodicity=dip, level_db=level_db, speech=speech
        )

    def _track(self, cut: NDArray[np.float32], window: int) -> tuple[Floats, Floats]:
        """Pitch and dip of each frame of `(frame, window + longest)`."""
        score = normalised_difference(cut.astype(np.float64), window)
        shortest = int(RATE_HZ / self.high_hz)
        inner = score[:, 1:-1]
        dips = (inner < score[:, :-2]) & (inner <= score[:, 2:])
        dips[:, : shortest - 1] = False
        good = dips & (inner < self.threshold)
        best = np.where(dips, inner, np.inf).argmin(axis=1)
        lag = 1 + np.where(good.any(axis=1), good.argmax(axis=1), best)
        row = np.arange(len(score))
        left, mid, right = (score[row, lag + d] for d in (-1, 0, 1))
        bend = left - 2 * mid + right
        shift = np.where(bend > TINY, 0.5 * (left - right) / np.maximum(bend, TINY), 0.0)
        dip = np.where(dips.any(axis=1), mid, 1.0)
        return RATE_HZ / (lag + np.clip(shift, -1, 1)), dip


def normalised_difference(cut: Floats, window: int) -> Floats:
    """YIN's cumulative mean normalised difference, by FFT.

    Args:
        cut: `(frame, window + lags)`.
        window: Samples that are summed over.

    Returns:
        `(frame, lags)`: at lag 0 it is 1, near 0 at a period; 1 all over where the frame is
        silent.
    """
    lags = cut.shape[1] - window
    size = 1 << (cut.shape[1] - 1).bit_length()  # no shorter: wrapped lags would fall among ours
    head = np.fft.rfft(cut[:, :window], size, axis=1)
    whole = np.fft.rfft(cut, size, axis=1)
    product = np.fft.irfft(head.conj() * whole, size, axis=1)[:, :lags]
    total = np.pad(np.cumsum(cut**2, axis=1), ((0, 0), (1, 0)))
    energy = total[:, window : window + lags] - total[:, :lags]
    difference = np.maximum(energy[:, :1] + energy - 2 * product, 0)
    difference[:, 0] = 0
    mean = np.cumsum(difference, axis=1) / np.maximum(np.arange(lags), 1)
    scale = TINY * np.maximum(energy[:, :1], TINY)
    return np.where(mean > scale, difference / np.maximum(mean, scale), 1.0)


def loudness(samples: Samples) -> Floats:
    """RMS level of each frame, in dB; -200 for digital silence."""
    hop, length = (round(s * RATE_HZ) for s in (HOP_S, WINDOW_S))
    cut = frames(samples, length, hop)
    power = np.einsum("ij,ij->i", cut, cut, dtype=np.float64) / length
    return 10 * np.log10(np.maximum(power, 1e-20))


def sounding(level_db: Floats) -> Flags:
    """Which frames are sound: those within `SILENCE_DB` of the 99th percentile of the level.

    The level is smoothed over 5 frames first. Nothing is sound in digital silence.
    """
    if len(level_db) == 0:
        return np.zeros(0, bool)
    smooth = np.convolve(np.pad(level_db, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    loud_db = np.percentile(smooth, 99)
    return (smooth > loud_db - SILENCE_DB) & (loud_db > -120)


def _without_leaps(pitch_hz: Floats) -> Floats:
    """Drop frames that leap by more than half an octave from the median of 9 about them."""
    if not np.isfinite(pitch_hz).any():
        return pitch_hz
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(pitch_hz, 4, constant_values=np.nan), 9
    )
    voiced = np.flatnonzero(np.isfinite(pitch_hz))
    middle = np.nanmedian(around[voiced], axis=1)
    kept = pitch_hz.copy()
    kept[voiced[np.abs(np.log2(pitch_hz[voiced] / middle)) > 0.5]] = np.nan
    return kept
