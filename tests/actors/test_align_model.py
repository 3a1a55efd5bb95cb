"""The true loading code on tiny random aligners, against WhisperX's own aligner."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("whisperx")

import torch
import whisperx.alignment as reference

import tiny_speech
from mien.actors.align import ENGLISH, Align, Clip, placed
from mien.actors.alignment import Emission, align, spell, widened
from mien.actors.sound import Samples
from mien.actors.weights import Weights
from mien.datasets.audio import read
from mien.datasets.schema import TRANSCRIPT

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
TEXT = "And so, my fellow Americans: ask 9 times what ç can do"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_speech.build_aligner(folder / "group", normalize=False)
    tiny_speech.build_aligner(folder / "layer", norm="layer")
    tiny_speech.build_aligner(folder / "ja", letters="あいう日本語", norm="layer")
    return folder


def weights(folder: Path) -> Weights:
    return Weights(name="tiny", licence="MIT", files=ENGLISH.files, path=str(folder))


def aligner(models: Path, **languages: str) -> Align:
    names = languages or {"en": "group"}
    chosen = {language: weights(models / name) for language, name in names.items()}
    actor = Align(languages=chosen, device="cpu")
    assert actor.missing() is None
    actor.setup()
    return actor


def noise(samples: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=samples) * 0.1).astype(np.float32)


def emission(frames: int, seed: int) -> Emission:
    logits = torch.randn(frames, 10, generator=torch.Generator().manual_seed(seed)) * 3
    return logits.log_softmax(-1).numpy()


def theirs(heard: Emission, text: list[int], blank: int = 0) -> list[tuple[int, int, float]] | None:
    """WhisperX's own trellis, backtracking and merging."""
    logs = torch.from_numpy(heard)
    trellis = reference.get_trellis(logs, text, blank)
    path = reference.backtrack(trellis, logs, text, blank)
    if path is None:
        return None
    merged = reference.merge_repeats(path, "".join(chr(65 + x) for x in text))
    return [(part.start, part.end, part.score) for part in merged]


def test_paths_are_whisperx_s_own_on_the_same_emissions() -> None:
    rng = np.random.default_rng(3)
    heard = [emission(int(rng.integers(1, 200)), i) for i in range(40)]
    texts = [rng.integers(1, 10, size=int(rng.integers(1, 60))).tolist() for _ in heard]
    ours = align(heard, texts, blank=0)
    assert any(path is None for path in ours)
    for one, text, path in zip(heard, texts, ours, strict=True):
        expected = theirs(one, text)
        assert (path is None) == (expected is None)
        if path is not None and expected is not None:
            starts, stops, scores = zip(*expected, strict=True)
            assert path.starts.tolist() == list(starts)
            assert path.stops.tolist() == list(stops)
            assert path.scores == pytest.approx(scores, abs=1e-5)


class OneSentence:
    """In place of NLTK's splitter, whose tables would be downloaded."""

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


@pytest.mark.parametrize("text", [TEXT, "12 34", "a"])
def test_times_are_whisperx_s_within_a_frame(
    models: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "nltk_load", lambda _: OneSentence())
    sound = noise(16000 * 6)
    model, about = reference.load_align_model(
        "en", "cpu", model_name=with_tokenizer(models / "group"), model_cache_only=True
    )
    segment: Any = {"start": 1.0, "end": 5.0, "text": text}
    expected = reference.align([segment], model.eval(), about, sound, "cpu")["word_segments"]
    actor = aligner(models)
    clip = actor._clips(0, record(text, 1.0, 5.0), sound)  # pyright: ignore[reportPrivateUsage]
    (ours,) = actor.aligned("en", clip)
    assert [w["word"] for w in ours] == [w["word"] for w in expected]
    for mine, his in zip(ours, expected, strict=True):
        assert mine["start_s"] == pytest.approx(his["start"], abs=0.02)
        assert mine["stop_s"] == pytest.approx(his["end"], abs=0.02)
        assert mine["probability"] == pytest.approx(his["score"], abs=2e-3)


