"""The true loading code on a tiny model; no weights are needed."""

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pytest

from mien.actors.sound import Samples
from mien.actors.whisper import FILES, FasterWhisper
from mien.cluster.host import Stage

LayerSpec: TypeAlias = Any  # CTranslate2 sets the attributes as it goes
WORDS = 2000  # ids below are text
SIZE = 16


def save_tiny(folder: Path, seed: int = 5) -> Path:
    """Write a tiny English Whisper of random weights, in CTranslate2's format: needs no torch."""
    from ctranslate2.specs.whisper_spec import WhisperSpec

    folder.mkdir(parents=True, exist_ok=True)
    spec: Any = WhisperSpec(1, 2, 1, 2)
    rng = np.random.default_rng(seed)
    spec.encoder.position_encodings.encodings = _random(rng, 1500, SIZE)
    spec.decoder.position_encodings.encodings = _random(rng, 448, SIZE)
    _fill_conv(spec.encoder.conv1, rng, 80)
    _fill_conv(spec.encoder.conv2, rng, SIZE)
    tokens = _vocabulary()
    spec.decoder.embeddings.weight = _random(rng, len(tokens), SIZE)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    _fill_norm(spec.encoder.layer_norm)
    _fill_norm(spec.decoder.layer_norm)
    for layer in (spec.encoder.layer[0], spec.decoder.layer[0]):
        _fill_layer(layer, rng)
    spec.config.lang_ids = [WORDS + 2]
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.save(str(folder))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()), encoding="utf-8")
    return folder


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _fill_conv(spec: LayerSpec, rng: np.random.Generator, channels: int) -> None:
    spec.weight = _random(rng, SIZE, channels, 3)
    spec.bias = _random(rng, SIZE)


def _fill_norm(spec: LayerSpec) -> None:
    spec.gamma, spec.beta = np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32)


def _fill_linear(
    spec: LayerSpec, rng: np.random.Generator, outputs: int, inputs: int = SIZE
) -> None:
    spec.weight = _random(rng, outputs, inputs) / np.sqrt(inputs).astype(np.float32)
    spec.bias = _random(rng, outputs)


def _fill_layer(layer: LayerSpec, rng: np.random.Generator) -> None:
    for block in ("self_attention", "attention"):
        if not hasattr(layer, block):
            continue
        part = getattr(layer, block)
        _fill_norm(part.layer_norm)
        widths = [3 * SIZE, SIZE] if block == "self_attention" else [SIZE, 2 * SIZE, SIZE]
        for linear, width in zip(part.linear, widths, strict=True):
            _fill_linear(linear, rng, width)
    _fill_norm(layer.ffn.layer_norm)
    _fill_linear(layer.ffn.linear_0, rng, 4 * SIZE)
    _fill_linear(layer.ffn.linear_1, rng, SIZE, 4 * SIZE)


def _specials() -> list[str]:
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    names = ["endoftext", "startoftranscript", "en", *tasks]
    return [f"<|{name}|>" for name in names]


def _vocabulary() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [f"Ġword{i}" for i in range(WORDS - len(letters))]
    times = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    return [*letters, *words, *_specials(), *times]


def _tokenizer() -> dict[str, Any]:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = _vocabulary()
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in _specials()])
    return json.loads(tokenizer.to_str())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def noise() -> Samples:
    rng = np.random.default_rng(1)
    return (rng.normal(size=16000 * 40) * 0.1).astype(np.float32)


def hear(monkeypatch: pytest.MonkeyPatch, sound: Samples) -> None:
    def read(_: str, start_s: float = 0.0, stop_s: float = 0.0) -> Samples:
        return sound[round(start_s * 16000) : round(stop_s * 16000)]

    monkeypatch.setattr("mien.actors.sound.read", read)


def rows(*spans: tuple[float, float]) -> pa.Table:
    starts, stops = zip(*spans, strict=True)
    return pa.table({"uri": ["a"] * len(spans), "start_s": starts, "stop_s": stops})


