"""What a line of dialogue looks like, as numbers: words, letters, style, and its neighbours'."""

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TOKEN = re.compile(r"[a-z']+|\.{3}|[!?.,-]+")
_WORD = re.compile(r"[A-Za-z']+")
_STRETCHED = re.compile(r"(.)\1\1")

STYLE: tuple[Callable[[str, Sequence[str]], float], ...] = (
    lambda text, words: min(text.count("!"), 4),
    lambda text, words: min(text.count("?"), 4),
    lambda text, words: "!!" in text,
    lambda text, words: "?!" in text or "!?" in text,
    lambda text, words: "..." in text,
    lambda text, words: "-" in text,
    lambda text, words: min(len(words), 40) / 10,
    lambda text, words: len(words) <= 2,
    lambda text, words: sum(word.isupper() and len(word) > 1 for word in words),
    lambda text, words: _STRETCHED.search(text) is not None,  # "Nooo!"
    lambda text, words: text.endswith("!"),
    lambda text, words: text.endswith("?"),
    lambda text, words: text.endswith("."),
    lambda text, words: text[:1].islower(),  # goes on with what was said before
)
"""Of a text and its words: how it is said."""


def tokens(text: str) -> list[str]:
    """Words and punctuation; what is repeated, as `?!` or `!!!`, is one token.

    Example:
        >>> tokens("Oh my God... what?!")
        ['oh', 'my', 'god', '...', 'what', '?!']
    """
    return _TOKEN.findall(text.lower())


def style(texts: Sequence[str]) -> Array:
    """How texts are said: `STYLE`, and the four scores of VADER (Hutto & Gilbert 2014).

    Returns:
        `(text, 18)`, not scaled.
    """
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    found = np.zeros((len(texts), len(STYLE) + 4))
    for row, text in zip(found, texts, strict=True):
        words, polarity = _WORD.findall(text), analyzer.polarity_scores(text)
        row[: len(STYLE)] = [one(text, words) for one in STYLE]
        row[len(STYLE) :] = [polarity[name] for name in ("neg", "neu", "pos", "compound")]
    return found


def shifted(values: Array, groups: Sequence[str], by: int) -> Array:
    """The values of another line of the same dialogue; 0 where there is none.

    Args:
        values: `(row, value)`, dialogues whole and in order.
        groups: The dialogue of each row.
        by: How many lines before; negative: after.

    Example:
        >>> shifted(np.array([[1.0], [2.0], [3.0]]), ["a", "a", "b"], 1).tolist()
        [[0.0], [1.0], [0.0]]
    """
    names = np.asarray(groups)
    other = np.arange(len(names)) - by
    there = (other >= 0) & (other < len(names))
    there[there] = names[other[there]] == names[there]
    found = np.zeros_like(values)
    found[there] = values[other[there]]
    return found


def embeddings(column: Sequence[Sequence[float] | None]) -> Array:
    """Embeddings as one array; NaN where a line has none.

    Raises:
        ValueError: No line has one.
    """
    known = next((one for one in column if one is not None), None)
    if known is None:
        raise ValueError("no line has an embedding: see the failed rows of its table.")
    nothing = np.full(len(known), np.nan)
    return np.array([nothing if one is None else one for one in column], float)
