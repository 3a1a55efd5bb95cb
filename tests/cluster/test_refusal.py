"""Refusals: they name the actor, and the change that they ask for is enough and no more."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.cluster.plan import Batch, Lack, Machine, Need, Node, RefusedError, plan


@st.composite
def actors(draw: st.DrawFn) -> Need:
    amount, gpus = st.integers(1, 60).map(lambda n: n / 4), draw(st.sampled_from([0, 0.25, 1]))
    batches = tuple(
        Batch(size=2**k, memory_gb=draw(amount), gpu_memory_gb=draw(amount) if gpus else 0.0)
        for k in range(draw(st.integers(1, 3)))
    )
    return Need(name="a", batches=batches, cpus=draw(amount), gpus=gpus)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Of one or two nodes; all their devices are alike."""
    size, unified = draw(st.sampled_from([None, 4.0, 12.0])), draw(st.booleans())
    nodes = [
        Node(
            cpus=draw(st.integers(1, 16)),
            memory_gb=draw(st.sampled_from([None, 4.0, 12.0, 20.0])),
            gpus=draw(st.integers(0, 2)),
            gpu_memory_gb=None if unified else size,
            unified=unified,
        )
        for _ in range(draw(st.integers(1, 2)))
    ]
    return Machine(nodes=tuple(nodes))


@given(actors(), machines())
def test_the_change_that_a_refusal_asks_for_is_enough_and_no_more(one: Need, on: Machine) -> None:
    try:
        plan([one], on)
        return
    except RefusedError as error:
        refused = error
    batch = next(b for b in one.batches if b.size == refused.batch_size)
    one = replace(one, batches=(batch,))
    assert _planned(one, _larger(on, refused))
    assert _planned(_smaller(one, on, refused), on)
    for short in refused.lacks:
        assert not _planned(one, _larger(on, refused, short))
        assert not _planned(_smaller(one, on, refused, short), on)


def need(name: str, **given: Any) -> Need:  # noqa: ANN401
    known = {k: given.pop(k) for k in ("memory_gb", "gpu_memory_gb") if k in given}
    return Need(name=name, batches=(Batch(size=1, **{"memory_gb": 1.0} | known),), **given)


def _planned(one: Need, on: Machine) -> bool:
    try:
        return bool(plan([one], on).segments)
    except RefusedError:
        return False


def _larger(on: Machine, refused: RefusedError, short: Lack | None = None) -> Machine:
    """The machine with what was asked for, a little less of one: larger devices on all nodes."""
    to = {x.what: x.needed - (0.01 if x is short else 0) for x in refused.lacks}
    if "gpus" in to:
        to["gpus"] = math.ceil(to["gpus"]) - (short is not None and short.what == "gpus")
        to["gpu_memory_gb"] = max(x.of_gb for x in refused.lacks)
    devices = {what: amount for what, amount in to.items() if what == "gpu_memory_gb"}
    nodes = [replace(n, **(to if v == refused.node else devices)) for v, n in enumerate(on.nodes)]
    return Machine(nodes=tuple(nodes))


def _smaller(one: Need, on: Machine, refused: RefusedError, short: Lack | None = None) -> Need:
    """The actor with what there is, a little more of one."""
    batch = one.batches[0]
    for x in refused.lacks:
        to = x.free + (0.01 if x is short else 0)
        if x.what == "gpu_memory_gb":
            batch = replace(batch, gpu_memory_gb=to)
        elif x.what == "memory_gb":
            device_gb = min(to, batch.gpu_memory_gb) if on.unified else batch.gpu_memory_gb
            host_gb = to - device_gb if on.unified else to
            batch = replace(batch, memory_gb=host_gb, gpu_memory_gb=device_gb)
        else:
            one = replace(one, **{x.what: to})
    return replace(one, batches=(batch,))


@pytest.mark.parametrize(
    ("actor", "message"),
    [
        ({"gpus": 0.5}, "'b' needs 0.5 GPU, but there is 0 GPU for it: lower its `gpus` to 0; or"),
        ({"cpus": 9.0}, "'b' needs 9 CPU, but there is 4 CPU for it: lower its `cpus` to 4; or"),
        ({"memory_gb": 28.255}, "'b' needs 28.26 GB, but .* 8 GB .*: make it 20.26 GB smaller"),
        (
            {"cpus": 5.0, "memory_gb": 9.0},
            "'b' needs 5 CPU and 9 GB, but there is 4 CPU and 8 GB .*: lower .* to 4; make it 1 GB",
        ),
    ],
)
def test_what_fits_no_node_is_refused_by_name(actor: dict[str, Any], message: str) -> None:
    small = Machine(nodes=(Node(cpus=4, memory_gb=8),))
    with pytest.raises(RefusedError, match=message) as error:
        plan([need("a"), need("b", **actor)], small)
    assert "or use a machine with" in str(error.value)
    assert "`cluster=`" in str(error.value)


def test_a_device_that_is_too_small_is_named() -> None:
    on = Machine(nodes=(Node(cpus=4, gpus=1, gpu_memory_gb=24),))
    large = need("b", gpus=1.0, gpu_memory_gb=28.0)
    with pytest.raises(RefusedError, match="needs 28 GB of a device, but there is 24 GB of a dev"):
        plan([large], on)
    with pytest.raises(RefusedError, match=r"use a machine with 1 GPU \(of 28 GB\) for workers"):
        plan([large], Machine(nodes=(Node(cpus=4),)))


def test_the_batch_that_lacks_least_is_refused() -> None:
    batches = (Batch(size=1, memory_gb=12), Batch(size=8, memory_gb=16))
    with pytest.raises(RefusedError, match="needs 12 GB") as error:
        plan([Need(name="a", batches=batches)], Machine(nodes=(Node(cpus=4, memory_gb=8),)))
    assert error.value.batch_size == 1


def test_a_share_beyond_one_device_must_be_whole() -> None:
    with pytest.raises(ValueError, match=r"but is 1.5 \(actor 'a'\)"):
        need("a", gpus=1.5)
