from collections import defaultdict
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.jobs.fusion.assignment import Rule, assign, overlap

Span = dict[str, Any]
GRID = st.integers(0, 640).map(lambda k: k / 64)  # exact in binary: no rounding in the comparison
SPAN = st.tuples(GRID, GRID).map(sorted)
WORDS = st.lists(SPAN.map(lambda s: {"start_s": s[0], "stop_s": s[1], "word": "w"}), max_size=12)
TURNS = st.lists(
    st.tuples(SPAN, st.sampled_from(["A", "B", "C"])).map(
        lambda t: {"start_s": t[0][0], "stop_s": t[0][1], "speaker": t[1]}
    ),
    max_size=10,
)


def shared(a: Span, b: Span) -> float:
    return min(a["stop_s"], b["stop_s"]) - max(a["start_s"], b["start_s"])


def slowly(words: list[Span], turns: list[Span], rule: Rule, fill_nearest_s: float) -> list[Any]:
    """The rules of the documentation, word by word and turn by turn."""
    turns = [t for t in turns if t["stop_s"] > t["start_s"]]
    answers = []
    for word in words:
        middle = (word["start_s"] + word["stop_s"]) / 2
        score = defaultdict(float)
        inside = set()
        for turn in turns:
            score[turn["speaker"]] += max(0.0, shared(word, turn))
            if turn["start_s"] <= middle < turn["stop_s"]:
                inside.add(turn["speaker"])
        if rule == "midpoint" or word["stop_s"] == word["start_s"]:
            possible = inside
        else:
            possible = {name for name, seconds in score.items() if seconds > 0}
        best = min(possible, key=lambda name: (-score[name], name), default=None)
        if best is None and fill_nearest_s > 0 and turns:
            low, high = (
                (middle, middle) if rule == "midpoint" else (word["start_s"], word["stop_s"])
            )
            gaps = [
                (low - t["stop_s"]) if t["stop_s"] <= low else (t["start_s"] - high) for t in turns
            ]
            nearest = min(gaps)
            if nearest <= fill_nearest_s:
                names = {t["speaker"] for t, gap in zip(turns, gaps, strict=True) if gap == nearest}
                best = names
        answers.append(best)
    return answers


@pytest.mark.parametrize("rule", ["overlap", "midpoint"])
@pytest.mark.parametrize("fill", [0.0, 0.5])
@given(words=WORDS, turns=TURNS)
def test_agrees_with_the_slow_way(
    rule: Rule, fill: float, words: list[Span], turns: list[Span]
) -> None:
    found = assign(words, turns, rule, fill_nearest_s=fill)
    for got, wanted in zip(found, slowly(words, turns, rule, fill), strict=True):
        assert got in wanted if isinstance(wanted, set) else got == wanted


@given(words=WORDS, turns=TURNS, seed=st.integers(0, 99))
def test_order_does_not_matter(words: list[Span], turns: list[Span], seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(len(turns))
    assert assign(words, [turns[k] for k in shuffled]) == assign(words, turns)
    assert assign(words[::-1], turns) == assign(words, turns)[::-1]


@given(words=WORDS, turns=TURNS)
def test_a_wider_reach_only_fills_gaps(words: list[Span], turns: list[Span]) -> None:
    near, far = (assign(words, turns, fill_nearest_s=s) for s in (0.25, 1.0))
    assert all(b == a for a, b in zip(near, far, strict=True) if a is not None)


def test_sums_what_a_speaker_says_in_several_turns() -> None:
    turns = [
        {"start_s": 0.0, "stop_s": 0.4, "speaker": "A"},
        {"start_s": 0.4, "stop_s": 0.9, "speaker": "B"},
        {"start_s": 0.9, "stop_s": 1.3, "speaker": "A"},
    ]
    word = [{"start_s": 0.0, "stop_s": 1.3, "word": "so"}]
    assert assign(word, turns) == ["A"]
    assert assign(word, turns, "midpoint") == ["B"]


def test_overlap_of_overlapping_turns_counts_each() -> None:
    low, high = np.array([0.0]), np.array([2.0])
    assert overlap(low, high, np.array([0.0, 1.0]), np.array([1.5, 3.0])).tolist() == [2.5]


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="`rule` must be 'overlap' or 'midpoint', but is 'best'"):
        assign([], [], "best")  # pyright: ignore[reportArgumentType]


def test_a_day_of_speech_is_quick() -> None:
    start = np.arange(200_000) * 0.4
    words = [{"start_s": s, "stop_s": s + 0.3, "word": "w"} for s in start]
    turns = [
        {"start_s": s, "stop_s": s + 4, "speaker": f"S{k % 4}"}
        for k, s in enumerate(np.arange(20_000) * 4.0)
    ]
    begin = process_time()
    found = assign(words, turns)
    assert process_time() - begin < 5
    assert found[:11] == ["S0"] * 10 + ["S1"]
