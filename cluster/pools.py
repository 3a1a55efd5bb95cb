"""Pools of workers: fixed sizes that can be scheduled, or a refusal. Pure arithmetic, no Ray."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from .host import Stage

_GIB = 2**30


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
        return max(s.actor.cpus for s in self.stages)

    @property
    def gpus(self) -> float:
        """Devices of one worker."""
        return max(s.actor.gpus for s in self.stages)

    @property
    def memory_gb(self) -> float:
        """Memory of one worker."""
        return sum(s.actor.memory_gb for s in self.stages)


def pools(
    stages: Sequence[Stage], blocks: int, resources: Mapping[str, float], spare: int
) -> list[Pool]:
    """Choose fixed pool sizes that can be scheduled.

    Neighbours that need no device share workers, so that nothing is copied between them. Each
    pool gets what fills the machine, but never more workers than blocks.

    Args:
        stages: The chain.
        blocks: Into how many blocks the rows are cut.
        resources: What Ray has, as `ray.cluster_resources()`.
        spare: CPUs to leave free.

    Raises:
        UnschedulableError: Not even one worker for each pool fits.
    """
    chain = [tuple(group) for _, group in groupby(stages, key=lambda s: s.actor.gpus)]
    ones = [Pool(group, 1) for group in chain]
    have = {
        "CPU": resources.get("CPU", 0.0) - spare,
        "GPU": resources.get("GPU", 0.0),
        "memory (GB)": resources.get("memory", math.inf) / _GIB,
    }
    need = {
        "CPU": sum(p.cpus for p in ones),
        "GPU": sum(p.gpus for p in ones),
        "memory (GB)": sum(p.memory_gb for p in ones),
    }
    for name, amount in need.items():
        if amount > have[name]:
            table = "; ".join(
                f"{'+'.join(s.role for s in p.stages)}: {p.cpus:g} CPU, {p.gpus:g} GPU, "
                f"{p.memory_gb:g} GB"
                for p in ones
            )
            raise UnschedulableError(
                f"one worker for each pool needs {amount:g} {name}, but the cluster has "
                f"{have[name]:g} for them ({table}). Lower what the actors hold, or use a larger "
                "machine (`cluster=`)."
            )
    sizes = [1] * len(ones)
    while True:
        grown = False
        for i, pool in enumerate(ones):
            fits = (
                sizes[i] < blocks
                and sum(p.cpus * n for p, n in zip(ones, sizes, strict=True)) + pool.cpus
                <= have["CPU"]
                and sum(p.gpus * n for p, n in zip(ones, sizes, strict=True)) + pool.gpus
                <= have["GPU"]
                and sum(p.memory_gb * n for p, n in zip(ones, sizes, strict=True)) + pool.memory_gb
                <= have["memory (GB)"]
            )
            if fits:
                sizes[i] += 1
                grown = True
        if not grown:
            return [Pool(p.stages, n) for p, n in zip(ones, sizes, strict=True)]
