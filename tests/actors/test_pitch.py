import numpy as np
import pytest

from mien.actors.pitch import Yin, loudness, normalised_difference, sounding
from mien.actors.sound import Samples

RATE_HZ = 16000


def tone(pitch_hz: float | np.ndarray, harmonics: range, duration_s: float = 1.0) -> Samples:
    """Harmonics of 1/k, of a pitch that is fixed or given sample by sample."""
    phase = np.cumsum(np.broadcast_to(pitch_hz, round(duration_s * RATE_HZ))) / RATE_HZ
    wave = sum(np.sin(2 * np.pi * k * phase) / k for k in harmonics)
    return (0.1 * np.asarray(wave)).astype(np.float32)


def test_difference_is_the_papers_formula() -> None:
    cut = np.random.default_rng(0).normal(size=(3, 90))
    window, lags = 50, 40
    found = normalised_difference(cut, window)
    assert found.shape == (3, lags)
    for frame, row in zip(cut, found, strict=True):
        d = [sum((frame[j] - frame[j + lag]) ** 2 for j in range(window)) for lag in range(lags)]
        expected = [1.0] + [d[lag] / (sum(d[1 : lag + 1]) / lag) for lag in range(1, lags)]
        assert row == pytest.approx(expected)


@pytest.mark.parametrize("pitch_hz", [65, 100, 155.3, 220, 440, 580])
@pytest.mark.parametrize(
    "harmonics", [range(1, 2), range(1, 8), range(2, 8)], ids=["sine", "complex", "missing"]
)
def test_tones(pitch_hz: float, harmonics: range) -> None:
    found = Yin()(tone(pitch_hz, harmonics)).pitch_hz[5:-5]
    assert found == pytest.approx(np.full(len(found), pitch_hz), rel=0.002)


def test_a_glide_is_followed() -> None:
    glide_hz = 100 * 2 ** np.linspace(0, 1.5, 2 * RATE_HZ)
    found = Yin()(tone(glide_hz, range(1, 6), 2.0)).pitch_hz
    centre = (np.arange(len(found)) * 0.01 + 0.005) * RATE_HZ
    expected = glide_hz[centre.astype(int)]
    error_st = 12 * np.log2(found / expected)[5:-5]
    assert np.abs(error_st).max() < 0.25


def test_a_tone_in_noise() -> None:
    rng = np.random.default_rng(0)
    sound = tone(150, range(1, 10))
    noisy = sound + rng.normal(size=len(sound)).astype(np.float32) * sound.std() / 10  # 20 dB
    found = Yin()(noisy)
    assert found.voiced.mean() > 0.95
    assert np.nanmedian(found.pitch_hz) == pytest.approx(150, rel=0.005)


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).normal(size=RATE_HZ).astype(np.float32) * 0.1
    assert Yin()(noise).voiced.mean() < 0.02
    nothing = Yin()(np.zeros(RATE_HZ, np.float32))
    assert not nothing.voiced.any()
    assert not nothing.speech.any()
    assert len(Yin()(np.zeros(0, np.float32)).pitch_hz) == 0


def test_gain_and_offset_change_no_pitch() -> None:
    sound = tone(130, range(1, 10))
    expected = Yin()(sound).pitch_hz
    assert Yin()(sound * np.float32(0.01)).pitch_hz == pytest.approx(expected, nan_ok=True)
    assert Yin()(sound + np.float32(0.3)).pitch_hz[5:-5] == pytest.approx(expected[5:-5], rel=1e-3)


def test_loudness_is_rms() -> None:
    sine = np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    assert loudness(sine)[5:-5] == pytest.approx(10 * np.log10(0.5), abs=0.01)
    assert loudness(0.1 * sine)[5:-5] == pytest.approx(10 * np.log10(0.5) - 20, abs=0.01)


def test_silence_is_relative_to_the_loud() -> None:
    level_db = np.repeat([-20.0, -50.0, -40.0], 100)
    assert sounding(level_db)[[50, 150, 250]].tolist() == [True, False, True]
    assert sounding(level_db - 40)[[50, 150, 250]].tolist() == [True, False, True]


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="must rise within 0-4000, but are 300 and 200"):
        Yin(low_hz=300, high_hz=200)
