"""Sizes of pools: what fits, how devices are shared, and what is refused. No Ray."""

from types import ModuleType
from typing import Any

import pytest

from mien.cluster.host import Stage
from mien.cluster.pools import Pool, UnschedulableError, pools

GIB = 2**30


def chain(doubles: ModuleType, *actors: dict[str, Any]) -> list[Stage]:
    return [
        Stage(role=f"r{i}", actor=doubles.Double(**parameters))
        for i, parameters in enumerate(actors)
    ]


def machine(cpus: float = 12, gpus: float = 0, memory_gb: float = 64) -> dict[str, float]:
    """What Ray has; two of the CPUs are spare."""
    return {"CPU": cpus, "GPU": gpus, "memory": memory_gb * GIB}


def roles(found: list[Pool]) -> list[tuple[str, ...]]:
    return [tuple(stage.role for stage in pool.stages) for pool in found]


def test_pools_fill_the_machine_and_never_more(doubles: ModuleType) -> None:
    stages = chain(doubles, {})
    assert [p.size for p in pools(stages, 100, machine(10), 2)] == [8]
    assert [p.size for p in pools(stages, 3, machine(10), 2)] == [3]
    assert [p.size for p in pools(stages, 100, machine(10, memory_gb=5), 2)] == [5]


def test_neighbours_share_workers_and_devices_part_them(doubles: ModuleType) -> None:
    found = pools(chain(doubles, {}, {}, {"gpus": 0.5}, {}), 100, machine(gpus=1), 2)
    assert roles(found) == [("r0", "r1"), ("r2",), ("r3",)]
    assert found[1].size == 2
    assert sum(p.cpus * p.size for p in found) <= 10


def test_environments_part_neighbours(doubles: ModuleType) -> None:
    other = {"environment": "other"}
    found = pools(chain(doubles, {}, {}, other, other, {}), 100, machine(), 2)
    assert roles(found) == [("r0", "r1"), ("r2", "r3"), ("r4",)]
    assert [p.environment for p in found] == [None, "other", None]


def test_a_shared_worker_holds_the_memory_of_all_its_models(doubles: ModuleType) -> None:
    shared = {"gpus": 0.25, "memory_gb": 3.0}
    found = pools(chain(doubles, shared, shared), 100, machine(gpus=1, memory_gb=14), 2)
    assert [(p.memory_gb, p.size) for p in found] == [(6.0, 2)]


@pytest.mark.parametrize("count", [2, 3, 6, 7, 11, 13])
def test_a_device_holds_as_many_equal_shares_as_it_was_cut_into(
    doubles: ModuleType, count: int
) -> None:
    """Ray rounds a share to ten-thousandths: six of 0.1667 would be one too many."""
    found = pools(chain(doubles, {"gpus": 1 / count, "cpus": 0.1}), 100, machine(20, 1), 2)
    assert found[0].size == count
    assert round(found[0].gpus * 10_000) * count <= 10_000


def test_a_share_lies_on_one_device(doubles: ModuleType) -> None:
    """Two quarters are left, one on each of two devices: no room for a half."""
    large = chain(doubles, {"gpus": 0.75}, {}, {"gpus": 0.75}, {}, {"gpus": 0.5})
    with pytest.raises(UnschedulableError, match=r"needs 2 GPU, which cannot be shared out over 2"):
        pools(large, 100, machine(gpus=2), 2)
    assert [p.size for p in pools(large, 1, machine(gpus=3), 2)] == [1] * 5
    alone = pools(chain(doubles, {"gpus": 0.75}), 100, machine(gpus=2), 2)
    assert alone[0].size == 2


def test_a_whole_device_is_not_given_out_in_parts(doubles: ModuleType) -> None:
    mixed = chain(doubles, {"gpus": 0.5}, {}, {"gpus": 1.0})
    assert [p.size for p in pools(mixed, 100, machine(gpus=2), 2)][::2] == [2, 1]
    with pytest.raises(UnschedulableError, match=r"needs 1.5 GPU, but the cluster has 1"):
        pools(mixed, 100, machine(gpus=1), 2)


def test_a_share_beyond_one_device_must_be_whole(doubles: ModuleType) -> None:
    with pytest.raises(UnschedulableError, match=r"holds 1.5 \(r0: 1 CPU, 1.5 GPU, 1 GB\)"):
        pools(chain(doubles, {"gpus": 1.5}), 10, machine(gpus=4), 2)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gpus": 1.0}, r"needs 1 GPU, but the cluster has 0"),
        ({"gpus": 0.25}, r"needs 0.25 GPU, but the cluster has 0"),
        ({"cpus": 9.0}, r"needs 9 CPU, but the cluster has 2"),
        ({"memory_gb": 500.0}, r"needs 500 memory \(GB\), but the cluster has 8"),
    ],
)
def test_a_chain_that_does_not_fit_is_refused(
    doubles: ModuleType, parameters: dict[str, float], message: str
) -> None:
    with pytest.raises(UnschedulableError, match=message):
        pools(chain(doubles, parameters), 10, machine(4, memory_gb=8), 2)


def test_a_refusal_says_who_holds_what(doubles: ModuleType) -> None:
    stages = chain(doubles, {"gpus": 0.5, "memory_gb": 20.0}, {"gpus": 0.75})
    with pytest.raises(UnschedulableError) as error:
        pools(stages, 10, machine(gpus=1), 2)
    assert "r0: 1 CPU, 0.5 GPU, 20 GB; r1: 1 CPU, 0.75 GPU, 1 GB" in str(error.value)
    assert "`cluster=`" in str(error.value)