def with_tokenizer(folder: Path) -> str:
    about = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "processor_class": "Wav2Vec2Processor"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return str(folder)


def record(text: str, start_s: float, stop_s: float, **more: object) -> dict[str, Any]:
    segment = {"start_s": start_s, "stop_s": stop_s, "text": text, "rejected": None}
    return {"language": "en", "start_s": 0.0, "segments": [segment], "words": []} | more


@pytest.mark.parametrize("name", ["group", "layer"])
def test_padded_clips_are_heard_as_unpadded_ones(models: Path, name: str) -> None:
    actor = aligner(models, en=name)
    ears = actor._ears["en"]  # pyright: ignore[reportPrivateUsage]
    lengths = (16000, 5000, 31987, 400, 100)
    clips = [
        Clip(0, i, 0.0, noise(n, i), spell("ab", {"a": 4, "b": 5}, 30))
        for i, n in enumerate(lengths)
    ]
    together, mask = actor._prepared("en", clips)  # pyright: ignore[reportPrivateUsage]
    with torch.inference_mode():
        logs, frames = ears(together, mask)
        assert frames.tolist() == [49, 15, 99, 1, 1]
        for i, clip in enumerate(clips):
            alone, _ = actor._prepared("en", [clip])  # pyright: ignore[reportPrivateUsage]
            plain = tiny(models / name)(alone).logits.log_softmax(-1)
            assert plain.shape[1] == frames[i]
            assert torch.allclose(logs[i, : frames[i]], plain[0], atol=2e-5)


def tiny(folder: Path) -> Any:  # noqa: ANN401
    from transformers import Wav2Vec2ForCTC

    return Wav2Vec2ForCTC.from_pretrained(folder).eval()


def test_plain_padding_would_change_what_the_base_model_hears(models: Path) -> None:
    model, sound = tiny(models / "group"), torch.from_numpy(noise(8000))[None]
    padded = torch.nn.functional.pad(sound, (0, 8000))
    mask = (torch.arange(16000) < 8000).long()[None]
    with torch.inference_mode():
        alone, masked = model(sound).logits, model(padded, attention_mask=mask).logits
    assert (masked[:, : alone.shape[1]] - alone).abs().max() > 1e-3


def test_an_answer_does_not_depend_on_the_batch(models: Path) -> None:
    actor = aligner(models)
    texts = ["one two", "a b c d", "hello", "so it goes, and goes"]
    clips = [
        Clip(0, i, 0.5 * i, noise(4000 + 7000 * i, i), actor_spelling(actor, text))
        for i, text in enumerate(texts)
    ]
    together = actor.aligned("en", clips)
    actor.micro_batch = 1
    for one, words in zip(clips, together, strict=True):
        (alone,) = actor.aligned("en", [one])
        assert [w["word"] for w in words] == one.spelling.words
        for mine, his in zip(words, alone, strict=True):
            assert mine["start_s"] == pytest.approx(his["start_s"], abs=1e-9)
            assert mine["stop_s"] == pytest.approx(his["stop_s"], abs=1e-9)
            assert mine["probability"] == pytest.approx(his["probability"], abs=1e-4)


def actor_spelling(actor: Align, text: str, language: str = "en") -> Any:  # noqa: ANN401
    vocabulary = actor._vocabularies[language]  # pyright: ignore[reportPrivateUsage]
    return spell(text, vocabulary, actor._columns[language])  # pyright: ignore[reportPrivateUsage]


def rows(uri: str, *chunks: dict[str, Any]) -> pa.Table:
    words = TRANSCRIPT.field("words").type
    segments = TRANSCRIPT.field("segments").type
    column = {name: [c.get(name) for c in chunks] for name in ("language", "segments", "words")}
    return pa.table(
        {
            "uri": [uri] * len(chunks),
            "start_s": pa.array([c["start_s"] for c in chunks], pa.float64()),
            "stop_s": pa.array([c["stop_s"] for c in chunks], pa.float64()),
            "language": pa.array(column["language"], pa.string()),
            "segments": pa.array(column["segments"], segments),
            "words": pa.array(column["words"], words),
        }
    )


