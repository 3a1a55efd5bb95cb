"""The sample clip holds what its truth says, judged by libraries that did not make it."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed (extra `demo`)")
pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed (extra `demo`)")

from mien.jobs import demo
from mien.jobs.puppet import Look, Puppet
from mien.jobs.voice import RATE_HZ, Line, speak


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make(tmp_path_factory.mktemp("demo") / "demo.mp4")


@pytest.fixture(scope="module")
def truth(clip: Path) -> dict[str, Any]:
    return json.loads(clip.with_suffix(".truth.json").read_text())


@pytest.fixture(scope="module")
def frames(clip: Path) -> np.ndarray:
    with av.open(str(clip)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.fixture(scope="module")
def sound(clip: Path) -> np.ndarray:
    resampler = av.AudioResampler("flt", "mono", 16000)
    with av.open(str(clip)) as container:
        parts = [r for f in container.decode(audio=0) for r in resampler.resample(f)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])


def test_streams(clip: Path, truth: dict[str, Any], frames: np.ndarray, sound: np.ndarray) -> None:
    with av.open(str(clip)) as container:
        names = [stream.codec_context.name for stream in container.streams]
    assert names == ["h264", "aac"]
    assert frames.shape == (truth["duration_s"] * 25, 360, 640, 3)
    assert 15 <= truth["duration_s"] <= 30
    assert len(sound) / 16000 == pytest.approx(truth["duration_s"], abs=0.2)


def test_the_largest_changes_are_the_cuts(truth: dict[str, Any], frames: np.ndarray) -> None:
    luma = frames[:, ::4, ::4].astype(np.int16)
    change = np.abs(np.diff(luma, axis=0)).mean((1, 2, 3))
    count = len(truth["hard_cut_frames"])
    assert count == 4
    assert sorted(np.argsort(change)[-count:] + 1) == truth["hard_cut_frames"]
    assert np.sort(change)[-count] > 5 * np.sort(change)[-count - 1]


def test_mediapipe_finds_the_faces(truth: dict[str, Any], frames: np.ndarray) -> None:
    solutions = pytest.importorskip("mediapipe").solutions
    with solutions.face_detection.FaceDetection(model_selection=1) as detector:
        wrong = [
            frame
            for shot in truth["shots"]
            for frame in range(shot["start_frame"], shot["end_frame"], 5)
            if len(detector.process(frames[frame]).detections or []) != len(shot["faces"])
        ]
    assert wrong == []


def test_silero_hears_each_turn(truth: dict[str, Any], sound: np.ndarray) -> None:
    vad = pytest.importorskip("faster_whisper.vad")
    spans = vad.get_speech_timestamps(
        sound, vad.VadOptions(min_silence_duration_ms=200, speech_pad_ms=30)
    )
    heard = np.zeros(len(sound), bool)
    for span in spans:
        heard[span["start"] : span["end"]] = True
    spoken = np.zeros(len(sound), bool)
    for turn in truth["turns"]:
        spoken[round(turn["start"] * 16000) : round(turn["end"] * 16000)] = True
    assert (heard & spoken).sum() / spoken.sum() > 0.9
    assert (heard & ~spoken).sum() / (~spoken).sum() < 0.25


def test_words_follow_one_another_inside_their_turns(truth: dict[str, Any]) -> None:
    for turn in truth["turns"]:
        assert [word for word, _, _ in turn["words"]] == re.findall(r"[\w']+", turn["text"].lower())
        times = [time for _, *span in turn["words"] for time in span]
        assert times == sorted(times)
        assert turn["start"] == times[0]
        assert turn["end"] == times[-1]
    bounds = [time for turn in truth["turns"] for time in (turn["start"], turn["end"])]
    assert bounds == sorted(bounds)


def test_pocketsphinx_understands_most_words(truth: dict[str, Any], sound: np.ndarray) -> None:
    decoder = pytest.importorskip("pocketsphinx").Decoder(samprate=16000, loglevel="FATAL")
    right = Counter()
    for turn in truth["turns"]:
        part = sound[round((turn["start"] - 0.3) * 16000) : round((turn["end"] + 0.3) * 16000)]
        decoder.start_utt()
        decoder.process_raw((part * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        heard = decoder.hyp().hypstr.split() if decoder.hyp() else []
        right.update(word in heard for word, _, _ in turn["words"])
    assert right[True] / right.total() > 0.6


def test_it_is_the_same_every_time(clip: Path, tmp_path: Path) -> None:
    again = demo.make(tmp_path / "demo.mp4")
    digest = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (clip, again)]
    assert digest[0] == digest[1]


def median_pitch_hz(samples: np.ndarray) -> float:
    """The strongest lag of the autocorrelation between 60 and 400 Hz, in windows of 50 ms."""
    lags = np.arange(RATE_HZ // 400, RATE_HZ // 60)
    size = RATE_HZ // 20
    windows = samples[: len(samples) // size * size].reshape(-1, size).astype(float)
    loud = windows[windows.std(axis=1) > 0.5 * windows.std()]
    power = np.abs(np.fft.rfft(loud, 2 * size)) ** 2
    best = lags[np.fft.irfft(power)[:, lags].argmax(axis=1)]
    return float(RATE_HZ / np.median(best))


def test_the_two_voices_differ_in_pitch() -> None:
    lines = [Line(text="That is wonderful news.", **voice) for voice in demo.VOICES.values()]
    high, low = (median_pitch_hz(spoken.samples) for spoken in speak(lines))
    assert 60 < low < 130
    assert high > 1.3 * low


def test_eyes_and_mouth_move_alone() -> None:
    from skimage import data

    puppet = Puppet(data.astronaut())
    rest = puppet.draw(Look()).astype(int)
    for look, rows in ((Look(blink=1), (170, 216)), (Look(mouth=1), (270, 420))):
        changed = np.abs(puppet.draw(look).astype(int) - rest).max(axis=(1, 2)) > 30
        assert rows[0] <= np.flatnonzero(changed).min()
        assert np.flatnonzero(changed).max() < rows[1]


def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(RuntimeError, match="voice 'xx-nobody'"):
        speak([Line(text="Hello.", voice="xx-nobody")])


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "skimage" else object())
    with pytest.raises(RuntimeError, match="needs the package 'skimage'"):
        demo.make(tmp_path / "demo.mp4")
    assert list(tmp_path.iterdir()) == []
