import math
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from mien.actors.functionals import NAMES
from mien.actors.pitch import Yin
from mien.actors.voice_features import MOMENTS, PLAIN, VoiceFeatures, moments, plain
from mien.datasets.audio import RATE_HZ

TIME_S = np.arange(RATE_HZ) / RATE_HZ


def glide(first_hz: float, last_hz: float) -> np.ndarray:
    """A voice-like tone of one second, whose pitch moves evenly in semitones."""
    pitch_hz = first_hz * (last_hz / first_hz) ** TIME_S
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    tones = [0.3 / k * np.sin(k * phase) for k in range(1, 8)]
    return np.sum(tones, axis=0).astype(np.float32)


def named(samples: np.ndarray) -> dict[str, float]:
    found = plain(samples, Yin())
    assert found is not None
    return dict(zip(PLAIN, found.tolist(), strict=True))


def test_moments_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=(80, 3))
    found = dict(zip(MOMENTS, moments(values), strict=True))
    np.testing.assert_allclose(found["skewness"], stats.skew(values))
    np.testing.assert_allclose(found["std"], values.std(axis=0))
    np.testing.assert_allclose(found["p50"], np.median(values, axis=0))
    np.testing.assert_allclose(found["range"], found["p90"] - found["p10"])
    assert moments(np.ones((5, 2)))[MOMENTS.index("skewness")].tolist() == [0, 0]


def test_pitch_is_that_of_the_tone() -> None:
    rising = named(glide(110, 220))
    assert rising["mean_pitch_st"] == pytest.approx(12 * math.log2(1.1) + 6, abs=0.3)
    assert rising["pitch_slope_st_s"] == pytest.approx(12, abs=0.5)
    assert rising["pitch_span_st"] == pytest.approx(12, abs=1.0)
    assert named(glide(220, 110))["pitch_slope_st_s"] == pytest.approx(-12, abs=0.5)
    assert named(glide(150, 150))["std_pitch_st"] < 0.1


def test_the_level_does_not_enter() -> None:
    loud, soft = named(glide(110, 160)), named(glide(110, 160) * 0.05)
    assert list(loud.values()) == pytest.approx(list(soft.values()), abs=1e-3)


def test_what_has_no_pitch_has_cepstra() -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=RATE_HZ).astype(np.float32)
    found = named(noise)
    assert math.isnan(found["mean_pitch_st"])
    assert math.isfinite(found["mean_cepstrum1"])
    assert plain(np.zeros(RATE_HZ, np.float32), Yin()) is None


def test_the_actor_describes_spans(tmp_path: Path) -> None:
    uri = tmp_path / "a.wav"
    with wave.open(str(uri), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        every = np.concatenate([glide(110, 160), np.zeros(RATE_HZ, np.float32)])
        file.writeframes(np.rint(every * 16000).astype("<i2").tobytes())
    actor = VoiceFeatures()
    actor.setup()
    rows = pa.table({"uri": [str(uri)] * 2, "start_s": [0.0, 1.2], "stop_s": [1.0, 1.8]})
    first, second = actor.process(rows).to_pylist()
    assert (len(first["plain"]), len(first["functionals"])) == (len(PLAIN), len(NAMES))
    assert second == {"plain": None, "functionals": None}  # silence
