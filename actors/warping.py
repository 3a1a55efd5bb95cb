"""Dynamic time warping: which of a chunk's frames each token was heard in."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.floating]


def onsets(costs: Sequence[Costs]) -> list[NDArray[np.int64]]:
    """The first column of each row on the cheapest monotonic path, for several matrices at once.

    The path is the one of Whisper's `dtw` (`whisper/timing.py`), equal costs included. All cells of
    a diagonal are computed together, and so are all matrices.

    Args:
        costs: `(rows, columns)` each, neither 0.

    Returns:
        `(rows,)` of each.
    """
    if not costs:
        return []
    rows = np.array([len(cost) for cost in costs])
    columns = np.array([cost.shape[1] for cost in costs])
    moves = _moves(costs, int(rows.max()), int(columns.max()))
    each, found = np.arange(len(costs)), np.zeros((len(costs), rows.max()), np.int64)
    i, j = rows.copy(), columns.copy()
    while (on := each[(i > 0) & (j > 0)]).size:
        found[on, i[on] - 1] = j[on] - 1
        move = moves[i[on] + j[on], on, i[on]]
        i[on] -= move != 2
        j[on] -= move != 1
    return [found[k, :n] for k, n in enumerate(rows)]


def _moves(costs: Sequence[Costs], rows: int, columns: int) -> NDArray[np.int8]:
    """How each cell is best reached, `(row + column, matrix, row)`, both counted from 1.

    0: from the row and column before; 1: from the row before; 2: from the column before.
    """
    skewed = np.zeros((rows + columns + 1, len(costs), rows + 1), np.float64)
    for k, cost in enumerate(costs):
        row, column = np.indices(cost.shape) + 1
        skewed[row + column, k, row] = cost
    moves = np.full(skewed.shape, 2, np.int8)
    older = np.full(skewed.shape[1:], np.inf)  # the diagonal before the one before
    older[:, 0] = 0
    old = np.full_like(older, np.inf)
    for d in range(2, rows + columns + 1):
        span = slice(max(1, d - columns), min(rows, d - 1) + 1)
        above = slice(span.start - 1, span.stop - 1)
        both, up, left = older[:, above], old[:, above], old[:, span]
        move = np.where((up < both) & (up < left), 1, 2)
        move[(both < up) & (both < left)] = 0
        moves[d, :, span] = move
        new = np.full_like(older, np.inf)
        new[:, span] = skewed[d, :, span] + np.choose(move, (both, up, left))
        older, old = old, new
    return moves
