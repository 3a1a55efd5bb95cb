"""Examples of plans: how workers are shared out, where a chain is cut, and the real models."""

import json
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from mien.cluster.host import Stage
from mien.cluster.need import HOST_GB
from mien.cluster.plan import Batch, Machine, Measured, Need, Node, Plan, RefusedError, needs, plan
from mien.cluster.space import placed
from mien.jobs.graph import ROLES

SPARK = Machine(nodes=(Node(cpus=20, memory_gb=100, gpus=1, unified=True),))
LAPTOP = Machine(nodes=(Node(cpus=2, memory_gb=20),))
H200 = Machine(nodes=(Node(cpus=16, memory_gb=110, gpus=1, gpu_memory_gb=141),))


def need(name: str = "a", **given: Any) -> Need:  # noqa: ANN401
    """An actor of which only the batch of one row is known."""
    known = {k: given.pop(k) for k in ("memory_gb", "gpu_memory_gb", "rate") if k in given}
    return Need(name=name, batches=(Batch(size=1, **{"memory_gb": 1.0} | known),), **given)


def chain(*actors: dict[str, Any]) -> list[Need]:
    return [need(f"r{i}", **given) for i, given in enumerate(actors)]


def machine(cpus: float = 10, memory_gb: float | None = 64, **more: Any) -> Machine:  # noqa: ANN401
    return Machine(nodes=(Node(cpus=cpus, memory_gb=memory_gb, **more),))


def sizes(found: Plan) -> list[list[int]]:
    return [[pool.size for pool in segment.pools] for segment in found.segments]


def roles(found: Plan) -> list[list[str]]:
    return [[pool.name for pool in segment.pools] for segment in found.segments]


def test_neighbours_share_workers_and_devices_part_them() -> None:
    found = plan(chain({}, {}, {"gpus": 0.5}, {}), machine(gpus=1))
    assert roles(found) == [["r0+r1", "r2", "r3"]]
    assert sizes(found)[0][1] == 2
    assert sum(p.cpus * p.size for p in found.segments[0].pools) <= 10


def test_environments_part_neighbours() -> None:
    other = {"environment": "other"}
    pools = plan(chain({}, {}, other, other, {}), machine()).segments[0].pools
    assert [p.name for p in pools] == ["r0+r1", "r2+r3", "r4"]
    assert [p.environment for p in pools] == [None, "other", None]


def test_workers_fill_the_machine_and_never_more() -> None:
    assert sizes(plan(chain({}), machine(8), blocks=100)) == [[8]]
    assert sizes(plan(chain({}), machine(8), blocks=3)) == [[3]]
    assert sizes(plan(chain({}), machine(8, memory_gb=5))) == [[5]]
    assert sizes(plan(chain({}), machine(8, memory_gb=None))) == [[8]]


def test_a_shared_worker_holds_the_memory_of_all_its_models() -> None:
    actor = {"gpus": 0.25, "memory_gb": 3.0}
    pools = plan(chain(actor, actor), machine(memory_gb=14, gpus=1)).segments[0].pools
    assert [(p.memory_gb, p.size) for p in pools] == [(6.0, 2)]


@pytest.mark.parametrize("count", [2, 3, 6, 7, 11, 13])
def test_a_device_holds_as_many_equal_shares_as_it_was_cut_into(count: int) -> None:
    """Ray rounds a share to ten-thousandths: six of 0.1667 would be one too many."""
    pools = plan(chain({"gpus": 1 / count, "cpus": 0.1}), machine(18, gpus=1)).segments[0].pools
    assert pools[0].size == count
    assert round(pools[0].gpus * 10_000) * count <= 10_000


def test_a_share_lies_on_one_device() -> None:
    """Two quarters are left, one on each of two devices: no room for a half."""
    large = chain({"gpus": 0.75}, {}, {"gpus": 0.75}, {}, {"gpus": 0.5})
    assert not placed([0.75, 0.75, 0.5], 2)
    assert len(plan(large, machine(gpus=2)).segments) == 2
    assert sizes(plan(large, machine(gpus=3), blocks=1)) == [[1] * 5]
    assert sizes(plan(chain({"gpus": 0.75}), machine(gpus=2))) == [[2]]


def test_a_whole_device_is_not_given_out_in_parts() -> None:
    mixed = chain({"gpus": 0.5}, {}, {"gpus": 1.0})
    assert sizes(plan(mixed, machine(gpus=2)))[0][::2] == [2, 1]
    assert len(plan(mixed, machine(gpus=1)).segments) == 2


