"""Polarity of each channel, and whether the channels contradict each other.

The rule and its dead zone reproduce the three example rows of the method's description: a happy
face over a voice of -0.312 and an angry text is a conflict; an angry face and text over a voice
of +0.234 is none.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS

DEAD_ZONE = 0.25
"""A signed value this close to zero takes no side; anything in (0.234, 0.312] fits the rows."""
SIDE: Mapping[str, int] = {
    "angry": -1,
    "disgust": -1,
    "fear": -1,
    "happy": 1,
    "sad": -1,
    "surprise": 0,
    "neutral": 0,
}
"""The side that each label takes."""
PLACE: Mapping[str, tuple[float, float]] = {
    "angry": (-0.6, 0.7),
    "disgust": (-0.7, 0.3),
    "fear": (-0.7, 0.7),
    "happy": (0.8, 0.5),
    "sad": (-0.7, -0.4),
    "surprise": (0.2, 0.8),
    "neutral": (0.0, 0.0),
}
"""Valence and arousal of each label on the circumplex, both -1 to 1."""
VALENCE = np.array([PLACE[label][0] for label in LABELS])


def of_label(label: str | None) -> int | None:
    """Side of a label: -1, 0 or 1; `None` for no label."""
    return None if label is None else SIDE[label]


def of_value(value: float | None, dead_zone: float = DEAD_ZONE) -> int | None:
    """Side of a value between -1 and 1; `None` and NaN have none.

    Example:
        >>> of_value(0.234), of_value(-0.312), of_value(None)
        (0, -1, None)
    """
    if value is None or not np.isfinite(value):
        return None
    return 0 if abs(value) < dead_zone else int(np.sign(value))


def signed(unit: float | None) -> float | None:
    """Move a value of 0 to 1, as the voice models give it, to -1 to 1."""
    return None if unit is None or not np.isfinite(unit) else 2 * unit - 1


def conflict(sides: Sequence[int | None]) -> bool | None:
    """Tell whether the channels contradict each other.

    Two channels contradict each other when one is positive and the other negative; the segment
    is in conflict when at least two thirds of the pairs of known channels do (two of three
    pairs, or the only one).

    Args:
        sides: -1, 0 or 1 for each channel; `None` where it is unknown.

    Returns:
        `None` where fewer than two channels are known.

    Example:
        >>> conflict([1, -1, -1]), conflict([-1, 0, -1]), conflict([1, None, None])
        (True, False, None)
    """
    pairs = list(combinations([side for side in sides if side is not None], 2))
    if not pairs:
        return None
    return Fraction(sum(a * b < 0 for a, b in pairs), len(pairs)) >= Fraction(2, 3)


def from_affect(valence: float | None, arousal: float | None) -> NDArray[np.float64] | None:
    """Spread a point of the circumplex over the seven labels.

    A soft projection (a Gaussian of width 0.5 around each label's place), for voice models that
    know no classes. Anger and fear lie side by side there, so it never tells one from the other
    with conviction.

    Args:
        valence: -1 to 1.
        arousal: -1 to 1.

    Returns:
        Shares that sum to 1, in the order of `LABELS`; `None` unless both values are known.
    """
    if valence is None or arousal is None:
        return None
    places = np.array([PLACE[label] for label in LABELS])
    distance = np.square(places - [valence, arousal]).sum(axis=1)
    share = np.exp(-distance / (2 * 0.5**2))
    return share / share.sum()