def test_columns_are_what_faster_whisper_says(
    tiny: Path, noise: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from faster_whisper import WhisperModel

    hear(monkeypatch, noise)
    actor = FasterWhisper(model_dir=str(tiny), min_logprob=-99, max_compression=99, device="cpu")
    assert actor.missing() is None
    actor.setup()
    spans = [(0.0, 10.0), (10.0, 37.0), (3.0, 4.5)]
    table = actor.process(rows(*spans))
    assert table.schema == FasterWhisper.adds
    heard = 0
    alone = WhisperModel(str(tiny), device="cpu", cpu_threads=1, local_files_only=True)
    for (start_s, stop_s), row in zip(spans, table.to_pylist(), strict=True):
        cut = noise[round(start_s * 16000) : round(stop_s * 16000)]
        segments, info = alone.transcribe(
            cut,
            beam_size=5,
            temperature=0.0,
            no_speech_threshold=None,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        expected = list(segments)
        assert row["language"] == info.language
        assert [s["text"] for s in row["segments"]] == [s.text.strip() for s in expected]
        for name in ("avg_logprob", "compression_ratio", "no_speech_prob"):
            numbers = [getattr(s, name) for s in expected]
            assert [s[name] for s in row["segments"]] == pytest.approx(numbers, rel=1e-5)
        edges = [start_s + edge for s in expected for edge in (s.start, s.end)]
        found = [edge for s in row["segments"] for edge in (s["start_s"], s["stop_s"])]
        assert found == pytest.approx(edges)
        words = [w for s in expected for w in s.words or () if w.word.strip()]
        heard += len(words)
        assert [w["word"] for w in row["words"]] == [w.word.strip() for w in words]
        for mine, his in zip(row["words"], words, strict=True):
            assert mine["start_s"] == pytest.approx(start_s + his.start)
            assert mine["stop_s"] == pytest.approx(start_s + his.end)
            assert mine["probability"] == pytest.approx(his.probability, rel=1e-5)
    assert heard > 10


def test_loops_are_rejected(tiny: Path, noise: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    hear(monkeypatch, noise)
    actor = FasterWhisper(model_dir=str(tiny), min_logprob=-99, device="cpu")
    actor.setup()
    (row,) = actor.process(rows((0.0, 10.0))).to_pylist()
    loops = [s for s in row["segments"] if s["compression_ratio"] > 2.4]
    assert loops
    assert all(s["rejected"] == "compression_ratio" for s in loops)
    assert len(row["words"]) < sum(len(s["text"].split()) for s in row["segments"])


def test_the_model_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    assert FasterWhisper().folder() is None
    assert "into the Hugging Face cache" in (FasterWhisper().missing() or "")

    def make(folder: Path, size: int, leave: str = "") -> Path:
        folder.mkdir(parents=True)
        for name in FILES:
            if name != leave:
                (folder / name).write_bytes(bytes(size))
        return folder

    make(hub / "models--Systran--faster-whisper-huge/snapshots/0", 99, leave="tokenizer.json")
    assert FasterWhisper().folder() is None  # faster-whisper would fetch the tokenizer
    small = make(hub / "models--Systran--faster-whisper-small/snapshots/1", 10)
    large = make(hub / "models--Systran--faster-whisper-large-v3/snapshots/2", 30)
    assert FasterWhisper().folder() == large
    assert FasterWhisper(size="small").folder() == small
    assert FasterWhisper(size="base").folder() is None
    local = make(tmp_path / "models/faster-whisper-tiny", 1)
    assert FasterWhisper(models_dir=str(tmp_path / "models")).folder() == local
    assert (
        FasterWhisper(models_dir=str(tmp_path / "models"), model_dir=str(small)).folder() == small
    )
    (small / "config.json").unlink()
    missing = FasterWhisper(model_dir=str(small)).missing() or ""
    assert missing.endswith("lacks config.json")
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json"):
        FasterWhisper(model_dir=str(small)).setup()


def test_the_provenance_names_the_model_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    none = {"model": "Whisper (CTranslate2)", "revision": "", "licence": "MIT"}
    assert FasterWhisper().provenance() == none
    folder = tmp_path / "models--Systran--faster-whisper-tiny/snapshots/abc"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).touch()
    named = {"model": "Systran/faster-whisper-tiny", "revision": "abc", "licence": "MIT"}
    assert FasterWhisper().provenance() == named
    stage = Stage(role="transcribe", actor=FasterWhisper())
    assert stage.provenance() == {"role": "transcribe", **named}


def test_another_model_is_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    nothing = FasterWhisper().identity()
    folder = tmp_path / "models--Systran--faster-whisper-tiny/snapshots/abc"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).touch()
    found = FasterWhisper().identity()
    assert found != nothing
    assert found["revision"] == "abc"
    assert json.dumps(found)
    assert os.fspath(tmp_path) not in json.dumps(found)


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`beam_size` must be at least 1, but is 0"):
        FasterWhisper(beam_size=0)
