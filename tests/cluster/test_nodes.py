"""Phases on several nodes: real raylets on this machine, each with its own workers and objects."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster as Raylets

from mien.actors.actor import Actor, answer
from mien.cluster.deadline import Deadline
from mien.cluster.execution import Terms, run
from mien.cluster.host import Stage
from mien.cluster.nodes import Nodes, joined
from mien.cluster.phase import Phase
from mien.cluster.report import Report
from mien.cluster.session import Cluster, session
from mien.cluster.stall import StalledError

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(kw_only=True)
class Place(Actor):
    """Doubles `x`, slowly, and says on which node."""

    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("twice", pa.int64()), ("node", pa.string())])
    model: ClassVar[str] = "arithmetic"

    def setup(self) -> None:
        self._node = ray.get_runtime_context().get_node_id()

    def process(self, rows: pa.Table) -> pa.Table:
        time.sleep(0.2 * len(rows))
        twice = [2 * x for x in rows["x"].to_pylist()]
        return answer({"twice": twice, "node": [self._node] * len(rows)}, self.adds)


@dataclass(kw_only=True)
class Share(Actor):
    """Triples what was doubled, on a quarter of a device."""

    reads: ClassVar[tuple[str, ...]] = ("twice",)
    adds: ClassVar[pa.Schema] = pa.schema([("six", pa.int64())])
    model: ClassVar[str] = "arithmetic"
    gpus: float = 0.25

    def process(self, rows: pa.Table) -> pa.Table:
        time.sleep(0.2 * len(rows))
        return answer({"six": [3 * x for x in rows["twice"].to_pylist()]}, self.adds)


PLACE = Stage(role="place", actor=Place(batch_size=2))
SHARE = Stage(role="share", actor=Share(batch_size=2))


@pytest.fixture
def raylets(token: None) -> Iterator[Raylets]:
    """A head that holds no workers, and two nodes of two CPUs and a device by name."""
    small: dict[str, Any] = {"object_store_memory": 80_000_000, "memory": 8 * 10**9}
    cluster = Raylets(initialize_head=True, head_node_args={"num_cpus": 2, **small})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=1, **small)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


Go = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def go(raylets: Raylets, doubles: ModuleType, tmp_path: Path) -> Go:
    """Run a phase of so many rows on the raylets; gives every row of every file."""

    def call(
        count: int, progress: Callable[[Report], None], *, stages: tuple[Stage, ...] = (PLACE,)
    ) -> list[dict[str, Any]]:
        phase = Phase(name="toy", stages=stages)
        cluster = Cluster(address=raylets.address, ship=False)
        terms = Terms(machine=cluster.machine, deadline=Deadline(start_s=75.0))
        with session(cluster):
            run(phase, doubles.manifest([None] * count), tmp_path, terms=terms, progress=progress)
        files = phase.table(tmp_path).folder.glob("*.parquet")
        return [row for path in files for row in pq.read_table(path).to_pylist()]

    return call


def exact(rows: list[dict[str, Any]], count: int) -> None:
    """Every row stands once, with its own answer."""
    assert sorted(row["id"] for row in rows) == [f"row{i:03d}" for i in range(count)]
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["twice"] == 2 * int(row["id"].removeprefix("row")) for row in rows)


@pytest.mark.ray
def test_work_spreads_over_the_nodes(go: Go) -> None:
    rows = go(48, lambda report: None)
    exact(rows, 48)
    shares = Counter(row["node"] for row in rows)
    assert len(shares) == 2
    assert min(shares.values()) >= 12


@pytest.mark.ray
@pytest.mark.parametrize("stages", [(PLACE,), (PLACE, SHARE)], ids=["one pool", "two pools"])
def test_a_node_that_dies_in_the_middle_costs_no_row(
    go: Go, raylets: Raylets, stages: tuple[Stage, ...]
) -> None:
    killed: list[str] = []

    def kill_one(report: Report) -> None:
        if report.ok >= 8 and not killed:
            victim = next(iter(raylets.worker_nodes))
            killed.append(victim.unique_id)
            raylets.remove_node(victim, allow_graceful=False)

    try:
        rows = go(48, kill_one, stages=stages)
    except StalledError:  # the other node holds the workers of one pool only
        assert len(stages) > 1
        rows = go(48, kill_one, stages=stages)
    assert len(killed) == 1
    exact(rows, 48)
    if len(stages) > 1:
        assert all(row["six"] == 3 * row["twice"] for row in rows)


@pytest.mark.ray
def test_a_node_that_dies_is_no_more_part_of_the_machine(raylets: Raylets) -> None:
    cluster = Cluster(address=raylets.address, nodes=3, ship=False)
    with session(cluster):
        before = {node.name for node in cluster.machine().nodes}
        assert len(before) == 2
        began = time.monotonic()
        assert {node.name for node in cluster.machine().nodes} == before
        assert time.monotonic() - began < 1.0, "nodes that are known are not asked again"
        victim = next(iter(raylets.worker_nodes))
        raylets.remove_node(victim, allow_graceful=False)
        left = before - {victim.node_id}
        until = time.monotonic() + 60.0
        while len(joined()) > 2:
            assert time.monotonic() < until, "Ray does not notice"
            time.sleep(0.5)
        assert set(Nodes().readings(before)) == left
        assert {node.name for node in cluster.machine().nodes} == left
