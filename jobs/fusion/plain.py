"""Plain JSON values: rounded, and null where unknown."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS


def number(value: float | None, digits: int = 4) -> float | None:
    """Round a number; `None` for `None`, NaN and infinity.

    Example:
        >>> number(0.123456), number(float("nan"))
        (0.1235, None)
    """
    return None if value is None or not isfinite(value) else round(float(value), digits)


def time(value: float, duration_s: float) -> float:
    """A time to the millisecond, kept inside the video."""
    return min(max(round(float(value), 3), 0.0), duration_s)


def numbers(values: NDArray[Any], digits: int = 4) -> list[float | None]:
    """Round an array; `None` where it is not finite."""
    rounded = np.round(values.astype(np.float64), digits)
    found: list[float | None] = rounded.tolist()
    for i in np.flatnonzero(~np.isfinite(rounded)):
        found[i] = None
    return found


def shares(scores: NDArray[np.float64] | None) -> dict[str, float] | None:
    """Scores by label, summing to 1; `None` where unknown.

    What rounding left over goes to the strongest label.
    """
    if scores is None or not np.isfinite(scores).all():
        return None
    rounded = np.round(scores / scores.sum(), 4)
    rounded[rounded.argmax()] += 1 - rounded.sum()
    return {label: round(float(v), 4) for label, v in zip(LABELS, rounded, strict=True)}


def strongest(scores: Mapping[str, float] | None) -> str | None:
    """Label with the highest score; the first in the order of `LABELS` of several."""
    return None if scores is None else max(LABELS, key=lambda label: scores[label])


def plain(value: Any) -> Any:  # noqa: ANN401
    """Round every number of a small nested record."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return number(float(value))
    return value.item() if isinstance(value, np.generic) else value
