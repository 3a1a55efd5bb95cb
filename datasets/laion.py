"""LAION's Empathic Insight: names, scales and arithmetic of its scores."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LAION_FACE_NAMES = (
    *("affection", "amusement", "anger", "astonishment_surprise", "awe", "bitterness"),
    *("concentration", "confusion", "contemplation", "contempt", "contentment", "disappointment"),
    *("disgust", "distress", "doubt", "elation", "embarrassment", "emotional_numbness"),
    *("fatigue_exhaustion", "fear", "helplessness", "hope_enthusiasm_optimism"),
    *("impatience_and_irritability", "infatuation", "interest"),
    *("intoxication_altered_states_of_consciousness", "jealousy_&_envy", "longing"),
    *("malevolence_malice", "pain", "pleasure_ecstasy", "pride", "relief", "sadness"),
    *("sexual_lust", "shame", "sourness", "teasing", "thankfulness_gratitude", "triumph"),
)
"""The 40 heads for faces, as their files are called and in the order of column `laion_face`.
Scores are about 0-7. There is no head for neutral, arousal or dominance."""

LAION_VOICE_NAMES = (
    *("Elation", "Amusement", "Pleasure_Ecstasy", "Astonishment_Surprise"),
    *("Hope_Enthusiasm_Optimism", "Triumph", "Awe", "Teasing", "Interest", "Relief"),
    *("Contentment", "Contemplation", "Pride", "Thankfulness_Gratitude", "Affection", "Anger"),
    *("Fear", "Distress", "Impatience_and_Irritability", "Disgust", "Malevolence_Malice"),
    *("Helplessness", "Sadness", "Emotional_Numbness", "Jealousy_&_Envy", "Embarrassment"),
    *("Contempt", "Shame", "Disappointment", "Doubt", "Bitterness", "Concentration"),
    *("Confusion", "Fatigue_Exhaustion", "Pain", "Sourness"),
    *("Intoxication_Altered_States_of_Consciousness", "Sexual_Lust", "Longing", "Infatuation"),
)
"""The 40 emotions heard in a voice, 0-4, in the order of column `laion_voice`."""

LAION_VOICE_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "Age": (0, 6),  # infant to very old
        "Arousal": (0, 4),  # 2 is neutral
        "Authenticity": (0, 4),  # artificial to genuine
        "Background_Noise": (0, 3),
        "Confident_vs._Hesitant": (0, 4),
        "Gender": (-2, 2),  # masculine to feminine
        "High-Pitched_vs._Low-Pitched": (0, 4),  # sources disagree on which end is high
        "Monotone_vs._Expressive": (0, 4),
        "Recording_Quality": (0, 4),
        "Serious_vs._Humorous": (0, 4),
        "Soft_vs._Harsh": (-2, 2),
        "Submissive_vs._Dominant": (-3, 3),
        "Valence": (-3, 3),
        "Vulnerable_vs._Emotionally_Detached": (0, 4),
        "Warm_vs._Cold": (-2, 2),  # cold to warm, whatever the name says
    }
)
"""The 15 attributes of a voice, each on a scale of its own: never to be compared with emotions."""

LAION_VOICE_ATTRIBUTES = tuple(LAION_VOICE_RANGES)
"""The order of column `laion_voice_attributes`."""

LAION_VOICE_QUALITY = (
    "score_overall_quality",
    "score_speech_quality",
    "score_background_quality",
    "score_content_enjoyment",
)
"""The four heads that Voice-Plus adds, in the order of column `laion_voice_quality`."""

LAION_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "impatience_irritability": "impatience_and_irritability",
        "intoxication_altered_states": "intoxication_altered_states_of_consciousness",
        "jealousy_envy": "jealousy_&_envy",
    }
)
"""What VideoAnnotator calls three of the emotions, and what their files are called."""

LAION_BASIC: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "angry": ("anger", "impatience_and_irritability"),
        "disgust": ("disgust",),
        "fear": ("fear",),
        "happy": (
            *("elation", "amusement", "contentment", "pleasure_ecstasy", "triumph", "pride"),
            *("affection", "thankfulness_gratitude", "relief", "hope_enthusiasm_optimism"),
        ),
        "sad": ("sadness", "disappointment", "helplessness", "distress"),
        "surprise": ("astonishment_surprise",),
        "contempt": ("contempt",),
    }
)
"""The core map: which of the 40 stand for a basic emotion. Neutral is what is left."""


NEUTRAL = "neutral"


def file_of(name: str) -> str:
    """The file of a head.

    Example:
        >>> file_of("jealousy_&_envy")
        'model_jealousy_&_envy_best.pth'
    """
    return f"model_{name}_best.pth"


def named(label: str, names: Sequence[str] = LAION_FACE_NAMES) -> str:
    """The name of a head, by its file, an alias or another spelling.

    Args:
        label: Case, spaces, hyphens and what surrounds the name in a file do not matter.
        names: Those known.

    Raises:
        KeyError: No head is called so.

    Example:
        >>> named("Jealousy & Envy"), named("impatience_irritability", LAION_VOICE_NAMES)
        ('jealousy_&_envy', 'Impatience_and_Irritability')
    """
    found = {_plain(name): name for name in names}.get(_plain(label))
    if found is None:
        raise KeyError(f"no head is called {label!r}; known are {', '.join(names)}.")
    return found


def _plain(label: str) -> str:
    stem = re.sub(r"^model_|(_best)?(\.pth)?$", "", label)
    bare = re.sub(r"[\s/-]+", "_", stem.strip().lower())
    return LAION_ALIASES.get(bare, bare)


SPREAD = 1e-9
"""A head whose scores spread less has none."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is usual of each head: of neutral faces or voices, or of a whole corpus.

    Attributes:
        mean: `(heads,)`.
        std: `(heads,)`; `None` where it is not known.
    """

    mean: Array
    std: Array | None = None

    def adjusted(self, scores: Array, *, scaled: bool = False) -> Array:
        """Scores less what is usual.

        Args:
            scores: `(n, heads)`.
            scaled: Whether to divide by the standard deviation as well; a head without any spread
                gives 0.

        Raises:
            ValueError: The deviation is asked for and not known.
        """
        less = scores - self.mean
        if not scaled:
            return less
        if self.std is None:
            raise ValueError("`scaled` needs a standard deviation of each head, but there is none.")
        return np.divide(
            less, self.std, out=np.where(np.isnan(less), less, 0), where=self.std > SPREAD
        )


def statistics(scores: Array) -> Statistics:
    """Mean and standard deviation of each head.

    Of a neutral set, or of a corpus: with `Statistics.adjusted(scores, scaled=True)` that makes
    the z-scores which lift rare emotions over those that all faces show a little.

    Args:
        scores: `(n, heads)`; rows with NaN do not count.

    Raises:
        ValueError: No row is known.
    """
    known = scores[np.isfinite(scores).all(axis=1)]
    if not len(known):
        raise ValueError(
            "statistics need at least one row of scores without NaN, but there is none."
        )
    return Statistics(mean=known.mean(axis=0), std=known.std(axis=0))


def read_statistics(path: Path, names: Sequence[str] = LAION_FACE_NAMES) -> Statistics:
    """Read neutral statistics.

    Args:
        path: JSON: `{label: mean}`, or `{label: {"mean": ..., "std": ...}}`.
        names: Of the heads, in order.

    Raises:
        ValueError: The file is no such thing, or lacks a head.
    """
    try:
        given: Mapping[str, Any] = json.loads(path.read_text())
        known = {_plain(label): _moments(value) for label, value in given.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f'neutral statistics must be {{label: mean}} or {{label: {{"mean", "std"}}}}, but '
            f"{path.name} is not: {error!r} ({str(path)!r})."
        ) from error
    absent = [name for name in names if _plain(name) not in known]
    if absent:
        raise ValueError(
            f"neutral statistics must name all {len(names)} heads, but {path.name} lacks "
            f"{', '.join(absent)} ({str(path)!r})."
        )
    pairs = [known[_plain(name)] for name in names]
    stds = [std for _, std in pairs if std is not None]
    return Statistics(
        mean=np.array([mean for mean, _ in pairs]),
        std=np.array(stds) if len(stds) == len(names) else None,
    )


def _moments(value: Any) -> tuple[float, float | None]:  # noqa: ANN401
    if isinstance(value, Mapping):
        std = value.get("std")
        return float(value["mean"]), None if std is None else float(std)
    return float(value), None


def relative(scores: Array, temperature: float = 1.0) -> Array:
    """The share of each emotion in their sum: softmax of `scores / temperature`.

    Not a probability: the heads were trained one by one, and several can be right. Only of the 40
    emotions, never of attributes.

    Args:
        scores: `(..., 40)`, best adjusted.
        temperature: Larger is flatter.
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be greater than 0, but is {temperature:g}.")
    if scores.shape[-1] != len(LAION_FACE_NAMES):
        raise ValueError(f"`scores` must be of the 40 emotions, but are {scores.shape[-1]}.")
    scaled = scores / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def top_k(
    scores: Sequence[float] | Array, names: Sequence[str] = LAION_FACE_NAMES, k: int = 5
) -> list[tuple[str, float]]:
    """The strongest emotions of one face or voice, best first.

    Args:
        scores: One per name; NaN is left out.
        names: Of the heads.
        k: At most so many.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1, but is {k}.")
    pairs = zip(names, map(float, scores), strict=True)
    return sorted((p for p in pairs if isfinite(p[1])), key=lambda p: -p[1])[:k]


def basic_scores(scores: Array, names: Sequence[str] = LAION_FACE_NAMES) -> Array:
    """Scores of the basic emotions, each the largest of those that stand for it.

    Args:
        scores: `(n, 40)`.
        names: `LAION_FACE_NAMES` or `LAION_VOICE_NAMES`.

    Returns:
        `(n, 7)` in the order of `LAION_BASIC`.
    """
    place = {name.lower(): i for i, name in enumerate(names)}
    columns = [[place[name] for name in group] for group in LAION_BASIC.values()]
    return np.stack([scores[:, some].max(axis=1) for some in columns], axis=1)


def basic(
    scores: Array,
    names: Sequence[str] = LAION_FACE_NAMES,
    *,
    neutral_below: float = 1.0,
    contempt: bool = True,
) -> list[str | None]:
    """The basic emotion of each row: the strongest, or neutral.

    Args:
        scores: `(n, 40)`: raw, adjusted, or z-scores of the corpus.
        names: `LAION_FACE_NAMES` or `LAION_VOICE_NAMES`.
        neutral_below: What the strongest must reach.
        contempt: Whether it is one of them; otherwise the answers are of the canonical seven.

    Returns:
        Labels; `None` where a score is unknown.
    """
    labels = [label for label in LAION_BASIC if contempt or label != "contempt"]
    found = basic_scores(scores, names)[:, : len(labels)]
    return [
        None
        if np.isnan(row).any()
        else labels[row.argmax()]
        if row.max() >= neutral_below
        else NEUTRAL
        for row in found
    ]
