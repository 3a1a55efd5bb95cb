from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from mien.jobs.fusion.utterances import joined, utterances, utterances_of

Span = dict[str, Any]


def word(start: float, stop: float, text: str = "w", speaker: str | None = "A") -> Span:
    return {"start_s": start, "stop_s": stop, "word": text, "speaker": speaker, "probability": 0.5}


def turn(start: float, stop: float, speaker: str | None = "A") -> Span:
    return {"start_s": start, "stop_s": stop, "speaker": speaker}


@st.composite
def speech(draw: DrawFn) -> list[Span]:
    t, words = 0.0, []
    for _ in range(draw(st.integers(0, 30))):
        t += draw(st.sampled_from([0.0, 0.1, 0.7, 0.9, 3.0]))
        length = draw(st.sampled_from([0.1, 0.5, 4.0]))
        words.append(word(t, t + length, f"w{len(words)}", draw(st.sampled_from(["A", "B", None]))))
        t += length
    return words


@given(speech())
def test_every_word_stands_once_and_the_rules_hold(words: list[Span]) -> None:
    found = utterances(words, [], max_gap_s=0.8, max_s=10)
    assert [w for u in found for w in u["words"]] == words
    for one in found:
        assert {w["speaker"] for w in one["words"]} == {one["speaker"]}
        assert all(b["start_s"] - a["stop_s"] <= 0.8 for a, b in pairwise(one["words"]))
        assert one["stop_s"] - one["start_s"] <= 10 or len(one["words"]) == 1
        assert one["text"] == " ".join(w["word"] for w in one["words"])
    for one, two in pairwise(found):  # no cut without a reason
        gap = two["start_s"] - one["stop_s"]
        long = two["words"][0]["stop_s"] - one["start_s"] > 10
        assert one["speaker"] != two["speaker"] or gap > 0.8 or long


@given(speech())
def test_order_of_the_words_does_not_matter(words: list[Span]) -> None:
    assert utterances(words[::-1], []) == utterances(words, [])


def test_unrecognised_turns_are_kept_without_text() -> None:
    words = [word(0.0, 0.5), word(0.6, 1.0)]
    turns = [turn(0.0, 1.2), turn(2.0, 4.0, "B"), turn(0.4, 0.9, "B"), turn(5.0, 5.1, "B")]
    found = utterances(words, turns)
    assert [(u["start_s"], u["stop_s"], u["speaker"], u["text"]) for u in found] == [
        (0.0, 1.0, "A", "w w"),
        (0.4, 0.9, "B", None),
        (2.0, 4.0, "B", None),
    ]
    assert found[1]["words"] == []


def test_long_wordless_turns_are_cut_evenly() -> None:
    found = utterances([], [turn(0.0, 70.0)])
    assert [u["stop_s"] - u["start_s"] for u in found] == pytest.approx([70 / 3] * 3)
    assert found[0]["start_s"] == 0
    assert found[-1]["stop_s"] == 70


def test_whispers_own_spaces_are_kept() -> None:
    assert joined([{"word": " Don"}, {"word": "'t"}, {"word": " go."}]) == "Don't go."
    assert joined([{"word": "do"}, {"word": "go "}]) == "do go"


def test_of_a_video() -> None:
    video = {
        "turns": [turn(0.0, 9.0, "X")],
        "exclusive_turns": [turn(0.0, 1.0), turn(1.0, 2.0, "B")],
        "words": [
            {"start_s": 0.1, "stop_s": 0.4, "word": "hi", "probability": None},
            {"start_s": 2.2, "stop_s": 2.4, "word": "you", "probability": 0.1},
        ],
    }
    found = utterances_of(video)
    assert [(u["speaker"], u["text"]) for u in found] == [("A", "hi"), ("B", None), ("B", "you")]
    assert found[0]["words"] == [video["words"][0]]
    assert utterances_of(video, fill_nearest_s=0.0)[-1]["speaker"] is None
    assert utterances_of({"turns": None, "exclusive_turns": None, "words": []}) == []
    one = utterances_of({"turns": [turn(0.0, 1.0)], "exclusive_turns": None, "words": None})
    assert [u["text"] for u in one] == [None]


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="`max_s` must be greater than 0, but is 0"):
        utterances([], [], max_s=0)
    with pytest.raises(ValueError, match="`max_gap_s` must be at least 0, but is -1"):
        utterances([], [], max_gap_s=-1)
