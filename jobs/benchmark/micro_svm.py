"""Where the skin moves and stretches, and a linear SVM: needs nothing but scikit-learn."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from .loso import Step
from .micro_samples import Samples

BLOCKS = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class FlowSvm:
    """Block histograms of the flow's direction, weighted by strain, and a linear SVM.

    After Bi-WOOF (Liong, See, Wong and Phan 2018, "Less is more"): in each block a direction counts
    by the length of its flow, and the block by its mean strain. Here the square root is taken, and
    each feature is standardised; the SVM's cost is weighted by class.

    Attributes:
        blocks: Along a side: 1, 2, 4 or 8.
        cost: Of the SVM (C).
        weighted: Multiply each block by its mean strain.
    """

    blocks: int = 4
    cost: float = 0.01
    weighted: bool = True
    epochs: int = field(default=1, init=False)
    inputs: str = field(default="flow, strain", init=False)
    probable: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.blocks not in BLOCKS:
            raise ValueError(f"`blocks` must be one of {BLOCKS}, but is {self.blocks}.")
        if self.cost <= 0:
            raise ValueError(f"`cost` must be greater than 0, but is {self.cost:g}.")

    def missing(self) -> None:
        """Nothing is."""

    def origin(self) -> str:
        """It has no weights."""
        return ""

    def steps(self, learn: Samples, judge: Samples, seed: int) -> Iterator[Step]:
        """Fit once; the scores are distances from the hyperplanes."""
        scores = np.full((len(judge), len(learn.labels)), -np.inf, np.float32)
        if len(np.unique(learn.truth)) == 1:  # nothing to tell apart
            scores[:, learn.truth[0]] = 0.0
            yield Step(scores)
            return
        model = make_pipeline(
            StandardScaler(),
            SVC(kernel="linear", C=self.cost, class_weight="balanced", random_state=seed),
        )
        model.fit(self.features(learn), learn.truth)
        found = model.decision_function(self.features(judge))
        if found.ndim == 1:  # of two classes
            found = np.stack([-found, found], axis=1)
        scores[:, model.classes_] = found
        yield Step(scores)

    def features(self, samples: Samples) -> NDArray[np.float32]:
        """What the SVM sees: `(clip, blocks * blocks * 8)`."""
        moves = pooled(samples.directions, self.blocks)  # (clip, blocks, blocks, 8)
        if self.weighted:
            strain = samples.strain * (samples.peaks[:, None, None] / 255)
            moves = moves * pooled(strain[..., None], self.blocks)
        return np.sqrt(moves).reshape(len(samples), -1)


def pooled(maps: NDArray, blocks: int) -> NDArray[np.float32]:
    """Means over blocks: `(n, side, side, channels)` to `(n, blocks, blocks, channels)`."""
    rows = np.array_split(np.arange(maps.shape[1]), blocks)
    columns = np.array_split(np.arange(maps.shape[2]), blocks)
    return np.stack(
        [
            np.stack([maps[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean((1, 2)) for c in columns], 1)
            for r in rows
        ],
        axis=1,
    ).astype(np.float32)
