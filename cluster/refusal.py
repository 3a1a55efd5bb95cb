"""Refusing what does not fit, with the smallest change that does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .need import Batch, Machine, Need, Node
from .space import EPSILON, counted


@dataclass(frozen=True, kw_only=True)
class Lack:
    """What a worker needs more of than there is.

    Attributes:
        what: `cpus`, `gpus`, `memory_gb`, or `gpu_memory_gb` (of one device).
        needed: By one worker.
        free: For workers, on the node or the device.
        of_gb: Memory that each device must have; 0: any.
    """

    what: str
    needed: float
    free: float
    of_gb: float = 0.0

    @property
    def unit(self) -> str:
        """For a person."""
        units = {"cpus": "CPU", "gpus": "GPU", "memory_gb": "GB", "gpu_memory_gb": "GB of a device"}
        return units[self.what]

    @property
    def cure(self) -> str:
        """The smallest change of the actor, for a person."""
        if self.what in ("cpus", "gpus"):
            return f"lower its `{self.what}` to {_text(self.free)}"
        return (
            f"make it {_text(self.needed - self.free, up=True)} GB smaller (a smaller model, cache "
            "or batch; `memory_gb`, where that is declared too high)"
        )

    @property
    def machine(self) -> str:
        """What a machine must have, for a person."""
        if self.what == "gpus":
            of = f" (of {_text(self.of_gb, up=True)} GB)" if self.of_gb else ""
            return f"{math.ceil(self.needed)} GPU{of}"
        return f"{_text(self.needed, up=True)} {self.unit}"


class RefusedError(RuntimeError):
    """An actor does not fit any node: Ray would wait for ever.

    Attributes:
        name: Of the actor.
        lacks: On the node that lacks least. With each of these lowered to what is free, or with a
            node that has what is needed, the actor fits.
        node: Which node that is.
        batch_size: At which it lacks least.
    """

    def __init__(self, name: str, lacks: Sequence[Lack], node: int, batch_size: int) -> None:
        """Say what is lacking.

        Args:
            name: Of the actor.
            lacks: What it lacks.
            node: Where.
            batch_size: With how many rows.
        """
        self.name, self.lacks, self.node, self.batch_size = name, tuple(lacks), node, batch_size
        needed = " and ".join(f"{_text(x.needed, up=True)} {x.unit}" for x in lacks)
        free = " and ".join(f"{_text(x.free)} {x.unit}" for x in lacks)
        super().__init__(
            f"a worker of '{name}' needs {needed}, but there is {free} for it: "
            f"{'; '.join(lack.cure for lack in lacks)}; or use a machine with "
            f"{' and '.join(lack.machine for lack in lacks)} for workers (`cluster=`)."
        )


def refuse(chain: Sequence[Need], machine: Machine) -> None:
    """Refuse a chain of which an actor fits no node even alone.

    Raises:
        RefusedError: Names the first such actor, what it needs, what there is, what to change.
    """
    for need in chain:
        ways = [
            (_lacks(need, batch, node, machine), v, batch.size)
            for v, node in enumerate(machine.nodes)
            for batch in need.batches
        ]
        lacks, *where = min(ways, key=lambda way: (len(way[0]), sum(map(_part, way[0]))))
        if lacks:
            raise RefusedError(need.name, lacks, *where)


def share(gpus: float, memory_gb: float, device_gb: float) -> float:
    """Devices that a worker is to hold: what is declared, and no less than its share of the memory.

    So Ray, which counts shares alone, keeps to each device's memory too.

    Args:
        gpus: As declared.
        memory_gb: Of the devices, of one worker.
        device_gb: Memory of one device; may be infinite.

    Returns:
        Infinite where the memory does not fit.
    """
    gpus, part = counted(gpus), memory_gb / device_gb
    if gpus == 0 or part <= gpus:
        return gpus
    if part > max(1.0, gpus) + EPSILON:
        return math.inf
    return max(gpus, min(1.0, math.ceil(part * 1e4) / 1e4))


def _lacks(need: Need, batch: Batch, node: Node, machine: Machine) -> list[Lack]:
    """What a worker lacks on a node, alone."""
    host_gb = batch.memory_gb + (batch.gpu_memory_gb if machine.unified else 0.0)
    device_gb = batch.gpu_memory_gb / max(1.0, need.gpus) if need.gpus else 0.0
    lacks = [
        Lack(what="cpus", needed=counted(need.cpus), free=node.cpus),
        Lack(
            what="gpus",
            needed=counted(need.gpus),
            free=node.gpus,
            of_gb=0.0 if machine.unified else device_gb,
        ),
        Lack(
            what="memory_gb",
            needed=host_gb,
            free=math.inf if node.memory_gb is None else node.memory_gb,
        ),
        Lack(
            what="gpu_memory_gb",
            needed=device_gb if node.gpus else 0.0,
            free=machine.device_gb,
        ),
    ]
    return [lack for lack in lacks if lack.needed > lack.free + EPSILON]


def _part(lack: Lack) -> float:
    return (lack.needed - lack.free) / lack.needed


def _text(amount: float, *, up: bool = False) -> str:
    """An amount in hundredths, rounded to the safe side."""
    exact = round(amount * 100, 4)
    return f"{(math.ceil(exact) if up else math.floor(exact)) / 100:g}"
