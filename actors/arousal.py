"""Arousal: how excited a voice sounds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..datasets.schema import VOICE_AFFECT
from .actor import Actor, answer
from .functionals import NAMES, functionals
from .pitch import Floats, Yin
from .sound import Samples, listen

HEAD = Path(__file__).with_name("arousal.npz")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A calibrated logistic regression over functionals.

    Attributes:
        mean: `(feature,)`, of the training data.
        scale: `(feature,)`, its standard deviation.
        weight: `(feature,)`, of the standardised features.
        bias: Log odds of the mean.
    """

    mean: Floats
    scale: Floats
    weight: Floats
    bias: float

    @classmethod
    def load(cls, path: Path = HEAD) -> "Head":
        """Read the arrays that `benchmarks/train_arousal.py` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays["names"].tolist()
            if names != list(NAMES):
                raise ValueError(
                    f"the head {path.name!r} must be trained on today's {len(NAMES)} features, "
                    f"but was trained on {len(names)} others: run benchmarks/train_arousal.py."
                )
            return cls(
                **{name: arrays[name] for name in ("mean", "scale", "weight")},
                bias=float(arrays["bias"]),
            )

    def __call__(self, features: Floats) -> Floats:
        """Probability of high arousal.

        Args:
            features: `(utterance, feature)`; NaN counts as the mean.
        """
        standard = np.nan_to_num((features - self.mean) / self.scale)
        return 1 / (1 + np.exp(-(standard @ self.weight + self.bias)))


@dataclass(kw_only=True)
class Arousal(Actor):
    """Arousal of utterances from how they sound, whatever is said and however loud it came out.

    The number is the calibrated probability that the voice is of high rather than low arousal:
    anger, fear or joy rather than boredom, sadness, disgust or neutral speech, as actors play
    them. Dominance and valence stay null: acoustics without a large model tell little of them.
    """

    reads = ("uri", "start_s", "stop_s")
    adds = VOICE_AFFECT
    model = "logistic regression on 73 functionals, trained on EmoDB"
    revision = "1"
    licence = "Apache-2.0"  # the data: CC0
    quality = (
        "High or low: balanced accuracy 0.93 on acted German speech of speakers left out of the "
        "training (EmoDB); not measured on spontaneous speech."
    )

    def setup(self) -> None:
        """Load the head."""
        self._head, self._yin = Head.load(), Yin()

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge utterances; null without sound, without a voiced stretch, or under 0.2 s."""
        return answer({"arousal": [self._judge(samples) for samples in listen(rows)]}, VOICE_AFFECT)

    def _judge(self, samples: Samples | None) -> float | None:
        features = None if samples is None else functionals(samples, self._yin)
        if features is None or np.isnan(features).any():
            return None
        return float(self._head(features[None])[0])
