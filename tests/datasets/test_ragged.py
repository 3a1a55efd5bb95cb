"""Ragged columns against plain Python lists."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.datasets.ragged import flatten, regroup

lists = st.lists(st.none() | st.lists(st.integers(-5, 5), max_size=4), max_size=8)


@given(lists, st.integers(0, 3))
def test_there_and_back(rows: list[list[int] | None], cut: int) -> None:
    column = pa.array(rows, pa.list_(pa.int64()))
    items, counts = flatten(column.slice(cut))
    assert items.to_pylist() == [x for row in rows[cut:] for x in row or []]
    assert regroup(items, counts).to_pylist() == rows[cut:]


@given(lists)
def test_chunks_make_no_difference(rows: list[list[int] | None]) -> None:
    kind = pa.list_(pa.int64())
    column = pa.chunked_array([pa.array(rows, kind), pa.array(rows, kind)], kind)
    items, counts = flatten(column)
    assert regroup(items, counts).to_pylist() == rows + rows


def test_counts_must_fit() -> None:
    with pytest.raises(ValueError, match="must add up to the 2 items, but make 3"):
        regroup(pa.array([1, 2]), pa.array([1, 2]))