def test_a_share_is_no_less_than_that_of_the_devices_memory() -> None:
    """So that Ray, which counts shares, keeps to the memory: three of a tenth would be 30 GB."""
    actor = {"gpus": 0.1, "gpu_memory_gb": 10.0}
    on = machine(gpus=1, gpu_memory_gb=24)
    pool = plan(chain(actor), on).segments[0].pools[0]
    assert pool.size == 2
    assert pool.gpus == 0.4167
    assert pool.memory_gb == 1.0
    unified = plan(chain(actor), machine(memory_gb=24, gpus=1, unified=True)).segments[0].pools[0]
    assert (unified.size, unified.gpus, unified.memory_gb) == (2, 0.1, 11.0)


def test_what_does_not_fit_together_is_cut_where_that_is_cheapest() -> None:
    """Two of three large models fit at once; the slow one is better alone."""
    large = {"memory_gb": 10.0, "rows_per_hour": 3600.0}
    slow = chain(
        large | {"rate": 10.0},
        large | {"rate": 10.0, "environment": "x"},
        large | {"rate": 1.0},
    )
    found = plan(slow, machine(memory_gb=20))
    assert roles(found) == [["r0", "r1"], ["r2"]]
    assert sizes(found) == [[1, 1], [2]]
    assert found.hours == pytest.approx(0.1 + 0.5)


def test_the_slowest_gets_the_workers_and_batches_their_memory() -> None:
    batches = (Batch(size=1, memory_gb=2, rate=1.0), Batch(size=8, memory_gb=9, rate=3.0))
    slow = Need(name="slow", batches=batches, environment="x", rows_per_hour=360)
    quick = need("quick", rate=100.0, rows_per_hour=360)
    few = plan([quick, slow], machine(cpus=3, memory_gb=20)).segments[0]
    assert [(p.size, p.batch_size) for p in few.pools] == [(1, 1), (2, 8)]
    assert few.hours == pytest.approx(0.1 / 6)
    assert few.bottleneck is few.pools[1]
    many = plan([quick, slow], machine(cpus=9, memory_gb=17)).segments[0]
    assert [(p.size, p.batch_size) for p in many.pools] == [(1, 1), (8, 1)]


def test_of_two_alike_one_may_need_the_larger_batch() -> None:
    """Two small ones lack cores and two large ones memory: only an integer programme tells."""
    batches = (Batch(size=1, memory_gb=2, rate=1.0), Batch(size=8, memory_gb=8, rate=2.0))
    pools = [
        Need(name=name, batches=batches, environment=name, rows_per_hour=3600 * 4) for name in "ab"
    ]
    found = plan(pools, machine(cpus=6, memory_gb=24))
    assert found.hours == pytest.approx(1.0)
    assert found.programmes
    assert sorted((p.size, p.batch_size) for p in found.segments[0].pools) == [(2, 8), (4, 1)]


def test_workers_are_spread_so_that_all_have_room() -> None:
    """The large first, each where there is room, would leave no room for the last."""
    large = {"memory_gb": 4.0, "rate": 1.0, "rows_per_hour": 7200.0}
    small = {"memory_gb": 3.0, "rate": 1.0, "rows_per_hour": 14400.0, "environment": "x"}
    node = Node(cpus=9, memory_gb=10)
    found = plan(chain(large, small), Machine(nodes=(node, node)))
    assert found.hours == pytest.approx(1.0)
    assert [p.workers for p in found.segments[0].pools] == [(1, 1), (2, 2)]


def test_workers_lie_on_one_node_each() -> None:
    on = Machine(nodes=(Node(cpus=4, memory_gb=10), Node(cpus=4, memory_gb=10, gpus=1)))
    found = plan(chain({"memory_gb": 6.0}, {"gpus": 1.0, "memory_gb": 6.0}), on).segments[0]
    assert [p.workers for p in found.pools] == [(1, 0), (0, 1)]
    with pytest.raises(RefusedError, match="needs 12 GB, but there is 10 GB for it"):
        plan(chain({"memory_gb": 12.0}), on)


def test_workers_that_share_a_device_may_slow_each_other_down() -> None:
    actor = {"gpus": 0.25, "rate": 1.0, "rows_per_hour": 3600.0}
    pools = chain(actor | {"environment": "x"}, actor | {"rate": 2.0})
    found = plan(pools, machine(gpus=1)).segments[0]
    assert [p.size for p in found.pools] == [2, 1]
    assert found.hours == pytest.approx(0.5)
    assert found.hours_at_most == pytest.approx(1.5)