def segment(start_s: float, stop_s: float, text: str, rejected: str | None = None) -> dict:
    return {"start_s": start_s, "stop_s": stop_s, "text": text, "rejected": rejected}


def word(start_s: float, stop_s: float, text: str) -> dict[str, Any]:
    return {"start_s": start_s, "stop_s": stop_s, "word": text, "probability": 0.5}


@pytest.mark.data
def test_words_of_real_speech_are_refined_and_the_rest_is_kept(models: Path, data: Path) -> None:
    actor = aligner(models, en="group", ja="ja")
    old = [word(0.0, 0.5, "and"), word(0.5, 1.0, "so"), word(9.0, 9.1, "wordy")]
    said = [
        segment(0.2, 6.0, "And so my fellow Americans"),
        segment(6.0, 7.0, "lo lo lo", "compression_ratio"),
        segment(9.0, 9.05, "far too many words for a twentieth of a second"),
    ]
    table = actor.process(
        rows(
            str(data / "asr/jfk.flac"),
            {"start_s": 0.0, "stop_s": 10.0, "language": "en", "segments": said, "words": old},
            {"start_s": 0.0, "stop_s": 4.0, "language": "de", "segments": said, "words": old},
            {"start_s": 0.0, "stop_s": 4.0},
            {"start_s": 0.0, "stop_s": 4.0, "language": "en", "segments": [], "words": []},
            {
                "start_s": 2.0,
                "stop_s": 6.0,
                "language": "ja",
                "segments": [segment(2.0, 6.0, "日本語 9")],
                "words": [word(2.0, 6.0, "日本語9")],
            },
        )
    )
    assert table.schema == Align.adds
    first, german, silent, nothing, japanese = table["words"].to_pylist()
    assert [w["word"] for w in first] == ["And", "so", "my", "fellow", "Americans", "wordy"]
    assert first[-1] == old[-1]
    edges = [edge for w in first for edge in (w["start_s"], w["stop_s"])]
    assert edges == sorted(edges)
    assert all(0.2 <= edge <= 6.0 for edge in edges[:-2])
    assert german == old
    assert silent is None
    assert nothing == []
    assert [w["word"] for w in japanese] == ["日", "本", "語", "9"]
    assert all(2.0 <= w["start_s"] <= w["stop_s"] <= 6.0 for w in japanese)


@pytest.mark.data
def test_times_are_from_the_start_of_the_media(models: Path, data: Path) -> None:
    actor, uri = aligner(models), str(data / "asr/jfk.flac")
    sound = read(uri)
    assert sound is not None
    chunk = {"start_s": 3.0, "stop_s": 8.0, "language": "en", "words": []}
    table = rows(uri, {**chunk, "segments": [segment(4.0, 7.0, "ask not")]})
    (words,) = actor.process(table)["words"].to_pylist()
    cut = Clip(0, 0, 4.0, sound[64000:112000], actor_spelling(actor, "ask not"))
    (expected,) = actor.aligned("en", [cut])
    assert [w["start_s"] for w in words] == pytest.approx([w["start_s"] for w in expected])


def test_a_short_clip_s_frame_lasts_as_long_as_the_clip() -> None:
    heard = widened(emission(1, 0), blank=0)
    clip = Clip(0, 0, 2.0, noise(160), spell("a", {"a": 3}, 10))
    ((found,),) = placed([heard], [clip], blank=0)
    assert (found["start_s"], found["stop_s"]) == (2.0, pytest.approx(2.01))


def test_the_identity_follows_the_weights_of_each_language(models: Path) -> None:
    one = Align(languages={"en": weights(models / "group")})
    two = Align(languages={"en": weights(models / "layer")})
    assert one.identity() != two.identity()
    assert json.dumps(one.identity())
    assert str(models) not in json.dumps(one.identity())
    with pytest.raises(ValueError, match="`languages` must name the weights"):
        Align(languages={})
