import itertools
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.actors.sound import Samples, listen, runs
from mien.actors.transcript import (
    Transcriber,
    Transcript,
    chunks,
    compression_ratio,
    rejection,
)

THRESHOLDS = {"min_logprob": -1.0, "max_compression": 2.4, "max_no_speech": 0.6}


def write(path: Path, samples: np.ndarray) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return str(path)


def rows(uri: str, *spans: tuple[float | None, float | None]) -> pa.Table:
    starts, stops = zip(*spans, strict=True)
    return pa.table(
        {
            "uri": [uri] * len(spans),
            "start_s": pa.array(starts, pa.float64()),
            "stop_s": pa.array(stops, pa.float64()),
        }
    )


def test_silence_makes_no_chunk() -> None:
    assert chunks([]) == []
    assert chunks([(3, 3)]) == []


def test_neighbours_merge_while_they_fit() -> None:
    assert chunks([(0, 10), (12, 30), (31, 40)]) == [(0, 30), (31, 40)]
    assert chunks([(1, 10), (12, 31), (31, 40)]) == [(1, 31), (31, 40)]
    assert chunks([(0, 10), (12, 30.01)]) == [(0, 10), (12, 30.01)]


def test_long_speech_is_cut() -> None:
    assert chunks([(10, 85)]) == [(10, 35), (35, 60), (60, 85)]


spans = st.lists(st.floats(0, 500), min_size=2, max_size=20, unique=True).map(
    lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)


@given(spans)
def test_chunks_hold_all_speech_and_fit(speech: list[tuple[float, float]]) -> None:
    found = chunks(speech)
    assert all(0 < stop - start <= 30.0 + 1e-9 for start, stop in found)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))
    for start, stop in speech:  # what lies between two chunks is no speech
        covered = sum(max(0, min(stop, b) - max(start, a)) for a, b in found)
        assert covered == pytest.approx(stop - start)


def test_a_limit_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"`max_s` must be greater than 0, but is -1"):
        chunks([], max_s=-1)


def test_compression_ratio_is_whispers_own() -> None:
    from faster_whisper.transcribe import get_compression_ratio

    for text in ("so it goes", "again " * 40, "Grüße, 你好"):
        assert compression_ratio(text) == get_compression_ratio(text)


@pytest.mark.parametrize(
    ("logprob", "ratio", "silence", "by_any", "by_whisper"),
    [
        (-0.3, 1.5, 0.1, None, None),
        (-1.0, 2.4, 0.6, None, None),
        (-1.1, 1.5, 0.1, "avg_logprob", None),
        (-0.3, 1.5, 0.7, "no_speech_prob", None),
        (-1.1, 1.5, 0.7, "no_speech_prob, avg_logprob", "no_speech_prob, avg_logprob"),
        (-0.3, 2.5, 0.1, "compression_ratio", "compression_ratio"),
        (None, None, None, None, None),
        (None, 2.5, None, "compression_ratio", "compression_ratio"),
        (None, 1.0, 0.9, "no_speech_prob", None),
    ],
)
def test_rejection(
    logprob: float | None,
    ratio: float | None,
    silence: float | None,
    by_any: str | None,
    by_whisper: str | None,
) -> None:
    segment = {"avg_logprob": logprob, "compression_ratio": ratio, "no_speech_prob": silence}
    assert rejection(segment, rule="any", **THRESHOLDS) == by_any
    assert rejection(segment, rule="whisper", **THRESHOLDS) == by_whisper


@dataclass(kw_only=True)
class Parrot(Transcriber):
    """Hears one good word and one loop in each chunk."""

    def transcribe(self, sounds: Sequence[Samples]) -> list[Transcript]:
        return [self.said(len(samples) / 16000) for samples in sounds]

    def said(self, stop_s: float) -> Transcript:
        numbers = {"avg_logprob": -0.1, "no_speech_prob": 0.0}
        word = {"start_s": 0.0, "stop_s": stop_s, "word": "hello", "probability": 0.5}
        times = {"start_s": 0.0, "stop_s": stop_s}
        return "en", [
            {**times, "text": "hello", "compression_ratio": 1.0, **numbers, "words": [word]},
            {**times, "text": "lo lo", "compression_ratio": 9.0, **numbers, "words": [word] * 9},
        ]


def test_rejected_segments_stay_without_their_words(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.wav", np.full(48000, 0.1))
    table = Parrot().process(rows(uri, (1.0, 3.0), (0.5, 1.0), (9.0, 10.0)))
    assert table.schema == Parrot.adds
    first, second, beyond = table.to_pylist()
    assert [s["rejected"] for s in first["segments"]] == [None, "compression_ratio"]
    assert [(w["start_s"], w["stop_s"]) for w in first["words"]] == [(1.0, 3.0)]
    assert [(w["start_s"], w["stop_s"]) for w in second["words"]] == [(0.5, 1.0)]
    assert beyond == {"language": None, "segments": [], "words": []}


def test_no_sound_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.actors.sound.read", lambda *_: None)
    (row,) = Parrot().process(rows("silent.mp4", (0, 1))).to_pylist()
    assert row == {"language": None, "segments": None, "words": None}


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`rule` must be one of any, whisper, but is 'all'"):
        Parrot(rule="all")
    with pytest.raises(ValueError, match=r"`max_no_speech` must be in 0-1, but is 2"):
        Parrot(max_no_speech=2)


def test_neighbouring_spans_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.arange(16000 * 60, dtype=np.float32)
    calls = []

    def read(uri: str, start_s: float | None = None, stop_s: float | None = None) -> Samples:
        calls.append((uri, start_s, stop_s))
        last = None if stop_s is None else round(stop_s * 16000)
        return ramp[round((start_s or 0) * 16000) : last]

    monkeypatch.setattr("mien.actors.sound.read", read)
    heard = listen(rows("a", (40, 41), (2, 3), (1, 2.5), (None, 1)))
    assert sorted(calls, key=str) == [("a", 1, 3), ("a", 40, 41), ("a", None, 1)]
    edges = [(h[0] / 16000, (h[-1] + 1) / 16000) for h in heard if h is not None]
    assert edges == [(40, 41), (2, 3), (1, 2.5), (0, 1)]


def test_runs_reach_as_far_as_the_longest() -> None:
    assert runs([(0, 50), (1, 2), (55, 56), (70, 71)]) == [[0, 1, 2], [3]]
