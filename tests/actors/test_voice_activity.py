from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.actors.voice_activity import VoiceActivity, probabilities, speech_spans
from mien.datasets import audio
from mien.datasets.schema import SPEECH_ACTIVITY

WINDOW_S = 512 / 16_000


@pytest.fixture(scope="module")
def activity() -> VoiceActivity:
    actor = VoiceActivity()
    actor.setup()
    return actor


def reference(samples: np.ndarray) -> list[tuple[float, float]]:
    from faster_whisper.vad import get_speech_timestamps

    found = get_speech_timestamps(
        samples, min_speech_duration_ms=250, min_silence_duration_ms=100, speech_pad_ms=30
    )
    return [(span["start"] / 16_000, span["end"] / 16_000) for span in found]


def test_a_run_becomes_a_padded_span() -> None:
    probability = [0.1] * 10 + [0.9] * 20 + [0.1] * 10
    ((start, stop),) = speech_spans(probability, n_samples=40 * 512)
    assert start == pytest.approx(10 * WINDOW_S - 0.03)
    assert stop == pytest.approx(30 * WINDOW_S + 0.03)


def test_speech_goes_on_between_release_and_threshold() -> None:
    probability = [0.9] * 10 + [0.4] * 20 + [0.1] * 10
    ((_, stop),) = speech_spans(probability, n_samples=40 * 512, padding_s=0)
    assert stop == pytest.approx(30 * WINDOW_S)


def test_short_speech_is_dropped_and_short_silence_bridged() -> None:
    blip = [0.1] * 10 + [0.9] * 5 + [0.1] * 10
    assert speech_spans(blip, n_samples=25 * 512) == []
    gap = [0.9] * 10 + [0.1] * 3 + [0.9] * 10
    assert len(speech_spans(gap, n_samples=23 * 512)) == 1
    assert len(speech_spans(gap, n_samples=23 * 512, min_silence_s=0.05)) == 2


@given(st.lists(st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.95]), max_size=200))
def test_spans_are_ordered_apart_and_inside(probability: list[float]) -> None:
    n_samples = max(0, len(probability) * 512 - 100)
    spans = speech_spans(probability, n_samples=n_samples, min_speech_s=0.05)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(start < stop for start, stop in spans)
    assert not edges or (edges[0] >= 0 and edges[-1] <= n_samples / 16_000)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "diarization/pyannote_sample/sample.wav",
        "diarization/ami/trn06.wav",
        "video/composites/grid_dialogue_a2.mp4",
    ],
)
def test_the_reference_finds_the_same(data: Path, activity: VoiceActivity, name: str) -> None:
    samples = audio.read(str(data / name))
    assert samples is not None
    expected = reference(samples)
    assert len(expected) >= 3
    assert activity.spans(samples) == expected


@pytest.mark.data
def test_blocks_do_not_change_the_answer(
    data: Path, activity: VoiceActivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = audio.read(str(data / "diarization/ami/trn06.wav"))
    assert samples is not None
    whole = probabilities(activity.network, samples)
    monkeypatch.setattr("mien.actors.voice_activity.BLOCK", 100)
    np.testing.assert_allclose(probabilities(activity.network, samples), whole, atol=1e-5)


@pytest.mark.data
def test_rows(data: Path, activity: VoiceActivity) -> None:
    rows = pa.table(
        {
            "uri": [
                str(data / "robustness/pyannote_empty.wav"),
                str(data / "robustness/decord_video_90.mov"),
                str(data / "video/composites/grid_twoshot_a1.mp4"),
            ],
            "has_audio": [True, False, True],
        }
    )
    table = activity.process(rows)
    assert table.schema == SPEECH_ACTIVITY
    silent, absent, spoken = table["speech"].to_pylist()
    assert (silent, absent) == ([], None)
    truth = [(0.92, 2.10), (3.49, 5.05)]
    assert len(spoken) == 2
    for span, (start, stop) in zip(spoken, truth, strict=True):
        assert span["start_s"] == pytest.approx(start, abs=0.15)
        assert span["stop_s"] == pytest.approx(stop, abs=0.15)


def test_noise_is_not_speech(activity: VoiceActivity) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 80_000).astype(np.float32)
    assert activity.spans(noise) == []
    assert activity.spans(noise[:0]) == []


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`threshold` must lie between 0 and 1, but is 1\.5"):
        VoiceActivity(threshold=1.5)
    with pytest.raises(ValueError, match=r"`padding_s` must not be negative, but is -1"):
        VoiceActivity(padding_s=-1)
