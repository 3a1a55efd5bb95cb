"""Transcripts: chunks of speech in, segments and words out, doubtful segments marked."""

import zlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import pyarrow as pa

from ..datasets.schema import TRANSCRIPT
from .actor import Actor, answer
from .sound import Samples, Span, listen

RULES = ("any", "whisper")
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001
"""Punctuation that belongs to the word after or before it, as in Whisper itself."""

Transcript = tuple[str | None, list[dict[str, Any]]]
"""Language, and segments: records of the column `segments` without `rejected`, with `words`."""


def chunks(speech: Iterable[Span], max_s: float = 30.0) -> list[Span]:
    """Cut and merge speech into chunks for a recogniser.

    The rule of WhisperX (Bain et al. 2023, "cut and merge"): what is too long is cut, then
    neighbours are joined while they fit. Without the scores of the voice activity a long span is
    cut into equal parts.

    Args:
        speech: Voice activity, start and stop in seconds.
        max_s: The longest chunk.

    Returns:
        Start and stop of each chunk, in seconds, in order; empty where nobody speaks.

    Example:
        >>> chunks([(0, 10), (12, 29), (31, 40)])
        [(0, 29), (31, 40)]
        >>> chunks([(0, 60)])
        [(0.0, 30.0), (30.0, 60.0)]
    """
    if max_s <= 0:
        raise ValueError(f"`max_s` must be greater than 0, but is {max_s:g}.")
    merged: list[Span] = []
    for span in sorted(speech):
        for start_s, stop_s in _parts(span, max_s):
            if merged and stop_s - merged[-1][0] <= max_s:
                merged[-1] = (merged[-1][0], max(stop_s, merged[-1][1]))
            else:
                merged.append((start_s, stop_s))
    return merged


def _parts(span: Span, max_s: float) -> list[Span]:
    start_s, stop_s = span
    count = ceil((stop_s - start_s) / max_s)
    if count <= 1:
        return [span] if stop_s > start_s else []
    step_s = (stop_s - start_s) / count
    edges_s = [start_s + i * step_s for i in range(count)] + [float(stop_s)]
    return list(pairwise(edges_s))


def compression_ratio(text: str) -> float:
    """Bytes of a text over its compressed bytes: high where it repeats itself.

    Whisper's own definition (`whisper/utils.py`): UTF-8 and zlib.
    """
    raw = text.encode("utf-8")
    return len(raw) / len(zlib.compress(raw))


def rejection(
    segment: dict[str, Any],
    *,
    min_logprob: float,
    max_compression: float,
    max_no_speech: float,
    rule: str,
) -> str | None:
    """Judge whether a segment is a hallucination of the recogniser.

    Args:
        segment: Has `avg_logprob`, `compression_ratio` and `no_speech_prob`; a test whose number
            is null is left out.
        min_logprob: Mean log probability of the tokens below which the text is a guess.
        max_compression: Compression ratio above which the text is a loop.
        max_no_speech: Probability of silence above which there was nothing to hear.
        rule: `any`: each test rejects alone. `whisper`: as in Whisper itself, silence is taken
            for certain only where the text is a guess as well; a guess alone is kept.

    Returns:
        The reason, or `None` for a segment to keep.
    """
    logprob, ratio = segment["avg_logprob"], segment["compression_ratio"]
    silence = segment["no_speech_prob"]
    loop = ratio is not None and ratio > max_compression
    guess = logprob is not None and logprob < min_logprob
    silent = silence is not None and silence > max_no_speech
    if rule == "whisper":
        guess = silent = guess and silent
    reasons = {
        "no_speech_prob": silent,
        "avg_logprob": guess,
        "compression_ratio": loop,
    }
    return ", ".join(name for name, found in reasons.items() if found) or None


@dataclass(kw_only=True)
class Transcriber(Actor):
    """Words and segments of chunks of speech; what every recogniser shares.

    Attributes:
        min_logprob: See `rejection`, as the three that follow.
        max_compression: Bytes over compressed bytes.
        max_no_speech: 0-1.
        rule: `any` or `whisper`.
    """

    reads = ("uri", "start_s", "stop_s")
    adds = TRANSCRIPT

    min_logprob: float = -1.0
    max_compression: float = 2.4
    max_no_speech: float = 0.6
    rule: str = "any"

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"`rule` must be one of {', '.join(RULES)}, but is {self.rule!r}.")
        if self.max_compression <= 0:
            raise ValueError(
                f"`max_compression` must be greater than 0, but is {self.max_compression:g}."
            )
        if not 0 <= self.max_no_speech <= 1:
            raise ValueError(f"`max_no_speech` must be in 0-1, but is {self.max_no_speech:g}.")

    @abstractmethod
    def transcribe(self, sounds: Sequence[Samples]) -> list[Transcript]:
        """Recognise some chunks.

        Args:
            sounds: Float32 mono at 16 kHz each, not empty, not all zero.

        Returns:
            Of each chunk the language and the segments; times from the start of the chunk, in
            seconds.
        """

    def process(self, rows: pa.Table) -> pa.Table:
        """Transcribe chunks of at most 30 s; null where the file has no sound."""
        heard, starts_s = listen(rows), rows["start_s"].to_pylist()
        audible = {i: sound for i, sound in enumerate(heard) if sound is not None and sound.any()}
        found = dict(zip(audible, self.transcribe([*audible.values()]), strict=True))
        columns = [
            dict.fromkeys(TRANSCRIPT.names)
            if sound is None
            else self._columns(*found.get(i, (None, [])), starts_s[i] or 0.0)
            for i, sound in enumerate(heard)
        ]
        return answer({name: [c[name] for c in columns] for name in TRANSCRIPT.names}, TRANSCRIPT)

    def _columns(
        self, language: str | None, segments: list[dict[str, Any]], start_s: float
    ) -> dict[str, Any]:
        for segment in segments:
            segment["rejected"] = rejection(
                segment,
                min_logprob=self.min_logprob,
                max_compression=self.max_compression,
                max_no_speech=self.max_no_speech,
                rule=self.rule,
            )
        kept = [word for s in segments if s["rejected"] is None for word in s["words"]]
        return {
            "language": language,
            "segments": _shift([_without_words(s) for s in segments], start_s),
            "words": _shift(kept, start_s),
        }


def _without_words(segment: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in segment.items() if name != "words"}


def _shift(records: Sequence[dict[str, Any]], by_s: float) -> list[dict[str, Any]]:
    return [r | {"start_s": r["start_s"] + by_s, "stop_s": r["stop_s"] + by_s} for r in records]
