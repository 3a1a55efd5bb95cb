"""Forced alignment: where each character of a known text lies in the frames of a CTC network.

Arithmetic alone, over many texts at once. The trellis is that of WhisperX (`whisperx/alignment.py`,
after PyTorch's tutorial on forced alignment with wav2vec 2.0), so that the paths are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNSPACED = ("ja", "zh")
"""Languages that are aligned character by character."""
SEPARATOR = "|"

Emission = NDArray[np.float32]
"""Log probabilities, `(frames, symbols)`."""


@dataclass(frozen=True)
class Spelling:
    """A text as symbols of a network.

    Attributes:
        symbols: Columns of the emission.
        words: The text's words in order; characters where the language has no spaces.
        owners: Of each symbol, the word that it belongs to; -1 for what lies between words.
    """

    symbols: list[int]
    words: list[str]
    owners: list[int]


class Path(NamedTuple):
    """Where the symbols of one text lie: a number per symbol.

    Attributes:
        starts: First frame.
        stops: Frame after the last.
        scores: Mean probability of the path on its frames, 0-1.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    scores: NDArray[np.float64]


class Word(NamedTuple):
    """A word and where it lies, in frames; its score is the mean of its symbols'."""

    word: str
    start: float
    stop: float
    score: float


def spell(
    text: str, vocabulary: Mapping[str, int], wildcard: int, *, spaced: bool = True
) -> Spelling:
    """Write a text in the symbols of a network.

    Args:
        text: As the recogniser wrote it.
        vocabulary: Columns of the emission by lower-case character; `|` lies between words.
        wildcard: Column for a character that is not in the vocabulary; see `widened`.
        spaced: Whether the language writes spaces; otherwise each character is a word.

    Example:
        >>> spell("At 9", {"a": 0, "t": 1, "|": 2}, wildcard=3)
        Spelling(symbols=[0, 1, 2, 3], words=['At', '9'], owners=[0, 0, -1, 1])
    """
    words = text.split() if spaced else [char for char in text if not char.isspace()]
    symbols: list[int] = []
    owners: list[int] = []
    for i, word in enumerate(words):
        if spaced and i and SEPARATOR in vocabulary:
            symbols.append(vocabulary[SEPARATOR])
            owners.append(-1)
        known = [vocabulary.get(char.lower(), wildcard) for char in word if char != SEPARATOR]
        symbols += known
        owners += [i] * len(known)
    return Spelling(symbols, words, owners)


def widened(emission: Emission, blank: int) -> Emission:
    """An emission with the wildcard's column: in each frame the likeliest symbol but the blank.

    Args:
        emission: `(frames, symbols)`.
        blank: Column of the CTC blank.

    Returns:
        `(frames, symbols + 1)`.
    """
    others = np.delete(emission, blank, axis=1)
    return np.concatenate([emission, others.max(axis=1, keepdims=True)], axis=1)


def align(
    emissions: Sequence[Emission], texts: Sequence[Sequence[int]], blank: int
) -> list[Path | None]:
    """Find the likeliest path through each emission that says its text.

    Args:
        emissions: `(frames, symbols)` each, of any number of frames.
        texts: Columns of the emission, for each one.
        blank: Column of the CTC blank.

    Returns:
        A path for each; `None` for a text that is empty or has more symbols than there are frames.
    """
    if not texts:
        return []
    frames = np.array([len(emission) for emission in emissions])
    counts = np.array([len(text) for text in texts])
    said, blanks = _scores(emissions, texts, blank)
    trellis = _trellis(said, blanks, frames, counts)
    return _backtracked(trellis, said, blanks, frames, counts)


def _scores(
    emissions: Sequence[Emission], texts: Sequence[Sequence[int]], blank: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What each symbol of each text scores in each frame, and the blank: padded, time first."""
    shape = (max(map(len, emissions)), len(texts), max(map(len, texts)))
    said, blanks = np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
    for i, (emission, text) in enumerate(zip(emissions, texts, strict=True)):
        said[: len(emission), i, : len(text)] = emission[:, list(text)]
        blanks[: len(emission), i] = emission[:, blank]
    return said, blanks


def _trellis(
    said: NDArray[np.float32],
    blanks: NDArray[np.float32],
    frames: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> NDArray[np.float32]:
    """The best score of having said `n` symbols after `t` frames, `(t + 1, text, n + 1)`."""
    length, texts, symbols = said.shape
    trellis = np.full((length + 1, texts, symbols + 1), -np.inf, np.float32)
    trellis[0, :, 0] = 0
    trellis[1:, :, 0] = np.cumsum(blanks, axis=0)
    rows = np.arange(length + 1)[:, None]
    late = (rows > frames - counts) & (rows <= frames)  # too late to begin
    trellis[..., 0][late] = np.inf
    for t in range(length):
        stay = trellis[t, :, 1:] + blanks[t, :, None]
        np.maximum(stay, trellis[t, :, :-1] + said[t], out=trellis[t + 1, :, 1:])
    return trellis


def _backtracked(
    trellis: NDArray[np.float32],
    said: NDArray[np.float32],
    blanks: NDArray[np.float32],
    frames: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> list[Path | None]:
    texts, left = np.arange(len(counts)), counts.copy()
    ends = np.where(np.arange(len(trellis))[:, None] <= frames, trellis[:, texts, counts], -np.inf)
    last = ends.argmax(axis=0)
    starts = np.zeros((len(counts), counts.max()), np.int64)
    spent, sums = np.zeros_like(starts), np.zeros(starts.shape)
    for t in range(int(last.max(initial=0)) - 1, -1, -1):
        on = texts[(t < last) & (left > 0)]
        symbol = left[on] - 1
        stayed = trellis[t, on, symbol + 1] + blanks[t, on]
        changed = trellis[t, on, symbol] + said[t, on, symbol]
        change = changed > stayed
        starts[on, symbol] = t
        spent[on, symbol] += 1
        sums[on, symbol] += np.exp(np.where(change, said[t, on, symbol], blanks[t, on]))
        left[on] -= change
    return [
        Path(starts[i, :n], starts[i, :n] + spent[i, :n], sums[i, :n] / spent[i, :n])
        if n and not left[i]
        else None
        for i, n in enumerate(counts)
    ]


def words(spelling: Spelling, path: Path) -> list[Word]:
    """The words of an aligned text; one without any symbol takes what its nearest neighbour has."""
    owners = np.array(spelling.owners)
    found = {}
    for i in sorted({*spelling.owners} - {-1}):
        own = owners == i
        found[i] = (path.starts[own].min(), path.stops[own].max(), path.scores[own].mean())
    if not found:
        return []
    nearest = [min(found, key=lambda k: (abs(k - i), k)) for i in range(len(spelling.words))]
    return [
        Word(word, *map(float, found[k])) for word, k in zip(spelling.words, nearest, strict=True)
    ]
