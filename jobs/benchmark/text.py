"""Text systems that are trained: what they are given, and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...actors.actor import Actor
from ...datasets.meld import EMOTIONS
from ..evaluation.scores import codes
from .text_features import embeddings, shifted, style, tokens

Array = NDArray[np.float64]


class TextSystem(Protocol):
    """What learns the emotions of utterances from their text.

    Attributes:
        inputs: What it is given, in words, for the tables.
        packages: Importable names beyond the small default environment.
    """

    inputs: str
    packages: tuple[str, ...]

    def features(self) -> Mapping[str, Actor]:
        """Actors by role, which read `text`, and whose columns it needs beside the rows' own."""
        ...

    def fit_predict(self, train: pa.Table, held: pa.Table) -> NDArray[np.float64]:
        """Learn from some utterances and judge others.

        Args:
            train: Whole dialogues in order, with the columns of `datasets.meld.UTTERANCES` and
                those that its actors add.
            held: Other whole dialogues, as `train`; their labels must not be looked at.

        Returns:
            Probabilities `(row of held, label)` in the order of `datasets.meld.EMOTIONS`.
        """
        ...


@dataclass(kw_only=True)
class Linear:
    """A logistic regression on words and, as asked, letters, style, speaker and embeddings.

    Each kind of feature is scaled to a length of about 1 and then by its weight here: the larger
    the weight, the weaker its penalty.

    Attributes:
        c: Inverse of the strength of the penalty.
        rare: How far rare labels are raised: the probabilities are divided by the labels' shares
            in train to this power; 0: not at all, 1: as if all were equally frequent.
        letters: Weight of pieces of words, 2 to 5 letters; 0: without.
        style: Weight of punctuation, capitals, length and VADER's scores.
        speaker: Weight of who speaks.
        encoder: What makes the embeddings; `None`: without.
        embedding: Weight of the line's own.
        before: Weights of the embeddings of the lines before, the nearest first.
        after: Of the lines after. A recorded corpus has them; live analysis has not: leave it
            empty for a causal system.
    """

    c: float = 2.0
    rare: float = 0.0
    letters: float = 0.0
    style: float = 0.0
    speaker: float = 0.0
    encoder: Actor | None = None
    embedding: float = 1.0
    before: Sequence[float] = ()
    after: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise ValueError(f"`c` must be greater than 0, but is {self.c:g}.")
        if not 0 <= self.rare <= 1:
            raise ValueError(f"`rare` must be between 0 and 1, but is {self.rare:g}.")
        weights = ("letters", "style", "speaker", "embedding")
        for name in weights:
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, but is {getattr(self, name):g}.")
        if (self.before or self.after) and self.encoder is None:
            raise ValueError("`before` and `after` weigh embeddings: `encoder` must not be null.")

    @property
    def inputs(self) -> str:
        """What it is given, in words."""
        parts = ["text"]
        parts += [f"{len(self.before)} before"] if self.before else []
        parts += [f"{len(self.after)} after"] if self.after else []
        parts += ["speaker"] if self.speaker else []
        return ", ".join(parts)

    @property
    def packages(self) -> tuple[str, ...]:
        """What the encoder needs."""
        return () if self.encoder is None else self.encoder.packages

    def features(self) -> Mapping[str, Actor]:
        """The encoder, if there is one."""
        return {} if self.encoder is None else {"sentence": self.encoder}

    def fit_predict(self, train: pa.Table, held: pa.Table) -> Array:
        """Learn from some dialogues and judge others."""
        from sklearn.linear_model import LogisticRegression

        truth = codes(train["emotion"].to_pylist(), EMOTIONS)
        known, asked = _Inputs(system=self).fit(train, held)
        model = LogisticRegression(C=self.c, max_iter=2000, tol=1e-3).fit(known, truth)
        shares = np.bincount(truth)[model.classes_] / len(truth)
        found = np.zeros((len(held), len(EMOTIONS)))
        found[:, model.classes_] = model.predict_proba(asked) / shares**self.rare
        return found / found.sum(1, keepdims=True)


@dataclass(kw_only=True)
class _Inputs:
    """The columns of the regression, learnt on train alone."""

    system: Linear
    _parts: list[tuple[Any, Any]] = field(default_factory=list)

    def fit(self, train: pa.Table, held: pa.Table) -> tuple[Any, Any]:
        """Sparse `(row, column)` of both."""
        from scipy.sparse import csr_matrix, hstack
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import OneHotEncoder

        one = self.system
        texts = [rows["text"].to_pylist() for rows in (train, held)]
        common: dict[str, Any] = {"sublinear_tf": True, "token_pattern": None}
        words = TfidfVectorizer(tokenizer=tokens, ngram_range=(1, 2), min_df=2, **common)
        self._add(1.0, words, *texts)
        if one.letters:
            pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=3, **common)
            self._add(one.letters, pieces, *texts)
        if one.speaker:
            names = [[[name] for name in rows["speaker"].to_pylist()] for rows in (train, held)]
            who = OneHotEncoder(min_frequency=10, handle_unknown="infrequent_if_exist")
            self._add(one.speaker, who, *names)
        if one.style:
            known, asked = _scaled(*(style(lines) for lines in texts))
            self._parts.append((one.style * known, one.style * asked))
        if one.encoder is not None:
            self._embed(train, held)
        known, asked = (
            hstack([csr_matrix(part[side]) for part in self._parts], format="csr", dtype=float)
            for side in (0, 1)
        )
        return known, asked

    def _add(self, weight: float, maker: Any, train: Any, held: Any) -> None:  # noqa: ANN401
        self._parts.append((weight * maker.fit_transform(train), weight * maker.transform(held)))

    def _embed(self, train: pa.Table, held: pa.Table) -> None:
        one = self.system
        pair = (train, held)
        values = _scaled(*(embeddings(rows["embedding"].to_pylist()) for rows in pair))
        groups = [rows["group"].to_pylist() for rows in pair]
        weights = {0: one.embedding}
        weights |= dict(enumerate(one.before, 1))
        weights |= {-by: weight for by, weight in enumerate(one.after, 1)}
        for by, weight in weights.items():
            known, asked = (
                weight * shifted(value, names, by)
                for value, names in zip(values, groups, strict=True)
            )
            self._parts.append((known, asked))


def _scaled(train: Array, held: Array) -> tuple[Array, Array]:
    """Columns centred and scaled as in train, rows to a length of about 1; 0 where unknown."""
    mean, spread = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    scale = np.where(spread > 0, spread, 1) * np.sqrt(train.shape[1])
    known, asked = (np.nan_to_num((values - mean) / scale) for values in (train, held))
    return known, asked
