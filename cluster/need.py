"""What actors need, as measured or declared, and what a machine has for them.

Nothing is read here. GB are 10^9 bytes; hours are hours of work for one hour of media.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .host import Stage
from .space import Space

HOST_GB = 2.0
"""What a worker that holds a device also takes of the host, where only one number is declared."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What `mien profile` found of one actor, by batch size.

    Attributes:
        startup_s: From the start of the process until the actor is set up.
        memory_gb: Peak of the host's memory of one worker.
        gpu_memory_gb: Peak of a device's memory of one worker; empty where it holds none. Where
            memory is unified the plan adds the two.
        rates: Rows per second of one worker.
    """

    startup_s: float
    memory_gb: Mapping[int, float]
    gpu_memory_gb: Mapping[int, float] = field(default_factory=dict)
    rates: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one worker of an actor needs at a batch size.

    Attributes:
        size: Rows per call.
        memory_gb: Of the host.
        gpu_memory_gb: Of its device; unified memory is the host's.
        rate: Rows per second; `None`: not known.
    """

    size: int
    memory_gb: float
    gpu_memory_gb: float = 0.0
    rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Need:
    """What an actor needs.

    Attributes:
        name: Its role.
        batches: The batch sizes to choose from.
        cpus: Cores of one worker.
        gpus: Devices of one worker: a fraction, or whole ones.
        environment: Python environment that it runs in.
        rows_per_hour: Rows for an hour of media; `None`: not known.
        startup_s: Until one worker is set up.
        measured: Whether the numbers are measured here, not declared.
    """

    name: str
    batches: tuple[Batch, ...]
    cpus: float = 1.0
    gpus: float = 0.0
    environment: str | None = None
    rows_per_hour: float | None = None
    startup_s: float = 0.0
    measured: bool = False

    def __post_init__(self) -> None:
        if self.gpus > 1 and not float(self.gpus).is_integer():
            raise ValueError(
                f"`gpus` must be a fraction of one device or whole devices, but is {self.gpus:g} "
                f"(actor '{self.name}')."
            )
        if not self.batches:
            raise ValueError(f"`batches` must not be empty (actor '{self.name}').")

    def hours(self, batch: Batch) -> float | None:
        """Work of one worker for an hour of media."""
        if batch.rate is None or self.rows_per_hour is None:
            return None
        return self.rows_per_hour / batch.rate / 3600


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one machine has for workers, after all that others need.

    Attributes:
        cpus: Cores.
        memory_gb: Memory; `None`: not known, and not a limit.
        gpus: Devices.
        gpu_memory_gb: Memory of one device; `None`: not known, or the host's.
        unified: Whether devices use the host's memory.
        name: Ray's, of a node of a cluster; empty for this machine.
    """

    cpus: float
    memory_gb: float | None = None
    gpus: int = 0
    gpu_memory_gb: float | None = None
    unified: bool = False
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The nodes that a run may use."""

    nodes: tuple[Node, ...]

    @property
    def unified(self) -> bool:
        """Whether a device's memory counts as the host's; on mixed nodes it counts as both."""
        return any(node.unified for node in self.nodes)

    @property
    def device_gb(self) -> float:
        """Memory of the smallest device: nobody knows which one Ray gives to a worker."""
        sizes = [n.gpu_memory_gb for n in self.nodes if n.gpus and not n.unified]
        return min((size for size in sizes if size is not None), default=math.inf)

    def spaces(self) -> list[Space]:
        """The nodes, as they are packed."""
        return [
            Space(
                cpus=n.cpus,
                gpus=n.gpus,
                memory_gb=math.inf if n.memory_gb is None else n.memory_gb,
            )
            for n in self.nodes
        ]


def needs(
    stages: Sequence[Stage],
    machine: Machine,
    *,
    rows_per_hour: float | None = None,
    measured: Mapping[str, Measured] | None = None,
    headroom: float = 0.1,
) -> tuple[Need, ...]:
    """What the actors of a chain need: as measured, else as declared.

    Args:
        stages: The chain.
        machine: Where it is to run: a declared need is one number, and counts on the device where
            that has memory of its own.
        rows_per_hour: Rows of the chain for an hour of media.
        measured: By role.
        headroom: Part of the measured memory to add to it.
    """
    found = []
    for stage in stages:
        actor, known = stage.actor, (measured or {}).get(stage.role)
        batches = _measured(known, actor.gpus, headroom) if known else ()
        if not batches:
            known = None
            device = actor.memory_gb if actor.gpus else 0.0
            host = actor.memory_gb - device if not actor.gpus or machine.unified else HOST_GB
            batches = (Batch(size=actor.batch_size, memory_gb=host, gpu_memory_gb=device),)
        found.append(
            Need(
                name=stage.role,
                batches=batches,
                cpus=actor.cpus,
                gpus=actor.gpus,
                environment=actor.environment,
                rows_per_hour=rows_per_hour,
                startup_s=known.startup_s if known else 0.0,
                measured=known is not None,
            )
        )
    return tuple(found)


def _measured(known: Measured, gpus: float, headroom: float) -> tuple[Batch, ...]:
    """The batch sizes of which all that counts could be read."""
    return tuple(
        Batch(
            size=size,
            memory_gb=known.memory_gb[size] * (1 + headroom),
            gpu_memory_gb=known.gpu_memory_gb.get(size, 0.0) * (1 + headroom),
            rate=known.rates.get(size),
        )
        for size in sorted(known.memory_gb)
        if not gpus or size in known.gpu_memory_gb
    )
