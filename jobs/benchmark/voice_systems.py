"""Classifiers of voices, whose choices are made among the speakers that they learn from."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ..evaluation.scores import uar

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
MEMBERS = ("lda", "logistic", "rbf", "svm")
WIDTH = 0.3
"""Of the RBF kernel: gamma is this over the number of features, which have the variance 1."""


@dataclass(frozen=True, kw_only=True)
class Voices:
    """Utterances as numbers.

    Attributes:
        columns: Features by name, `(row, feature)`; NaN where one is unknown.
        truth: Place of each row's label, `(row,)`.
        speakers: Who speaks, `(row,)`.
        labels: How many there are.
    """

    columns: Mapping[str, Array]
    truth: NDArray[np.int64]
    speakers: NDArray[np.str_]
    labels: int

    def features(self, names: Sequence[str], by_speaker: bool) -> Array:
        """Columns side by side.

        Args:
            names: Which.
            by_speaker: Whether each speaker's are brought to mean 0 and variance 1, unknown ones
                to 0.
        """
        found = np.concatenate([self.columns[name] for name in names], axis=1)
        if not by_speaker:
            return found
        even = np.zeros_like(found)
        for speaker in np.unique(self.speakers):
            rows = self.speakers == speaker
            own = np.ma.masked_invalid(found[rows])
            spread = np.ma.maximum(own.std(axis=0), 1e-9)
            even[rows] = ((own - own.mean(axis=0)) / spread).filled(0.0)
        return even


@dataclass(frozen=True, kw_only=True)
class VoiceSystem:
    """Classifiers on the same features, whose scores are averaged.

    Attributes:
        features: Columns that are learnt from.
        members: How strongly each kind of classifier may fit (C of `logistic`, `rbf` and `svm`, the
            shrinkage of `lda`); of several values that one is taken that is best on speakers of
            the training who are left out in turn.
        by_speaker: Whether the features of each speaker are normalised over that speaker's own
            clips. This looks at all clips of the speaker who is judged, though not at their labels:
            it is *transductive*, and needs a speaker of whom there are many clips.
        kind: A `results.Kind`.
    """

    features: Sequence[str]
    members: Mapping[str, Sequence[float]]
    by_speaker: bool = False
    kind: str = "system"

    def __post_init__(self) -> None:
        unknown = {*self.members} - {*MEMBERS}
        if unknown or not self.members:
            raise ValueError(
                f"`members` must be some of {', '.join(MEMBERS)}, but are {list(self.members)}."
            )
        for name, strengths in self.members.items():
            least, most = (0.0, 1.0) if name == "lda" else (0.0, np.inf)
            if not strengths or not all(least < one <= most for one in strengths):
                raise ValueError(
                    f"`members.{name}` must be values above {least:g}, at most {most:g}, but are "
                    f"{list(strengths)}."
                )

    def scores(self, voices: Voices, train: Flags, asked: Flags) -> tuple[Array, dict[str, float]]:
        """Learn from some rows, and judge others.

        Args:
            voices: All of them.
            train: Which rows are learnt from, `(row,)`.
            asked: Which are judged; of other speakers.

        Returns:
            Scores that sum to 1, `(asked, label)`; the strength chosen for each member.

        Raises:
            ValueError: A speaker is on both sides, or there are too few to choose by.
        """
        both = set(voices.speakers[train]) & set(voices.speakers[asked])
        if both:
            raise ValueError(f"the speaker {str(min(both))!r} is both learnt from and judged.")
        features = voices.features(self.features, self.by_speaker)
        chosen = {
            name: self._chosen(voices, features, train, name, strengths)
            for name, strengths in self.members.items()
        }
        parts = [
            _scored(name, strength, features, voices, train, asked)
            for name, strength in chosen.items()
        ]
        return np.mean(parts, axis=0), chosen

    def _chosen(
        self,
        voices: Voices,
        features: Array,
        train: Flags,
        name: str,
        strengths: Sequence[float],
    ) -> float:
        """The strength with the best mean recall, each speaker of the training held out in turn."""
        if len(strengths) == 1:
            return strengths[0]
        speakers = np.unique(voices.speakers[train])
        if len(speakers) < 2:
            raise ValueError(
                f"`members.{name}` must be one value where there is only one speaker to learn "
                f"from, but are {list(strengths)}: there is nobody to choose by."
            )

        def judged(strength: float) -> float:
            counts = np.zeros((voices.labels, voices.labels), np.int64)
            for speaker in speakers:
                held = train & (voices.speakers == speaker)
                found = _scored(name, strength, features, voices, train & ~held, held)
                np.add.at(counts, (voices.truth[held], found.argmax(axis=1)), 1)
            return float(uar(counts))

        return max(strengths, key=judged)


def _scored(
    name: str, strength: float, features: Array, voices: Voices, train: Flags, asked: Flags
) -> Array:
    """Scores of one classifier, `(asked, label)`; 0 for a label that it has not met.

    They are its probabilities, or what softmax makes of its decision values.
    """
    known = features[train]
    present = np.isfinite(known).any(axis=0)
    middle = np.zeros(features.shape[1])
    middle[present] = np.nanmedian(known[:, present], axis=0)
    filled = np.where(np.isfinite(features), features, middle)
    truth = voices.truth[train]
    found = np.zeros((np.count_nonzero(asked), voices.labels))
    if len(np.unique(truth)) == 1:
        found[:, truth[0]] = 1.0
        return found
    model = _model(name, strength, features.shape[1], len(np.unique(truth)))
    with warnings.catch_warnings():  # a label with a single row has no covariance of its own
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        line = make_pipeline(StandardScaler(), model).fit(filled[train], truth)
    if name == "lda":
        found[:, line.classes_] = line.predict_proba(filled[asked])
        return found
    values = np.asarray(line.decision_function(filled[asked]))
    if values.ndim == 1:
        values = np.stack([-values, values], axis=1)
    odds = np.exp(values - values.max(axis=1, keepdims=True))
    found[:, line.classes_] = odds / odds.sum(axis=1, keepdims=True)
    return found


def _model(name: str, strength: float, width: int, labels: int) -> ClassifierMixin:
    """A classifier to which all labels matter alike, however many rows they have."""
    same: Any = {"C": strength, "class_weight": "balanced"}
    gamma: Any = {"gamma": WIDTH / width}
    match name:
        case "lda":
            return LinearDiscriminantAnalysis(
                solver="lsqr", shrinkage=strength, priors=np.full(labels, 1 / labels)
            )
        case "logistic":
            return LogisticRegression(max_iter=5000, **same)
        case "rbf":
            return SVC(kernel="rbf", **same, **gamma)
        case _:
            return SVC(kernel="linear", **same)
