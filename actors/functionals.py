"""Functionals: one vector of numbers that says how an utterance sounds.

A compact set after eGeMAPS (Eyben et al. 2016): pitch, dynamics, spectral balance and cepstrum
of an utterance, each as mean and spread over its frames. The recording's level does not enter:
the sound is first scaled to one loudness.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .pitch import HOP_S, WINDOW_S, Contour, Floats, Yin, frames, loudness, sounding
from .sound import RATE_HZ, Samples

LEVEL_DB = -20.0
MIN_SPEECH = 20
"""Fewer frames of sound (of 10 ms) say too little."""
MELS, CEPSTRA = 26, 13
BANDS_HZ = ((50, 500), (500, 1000), (1000, 2000), (2000, 3500), (3500, 5000), (5000, 7500))

NAMES = (
    *("pitch_median_st", "pitch_p20_st", "pitch_p80_st", "pitch_p95_st", "pitch_range_st"),
    *("pitch_std_st", "pitch_slope_st", "voiced_ratio", "aperiodicity"),
    *("level_std_db", "level_p20_db", "level_p95_db", "level_rise_db", "level_fall_db"),
    *("pause_ratio", "bursts_hz"),
    *(f"{part}_{name}" for part in ("voiced", "speech") for name in (
        "alpha_db", "hammarberg_db", "slope_low_db", "slope_high_db", "centroid_oct",
        "flux_db", "flatness_db",
    )),
    *(f"voiced_band{i}_db" for i in range(len(BANDS_HZ))),
    *(f"cepstrum{i}_{stat}" for stat in ("mean", "std") for i in range(1, CEPSTRA)),
    *(f"cepstrum{i}_delta" for i in range(CEPSTRA)),
)  # fmt: skip


def functionals(samples: Samples, yin: Yin) -> Floats | None:
    """Describe an utterance.

    Args:
        samples: Float32 mono at 16 kHz.
        yin: Follows the pitch.

    Returns:
        `(feature,)`, named by `NAMES`; NaN for what needs a pitch where there is none; `None`
        where there is less than 0.2 s of sound.
    """
    speech = sounding(loudness(samples))
    if speech.sum() < MIN_SPEECH:
        return None
    even = levelled(samples, speech)
    contour, power = yin(even), spectrum(even)
    found = np.concatenate([_pitch(contour), _dynamics(contour), _spectral(contour, power)])
    if len(found) != len(NAMES):
        raise AssertionError(f"`NAMES` must name {len(found)} features, but names {len(NAMES)}.")
    return found


def levelled(samples: Samples, speech: NDArray[np.bool_]) -> Samples:
    """Scale so that the mean power of the frames of sound is `LEVEL_DB`."""
    level_db = 10 * np.log10(np.mean(10 ** (loudness(samples)[speech] / 10)))
    return (samples * 10 ** ((LEVEL_DB - level_db) / 20)).astype(np.float32)


def spectrum(samples: Samples) -> Floats:
    """Power spectrum of each frame, `(frame, 257)`, bins of 31.25 Hz, Hann window."""
    length, hop = round(WINDOW_S * RATE_HZ), round(HOP_S * RATE_HZ)
    cut = frames(samples, length, hop) * np.hanning(length).astype(np.float32)
    return np.abs(np.fft.rfft(cut, 512, axis=1)) ** 2 / length + 1e-9


def _pitch(contour: Contour) -> Floats:
    voiced = contour.voiced
    scalars = [voiced.sum() / contour.speech.sum(), contour.aperiodicity[contour.speech].mean()]
    if voiced.sum() < 5:
        return np.array([np.nan] * 7 + scalars)
    pitch_st = 12 * np.log2(contour.pitch_hz / 100)
    p05, p20, p50, p80, p95 = np.nanpercentile(pitch_st, [5, 20, 50, 80, 95])
    steps = np.abs(np.diff(pitch_st))
    slope = np.nanmean(steps) if np.isfinite(steps).any() else 0.0
    return np.array([p50, p20, p80, p95, p95 - p05, np.nanstd(pitch_st), slope, *scalars])


def _dynamics(contour: Contour) -> Floats:
    level_db, speech = contour.level_db, contour.speech
    loud = level_db[speech]
    steps = np.diff(level_db)[speech[1:] & speech[:-1]]
    rise, fall = (s.mean() if len(s) else 0.0 for s in (steps[steps > 0], -steps[steps < 0]))
    smooth = np.convolve(level_db, np.hanning(11) / np.hanning(11).sum(), mode="same")
    peaks = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:]) & contour.voiced[1:-1]
    p20_db, p95_db = np.percentile(loud, [20, 95])
    pause, bursts_hz = 1 - speech.mean(), peaks.sum() / (speech.sum() * HOP_S)
    return np.array([loud.std(), p20_db, p95_db, rise, fall, pause, bursts_hz])


def _spectral(contour: Contour, power: Floats) -> Floats:
    voiced = contour.voiced if contour.voiced.sum() >= 5 else contour.speech
    cepstra = cepstrum(power)
    steps = np.abs(np.diff(cepstra, axis=0))[contour.speech[1:]]
    spoken = cepstra[contour.speech, 1:]
    return np.concatenate(
        [
            _balance(power, voiced),
            _balance(power, contour.speech),
            _shares(power[voiced].mean(axis=0)),
            spoken.mean(axis=0),
            spoken.std(axis=0),
            steps.mean(axis=0),
        ]
    )


def _balance(power: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Spectral balance of the chosen frames: eGeMAPS's ratios and slopes, and how it moves."""
    hz = np.linspace(0, RATE_HZ / 2, power.shape[1])
    mean = power[chosen].mean(axis=0)
    decibel = 10 * np.log10(mean)
    within = {band: (hz >= band[0]) & (hz < band[1]) for band in _EGEMAPS_HZ}
    alpha = _ratio_db(mean[within[50, 1000]].sum(), mean[within[1000, 5000]].sum())
    hammarberg = decibel[within[0, 2000]].max() - decibel[within[2000, 5000]].max()
    low, high = (
        np.polyfit(hz[within[band]] / 1000, decibel[within[band]], 1)[0]
        for band in ((50, 500), (500, 1500))
    )
    centroid = np.log2((hz[1:] * mean[1:]).sum() / mean[1:].sum() / 1000)
    logs = 10 * np.log10(power)
    flux = np.abs(np.diff(logs, axis=0))[chosen[1:]].mean() if chosen[1:].any() else 0.0
    flatness = logs[chosen].mean() - 10 * np.log10(power[chosen].mean(axis=1)).mean()
    return np.array([alpha, hammarberg, low, high, centroid, flux, flatness])


