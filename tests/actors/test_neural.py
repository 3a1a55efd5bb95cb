"""The parameters of a torch actor, and what needs no torch of it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pytest

from mien.actors.neural import Neural, ahead, out_of_memory


@dataclass(kw_only=True)
class Net(Neural):
    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("y", pa.float32())])

    def process(self, rows: pa.Table) -> pa.Table:
        return rows


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"precision": "half"}, r"`precision` must be one of float32, .*, but is 'half'"),
        ({"threads": 0}, r"`threads` must be at least 1, but is 0"),
        ({"micro_batch": 0}, r"`micro_batch` must be at least 1, but is 0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Net(**parameters)


def test_the_precision_changes_the_answer_and_the_machine_does_not() -> None:
    assert Net().identity() != Net(precision="bfloat16").identity()
    machine = Net(device="cuda:1", compile=True, threads=4, micro_batch=2)
    assert Net().identity() == machine.identity()


PARTS = [[0, 1], [2, 3], [4]]


def test_parts_come_in_order() -> None:
    found = list(ahead(PARTS, lambda part: [10 * x for x in part]))
    assert found == [(part, [10 * x for x in part]) for part in PARTS]
    assert list(ahead(PARTS[:1], sum)) == [([0, 1], 1)]
    assert list(ahead([], sum)) == []


def test_the_next_part_is_prepared_while_this_one_is_worked_on() -> None:
    prepared = {part[0]: threading.Event() for part in PARTS}

    def prepare(part: Sequence[int]) -> int:
        prepared[part[0]].set()
        return threading.get_ident()

    parts = ahead(PARTS, prepare)
    assert next(parts)[1] != threading.get_ident()
    assert prepared[2].wait(10)  # nobody asked for it yet
    assert not prepared[4].is_set()  # and no more than one is ahead: memory is bounded
    assert next(parts)[0] == [2, 3]
    assert prepared[4].wait(10)


def test_what_preparing_raises_comes_with_its_own_part() -> None:
    def prepare(part: Sequence[int]) -> None:
        if 2 in part:
            raise OSError("torn file")

    parts = ahead(PARTS, prepare)
    assert next(parts) == ([0, 1], None)
    with pytest.raises(OSError, match="torn file"):
        next(parts)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("shape"), False),
    ],
)
def test_memory_that_ran_out_is_known(error: Exception, full: bool) -> None:
    assert out_of_memory(error) is full
