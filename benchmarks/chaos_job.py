"""A run that `chaos.py` disturbs: one phase of an actor that obeys what its rows order.

usage: chaos_job.py RUN [--rows 120] [--order KIND --at ROW] [--slow-s S] [--leak ROWS]
                    [--row-mb MB] [--nodes N]

The same command again takes up the rest, as `mien analyze` does. It prints how many rows are done.
"""

import argparse
import importlib.util
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType

import cloudpickle
import pyarrow as pa

from common import ROOT
from mien.cluster import execution
from mien.cluster.deadline import Deadline
from mien.cluster.execution import Terms
from mien.cluster.host import Stage
from mien.cluster.phase import Phase
from mien.cluster.report import Report
from mien.cluster.session import Cluster, session

ALLOWED_S = 4.0
"""For a batch; far more than its work, also on a busy machine."""


def doubles() -> ModuleType:
    """The tests' actor that misbehaves on demand; it travels to the workers by value."""
    path = ROOT / "tests" / "cluster" / "doubles.py"
    spec = importlib.util.spec_from_file_location("doubles", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["doubles"] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--order")
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--slow-s", type=float, default=0.05)
    parser.add_argument("--leak", type=int, default=10**9)
    parser.add_argument("--row-mb", type=float, default=0.0)
    parser.add_argument("--nodes", type=int, default=1)
    return parser.parse_args()


def phase(actor: ModuleType, slow_s: float, leak_rows: int) -> Phase:
    """The phase; its table keeps a payload beside the answer."""
    stage = Stage(
        role="double", actor=actor.Double(batch_size=4, slow_s=slow_s, leak_rows=leak_rows)
    )
    return Phase(name="toy", stages=(stage,), keeps=pa.schema([("payload", pa.binary())]))


def manifest(actor: ModuleType, asked: argparse.Namespace) -> pa.Table:
    """Rows of which one may carry an order."""
    orders = [asked.order if i == asked.at else None for i in range(asked.rows)]
    payload = bytes(int(asked.row_mb * 1e6))
    return actor.manifest(orders).append_column("payload", pa.array([payload] * asked.rows))


def ray_here(stack: ExitStack, nodes: int) -> None:
    """Start Ray: as a command does, or as several nodes on this machine."""
    if nodes == 1:
        stack.enter_context(session(Cluster(cores=2, object_store_gb=0.1)))
        return
    from ray.cluster_utils import Cluster as Nodes

    small = {"object_store_memory": 100_000_000, "include_dashboard": False}
    head = Nodes(initialize_head=True, head_node_args={"num_cpus": 4, **small})
    stack.callback(head.shutdown)
    for _ in range(nodes - 1):
        head.add_node(num_cpus=2, object_store_memory=100_000_000)
    stack.enter_context(session(Cluster(address=head.address, nodes=nodes, ship=False)))


def main() -> int:
    """Run what is outstanding."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    asked, actor = arguments(), doubles()
    execution.Sink = partial(execution.Sink, every_s=0.5)  # ty: ignore; files in a short run too

    def progress(report: Report) -> None:
        print(f"done {report.ok + report.failed}", flush=True)

    with ExitStack() as stack:
        try:
            execution.run(
                phase(actor, asked.slow_s, asked.leak),
                manifest(actor, asked),
                asked.run,
                terms=Terms(deadline=Deadline(base_s=ALLOWED_S, factor=0)),
                ready=partial(ray_here, stack, asked.nodes),
                progress=progress,
            )
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
