"""Emotions and attributes of voices, on a tiny Whisper and tiny heads, against one at a time."""

import json
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_laion  # noqa: E402
from mien.actors.laion_voice import ENCODER, HEADS, LaionVoice  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets import audio  # noqa: E402
from mien.datasets.laion import (  # noqa: E402
    LAION_VOICE_NAMES,
    LAION_VOICE_QUALITY,
    file_of,
)
from mien.datasets.schema import LAION_VOICE  # noqa: E402

RATE_HZ = 16_000
LARGE = replace(HEADS, name=tiny_laion.VOICE_LARGE)
PLUS = replace(HEADS, name=tiny_laion.VOICE_PLUS)
SIZES = {HEADS.name: "small", LARGE.name: "large", PLUS.name: "plus"}
TOLERANCE = 1e-5
SPANS = [(0.0, 5.0), (5.0, 6.5), (2.0, 32.0), (30.25, 33.0), (0.0, 1.0)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_laion.build_whisper(folder / ENCODER.name)
    for name, size in SIZES.items():
        tiny_laion.build_voice_heads(folder / name, size)
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    """36 s of a wavering tone in noise, quiet at first; then 4 s of digital silence."""
    random, t = np.random.default_rng(0), np.arange(36 * RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * (200 + 40 * np.sin(t)) * t) * np.linspace(0.02, 0.5, len(t))
    sound = tone + 0.02 * random.normal(size=len(t))
    samples = np.concatenate([sound, np.zeros(4 * RATE_HZ)])
    file = tmp_path_factory.mktemp("sound") / "a.wav"
    return written(file, samples)


def written(file: Path, samples: np.ndarray) -> str:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return str(file)


def heard(file: str, start_s: float = 0.0, stop_s: float | None = None) -> np.ndarray:
    samples = audio.read(file, start_s, stop_s)
    assert samples is not None
    return samples


def rows(uri: str, spans: list[tuple[float, float]]) -> pa.Table:
    starts, stops = zip(*spans, strict=True)
    return pa.table({"uri": [uri] * len(spans), "start_s": starts, "stop_s": stops})


def actor(models: Path, **parameters: Any) -> LaionVoice:  # noqa: ANN401
    where = {
        name: replace(parameters.pop(name, usual), dir=str(models))
        for name, usual in (("encoder", ENCODER), ("heads", HEADS))
    }
    made = LaionVoice(**where, device="cpu", **parameters)
    made.setup()
    return made


def reference(models: Path, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The whole Whisper and one head after the other, one segment at a time."""
    tail = tiny_laion.TINY_TAILS["large" if SIZES[name] == "large" else "small"]
    plus = SIZES[name] == "plus"
    return tiny_laion.voice_reference(models / ENCODER.name, models / name, tail, plus=plus)


def joined(found: pa.Table) -> list[Any]:
    """All scores of each row, `None` for one without."""
    columns = [found[name].to_pylist() for name in LAION_VOICE.names]
    return [
        None if parts[0] is None else np.concatenate([p for p in parts if p is not None])
        for parts in zip(*columns, strict=True)
    ]


@pytest.mark.parametrize("weights", [HEADS, LARGE, PLUS], ids=lambda w: SIZES[w.name])
def test_batched_and_ragged_scores_are_those_of_one_segment_at_a_time(
    models: Path, recording: str, weights: Weights
) -> None:
    """Large heads have other sizes than Small ones, and Plus has heads of two kinds."""
    found = actor(models, heads=weights, micro_batch=2).process(rows(recording, SPANS))
    assert found.schema == LAION_VOICE
    ask = reference(models, weights.name)
    expected = [ask(heard(recording, *span)) for span in SPANS]
    got = [one for one in joined(found) if one is not None]
    np.testing.assert_allclose(got, expected, atol=TOLERANCE)
    lengths = {
        name: {len(one) for one in found[name].to_pylist() if one} for name in found.schema.names
    }
    assert lengths["laion_voice"] == {40}
    assert lengths["laion_voice_attributes"] == {15}
    assert lengths["laion_voice_quality"] == ({4} if weights is PLUS else set())
    assert (np.std(got, axis=0) > 100 * TOLERANCE).mean() > 0.9  # heads hear the difference


@pytest.mark.parametrize("shards", [2, 7, 59, 99])
def test_shards_give_the_same_scores(models: Path, recording: str, shards: int) -> None:
    table = rows(recording, SPANS)
    whole = joined(actor(models, heads=PLUS).process(table))
    parts = joined(actor(models, heads=PLUS, shards=shards).process(table))
    np.testing.assert_allclose(np.array(parts), np.array(whole), atol=TOLERANCE)


def test_shards_are_read_one_at_a_time_and_segments_encoded_once(
    models: Path, recording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = actor(models, shards=5, micro_batch=2)
    assert net._heads is None  # pyright: ignore[reportPrivateUsage]
    read, encoded, alive = [], [], []
    original, encode = net._read, net.encoded  # pyright: ignore[reportPrivateUsage]

    class Watched:
        def __init__(self, files: list[Path]) -> None:
            read.append(len(files))
            assert not alive
            alive.append(1)
            self.heads = original(files)

        def __call__(self, states: Any) -> Any:  # noqa: ANN401
            return self.heads(states)

        def __del__(self) -> None:
            alive.pop()

    monkeypatch.setattr(net, "_read", Watched)
    monkeypatch.setattr(net, "encoded", lambda mels: (encoded.append(len(mels)), encode(mels))[1])
    net.process(rows(recording, SPANS))
    assert read == [11] * 5
    assert encoded == [2, 2, 1]


def test_a_batch_is_one_product_of_all_heads(
    models: Path, recording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mien.actors import laion_net

    net, shapes, original = actor(models, micro_batch=8), [], laion_net.product
    monkeypatch.setattr(
        laion_net, "product", lambda x, w: (shapes.append((len(x), len(w))), original(x, w))[1]
    )
    net.process(rows(recording, SPANS))
    assert shapes == [(5, 55 * 8)]


def test_loudness_is_heard(models: Path, tmp_path: Path) -> None:
    """Brought to one peak, a whisper and a shout are the same."""
    t = np.arange(3 * RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 220 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t)
    files = [written(tmp_path / f"{i}.wav", tone * level) for i, level in enumerate((0.02, 0.8))]
    table = pa.concat_tables(rows(file, [(0.0, 3.0)]) for file in files)
    quiet, loud = joined(actor(models).process(table))
    assert np.abs(quiet - loud).max() > 100 * TOLERANCE
    np.testing.assert_allclose(
        quiet,
        reference(models, HEADS.name)(heard(files[0])),
        atol=TOLERANCE,
    )


def test_attributes_are_as_the_heads_give_them(models: Path, recording: str) -> None:
    """Not softmaxed: some are negative, and neither they nor the emotions sum to one."""
    found = actor(models).process(rows(recording, SPANS[:1]))
    emotions = np.array(found["laion_voice"].to_pylist()[0])
    attributes = np.array(found["laion_voice_attributes"].to_pylist()[0])
    assert attributes.min() < 0
    for scores in (emotions, attributes, np.concatenate([emotions, attributes])):
        assert abs(scores.sum() - 1) > 0.01


def test_what_cannot_be_heard_is_null(models: Path, recording: str) -> None:
    """Too short or silent; and those beside them are as they were."""
    spans = [(0.0, 0.9), (36.5, 39.0), (0.0, 5.0), (50.0, 55.0)]
    found = joined(actor(models).process(rows(recording, spans)))
    assert [one is None for one in found] == [True, True, False, True]
    alone = joined(actor(models).process(rows(recording, [(0.0, 5.0)])))
    np.testing.assert_allclose(found[2], alone[0], atol=TOLERANCE)
    none = actor(models).process(rows(recording, spans[:1]))
    assert none.to_pylist() == [dict.fromkeys(LAION_VOICE.names)]


def test_a_file_without_sound_is_null(models: Path, data: Path) -> None:
    file = data / "robustness" / "torchcodec_av1_video.mkv"
    assert audio.read(str(file)) is None
    assert joined(actor(models).process(rows(str(file), [(0.0, 1.5)]))) == [None]


def test_a_segment_of_more_than_the_encoder_hears_fails(models: Path, recording: str) -> None:
    """The extractor would drop the rest without a word."""
    net = actor(models)
    with pytest.raises(
        ValueError, match=r"at most 30 s long, but is 30.1 s \(from 2 s of '.*a.wav"
    ):
        net.process(rows(recording, [(0.0, 5.0), (2.0, 32.1)]))
    assert joined(net.process(rows(recording, [(1 / 3, 30 + 1 / 3)])))[0] is not None


def test_neutral_statistics_are_taken_off_emotions_alone(
    models: Path, recording: str, tmp_path: Path
) -> None:
    table = rows(recording, SPANS[:2])
    raw = actor(models).process(table)
    file, mean = tmp_path / "neutral.json", np.linspace(-1, 1, 40)
    usual = {n: {"mean": m, "std": 2.0} for n, m in zip(LAION_VOICE_NAMES, mean, strict=True)}
    file.write_text(json.dumps(usual))
    for scaled in (False, True):
        found = actor(models, neutral=str(file), neutral_std=scaled).process(table)
        expected = (np.array(raw["laion_voice"].to_pylist()) - mean) / (2 if scaled else 1)
        np.testing.assert_allclose(found["laion_voice"].to_pylist(), expected, atol=1e-5)
        assert found["laion_voice_attributes"] == raw["laion_voice_attributes"]


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.005)])
def test_half_precision_is_near(
    models: Path, recording: str, precision: str, tolerance: float
) -> None:
    table = rows(recording, SPANS[:3])
    full, half = (
        np.array(joined(actor(models, heads=PLUS, precision=one).process(table)))
        for one in ("float32", precision)
    )
    assert 0 < np.abs(full - half).max() < tolerance


def test_the_extractor_is_the_checkpoints_own(models: Path, recording: str) -> None:
    """It is made from the encoder's number of mel bands, for nothing else differs."""
    from transformers import WhisperFeatureExtractor

    stored = WhisperFeatureExtractor.from_pretrained(models / ENCODER.name)
    sounds = [heard(recording, 0, 3), heard(recording, 0, 30)]
    mels = actor(models).prepared(sounds)
    assert mels.shape == (2, 80, 3000)
    expected = [
        stored(s, sampling_rate=RATE_HZ, return_tensors="pt").input_features for s in sounds
    ]
    torch.testing.assert_close(mels, torch.cat(expected), atol=1e-5, rtol=0)


def test_no_head_is_compiled(models: Path, recording: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """VideoAnnotator compiles each of 43 heads; here it is the encoder or nothing."""
    compiled: list[str] = []
    monkeypatch.setattr(
        torch, "compile", lambda net, **_: (compiled.append(type(net).__name__), net)[1]
    )
    actor(models).process(rows(recording, SPANS[:1]))
    assert compiled == []
    actor(models, compile=True).process(rows(recording, SPANS[:1]))
    assert compiled == ["WhisperEncoder"]


def test_missing_heads_are_one_error_that_names_them(models: Path, tmp_path: Path) -> None:
    folder = copytree(models / PLUS.name, tmp_path / "heads")
    (folder / file_of("Valence")).unlink()
    (folder / file_of(LAION_VOICE_QUALITY[2])).unlink()
    message = "2 of 59 heads are missing: model_Valence_best.pth, model_score_background_quality"
    for shards in (1, 4):
        with pytest.raises(FileNotFoundError, match=message):
            actor(models, heads=replace(PLUS, path=str(folder)), shards=shards)


@pytest.mark.parametrize("shards", [1, 4])
def test_heads_of_another_encoder_are_refused(models: Path, tmp_path: Path, shards: int) -> None:
    folder = tmp_path / "heads"
    tiny_laion.build_voice_heads(folder, channels=tiny_laion.CHANNELS * 2)
    with pytest.raises(
        ValueError, match=r"model_Elation_best.pth reads 24000 .* gives 12000 or 32"
    ):
        actor(models, heads=replace(HEADS, path=str(folder)), shards=shards)


def test_both_kinds_of_whisper_checkpoints_are_read(
    models: Path, recording: str, tmp_path: Path
) -> None:
    """One saved by `WhisperModel`, without the head for words, has other names."""
    from transformers import WhisperModel

    whole = models / ENCODER.name
    WhisperModel.from_pretrained(whole).save_pretrained(tmp_path / "encoder")
    table = rows(recording, SPANS[:1])
    bare = replace(ENCODER, path=str(tmp_path / "encoder"))
    one, other = (joined(actor(models, encoder=e).process(table))[0] for e in (ENCODER, bare))
    np.testing.assert_array_equal(one, other)


def test_real_speech_is_judged_alike_alone_and_in_a_batch(models: Path, data: Path) -> None:
    file = data / "asr" / "jfk.flac"
    spans = [(0.0, 1.0), (0.5, 1.9)]
    net = actor(models)
    together = joined(net.process(rows(str(file), spans)))
    alone = [joined(net.process(rows(str(file), [span])))[0] for span in spans]
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_memory_that_runs_out_halves_the_batch(models: Path, recording: str) -> None:
    net = actor(models, micro_batch=4)
    encode = net.encoded

    def tight(mels: Any) -> list:  # noqa: ANN401
        if len(mels) > 1:
            raise RuntimeError("CUDA out of memory.")
        return encode(mels)

    net.encoded = tight
    found = joined(net.process(rows(recording, SPANS)))
    expected = joined(actor(models).process(rows(recording, SPANS)))
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=TOLERANCE)
    assert net.micro_batch == 1
