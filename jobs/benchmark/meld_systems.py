"""What is trained on MELD's train split, and what it says of rows that it did not learn from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..evaluation.scores import codes
from .late_fusion import (
    Fusion,
    Scores,
    cross_validated,
    frequencies,
    judged,
    parted,
    pooled,
)
from .modalities import Features, Head
from .text import TextSystem

TRAIN, DEV, TEST = "train", "dev", "test"
Rows = NDArray[np.int64]


@dataclass(kw_only=True)
class Systems:
    """Everything that learns, on one release of MELD.

    Attributes:
        rows: Utterances of all splits, whole dialogues.
        labels: In their order.
        metric: By which is chosen: a key of `scores.METRICS`.
        texts: Trained text systems, by name.
        read: What each of them reads: `rows`, with the columns of its features.
        features: Of `audio` and `face`, in the order of `rows`.
        heads: What is trained on them.
        fusions: Ways of fusion, of which one is chosen.
        parts: Into how many parts train is cut, by dialogue.
    """

    rows: pa.Table
    labels: tuple[str, ...]
    metric: str
    texts: Mapping[str, TextSystem]
    read: Mapping[str, pa.Table]
    features: Mapping[str, Features]
    heads: Mapping[str, Head]
    fusions: Sequence[Fusion]
    parts: int
    _inner: dict[str, Scores] = field(default_factory=dict, init=False, repr=False)
    _outer: dict[str, Scores] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        splits = set(self.rows["split"].to_pylist())
        if TRAIN not in splits or not splits & {DEV, TEST}:
            raise ValueError(
                "`benchmark.path` must hold the split train and one of dev and test, but has "
                f"{', '.join(sorted(splits))}."
            )
        self.held = TEST if TEST in splits else DEV
        self.chosen_on = DEV if self.held == TEST and DEV in splits else TRAIN

    @cached_property
    def truth(self) -> Rows:
        """Places of the true labels, `(row,)`."""
        return codes(self.rows["emotion"].to_pylist(), self.labels)

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """The dialogue of each row."""
        return np.array(self.rows["group"].to_pylist())

    @cached_property
    def rows_of(self) -> NDArray[np.str_]:
        """The split of each row."""
        return np.array(self.rows["split"].to_pylist())

    def at(self, split: str) -> Rows:
        """Places of a split's rows."""
        return np.flatnonzero(self.rows_of == split)

    def folds(self) -> Iterator[tuple[Rows, Rows]]:
        """Parts of train: places among train's rows to learn from, and held out."""
        yield from parted(self.groups[self.at(TRAIN)].tolist(), self.parts)

    def said(self, name: str, learn: Rows, judge: Rows) -> Scores:
        """Train one system on some rows and ask it about others.

        Args:
            name: Of a text system, or `audio` or `face`.
            learn: Places of the rows to learn from.
            judge: Places of the rows to ask about.

        Raises:
            ValueError: A dialogue is in both; names it.
        """
        apart(self.groups[learn].tolist(), self.groups[judge].tolist())
        if name in self.texts:
            rows = self.read[name]
            return self.texts[name].fit_predict(rows.take(learn), rows.take(judge))
        features, head = self.features[name], self.heads[name]
        return head.fit_predict(
            features.take(learn), self.truth[learn], features.take(judge), len(self.labels)
        )

    def inner(self, name: str) -> Scores:
        """What a system says of train, each row by what had not learnt from its dialogue."""
        if name not in self._inner:
            train = self.at(TRAIN)
            scores = np.full((len(train), len(self.labels)), np.nan)
            for learnt, held in self.folds():
                scores[held] = self.said(name, train[learnt], train[held])
            self._inner[name] = scores
        return self._inner[name]

    def outer(self, name: str, split: str) -> Scores:
        """What a system that learnt from all of train says of another split."""
        if name not in self._outer:
            others = np.flatnonzero(self.rows_of != TRAIN)
            scores = np.full((len(self.rows), len(self.labels)), np.nan)
            scores[others] = self.said(name, self.at(TRAIN), others)
            self._outer[name] = scores
        return self._outer[name][self.at(split)]

    def filled(self, name: str, split: str) -> Scores:
        """The same; where the system is silent, how often each label occurs in train."""
        return self._filled(self.outer(name, split))

    def fuse(self, way: Fusion, names: Mapping[str, str], split: str) -> Scores:
        """Fuse systems by a way that is learnt on train.

        Args:
            way: Of fusion.
            names: System of each modality.
            split: Of the rows to judge.
        """
        fused = way.fit(
            {modality: self.inner(name) for modality, name in names.items()},
            self.truth[self.at(TRAIN)],
        )
        return fused({modality: self.outer(name, split) for modality, name in names.items()})

    def merit(self, name: str) -> float:
        """How good one system is where choices are made."""
        if self.chosen_on == TRAIN:
            scores = self._filled(self.inner(name))
        else:
            scores = self.filled(name, self.chosen_on)
        return judged(scores, self.truth[self.at(self.chosen_on)], self.metric)

    def merits(self) -> dict[str, float]:
        """Merit of each system for which it can be known without training one more."""
        known = self._inner if self.chosen_on == TRAIN else self._outer
        return {name: self.merit(name) for name in known}

    def best_way(self, names: Mapping[str, str]) -> tuple[Fusion, float]:
        """The way of fusion that is best where choices are made, and how good it is there."""
        merits = [self._merit_of(way, names) for way in self.fusions]
        best = int(np.argmax(merits))
        return self.fusions[best], merits[best]

    def best_text(self) -> str:
        """The text system that is best where choices are made."""
        return max(self.texts, key=self.merit)

    def steps(self, names: Mapping[str, str]) -> Iterator[float]:
        """Mean score of the parts of train judged so far; no other row is looked at.

        With several systems the parts are first judged by each of them, then by their fusion.

        Args:
            names: System of each modality.
        """
        train = self.at(TRAIN)
        if len(names) > 1:
            found = [list(self._crossed(way, names)) for way in self.fusions]
            yield from max(found, key=lambda steps: steps[-1])
            return
        (name,) = names.values()
        values: list[float] = []
        for learnt, held in self.folds():
            said = self._filled(self.said(name, train[learnt], train[held]))
            values.append(judged(said, self.truth[train[held]], self.metric))
            yield float(np.mean(values))

    def _crossed(self, way: Fusion, names: Mapping[str, str]) -> Iterator[float]:
        train = self.at(TRAIN)
        said = {modality: self.inner(name) for modality, name in names.items()}
        groups = self.groups[train].tolist()
        return cross_validated(way, said, self.truth[train], groups, self.metric, self.parts)

    def _merit_of(self, way: Fusion, names: Mapping[str, str]) -> float:
        if self.chosen_on == TRAIN:
            return list(self._crossed(way, names))[-1]
        scores = self.fuse(way, names, self.chosen_on)
        return judged(scores, self.truth[self.at(self.chosen_on)], self.metric)

    def _filled(self, scores: Scores) -> Scores:
        prior = frequencies(self.truth[self.at(TRAIN)], len(self.labels))
        return pooled({"": scores}, {"": 1.0}, prior)


def apart(learn: Sequence[str], judge: Sequence[str]) -> None:
    """Refuse a dialogue on both sides.

    Raises:
        ValueError: Names the first one.
    """
    both = set(learn) & set(judge)
    if both:
        raise ValueError(
            f"a dialogue must not be learnt from and judged, but {min(both)!r} is on both sides."
        )
