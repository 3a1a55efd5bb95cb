"""Chains that are cut: what the actors before a cut said, passed on to those behind it."""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ..datasets.scan import index
from ..datasets.schema import KEY, OUTCOME
from ..datasets.table import Table

PART_MB = 256.0
"""Rows that are read from a cut at once are this large, at most: they may hold pictures."""
_OWN = (*KEY.names, "attempt", "config_hash")
"""What is the row's own, now: a corpus may have been moved since."""


def parts(rows: pa.Table, cut: Table) -> Iterator[pa.Table]:
    """Rows, in parts that memory bears when what stands at a cut is read."""
    size = sum(file.size_bytes for file in index(cut.folder).files()) / max(1, cut.count())
    count = max(1, int(PART_MB * 2**20 / max(1.0, size)))
    for at in range(0, len(rows), count):
        yield rows.slice(at, count)


def undone(rows: pa.Table, cut: Table) -> pa.Table:
    """Those of some rows that do not stand at a cut, or failed before it in an earlier attempt."""
    videos, ids = rows["video_id"].to_pylist(), rows["id"].to_pylist()
    stands = cut.read(["id", "status", "attempt"], video_ids=videos, ids=ids)
    place = pc.index_in(rows["id"], stands["id"].combine_chunks())
    earlier = pc.less(stands["attempt"].take(place), rows["attempt"])
    failed = pc.equal(stands["status"].take(place), "failed")
    return rows.filter(pc.or_kleene(pc.is_null(place), pc.and_(failed, earlier)))


def joined(rows: pa.Table, cut: Table, again: Collection[str]) -> pa.Table:
    """Rows with what the actors before a cut said of them.

    Args:
        rows: All of them stand at the cut.
        cut: Holds them.
        again: Roles that work again behind the cut; what is on record of them is left out.
    """
    videos, ids = rows["video_id"].to_pylist(), rows["id"].to_pylist()
    stands = cut.read(video_ids=videos, ids=ids)
    stands = stands.take(pc.index_in(rows["id"], stands["id"].combine_chunks()).combine_chunks())
    for field in stands.schema:
        if field.name in _OWN:
            continue
        column = stands[field.name]
        if field.name in ("models", "timings"):
            key = "role" if field.name == "models" else "stage"
            kept = [
                None if entries is None else [e for e in entries if e[key] not in again]
                for entries in column.to_pylist()
            ]
            column = pa.array(kept, type=OUTCOME.field(field.name).type)
        at = rows.schema.get_field_index(field.name)
        rows = rows.append_column(field, column) if at < 0 else rows.set_column(at, field, column)
    return rows
