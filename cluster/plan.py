"""The packing plan: which actors are resident together, how many workers each pool gets.

Pure arithmetic: no Ray, nothing is read. GB are 10^9 bytes; hours are hours of work for one hour of
media.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .need import Batch, Machine, Measured, Need, Node, needs
from .parts import Parts, Setting
from .refusal import Lack, RefusedError, refuse

__all__ = [
    "Batch",
    "Lack",
    "Machine",
    "Measured",
    "Need",
    "Node",
    "Plan",
    "Pool",
    "RefusedError",
    "Segment",
    "needs",
    "plan",
]

_ALL = 10**6  # workers of a pool, where blocks do not bound them


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Neighbouring actors that share worker processes, and how many of those there are.

    Attributes:
        needs: The actors.
        batch_sizes: Rows per call, of each.
        workers: On each node.
        cpus: Cores of one worker.
        gpus: Devices of one worker, at least its share of a device's memory.
        memory_gb: Of the node, of one worker; holds the device's part where memory is unified.
        gpu_memory_gb: Of the device, of one worker.
        hours: Of all workers together; `None`: not known.
    """

    needs: tuple[Need, ...]
    batch_sizes: tuple[int, ...]
    workers: tuple[int, ...]
    cpus: float
    gpus: float
    memory_gb: float
    gpu_memory_gb: float
    hours: float | None

    @property
    def size(self) -> int:
        """Workers in all."""
        return sum(self.workers)

    @property
    def name(self) -> str:
        """The actors' names."""
        return "+".join(need.name for need in self.needs)

    @property
    def environment(self) -> str | None:
        """Python environment of the workers."""
        return self.needs[0].environment

    @property
    def batch_size(self) -> int:
        """Rows per call of a worker."""
        return max(self.batch_sizes)

    def summary(self) -> dict[str, Any]:
        """The pool as JSON values."""
        sizes = zip(self.needs, self.batch_sizes, strict=True)
        return {
            "actors": [need.name for need in self.needs],
            "workers": self.size,
            "workers_by_node": list(self.workers),
            "batch_sizes": {need.name: size for need, size in sizes},
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory_gb": self.memory_gb,
            "gpu_memory_gb": self.gpu_memory_gb,
            "hours": self.hours,
            "measured": all(need.measured for need in self.needs),
        }

    def __str__(self) -> str:
        """One line for a person."""
        batches = "/".join(map(str, self.batch_sizes))
        return (
            f"{self.name}: {self.size} x ({self.cpus:g} CPU, {self.gpus:g} GPU, "
            f"{self.memory_gb:.3g} GB), batch {batches}{_hours(self.hours)}"
            f"{'' if all(need.measured for need in self.needs) else ', declared'}"
        )


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Pools that are resident together.

    Attributes:
        pools: In the chain's order.
        devices: Of the machine.
    """

    pools: tuple[Pool, ...]
    devices: int

    @property
    def memory_gb(self) -> float:
        """Held on all nodes."""
        return sum(pool.memory_gb * pool.size for pool in self.pools)

    @property
    def bottleneck(self) -> Pool | None:
        """The slowest pool; `None` where not all are known."""
        return None if self.hours is None else max(self.pools, key=lambda p: p.hours or 0.0)

    @property
    def hours(self) -> float | None:
        """Expected, if workers that share a device do not slow each other down."""
        hours = [pool.hours for pool in self.pools if pool.hours is not None]
        return max(hours) if len(hours) == len(self.pools) else None

    @property
    def hours_at_most(self) -> float | None:
        """Expected, if each device does one thing at a time, however many workers share it."""
        if self.hours is None or not self.devices:
            return self.hours
        work = sum((p.hours or 0.0) * p.size * max(1, p.gpus) for p in self.pools if p.gpus)
        return max(self.hours, work / self.devices)

    @property
    def startup_s(self) -> float:
        """Until all workers are set up, one after another."""
        return sum(need.startup_s * pool.size for pool in self.pools for need in pool.needs)

    def summary(self) -> dict[str, Any]:
        """The segment as JSON values."""
        return {
            "pools": [pool.summary() for pool in self.pools],
            "memory_gb": self.memory_gb,
            "startup_s": self.startup_s,
            "hours": self.hours,
            "hours_at_most": self.hours_at_most,
            "bottleneck": self.bottleneck.name if self.bottleneck else None,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a chain is run: one segment after another.

    Attributes:
        segments: In the chain's order; between two of them the rows rest in a table.
        programmes: Integer programmes that it took.
    """

    segments: tuple[Segment, ...]
    programmes: int = 0

    @property
    def hours(self) -> float | None:
        """Expected for an hour of media; `None` where a rate is not known."""
        hours = [s.hours for s in self.segments if s.hours is not None]
        return sum(hours) if len(hours) == len(self.segments) else None

    def summary(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {"segments": [s.summary() for s in self.segments], "hours": self.hours}

    def __str__(self) -> str:
        """A few lines for a person."""
        lines = []
        for i, segment in enumerate(self.segments, start=1):
            slowest = f", held up by {segment.bottleneck.name}" if segment.bottleneck else ""
            head = f"segment {i} of {len(self.segments)}: {segment.memory_gb:.3g} GB"
            lines += [f"{head}{_hours(segment.hours)}{slowest}"]
            lines += [f"  {pool}" for pool in segment.pools]
        return "\n".join(lines)


def plan(chain: Sequence[Need], machine: Machine, *, blocks: int | None = None) -> Plan:
    """Decide how a chain of actors is run.

    Neighbours that hold the same share of a device, or none, and run in the same environment share
    workers, so that nothing is copied between them. The chain is cut into as few segments as fit:
    all pools of a segment are resident at once. Among those cuts, and within a segment, the plan
    with the fewest hours is taken, to a hundredth. Where a rate is not known, all pools count
    alike, and what is left of the machine is given out evenly.

    Args:
        chain: Its actors, in order.
        machine: What is free for them.
        blocks: Into how many blocks the rows are cut: no pool gets more workers; `None`: many.

    Raises:
        RefusedError: An actor does not fit any node; says by how much.
    """
    refuse(chain, machine)
    parts = Parts(chain, machine, blocks or _ALL)
    segments = [
        Segment(
            pools=tuple(
                _pool(chain[slice(*group)], parts.settings(group)[s], workers)
                for group, s, workers in zip(
                    parts.groups(part), packing.settings, packing.workers, strict=True
                )
            ),
            devices=sum(node.gpus for node in machine.nodes),
        )
        for part, packing in parts.best()
    ]
    return Plan(segments=tuple(segments), programmes=parts.programmes)


def _pool(needs: Sequence[Need], setting: Setting, workers: tuple[int, ...]) -> Pool:
    known = [need.hours(batch) for need, batch in zip(needs, setting.batches, strict=True)]
    hours = [h for h in known if h is not None]
    return Pool(
        needs=tuple(needs),
        batch_sizes=tuple(batch.size for batch in setting.batches),
        workers=workers,
        cpus=setting.cpus,
        gpus=setting.gpus,
        memory_gb=setting.memory_gb,
        gpu_memory_gb=setting.gpu_memory_gb,
        hours=sum(hours) / sum(workers) if len(hours) == len(known) else None,
    )


def _hours(hours: float | None) -> str:
    return "" if hours is None else f", {hours:.3g} h"
