"""The apex of a clip: where an expression is strongest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .flow import Flow, magnitude, strain

Grey = NDArray[np.uint8]
RULES = ("given", "middle", "flow", "strain")


def middle(onset: int, offset: int) -> int:
    """Halfway from the onset to the offset, as SMIC is used (MEB, arXiv 2211.11425).

    Example:
        >>> middle(0, 9)
        4
    """
    return onset + int((offset - onset) / 2)


def energies(flow: Flow, frames: Sequence[Grey], rule: str) -> NDArray[np.float64]:
    """How much each frame differs from the first.

    Args:
        flow: Set up.
        frames: Grey, `(height, width)`; the first is the onset.
        rule: `flow`: mean length of the flow less its median vector, so that a shift of the head
            does not count, px; `strain`: mean strain.

    Returns:
        `(frame,)`; the first is 0.
    """
    out = np.zeros(len(frames))
    for i, frame in enumerate(frames[1:], 1):
        found = flow.between(frames[0], frame)
        if rule == "strain":
            out[i] = strain(found).mean()
        else:
            out[i] = magnitude(found - np.median(found, axis=(0, 1))).mean()
    return out


def strongest(values: NDArray[np.float64], smooth: int = 3) -> int:
    """Where smoothed values are greatest, the first of several; never the first or the last one.

    Args:
        values: `(frame,)`.
        smooth: Frames that a moving mean takes; 1: none.
    """
    if len(values) < 3:
        return len(values) - 1
    width = min(smooth, len(values))
    padded = np.pad(values, (width // 2, (width - 1) // 2), mode="edge")
    means = np.convolve(padded, np.full(width, 1 / width), mode="valid")
    return int(np.argmax(means[1:-1])) + 1
