"""Pools of workers: fixed sizes that can be scheduled, or a refusal. Pure arithmetic, no Ray."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from .host import Stage

_GIB = 2**30
_EPSILON = 1e-6


class UnschedulableError(RuntimeError):
    """The pools of a phase do not fit the machine; Ray would wait for ever."""


@dataclass(frozen=True)
class Pool:
    """Neighbouring stages that share worker processes, and how many of those there are."""

    stages: tuple[Stage, ...]
    size: int

    @property
    def cpus(self) -> float:
        """Cores of one worker."""
        return _counted(max(s.actor.cpus for s in self.stages))

    @property
    def gpus(self) -> float:
        """Devices of one worker."""
        return _counted(max(s.actor.gpus for s in self.stages))

    @property
    def memory_gb(self) -> float:
        """Memory of one worker."""
        return sum(s.actor.memory_gb for s in self.stages)

    @property
    def environment(self) -> str | None:
        """Python environment of the workers."""
        return self.stages[0].actor.environment

    @property
    def batch_size(self) -> int:
        """Rows per call of a worker."""
        return max(s.actor.batch_size for s in self.stages)

    def __str__(self) -> str:
        """What one worker holds, for an error."""
        return (
            f"{'+'.join(s.role for s in self.stages)}: {self.cpus:g} CPU, {self.gpus:g} GPU, "
            f"{self.memory_gb:g} GB"
        )


def pools(
    stages: Sequence[Stage], blocks: int, resources: Mapping[str, float], spare: int
) -> list[Pool]:
    """Choose fixed pool sizes that can be scheduled.

    Neighbours that hold the same share of a device, or none, and run in the same environment share
    workers, so that nothing is copied between them. Each pool gets what fills the machine, but
    never more workers than blocks.

    Args:
        stages: The chain.
        blocks: Into how many blocks the rows are cut.
        resources: What Ray has, as `ray.cluster_resources()`.
        spare: CPUs to leave free.

    Raises:
        UnschedulableError: Not even one worker for each pool fits.
    """
    chain = [
        tuple(group)
        for _, group in groupby(stages, key=lambda s: (s.actor.gpus, s.actor.environment))
    ]
    ones = [Pool(group, 1) for group in chain]
    have = {
        "CPU": resources.get("CPU", 0.0) - spare,
        "GPU": resources.get("GPU", 0.0),
        "memory (GB)": resources.get("memory", math.inf) / _GIB,
    }
    _refuse(ones, have)
    sizes = [1] * len(ones)
    while True:
        grown = False
        for i in range(len(ones)):
            more = [n + (i == j) for j, n in enumerate(sizes)]
            if sizes[i] < blocks and not _lacking(ones, more, have):
                sizes, grown = more, True
        if not grown:
            return [Pool(p.stages, n) for p, n in zip(ones, sizes, strict=True)]


def _refuse(ones: Sequence[Pool], have: Mapping[str, float]) -> None:
    """Refuse what Ray would wait for without end.

    Raises:
        UnschedulableError: Says what is needed, what there is, and which pool holds what.
    """
    held = f"({'; '.join(map(str, ones))}). Lower what the actors hold, or use a larger machine"
    for pool in ones:
        if pool.gpus > 1 and not pool.gpus.is_integer():
            raise UnschedulableError(
                f"a worker must hold a fraction of one GPU or whole ones, but one holds "
                f"{pool.gpus:g} ({pool}): set `gpus` of its actors."
            )
    for name, amount in _need(ones, [1] * len(ones)).items():
        if amount > have[name] + _EPSILON:
            raise UnschedulableError(
                f"one worker for each pool needs {amount:g} {name}, but the cluster has "
                f"{have[name]:g} for them {held} (`cluster=`)."
            )
    if _lacking(ones, [1] * len(ones), have):
        raise UnschedulableError(
            f"one worker for each pool needs {sum(p.gpus for p in ones):g} GPU, which cannot be "
            f"shared out over {have['GPU']:g} so that each worker's share lies on one {held}."
        )


def _need(ones: Sequence[Pool], sizes: Sequence[int]) -> dict[str, float]:
    return {
        "CPU": sum(p.cpus * n for p, n in zip(ones, sizes, strict=True)),
        "GPU": sum(p.gpus * n for p, n in zip(ones, sizes, strict=True)),
        "memory (GB)": sum(p.memory_gb * n for p, n in zip(ones, sizes, strict=True)),
    }


def _lacking(ones: Sequence[Pool], sizes: Sequence[int], have: Mapping[str, float]) -> bool:
    """Whether so many workers do not fit: in sum, or each worker's share on one device."""
    if any(amount > have[name] + _EPSILON for name, amount in _need(ones, sizes).items()):
        return True
    shares = [p.gpus for p, n in zip(ones, sizes, strict=True) for _ in range(n)]
    return not _placed(shares, int(have["GPU"]))


def _placed(shares: Sequence[float], devices: int) -> bool:
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
            fitting = [i for i, rest in enumerate(free) if rest + _EPSILON >= share]
            if not fitting:
                return False
            free[min(fitting, key=lambda i: free[i])] -= share
    return True


def _counted(amount: float) -> float:
    """An amount as Ray counts it, in ten-thousandths, rounded down: six sixths are one."""
    return math.floor(amount * 1e4 + _EPSILON) / 1e4
