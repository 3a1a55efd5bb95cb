import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.actors.pitch import Yin
from mien.actors.prosody import Prosody, measure, pauses, word_counts
from mien.actors.sound import Samples

WORD = pa.struct([("start_s", pa.float64()), ("word", pa.string())])


def voice(duration_s: float, pitch_hz: float = 120.0, gain: float = 0.1) -> Samples:
    time_s = np.arange(round(duration_s * 16000)) / 16000
    wave = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 10))
    return (gain * np.asarray(wave)).astype(np.float32)


def silence(duration_s: float) -> Samples:
    return np.zeros(round(duration_s * 16000), np.float32)


def hear(monkeypatch: pytest.MonkeyPatch, sound: Samples | None) -> None:
    def read(_: str, start_s: float = 0.0, stop_s: float = 0.0) -> Samples | None:
        return None if sound is None else sound[round(start_s * 16000) : round(stop_s * 16000)]

    monkeypatch.setattr("mien.actors.sound.read", read)


def rows(*utterances: tuple[float, float, str | None]) -> pa.Table:
    starts, stops, texts = zip(*utterances, strict=True)
    return pa.table(
        {
            "uri": ["a"] * len(texts),
            "start_s": starts,
            "stop_s": stops,
            "text": pa.array(texts, pa.string()),
        }
    )


def test_pauses_and_pace() -> None:
    sound = np.concatenate([voice(1.0), silence(0.5), voice(1.0), silence(0.15), voice(0.35)])
    found = measure(sound, Yin(), 0.25)
    assert found["pauses"] == 1
    assert found["pause_ratio"] == pytest.approx(0.65 / 3, abs=0.05)
    assert found["voiced_ratio"] > 0.9
    assert found["pitch_hz"] == pytest.approx(120, rel=0.005)
    assert found["pitch_range_st"] < 0.5


def test_silence_at_the_ends_is_no_pause() -> None:
    assert pauses(np.repeat([False, True, False, True, False], [50, 10, 25, 10, 99]), 0.25) == 1
    assert pauses(np.repeat([True, False, True], [10, 24, 10]), 0.25) == 0


def test_range_of_two_pitches_is_their_interval() -> None:
    found = measure(np.concatenate([voice(1, 100), voice(1, 150)]), Yin(), 0.25)
    assert found["pitch_range_st"] == pytest.approx(12 * np.log2(1.5), abs=0.2)


def test_energy_is_in_dbfs() -> None:
    loud, soft = (measure(voice(1.0, gain=g), Yin(), 0.25) for g in (0.1, 0.01))
    rms = np.sqrt(np.mean(voice(1.0).astype(float) ** 2))
    assert loud["energy_db"] == pytest.approx(20 * np.log10(rms), abs=0.3)
    assert loud["energy_db"] - soft["energy_db"] == pytest.approx(20, abs=0.05)
    assert loud["energy_range_db"] == pytest.approx(soft["energy_range_db"], abs=0.01)


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(size=32000).astype(np.float32) * 0.1
    hear(monkeypatch, np.concatenate([voice(2.0), silence(2.0), noise]))
    table = Prosody().process(rows((4, 6, "hiss"), (0, 2, "one two three"), (2, 4, None)))
    assert table.schema == Prosody.adds
    hiss, spoken, nothing = table.to_pylist()
    assert hiss["pitch_hz"] is None
    assert hiss["pitch_range_st"] is None
    assert hiss["voiced_ratio"] < 0.02
    assert hiss["energy_db"] == pytest.approx(-20, abs=0.3)
    assert spoken["speech_rate_hz"] == pytest.approx(1.5)
    assert set(nothing.values()) == {None}


def test_no_sound_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    hear(monkeypatch, None)
    (row,) = Prosody().process(rows((0, 1, "hello"))).to_pylist()
    assert set(row.values()) == {None}


def test_words_come_before_text() -> None:
    words = pa.array([[{"start_s": 0.0, "word": "don't"}] * 2, None, None], pa.list_(WORD))
    table = rows((0, 1, "one two three"), (0, 1, "one"), (0, 1, None))
    assert word_counts(table.append_column("words", words)) == [2, 1, None]


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`pause_s` must be greater than 0, but is 0"):
        Prosody(pause_s=0)
    with pytest.raises(ValueError, match="must rise"):
        Prosody(low_hz=700)


@pytest.mark.data
def test_women_speak_higher_than_men(data: Path) -> None:
    folder = data / "speech_emotion/emodb"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        labels = [r for r in csv.DictReader(file) if r["emotion"] == "neutral"]
    table = pa.table(
        {
            "uri": [str(folder / r["file"]) for r in labels],
            "start_s": [0.0] * len(labels),
            "stop_s": [float(r["duration_s"]) for r in labels],
            "text": [r["text"] for r in labels],
        }
    )
    pitch_hz = np.array(Prosody().process(table)["pitch_hz"].to_pylist())
    women = np.array([r["gender"] == "f" for r in labels])
    assert pitch_hz[~women].max() < pitch_hz[women].min()
    assert 85 < np.median(pitch_hz[~women]) < 155  # typical male; the women's next
    assert 165 < np.median(pitch_hz[women]) < 255