_EGEMAPS_HZ = ((50, 1000), (1000, 5000), (0, 2000), (2000, 5000), (50, 500), (500, 1500))


def _shares(mean: Floats) -> Floats:
    hz = np.linspace(0, RATE_HZ / 2, len(mean))
    return np.array(
        [_ratio_db(mean[(hz >= lo) & (hz < hi)].sum(), mean.sum()) for lo, hi in BANDS_HZ]
    )


def _ratio_db(part: float, whole: float) -> float:
    return float(10 * np.log10(part / whole))


@cache
def mel_filters() -> Floats:
    """Triangles on the mel scale (HTK's formula) from 60 Hz to 7.6 kHz, `(mel, 257)`."""
    hz = np.linspace(0, RATE_HZ / 2, 257)
    top, bottom = (2595 * np.log10(1 + f / 700) for f in (7600, 60))
    edges = 700 * (10 ** (np.linspace(bottom, top, MELS + 2) / 2595) - 1)
    left, mid, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0, np.minimum((hz - left) / (mid - left), (right - hz) / (right - mid)))


def cepstrum(power: Floats) -> Floats:
    """Mel cepstrum of each frame, `(frame, CEPSTRA)`: orthonormal DCT-II of the log mel power."""
    from scipy.fft import dct

    logs = np.log(power @ mel_filters().T + 1e-9)
    return np.asarray(dct(logs, axis=1, norm="ortho"))[:, :CEPSTRA]
