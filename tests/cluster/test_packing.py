"""Plans against all that could be: never more than there is, and nearly as fast as can be."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.cluster.plan import Batch, Machine, Need, Node, Plan, RefusedError, plan
from planning import MACHINES, forty

# What a worker holds, and whether workers fit: written again, from what Ray and the devices count.


def held(actors: Sequence[Need], batches: Sequence[Batch], on: Machine) -> tuple[float, ...]:
    """Cores, devices and node memory of a worker; devices are infinite where memory is short."""
    device = sum(b.gpu_memory_gb for b in batches)
    memory = sum(b.memory_gb for b in batches)
    gpus = math.floor(actors[0].gpus * 1e4 + 1e-6) / 1e4
    if on.nodes[0].unified:
        memory += device
    elif gpus and (size := on.nodes[0].gpu_memory_gb):
        part = math.ceil(device / size * 1e4) / 1e4
        gpus = max(gpus, part) if part <= max(1, gpus) else math.inf
    return max(a.cpus for a in actors), gpus, memory


def inside(workers: Sequence[tuple[float, ...]], counts: Sequence[int], node: Node) -> bool:
    """Whether so many workers of each kind fit into a node."""
    sums = [sum(w[r] * n for w, n in zip(workers, counts, strict=True) if n) for r in range(3)]
    memory_gb = math.inf if node.memory_gb is None else node.memory_gb
    shares = [w[1] for w, n in zip(workers, counts, strict=True) for _ in range(n)]
    free = [1.0] * node.gpus
    for share in shares:
        if 0 < share < 1:
            at = [i for i, rest in enumerate(free) if rest > share - 1e-6]
            if not at:
                return False
            free[min(at, key=lambda i: free[i])] -= share
        elif share:
            at = [i for i, rest in enumerate(free) if rest == 1][: int(min(share, 99))]
            if len(at) < share:
                return False
            for i in at:
                free[i] = 0.0
    return sums[0] <= node.cpus + 1e-5 and sums[2] <= memory_gb + 1e-5


def assert_within(found: Plan, on: Machine, blocks: int) -> None:
    for segment in found.segments:
        for v, node in enumerate(on.nodes):
            workers = [(p.cpus, p.gpus, p.memory_gb) for p in segment.pools]
            counts = [p.workers[v] for p in segment.pools]
            assert inside(workers, counts, node)
            if node.gpu_memory_gb and not node.unified:
                held_gb = sum(p.gpu_memory_gb * p.workers[v] for p in segment.pools)
                assert held_gb <= node.gpus * node.gpu_memory_gb + 1e-5
                for p in segment.pools:
                    assert p.gpu_memory_gb <= p.gpus * node.gpu_memory_gb + 1e-5
        assert all(1 <= p.size <= blocks for p in segment.pools)


def neighbours(actors: Sequence[Need]) -> list[list[Need]]:
    return [list(g) for _, g in itertools.groupby(actors, key=lambda n: (n.gpus, n.environment))]


def hours(actors: Sequence[Need], batches: Sequence[Batch]) -> float:
    return sum(
        (a.rows_per_hour or 0) / (b.rate or 1) / 3600 for a, b in zip(actors, batches, strict=True)
    )


def packings(actors: Sequence[Need], on: Machine, most: int) -> Iterator[float]:
    """The hours of every way to run a segment: batch sizes, and workers on each node."""
    pools = neighbours(actors)
    places = [n for n in itertools.product(range(most + 1), repeat=len(on.nodes)) if sum(n)]
    places = [n for n in places if sum(n) <= most]
    ways = [
        [(held(p, b, on), hours(p, b) / sum(n), n) for b in itertools.product(*_batches(p))
         for n in places if held(p, b, on)[1] < math.inf]
        for p in pools
    ]  # fmt: skip
    for way in itertools.product(*ways):
        workers = [w for w, _, _ in way]
        if all(inside(workers, [n[v] for _, _, n in way], x) for v, x in enumerate(on.nodes)):
            yield max(h for _, h, _ in way)


def _batches(actors: Sequence[Need]) -> list[tuple[Batch, ...]]:
    return [a.batches for a in actors]


def brute_force(actors: Sequence[Need], on: Machine, most: int) -> tuple[int, float]:
    """The fewest segments, and of those cuts the fewest hours."""
    best = (len(actors) + 1, math.inf)
    for cuts in itertools.product([False, True], repeat=len(actors) - 1):
        at = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(actors)]
        if len(at) - 1 > best[0]:
            continue
        parts = [actors[a:b] for a, b in itertools.pairwise(at)]
        found = [min(packings(part, on, most), default=math.inf) for part in parts]
        if sum(found) < math.inf:
            best = min(best, (len(found), sum(found)))
    return best


def greedy(actors: Sequence[Need], on: Machine, most: int) -> float:
    """Hours of one segment on one node: first batch sizes; the slowest pool grows while it fits."""
    pools = neighbours(actors)
    batches = [[a.batches[0] for a in p] for p in pools]
    workers = [held(p, b, on) for p, b in zip(pools, batches, strict=True)]
    work = [hours(p, b) for p, b in zip(pools, batches, strict=True)]
    counts = [1] * len(pools)
    if not inside(workers, counts, on.nodes[0]):
        return math.inf
    while True:
        slowest = max(range(len(pools)), key=lambda i: work[i] / counts[i])
        more = [n + (i == slowest) for i, n in enumerate(counts)]
        if more[slowest] > most or not inside(workers, more, on.nodes[0]):
            return max(w / n for w, n in zip(work, counts, strict=True))
        counts = more


@st.composite
def actors(draw: st.DrawFn, *, most: int, batches: int = 3, known: bool = True) -> list[Need]:
    amount = st.integers(1, 60).map(lambda n: n / 4)
    found = []
    for i in range(draw(st.integers(1, most))):
        gpus = draw(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]))
        found.append(
            Need(
                name=f"a{i}",
                batches=tuple(
                    Batch(
                        size=2**k,
                        memory_gb=draw(amount),
                        gpu_memory_gb=draw(amount) if gpus else 0.0,
                        rate=draw(st.integers(1, 40)) / 2 if known else None,
                    )
                    for k in range(draw(st.integers(1, batches)))
                ),
                cpus=draw(st.sampled_from([0.5, 1.0, 2.0])),
                gpus=gpus,
                environment=draw(st.sampled_from([None, None, "other"])),
                rows_per_hour=draw(st.integers(1, 500)) if known else None,
            )
        )
    return found


@st.composite
def machines(draw: st.DrawFn, *, nodes: int = 2, uneven: bool = False) -> Machine:
    """Of alike nodes. Two devices can be shared out evenly, unless `uneven`: their memory then asks
    for shares that leave gaps, and what is best is not known."""
    count, gpus = draw(st.integers(1, nodes)), draw(st.integers(0, 2))
    unified = draw(st.booleans())
    sized = not unified and (uneven or gpus < 2)
    node = Node(
        cpus=draw(st.integers(1, 12)),
        memory_gb=draw(st.sampled_from([None, 8.0, 20.0, 40.0, 100.0])),
        gpus=gpus,
        gpu_memory_gb=draw(st.sampled_from([8.0, 20.0, 80.0])) if sized else None,
        unified=unified,
    )
    return Machine(nodes=(node,) * count)


@given(
    st.booleans().flatmap(lambda k: actors(most=8, known=k)),
    machines(nodes=3, uneven=True),
    st.integers(1, 9),
)
@settings(max_examples=200)
def test_all_actors_have_their_place_within_the_machine_or_one_is_named(
    given_chain: list[Need], on: Machine, blocks: int
) -> None:
    large = [n for n in given_chain if not list(packings([n], on, 1))]
    if large:
        with pytest.raises(RefusedError, match=f"'{large[0].name}'"):
            plan(given_chain, on, blocks=blocks)
        return
    found = plan(given_chain, on, blocks=blocks)
    assert_within(found, on, blocks)
    pools = [pool for segment in found.segments for pool in segment.pools]
    assert [n for pool in pools for n in pool.needs] == given_chain
    assert found == plan(given_chain, on, blocks=blocks)
    assert (found.hours is None) == (given_chain[0].rows_per_hour is None)
    json.dumps(found.summary())


@given(actors(most=4, batches=2), machines(nodes=1), st.integers(1, 4))
@settings(max_examples=150)
def test_no_way_to_cut_and_pack_is_much_better(
    given_chain: list[Need], on: Machine, blocks: int
) -> None:
    _compare(given_chain, on, blocks)


@given(actors(most=2, batches=2), machines(nodes=2), st.integers(1, 4))
@settings(max_examples=100)
def test_no_way_to_spread_over_two_nodes_is_much_better(
    given_chain: list[Need], on: Machine, blocks: int
) -> None:
    _compare(given_chain, on, blocks)


def _compare(given_chain: list[Need], on: Machine, blocks: int) -> None:
    count, best = brute_force(given_chain, on, blocks)
    try:
        found = plan(given_chain, on, blocks=blocks)
    except RefusedError:
        assert best == math.inf
        return
    assert len(found.segments) == count
    assert found.hours is not None
    assert best * (1 - 1e-9) <= found.hours <= best * 1.05


@given(actors(most=8), machines(nodes=1), st.integers(1, 50))
@settings(max_examples=150)
def test_it_is_never_worse_than_a_greedy_growth(
    given_chain: list[Need], on: Machine, blocks: int
) -> None:
    simple = greedy(given_chain, on, blocks)
    if simple < math.inf:
        found = plan(given_chain, on, blocks=blocks)
        assert len(found.segments) == 1
        assert found.hours is not None
        assert found.hours <= simple * 1.0002


@given(actors(most=6, batches=1, known=False), machines(nodes=2), st.integers(1, 9))
@settings(max_examples=100)
def test_without_rates_the_machine_is_filled(
    given_chain: list[Need], on: Machine, blocks: int
) -> None:
    try:
        found = plan(given_chain, on, blocks=blocks)
    except RefusedError:
        return
    for segment in found.segments:
        workers = [(p.cpus, p.gpus, p.memory_gb) for p in segment.pools]
        if on.nodes[1:] or on.nodes[0].gpus > 1:
            continue
        for i, pool in enumerate(segment.pools):
            more = [p.size + (i == j) for j, p in enumerate(segment.pools)]
            assert pool.size == blocks or not inside(workers, more, on.nodes[0])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", MACHINES)
def test_forty_pools_take_few_integer_programmes(name: str, known: bool) -> None:
    """They are what takes time; `benchmarks/planning.py` prints the seconds."""
    found = plan(forty(known=known), MACHINES[name], blocks=400)
    assert_within(found, MACHINES[name], 400)
    assert found.programmes <= 40
