import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.actors.alignment import Path, Spelling, align, spell, widened, words

LETTERS = {"<pad>": 0, "|": 1, "a": 2, "b": 3, "c": 4}
WILDCARD = len(LETTERS)


def emission(frames: int, seed: int = 0, symbols: int = 5) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, symbols)).astype(np.float32) * 2
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def said(frames: list[int], symbols: int = 5) -> np.ndarray:
    """Log probabilities that are nearly sure of one symbol in each frame."""
    odds = np.full((len(frames), symbols), 1e-4, np.float32)
    odds[np.arange(len(frames)), frames] = 1
    return np.log(odds / odds.sum(axis=1, keepdims=True))


def test_unknown_characters_are_wildcards_and_spaces_separators() -> None:
    spelling = spell(" A9\tç b ", LETTERS, WILDCARD)
    assert spelling.words == ["A9", "ç", "b"]
    assert spelling.symbols == [2, 5, 1, 5, 1, 3]
    assert spelling.owners == [0, 0, -1, 1, -1, 2]


def test_without_spaces_each_character_is_a_word() -> None:
    assert spell("ab c", LETTERS, WILDCARD, spaced=False) == Spelling(
        [2, 3, 4], ["a", "b", "c"], [0, 1, 2]
    )


def test_a_vocabulary_without_a_separator_has_none_in_its_texts() -> None:
    assert spell("a b", {"a": 0, "b": 1}, 2).symbols == [0, 1]


def test_the_wildcard_is_the_likeliest_symbol_but_never_the_blank() -> None:
    heard = said([0, 2, 4])
    wide = widened(heard, blank=0)
    assert wide[:, -1] == pytest.approx([heard[0, 1:].max(), heard[1, 2], heard[2, 4]])


def test_symbols_lie_where_they_are_heard() -> None:
    (path,) = align([said([0, 0, 2, 0, 0, 1, 3, 0])], [[2, 1, 3]], blank=0)
    assert path is not None
    assert path.starts.tolist() == [2, 5, 6]
    assert path.stops.tolist() == [5, 6, 7]  # a blank after a symbol belongs to it
    assert path.scores == pytest.approx(1, abs=1e-3)


def test_a_text_that_does_not_fit_has_no_path() -> None:
    heard = emission(3)
    paths = align([heard] * 3, [[2, 3, 2, 3], [], [2, 3, 2]], blank=0)
    assert [path is None for path in paths] == [True, True, False]
    assert align([], [], blank=0) == []


texts = st.lists(st.lists(st.integers(1, 4), max_size=12), min_size=1, max_size=6)


@given(texts, st.data())
@settings(max_examples=60)
def test_a_batch_says_what_each_says_alone(batch: list[list[int]], data: st.DataObject) -> None:
    heard = [emission(data.draw(st.integers(1, 30)), i) for i in range(len(batch))]
    together = align(heard, batch, blank=0)
    for one, text, path in zip(heard, batch, together, strict=True):
        (alone,) = align([one], [text], blank=0)
        assert (alone is None) == (path is None)
        if path is not None and alone is not None:
            assert all(np.array_equal(a, b) for a, b in zip(alone, path, strict=True))
            assert (path.stops[:-1] == path.starts[1:]).all()
            assert path.starts[0] >= 0
            assert path.stops[-1] <= len(one)


def test_a_word_without_symbols_takes_its_nearest_neighbours_place() -> None:
    path = Path(np.array([3, 8, 9]), np.array([5, 9, 12]), np.array([0.5, 1, 0.25]))
    found = words(Spelling([2, 3, 4], ["|", "a", "|", "bc", "|"], [1, 3, 3]), path)
    assert [(w.word, w.start, w.stop, w.score) for w in found] == [
        ("|", 3, 5, 0.5),
        ("a", 3, 5, 0.5),
        ("|", 3, 5, 0.5),
        ("bc", 8, 12, 0.625),
        ("|", 8, 12, 0.625),
    ]
    assert words(Spelling([], ["|"], []), path) == []
