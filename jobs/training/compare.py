"""Two trainings on the same rows, by the same folds: is one better?"""

import json
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...datasets.store import place
from ..evaluation.intervals import corrected_t, difference
from ..evaluation.save import PREDICTED
from ..evaluation.scores import confusion, metric
from ..status import RECORD

COMPARED = pa.schema(
    {
        "other run": pa.string(),
        "metric": pa.string(),
        "this": pa.float64(),
        "other": pa.float64(),
        "difference": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "p by group": pa.float64(),
        "t": pa.float64(),
        "p by fold": pa.float64(),
        "folds": pa.int64(),
    }
)
"""`low` to `p by group`: paired bootstrap by group, of the rows of the first repeat. `t` and
`p by fold`: corrected resampled t-test, of the folds of all repeats."""


class Other(NamedTuple):
    """Another run: its folder's name, the network that was trained, its predictions."""

    name: str
    system: str
    predictions: pa.Table


def others(folders: Iterable[str]) -> list[Other]:
    """Read runs of `mien train`.

    Raises:
        ValueError: A folder is none.
    """
    found = []
    for folder in folders:
        where = place(folder)
        record = where / RECORD
        facts = json.loads(record.read_text()) if record.exists() else {}
        if facts.get("kind") != "train" or not (where / PREDICTED).exists():
            raise ValueError(f"`compare` must name finished runs of `mien train`, not {folder!r}.")
        table = pq.read_table(pa.BufferReader((where / PREDICTED).read_bytes()))
        found.append(Other(where.name, facts["system"], _of(table, facts["system"])))
    return found


def compared(
    mine: pa.Table, rivals: Iterable[Other], labels: tuple[str, ...], name: str, split: str
) -> pa.Table:
    """Compare a training with others.

    Args:
        mine: Its predictions.
        rivals: The other runs.
        labels: All there are.
        name: Of the metric.
        split: The rows of the first repeat.

    Returns:
        `COMPARED`.

    Raises:
        ValueError: A run was judged on other rows, or by other folds.
    """
    rows = []
    for rival in rivals:
        theirs = _aligned(mine, rival)
        first = pc.equal(mine["split"], split)
        a, b = mine.filter(first), theirs.filter(first)
        truth, groups = a["truth"].to_pylist(), a["group"].to_pylist()
        pair = (a["predicted"].to_pylist(), b["predicted"].to_pylist())
        apart = difference(truth, *pair, groups, labels, name)
        both = [_by_fold(table, labels, name) for table in (mine, theirs)]
        t, p = corrected_t(*both, test_share=1 / len(pc.unique(a["fold"])))
        values = [float(metric(name)(confusion(truth, said, labels))) for said in pair]
        rows.append(
            {
                "other run": f"{rival.name} ({rival.system})",
                "metric": name,
                "this": values[0],
                "other": values[1],
                "difference": apart.value,
                "low": apart.low,
                "high": apart.high,
                "p by group": apart.p,
                "t": t,
                "p by fold": p,
                "folds": len(both[0]),
            }
        )
    return pa.Table.from_pylist(rows, schema=COMPARED)


def _of(table: pa.Table, system: str) -> pa.Table:
    return table.filter(pc.equal(table["system"], system))


def _aligned(mine: pa.Table, rival: Other) -> pa.Table:
    """The other's rows in the order of these."""
    places = {key: place for place, key in enumerate(_keys(rival.predictions))}
    wanted = _keys(mine)
    if set(places) != set(wanted):
        raise ValueError(
            f"the run {rival.name!r} must have the rows, labels and folds of this one, but has "
            "others: train both on the same data with the same `training.protocol`."
        )
    return rival.predictions.take(pa.array([places[key] for key in wanted]))


def _keys(table: pa.Table) -> list[tuple[str, ...]]:
    names = ("split", "fold", "id", "group", "truth")
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _by_fold(table: pa.Table, labels: tuple[str, ...], name: str) -> np.ndarray:
    values = []
    for fold in pc.unique(table["fold"]).to_pylist():
        rows = table.filter(pc.equal(table["fold"], fold))
        counts = confusion(rows["truth"].to_pylist(), rows["predicted"].to_pylist(), labels)
        values.append(float(metric(name)(counts)))
    return np.array(values)