def test_a_plan_is_readable() -> None:
    batches = (Batch(size=8, memory_gb=2, rate=2.0),)
    one = Need(name="a", batches=batches, rows_per_hour=72, startup_s=5, measured=True)
    found = plan([one, need("b", environment="x", rate=1.0, rows_per_hour=3.6)], machine(3))
    assert str(found).splitlines() == [
        "segment 1 of 1: 5 GB, 0.005 h, held up by a",
        "  a: 2 x (1 CPU, 0 GPU, 2 GB), batch 8, 0.005 h",
        "  b: 1 x (1 CPU, 0 GPU, 1 GB), batch 1, 0.001 h, declared",
    ]
    summary = json.loads(json.dumps(found.summary()))
    assert summary["hours"] == pytest.approx(0.005)
    segment = summary["segments"][0]
    assert (segment["bottleneck"], segment["memory_gb"], segment["startup_s"]) == ("a", 5, 10)
    assert [p["workers"] for p in segment["pools"]] == [2, 1]
    assert [p["measured"] for p in segment["pools"]] == [True, False]
    assert segment["pools"][0]["batch_sizes"] == {"a": 8}


def _stages(profile: str) -> dict[str, list[Stage]]:
    """The chains of a profile's phases, with the first actor of each role, whatever is here."""
    with initialize_config_module("mien.conf", version_base="1.3"):
        cfg = compose("mien", overrides=[f"models={profile}", "corpus.path=videos"])
    built = instantiate(cfg.models, _convert_="object")
    chains = {
        phase: [
            Stage(role=role, actor=built.actors[built.roles[role][0]])
            for role in names
            if built.roles.get(role)
        ]
        for phase, names in ROLES.items()
    }
    return {phase: stages for phase, stages in chains.items() if stages}


@pytest.mark.parametrize("on", [SPARK, H200], ids=["spark", "h200"])
def test_each_phase_of_the_real_models_is_resident_at_once(on: Machine) -> None:
    for stages in _stages("spark").values():
        assert len(plan(needs(stages, on), on, blocks=100).segments) == 1


def test_the_real_models_as_one_chain_are_cut_by_the_shares_of_the_device() -> None:
    """Their memory, 72 GB, would do; the device cannot be shared out to more at once."""
    stages = [stage for chain in _stages("spark").values() for stage in chain]
    expected = [
        ["probe+voice_activity", "diarize+transcribe"],
        ["align", "watch", "identity", "face_emotion", "laion_face"],
        ["action", "laion_voice", "prosody", "voice_affect", "text_affect"],
        ["notes"],
    ]
    for on in (SPARK, H200):
        found = plan(needs(stages, on), on, blocks=1)
        assert roles(found) == expected
        assert max(sum(p.gpus for p in segment.pools) for segment in found.segments) <= 1


def test_a_small_machine_runs_the_small_models_and_refuses_the_large_by_name() -> None:
    for stages in _stages("embedded").values():
        found = plan(needs(stages, LAPTOP), LAPTOP)
        assert len(found.segments) == 1
        assert sizes(found) == [[2]]
    with pytest.raises(RefusedError, match="'notes' needs 1 GPU"):
        plan(needs(_stages("spark")["notes"], LAPTOP), LAPTOP)


def test_a_declared_need_counts_where_the_memory_is() -> None:
    stages = _stages("spark")["notes"]
    actor = stages[0].actor
    on_spark, on_h200 = needs(stages, SPARK)[0], needs(stages, H200)[0]
    assert on_spark.batches == (
        Batch(size=actor.batch_size, memory_gb=0, gpu_memory_gb=actor.memory_gb),
    )
    assert on_h200.batches[0].memory_gb == HOST_GB
    assert not on_h200.measured
    assert plan([on_h200], H200).hours is None


def test_what_is_measured_counts_instead_with_some_headroom() -> None:
    stages = _stages("spark")["notes"]
    known = Measured(
        startup_s=60, memory_gb={8: 3.0, 32: 4.0}, gpu_memory_gb={8: 20.0, 32: 30.0}, rates={8: 2.0}
    )
    found = needs(stages, H200, rows_per_hour=90, measured={"notes": known}, headroom=0.5)[0]
    assert found.measured
    assert found.startup_s == 60
    assert found.batches == (
        Batch(size=8, memory_gb=4.5, gpu_memory_gb=30.0, rate=2.0),
        Batch(size=32, memory_gb=6.0, gpu_memory_gb=45.0),
    )
    assert found.hours(found.batches[0]) == pytest.approx(90 / 2 / 3600)
