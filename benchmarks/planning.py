"""How long it takes to plan a chain of forty pools, on machines of all kinds.

    python benchmarks/planning.py --json FILE

The pools alternate between none and four shares of a device, so that no neighbours share workers,
and have four batch sizes each. Of several plans the fastest and the slowest are shown.
"""

import time
from importlib import import_module

import common
from mien.cluster.plan import Batch, Machine, Need, Node, Plan, plan

ROUNDS = 5
_SPARK = Node(cpus=20, memory_gb=100, gpus=1, unified=True)
_DGX = Node(cpus=200, memory_gb=1900, gpus=8, gpu_memory_gb=80)
MACHINES = {
    "small": Machine(nodes=(Node(cpus=4, memory_gb=30, gpus=1, gpu_memory_gb=16),)),
    "spark": Machine(nodes=(_SPARK,)),
    "two sparks": Machine(nodes=(_SPARK, _SPARK)),
    "h200": Machine(nodes=(Node(cpus=16, memory_gb=110, gpus=1, gpu_memory_gb=141),)),
    "8 devices": Machine(nodes=(_DGX,)),
    "mixed": Machine(
        nodes=(
            Node(cpus=20, memory_gb=100, gpus=2, gpu_memory_gb=48),
            Node(cpus=64, memory_gb=200),
        )
    ),
}


def forty(*, known: bool) -> list[Need]:
    """A chain of forty pools, with their rates or without."""
    chain = []
    for i in range(40):
        gpus = [0.0, 0.1, 0.0, 0.25, 0.0, 0.5, 0.0, 0.2][i % 8]
        batches = tuple(
            Batch(
                size=2**k,
                memory_gb=1 + i % 5 + k / 5,
                gpu_memory_gb=(1 + i % 7) * (1 + 0.3 * k) if gpus else 0.0,
                rate=(1 + i % 11) * (1 + 0.6 * k) if known else None,
            )
            for k in range(4)
        )
        need = Need(
            name=f"a{i}",
            batches=batches,
            cpus=1.0 + i % 2 / 2,
            gpus=gpus,
            rows_per_hour=50.0 + 7 * i,
        )
        chain.append(need)
    return chain


def _timed(chain: list[Need], machine: Machine) -> tuple[Plan, float]:
    began = time.perf_counter()
    return plan(chain, machine, blocks=400), time.perf_counter() - began


def main() -> None:
    """Print the table."""
    options = common.arguments(__doc__)
    import_module("scipy.optimize")  # as it would be by the second plan
    rows = []
    for name, machine in MACHINES.items():
        for known in (True, False):
            runs = [_timed(forty(known=known), machine) for _ in range(ROUNDS)]
            found, times = runs[0][0], [seconds for _, seconds in runs]
            rows.append(
                {
                    "machine": name,
                    "rates": "known" if known else "unknown",
                    "segments": len(found.segments),
                    "integer programmes": found.programmes,
                    "least (s)": min(times),
                    "most (s)": max(times),
                }
            )
    common.show("Planning forty pools", rows, options.json)


if __name__ == "__main__":
    main()
