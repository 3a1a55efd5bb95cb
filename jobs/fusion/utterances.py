"""Utterances: what one speaker says without a long pause."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np

from .assignment import Rule, assign, overlap, times

Span = Mapping[str, Any]


def joined(words: Sequence[Span]) -> str:
    """The text of some words; keeps Whisper's own spaces where the words carry them."""
    texts = [str(word["word"]) for word in words]
    own = any(text[:1].isspace() for text in texts)
    return ("" if own else " ").join(texts if own else [t.strip() for t in texts]).strip()


def _groups(words: Sequence[Span], max_gap_s: float, max_s: float) -> Iterator[list[Span]]:
    """Cut words, which are in order of time, where an utterance ends."""
    group: list[Span] = []
    end = 0.0
    for word in words:
        if group and (
            word["speaker"] != group[-1]["speaker"]
            or word["start_s"] - end > max_gap_s
            or word["stop_s"] - group[0]["start_s"] > max_s
        ):
            yield group
            group = []
        end = max(end, word["stop_s"]) if group else word["stop_s"]
        group.append(word)
    if group:
        yield group


def _silent(words: Sequence[Span], turns: Sequence[Span], min_s: float) -> list[Span]:
    """Turns in which none of the speaker's words was recognised."""
    found = []
    for speaker in {turn["speaker"] for turn in turns}:
        mine = [t for t in turns if t["speaker"] == speaker and t["stop_s"] - t["start_s"] >= min_s]
        said = [w for w in words if w["speaker"] == speaker]
        shared = overlap(
            times(mine, "start_s"),
            times(mine, "stop_s"),
            times(said, "start_s"),
            np.maximum(times(said, "stop_s"), times(said, "start_s") + 1e-3),
        )
        found += [turn for turn, seconds in zip(mine, shared, strict=True) if seconds <= 0]
    return found


def _pieces(turn: Span, max_s: float) -> Iterator[dict[str, Any]]:
    """A turn without words, cut into equal parts of at most `max_s`."""
    start, stop = turn["start_s"], turn["stop_s"]
    count = max(1, ceil((stop - start) / max_s))
    edges = [start + (stop - start) * i / count for i in range(count)] + [stop]
    for low, high in pairwise(edges):
        yield {
            "start_s": low,
            "stop_s": high,
            "speaker": turn["speaker"],
            "text": None,
            "words": [],
        }


def utterances(
    words: Sequence[Span],
    turns: Sequence[Span],
    *,
    max_gap_s: float = 0.8,
    max_s: float = 30.0,
    min_turn_s: float = 0.25,
) -> list[dict[str, Any]]:
    """Group the words of one speaker, and keep the turns in which no word was recognised.

    Args:
        words: Have `start_s`, `stop_s`, `word` and `speaker` (`None`: nobody was found).
        turns: Have `start_s`, `stop_s` and `speaker`; usually the exclusive ones.
        max_gap_s: A longer pause between two words ends an utterance.
        max_s: No utterance is longer, but for a single word that is.
        min_turn_s: A wordless turn shorter than this is dropped.

    Returns:
        Records in order of time with `start_s`, `stop_s`, `speaker`, `text` (`None` where no
        word was recognised: speech in another language, or noise) and `words` (then empty).

    Raises:
        ValueError: A limit is out of range.
    """
    if max_gap_s < 0:
        raise ValueError(f"`max_gap_s` must be at least 0, but is {max_gap_s:g}.")
    if max_s <= 0:
        raise ValueError(f"`max_s` must be greater than 0, but is {max_s:g}.")
    ordered = sorted(words, key=lambda w: (w["start_s"], w["stop_s"]))
    found = [
        {
            "start_s": group[0]["start_s"],
            "stop_s": max(word["stop_s"] for word in group),
            "speaker": group[0]["speaker"],
            "text": joined(group),
            "words": [dict(word) for word in group],
        }
        for group in _groups(ordered, max_gap_s, max_s)
    ]
    found += [
        piece for turn in _silent(ordered, turns, min_turn_s) for piece in _pieces(turn, max_s)
    ]
    return sorted(found, key=lambda u: (u["start_s"], u["stop_s"], u["speaker"] or ""))


def utterances_of(
    video: Mapping[str, Any],
    *,
    rule: Rule = "overlap",
    fill_nearest_s: float = 0.5,
    max_gap_s: float = 0.8,
    max_s: float = 30.0,
) -> list[dict[str, Any]]:
    """Make the utterances of one video: `assign`, then `utterances`.

    Args:
        video: `exclusive_turns` and `turns` as in table `turns` (the first is taken unless it
            is missing or null) and `words`, those of all its chunks of speech.
        rule: How a word finds its speaker, see `assign`.
        fill_nearest_s: How far from a turn a word may lie, see `assign`.
        max_gap_s: See `utterances`.
        max_s: See `utterances`.

    Returns:
        As `utterances`; the words have no `speaker` of their own.
    """
    turns = video.get("exclusive_turns")
    turns = (video.get("turns") if turns is None else turns) or []
    words = [w for w in video.get("words") or [] if w["start_s"] is not None and w["word"]]
    speakers = assign(words, turns, rule, fill_nearest_s=fill_nearest_s)
    named = [{**word, "speaker": who} for word, who in zip(words, speakers, strict=True)]
    found = utterances(named, turns, max_gap_s=max_gap_s, max_s=max_s)
    for utterance in found:
        for word in utterance["words"]:
            del word["speaker"]
    return found
