import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.actors.sphinx import FILLER, VARIANT, Sphinx
from mien.datasets.audio import read


@pytest.fixture(scope="module")
def sphinx() -> Sphinx:
    actor = Sphinx()
    actor.setup()
    return actor


def rows(*spans: tuple[str, float | None, float | None]) -> pa.Table:
    uris, starts, stops = zip(*spans, strict=True)
    number = pa.float64()
    return pa.table(
        {"uri": uris, "start_s": pa.array(starts, number), "stop_s": pa.array(stops, number)}
    )


def test_fillers_and_variants() -> None:
    assert all(FILLER.fullmatch(word) for word in ("<sil>", "<s>", "[NOISE]", "++COUGH++"))
    assert not any(FILLER.fullmatch(word) for word in ("a(2)", "don't", "c++"))
    assert [VARIANT.sub("", word) for word in ("was(2)", "an(12)", "he")] == ["was", "an", "he"]


def test_too_short_for_a_word(sphinx: Sphinx) -> None:
    assert sphinx.transcribe([np.zeros(100, np.float32)]) == [("en", [])]


def test_weight_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"`language_weight` must be greater than 0, but is 0"):
        Sphinx(language_weight=0)


@pytest.mark.data
def test_words_and_their_times(sphinx: Sphinx, data: Path) -> None:
    stem = data / "asr/librivox/sense_and_sensibility_01_austen_64kb-0930"
    truth = {
        part["t"].split("(")[0]: part["b"]
        for part in json.loads(stem.with_suffix(".json").read_text())["w"]
    }
    (row,) = sphinx.process(rows((f"{stem}.wav", None, None))).to_pylist()
    assert row["language"] == "en"
    (segment,) = row["segments"]
    assert segment["text"] == " ".join(word["word"] for word in row["words"])
    assert segment["avg_logprob"] is None
    assert segment["no_speech_prob"] is None
    assert segment["rejected"] is None
    late_s = [w["start_s"] - truth[w["word"]] for w in row["words"] if w["word"] in truth]
    assert len(late_s) >= 6  # of 8 words
    assert np.abs(late_s).max() < 0.1
    assert all(0 <= word["probability"] <= 1 for word in row["words"])


@pytest.mark.data
def test_an_answer_does_not_depend_on_what_came_before(sphinx: Sphinx, data: Path) -> None:
    short = str(data / "asr/ljspeech/LJ002-0035.wav")
    other = str(data / "asr/librivox/sense_and_sensibility_01_austen_64kb-0880.wav")
    table = sphinx.process(rows((short, 0, 1.6), (other, 0, 2.9), (short, 0, 1.6)))
    first, _, again = table.to_pylist()
    assert first["words"]
    assert again == first


@pytest.mark.data
def test_times_are_from_the_start_of_the_media(sphinx: Sphinx, data: Path) -> None:
    uri = str(data / "asr/librivox/sense_and_sensibility_01_austen_64kb-0930.wav")
    whole, part = sphinx.process(rows((uri, 0.0, 3.29), (uri, 1.5, 3.29))).to_pylist()
    assert whole["words"][-1]["word"] == "himself"  # heard as "itself" without its sentence
    assert part["words"][-1]["start_s"] == pytest.approx(whole["words"][-1]["start_s"], abs=0.1)


@pytest.mark.data
def test_an_answer_does_not_depend_on_the_level(sphinx: Sphinx, data: Path) -> None:
    samples = read(str(data / "asr/jfk.flac"))
    assert samples is not None
    loud, quiet = sphinx.transcribe([samples, samples / np.float32(8)])
    assert loud[1][0]["text"]
    assert loud == quiet
