"""Ragged columns: what is many per row, flattened for a model and regrouped afterwards.

Both directions are list offsets, not Python loops.
"""

import pyarrow as pa
import pyarrow.compute as pc


def flatten(column: pa.ChunkedArray | pa.Array) -> tuple[pa.Array, pa.Array]:
    """Flatten a list column.

    Args:
        column: `list<T>`, possibly with nulls, chunked or sliced.

    Returns:
        All items one after the other, and how many each row has (int32; null where the row is
        null): what `regroup` takes.

    Example:
        >>> items, counts = flatten(pa.array([[1, 2], None, [], [3]]))
        >>> items.to_pylist(), counts.to_pylist()
        ([1, 2, 3], [2, None, 0, 1])
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # `combine_chunks` of no chunk, or of too large ones
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array.flatten(), pc.list_value_length(array)


def regroup(items: pa.Array, counts: pa.Array) -> pa.Array:
    """Undo `flatten`, usually with other items, as many as before.

    Args:
        items: One per flattened item.
        counts: Items per row; null makes a null row.

    Raises:
        ValueError: The counts do not add up to the number of items.

    Example:
        >>> regroup(pa.array([10, 20, 30]), pa.array([2, None, 0, 1])).to_pylist()
        [[10, 20], None, [], [30]]
    """
    total = pc.sum(counts).as_py() or 0
    if total != len(items):
        raise ValueError(f"`counts` must add up to the {len(items)} items, but make {total}.")
    ends = pc.cumulative_sum(pc.fill_null(counts, 0)).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(
        offsets, items, mask=pc.is_null(counts) if counts.null_count else None
    )
