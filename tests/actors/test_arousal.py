import csv
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.actors.arousal import HEAD, Arousal, Head
from mien.actors.functionals import NAMES, cepstrum, functionals, mel_filters, spectrum
from mien.actors.pitch import Yin
from mien.actors.sound import Samples


def voice(duration_s: float = 1.0, pitch_hz: float = 150.0) -> Samples:
    rng = np.random.default_rng(0)
    time_s = np.arange(round(duration_s * 16000)) / 16000
    wave = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 20))
    rise = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_s)
    return (0.1 * wave * rise + 1e-3 * rng.normal(size=len(time_s))).astype(np.float32)


def test_features_are_named_and_finite() -> None:
    found = functionals(voice(), Yin())
    assert found is not None
    assert found.shape == (len(NAMES),)
    assert np.isfinite(found).all()
    assert len(set(NAMES)) == len(NAMES)
    assert found[NAMES.index("pitch_median_st")] == pytest.approx(12 * np.log2(1.5), abs=0.05)


def test_level_does_not_enter() -> None:
    loud, soft = (functionals(voice() * np.float32(g), Yin()) for g in (1.0, 0.1))
    assert soft == pytest.approx(loud, abs=1e-3)


def test_no_pitch_is_nan_and_no_sound_is_none() -> None:
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    found = functionals(noise, Yin())
    assert found is not None
    assert [n for n, v in zip(NAMES, found, strict=True) if np.isnan(v)] == list(NAMES[:7])
    assert functionals(np.zeros(16000, np.float32), Yin()) is None
    assert functionals(voice(0.1), Yin()) is None


def test_cepstrum_of_a_flat_spectrum_is_that_of_the_filters() -> None:
    from scipy.fft import dct

    filters = mel_filters()
    assert filters.shape == (26, 257)
    assert (filters.max(axis=1) > 0.5).all()
    found = cepstrum(np.ones((2, 257)))
    assert found[0] == pytest.approx(dct(np.log(filters.sum(axis=1)), norm="ortho")[:13])


def test_spectrum_peaks_at_the_tone() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    assert (spectrum(tone)[5:-5].argmax(axis=1) == 32).all()  # bins of 31.25 Hz


def test_head_is_a_logistic_regression(tmp_path: Path) -> None:
    head = Head(mean=np.ones(2), scale=np.full(2, 2.0), weight=np.array([1.0, -1]), bias=0.5)
    found = head(np.array([[1.0, 1.0], [3.0, 1.0], [np.nan, 3.0]]))
    assert found == pytest.approx(1 / (1 + np.exp([-0.5, -1.5, 0.5])))
    np.savez(tmp_path / "old.npz", names=np.array(["x"]))
    with pytest.raises(ValueError, match="must be trained on today's"):
        Head.load(tmp_path / "old.npz")


def test_the_quality_on_the_page_is_the_measured_one() -> None:
    assert HEAD.stat().st_size < 300_000
    with np.load(HEAD, allow_pickle=False) as arrays:
        measured = float(arrays["held_out_balanced_accuracy"])
    assert measured >= 0.9
    (quoted,) = re.findall(r"balanced accuracy (0\.\d\d)", Arousal.quality)
    assert float(quoted) == round(measured, 2)


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = {"voice": voice(), "silence": np.zeros(16000, np.float32), "picture": None}
    monkeypatch.setattr("mien.actors.sound.read", lambda uri, *_: sounds[uri])
    actor = Arousal()
    actor.setup()
    spans = {"start_s": [0.0] * 3, "stop_s": [1.0] * 3}
    table = actor.process(pa.table({"uri": ["picture", "voice", "silence"], **spans}))
    assert table.schema == Arousal.adds
    nothing, something, silent = table["arousal"].to_pylist()
    assert nothing is silent is None
    assert 0 < something < 1
    assert table["dominance"].null_count == table["valence"].null_count == 3


@pytest.mark.data
def test_anger_is_higher_than_sadness_at_any_level(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clips were trained on: this holds the shipped head to its features, no more."""
    folder = data / "speech_emotion/emodb"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        labels = [r for r in csv.DictReader(file) if r["emotion"] in ("anger", "sadness")][::4]
    table = pa.table(
        {
            "uri": [str(folder / r["file"]) for r in labels],
            "start_s": [0.0] * len(labels),
            "stop_s": [float(r["duration_s"]) for r in labels],
        }
    )
    actor = Arousal()
    actor.setup()
    found = np.array(actor.process(table)["arousal"].to_pylist())
    angry = np.array([r["emotion"] == "anger" for r in labels])
    assert ((found > 0.5) == angry).mean() > 0.9

    from mien.datasets.audio import read

    def quiet(uri: str, *span: float) -> Samples:
        sound = read(uri, *span)
        assert sound is not None
        return sound * np.float32(0.1)

    monkeypatch.setattr("mien.actors.sound.read", quiet)
    assert np.array(actor.process(table)["arousal"].to_pylist()) == pytest.approx(found, abs=0.01)
