"""What the nodes of a Ray cluster have for workers."""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .memory import Reading, budget_gb, read
from .need import Node

READING_S = 60.0
"""So long a node may take to say what memory it has; it starts a process for it."""
_GB = 10**9


class Nodes:
    """The nodes of the cluster that this process is connected to.

    Each is asked once: it keeps its devices.
    """

    def __init__(self, spare_gb: Callable[[Reading], float] = lambda reading: 0.0) -> None:
        """Begin.

        Args:
            spare_gb: What must stay free on a node, beside Ray's shared memory: Ray's own count of
                memory knows neither that nor every limit of a container.
        """
        self._seen: dict[str, Reading] = {}
        self._spare_gb = spare_gb

    def living(self) -> list[Node]:
        """The nodes that live, the command's own first; not those that die or are silent."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        found = sorted(joined(), key=lambda node: (node["NodeID"] != here, node["NodeID"]))
        known = self.readings([node["NodeID"] for node in found])
        return [
            self._described(node, known[node["NodeID"]])
            for node in found
            if node["NodeID"] in known
        ]

    def _described(self, node: dict[str, Any], reading: Reading) -> Node:
        has = node["Resources"]
        shared_gb = has.get("object_store_memory", 0.0) / _GB
        spare_gb = self._spare_gb(reading)
        most_gb = budget_gb(reading, reserve_gb=spare_gb, object_store_gb=shared_gb)
        one = described(reading, has)
        known = [size for size in (one.memory_gb, most_gb) if size is not None]
        return replace(one, name=node["NodeID"], memory_gb=min(known, default=None))

    def readings(self, names: Collection[str]) -> dict[str, Reading]:
        """What nodes say of their memory, by their names; not those that do not say."""
        import ray
        from ray.exceptions import RayError

        asked = {_reading(name): name for name in names if name not in self._seen}
        if asked:
            answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=READING_S)
            for ref in answered:
                with suppress(RayError):  # it died on the way
                    self._seen[asked[ref]] = ray.get(ref)
        return {name: self._seen[name] for name in names if name in self._seen}


def joined() -> list[dict[str, Any]]:
    """The nodes that live, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def described(reading: Reading, resources: dict[str, float]) -> Node:
    """A machine for the plan: Ray's count of what there is, and what memory is like there."""
    sizes = [device.total_gb for device in reading.devices if device.total_gb is not None]
    unified = reading.kind == "unified"
    memory = resources.get("memory")
    return Node(
        cpus=resources.get("CPU", 0.0),
        memory_gb=None if memory is None else memory / _GB,
        gpus=int(resources.get("GPU", 0)),
        gpu_memory_gb=min(sizes) if sizes and not unified else None,
        unified=unified,
    )


def spared(nodes: Sequence[Node], spare_cpus: float) -> tuple[Node, ...]:
    """Nodes less the CPUs that stay free, which are those of the first, then of the next."""
    left = []
    for node in nodes:
        taken = min(node.cpus, spare_cpus)
        spare_cpus -= taken
        if node.cpus > taken:
            left.append(replace(node, cpus=node.cpus - taken))
    return tuple(left)


def capped(nodes: Sequence[Node], cores: int | None, memory_gb: float | None) -> tuple[Node, ...]:
    """Nodes with at most so many cores together, the largest cut first, and memory each."""
    left = math.inf if cores is None else cores
    capped = []
    for at, node in enumerate(sorted(nodes, key=lambda node: node.cpus)):
        cpus = min(node.cpus, left // (len(nodes) - at))
        left -= cpus
        known = [size for size in (node.memory_gb, memory_gb) if size is not None]
        if cpus:
            capped.append(replace(node, cpus=cpus, memory_gb=min(known, default=None)))
    return tuple(capped)


def _reading(node_id: str) -> Any:  # noqa: ANN401
    """What a node says of its memory."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    look: Any = ray.remote(num_cpus=0)(read).options(scheduling_strategy=there)
    return look.remote(environ={})  # without the devices that Ray hides from this task
