"""The true loading code of all three Whispers on one tiny random checkpoint and its conversion."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("whisperx")

import torch
from faster_whisper import WhisperModel
from faster_whisper.transcribe import get_compression_ratio, merge_punctuations

import tiny_speech
from mien.actors.sound import Samples
from mien.actors.transcript import APPENDED, PREPENDED, Transcriber
from mien.actors.weights import Weights
from mien.actors.whisper import FasterWhisper
from mien.actors.whisper_transformers import WEIGHTS, Whisper
from mien.actors.whisperx import WEIGHTS as CONVERTED
from mien.actors.whisperx import WhisperX

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
OPEN: dict[str, Any] = {"min_logprob": -99, "max_compression": 99}
TOKENS = 30


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_speech.build_all(folder)
    return folder


@pytest.fixture(scope="module")
def sounds() -> list[Samples]:
    rng = np.random.default_rng(1)
    times = np.arange(16000 * 30) / 16000
    hum = np.sin(2 * np.pi * (200 + 80 * np.sin(3 * times)) * times) * (np.sin(5 * times) > 0)
    noise = rng.normal(size=16000 * 30)
    made = [hum[:48000], noise[:16000] * 0.1, (hum + 0.1 * noise)[: 16000 * 12], hum[7000:17123]]
    return [(0.3 * one).astype(np.float32) for one in made]


def weights(default: Weights, models: Path) -> Weights:
    return Weights(name=default.name, licence=default.licence, files=default.files, dir=str(models))


@pytest.fixture(scope="module")
def whisper(models: Path) -> Whisper:
    return loaded(Whisper(checkpoint=weights(WEIGHTS, models), max_tokens=TOKENS, device="cpu"))


@pytest.fixture(scope="module")
def whisperx(models: Path) -> WhisperX:
    return loaded(WhisperX(checkpoint=weights(CONVERTED, models), device="cpu", **OPEN))


def loaded(actor: Any) -> Any:  # noqa: ANN401
    assert actor.missing() is None
    actor.setup()
    return actor


def similar(ours: Any, theirs: Any, within: float = 1e-4) -> None:  # noqa: ANN401
    """Two lists of transcripts, equal but for the last digits."""
    assert len(ours) == len(theirs)
    for (language, segments), (other, expected) in zip(ours, theirs, strict=True):
        assert language == other
        assert [s["text"] for s in segments] == [s["text"] for s in expected]
        for mine, his in zip(segments, expected, strict=True):
            numbers = [[v for v in s.values() if isinstance(v, float)] for s in (mine, his)]
            assert numbers[0] == pytest.approx(numbers[1], abs=within)
            assert [w["word"] for w in mine["words"]] == [w["word"] for w in his["words"]]
            for a, b in zip(mine["words"], his["words"], strict=True):
                assert a["start_s"] == pytest.approx(b["start_s"], abs=0.021)
                assert a["stop_s"] == pytest.approx(b["stop_s"], abs=0.021)


def test_chunks_together_say_what_each_says_alone(whisper: Whisper, sounds: list[Samples]) -> None:
    together = whisper.transcribe(sounds)
    similar(together, [whisper.transcribe([one])[0] for one in sounds])
    assert whisper.transcribe(sounds) == together
    assert len({segments[0]["text"] for _, segments in together}) == len(sounds)


def test_tokens_numbers_and_word_times_are_those_of_ctranslate2(
    whisper: Whisper, models: Path, sounds: list[Samples]
) -> None:
    """The converted checkpoint, decoded greedily by another engine."""
    other = WhisperModel(str(models / CONVERTED.name), device="cpu", local_files_only=True)
    for samples, (language, segments) in zip(sounds, whisper.transcribe(sounds), strict=True):
        mels, _ = whisper._prepared([samples])  # pyright: ignore[reportPrivateUsage]
        states = other.encode(mels[0].numpy())
        (best, *_), *_ = other.model.detect_language(states)
        assert best[0] == f"<|{language}|>"
        tokenizer = whisper.tokenizer(language or "")
        (said,) = other.model.generate(
            states,
            [tokenizer.sot_sequence],
            beam_size=1,
            max_length=2 * TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=50,
        )
        (tokens,) = said.sequences_ids
        assert " ".join(s["text"] for s in segments).split() == texts(tokenizer, tokens)
        logprob = said.scores[0] * len(tokens) / (len(tokens) + 1)
        ratio = get_compression_ratio(tokenizer.decode(tokens).strip())
        for segment in segments:
            assert segment["avg_logprob"] == pytest.approx(logprob, abs=1e-3)
            assert segment["no_speech_prob"] == pytest.approx(said.no_speech_prob, rel=1e-3)
            assert segment["compression_ratio"] == pytest.approx(ratio)
        text = [token for token in tokens if token < tokenizer.eot]
        aligned: Any = other.find_alignment(tokenizer, [text], states, len(samples) // 160)  # pyright: ignore[reportArgumentType]
        (timed,) = aligned
        merge_punctuations(timed, PREPENDED, APPENDED)
        expected = [word for word in timed if word["word"].strip()]
        words = [word for segment in segments for word in segment["words"]]
        assert [w["word"] for w in words] == [w["word"].strip() for w in expected]
        for mine, his in zip(words, expected, strict=True):
            assert mine["start_s"] == pytest.approx(his["start"], abs=0.021)
            assert mine["stop_s"] == pytest.approx(his["end"], abs=0.021)
            assert mine["probability"] == pytest.approx(his["probability"], abs=1e-4)


def texts(tokenizer: Any, tokens: list[int]) -> list[str]:  # noqa: ANN401
    """Words of the tokens, parted at timestamps as at spaces."""
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token >= tokenizer.timestamp_begin:
            parts.append([])
        else:
            parts[-1].append(token)
    text: str = " ".join(tokenizer.decode(part) for part in parts)
    return [str(word) for word in text.split()]


def test_attention_is_that_of_transformers_own_eager_kernel(
    whisper: Whisper, sounds: list[Samples]
) -> None:
    from mien.actors.whisper_net import Watch

    decoder = whisper._decoder  # pyright: ignore[reportPrivateUsage]
    mels, _ = whisper._prepared(sounds[:2])  # pyright: ignore[reportPrivateUsage]
    ids = torch.arange(12).reshape(2, 6)
    with torch.inference_mode():
        states, weights = decoder.encoded(mels), []
        with Watch(decoder.network, [(0, 1), (1, 0)], weights, [1500, 1500]):
            decoder._logits(states, ids)  # pyright: ignore[reportPrivateUsage]
        usual: Any = decoder.network.config._attn_implementation  # pyright: ignore[reportPrivateUsage]
        decoder.network.set_attn_implementation("eager")
        seen = decoder.network.model.decoder(
            input_ids=ids, encoder_hidden_states=states, output_attentions=True
        ).cross_attentions
        decoder.network.set_attn_implementation(usual)
    assert torch.allclose(weights[0][:, 0], seen[0][:, 1], atol=1e-6)
    assert torch.allclose(weights[1][:, 0], seen[1][:, 0], atol=1e-6)


def test_a_language_can_be_given(whisper: Whisper, sounds: list[Samples], models: Path) -> None:
    told = {language for language, _ in whisper.transcribe(sounds)}
    german = loaded(Whisper(checkpoint=weights(WEIGHTS, models), language="de", max_tokens=5))
    assert {language for language, _ in german.transcribe(sounds)} == {"de"} != told


def test_a_checkpoint_without_alignment_heads_takes_the_upper_half(
    whisper: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = whisper._config  # pyright: ignore[reportPrivateUsage]
    network = whisper._decoder.network  # pyright: ignore[reportPrivateUsage]
    assert whisper._heads(network.config) == [(0, 0), (0, 1), (1, 1)]  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(config, "alignment_heads", None)
    assert whisper._heads(network.config) == [(1, 0), (1, 1)]  # pyright: ignore[reportPrivateUsage]


def test_half_precision_tells_nearly_the_same(models: Path, sounds: list[Samples]) -> None:
    checkpoint = weights(WEIGHTS, models)
    half = loaded(Whisper(checkpoint=checkpoint, precision="bfloat16", device="cpu", max_tokens=5))
    full = loaded(Whisper(checkpoint=checkpoint, device="cpu", max_tokens=5))
    for (_, mine), (_, his) in zip(half.transcribe(sounds), full.transcribe(sounds), strict=True):
        for a, b in zip(mine, his, strict=False):
            assert a["avg_logprob"] == pytest.approx(b["avg_logprob"], abs=0.3)


def test_a_chunk_must_fit_the_window(whisper: Whisper) -> None:
    with pytest.raises(ValueError, match="a chunk must be at most 30 s long, but is 31 s"):
        whisper.transcribe([np.ones(16000 * 31, np.float32)])


def test_faster_whisper_s_batch_says_what_each_chunk_says_alone(
    models: Path, sounds: list[Samples]
) -> None:
    actor = loaded(
        FasterWhisper(model_dir=str(models / CONVERTED.name), batched=True, device="cpu")
    )
    together = actor.transcribe(sounds)
    alone = [actor.transcribe([one])[0] for one in sounds]
    assert [language for language, _ in together] == [language for language, _ in alone]
    for (_, mine), (_, his), samples in zip(together, alone, sounds, strict=True):
        assert [s["text"] for s in mine] == [s["text"] for s in his]
        for a, b in zip(mine, his, strict=True):
            for name in ("avg_logprob", "compression_ratio", "no_speech_prob"):
                assert a[name] == pytest.approx(b[name], abs=1e-4)
            assert [w["word"] for w in a["words"]] == [w["word"] for w in b["words"]]
            assert all(-1e-6 <= w["start_s"] <= w["stop_s"] for w in a["words"])
            assert all(w["stop_s"] <= len(samples) / 16000 for w in a["words"])


def test_whisperx_says_what_its_own_pipeline_says(
    whisperx: WhisperX, sounds: list[Samples]
) -> None:
    from faster_whisper.tokenizer import Tokenizer

    for sound, (language, segments) in zip(sounds, whisperx.transcribe(sounds), strict=True):
        pipeline = whisperx._pipeline  # pyright: ignore[reportPrivateUsage]
        told = pipeline.detect_language(sound)
        assert language == told
        pipeline.tokenizer = None
        mels = pipeline.preprocess({"inputs": sound})["inputs"][None].numpy()
        tokenizer = Tokenizer(pipeline.model.hf_tokenizer, True, task="transcribe", language=told)
        said = pipeline.model.generate_segment_batched(mels, tokenizer, pipeline.options)
        (segment,) = segments
        assert segment["text"] == said["text"][0].strip()
        assert segment["avg_logprob"] == pytest.approx(said["avg_logprob"][0], abs=1e-4)
        assert segment["compression_ratio"] == get_compression_ratio(segment["text"])
        assert (segment["start_s"], segment["stop_s"]) == (0.0, len(sound) / 16000)
        spoken = "".join(w["word"] for w in segment["words"])
        assert spoken
        assert segment["text"].replace(" ", "").startswith(spoken)  # of 224 tokens at most


def test_silence_is_as_likely_to_whisperx_as_to_transformers(
    whisper: Whisper, whisperx: WhisperX, sounds: list[Samples]
) -> None:
    ours, theirs = whisper.transcribe(sounds), whisperx.transcribe(sounds)
    for (_, mine), (_, his) in zip(ours, theirs, strict=True):
        assert mine[0]["no_speech_prob"] == pytest.approx(his[0]["no_speech_prob"], rel=0.05)


def rows(uri: str, *spans: tuple[float, float]) -> pa.Table:
    starts, stops = zip(*spans, strict=True)
    return pa.table({"uri": [uri] * len(spans), "start_s": starts, "stop_s": stops})


@pytest.mark.data
@pytest.mark.parametrize("engine", ["whisper", "whisperx", "faster", "batched"])
def test_real_speech_has_times_in_order_inside_its_chunk(
    engine: str, whisper: Whisper, whisperx: WhisperX, models: Path, data: Path
) -> None:
    folder = str(models / CONVERTED.name)
    actor: Transcriber = {"whisper": whisper, "whisperx": whisperx}.get(engine) or loaded(
        FasterWhisper(model_dir=folder, batched=engine == "batched", device="cpu", beam_size=1)
    )
    actor.min_logprob, actor.max_compression, actor.max_no_speech = -99, 99, 1
    spans = [(0.0, 4.0), (2.5, 11.0), (5.0, 6.2)]
    table = actor.process(rows(str(data / "asr/jfk.flac"), *spans))
    assert table == actor.process(rows(str(data / "asr/jfk.flac"), *spans))
    for (start_s, stop_s), row in zip(spans, table.to_pylist(), strict=True):
        assert row["segments"]
        assert row["words"]
        for part in (*row["segments"], *row["words"]):
            assert start_s - 1e-6 <= part["start_s"] <= part["stop_s"] <= stop_s + 0.02
        starts = [w["start_s"] for w in row["words"]]
        assert starts == sorted(starts)
        for s in row["segments"]:
            assert s["avg_logprob"] < 0 < s["no_speech_prob"] < 1
            assert s["compression_ratio"] > 0


def test_doubtful_segments_stay_with_their_reason(
    whisperx: WhisperX, models: Path, data: Path
) -> None:
    strict = loaded(
        WhisperX(checkpoint=weights(CONVERTED, models), device="cpu", max_no_speech=0.0)
    )
    (row,) = strict.process(rows(str(data / "asr/jfk.flac"), (0.0, 4.0))).to_pylist()
    (segment,) = row["segments"]
    assert segment["rejected"].startswith("no_speech_prob")
    assert row["words"] == []
