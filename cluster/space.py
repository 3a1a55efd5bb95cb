"""What workers hold, what nodes have, and whether the one fits into the other, as Ray counts it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

EPSILON = 1e-6
"""Amounts that differ by less are the same."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What one worker takes of its node, and how long it works.

    Attributes:
        cpus: Cores.
        gpus: Devices: a share of one, or whole ones.
        memory_gb: Memory of the node.
        hours: Work of one worker for an hour of media.
    """

    cpus: float
    gpus: float
    memory_gb: float
    hours: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a node has for workers; memory may be infinite."""

    cpus: float
    gpus: int
    memory_gb: float


def counted(amount: float) -> float:
    """An amount as Ray counts it, in ten-thousandths, rounded down: six sixths are one."""
    return math.floor(amount * 1e4 + EPSILON) / 1e4


def fits(holds: Sequence[Hold], counts: Sequence[int], node: Space) -> bool:
    """Whether so many workers of each kind fit into a node, as Ray counts and places them."""
    taken = list(zip(holds, counts, strict=True))
    return (
        sum(hold.cpus * n for hold, n in taken) <= node.cpus + EPSILON
        and sum(hold.memory_gb * n for hold, n in taken) <= node.memory_gb + EPSILON
        and shared([hold.gpus for hold in holds], counts, node.gpus)
    )


def shared(gpus: Sequence[float], counts: Sequence[int], devices: int) -> bool:
    """Whether a node's devices can be shared out to so many workers of each kind."""
    taken = list(zip(gpus, counts, strict=True))
    if devices > 1:
        return placed([share for share, n in taken for _ in range(n)], devices)
    return sum(share * n for share, n in taken) <= devices + EPSILON


def placed(shares: Sequence[float], devices: int) -> bool:
    """Whether shares of devices can be given out in this order, as Ray does: the fullest first."""
    free = [1.0] * devices
    for share in shares:
        if share >= 1:
            whole = [i for i, rest in enumerate(free) if rest == 1]
            if len(whole) < share:
                return False
            for i in whole[: int(share)]:
                free[i] = 0.0
        elif share > 0:
            fitting = [i for i, rest in enumerate(free) if rest + EPSILON >= share]
            if not fitting:
                return False
            free[min(fitting, key=lambda i: free[i])] -= share
    return True
