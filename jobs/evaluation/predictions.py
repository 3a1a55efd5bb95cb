"""Predictions: what each system said of each row that it had not learnt from."""

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

PREDICTIONS = pa.schema(
    {
        "benchmark": pa.string(),
        "system": pa.string(),
        "split": pa.string(),
        "fold": pa.string(),
        "id": pa.string(),
        "group": pa.string(),
        "truth": pa.string(),
        "predicted": pa.string(),
        "scores": pa.list_(pa.float32()),
    }
)
"""A row for each system and item; `scores` are probabilities in the labels' order, or null."""


def predictions(
    *,
    benchmark: str,
    system: str,
    split: str,
    fold: str | Sequence[str],
    ids: Sequence[str],
    groups: Sequence[str],
    truth: Sequence[str],
    predicted: Sequence[str],
    scores: ArrayLike | None = None,
) -> pa.Table:
    """The answers of one system as `PREDICTIONS`.

    Args:
        benchmark: What was asked.
        system: Who answered.
        split: Of the data, as its authors name it; `loso` where each person was left out once.
        fold: Which part was held out; one for all rows, or one each.
        ids: Of the rows.
        groups: Who or what belongs together: a dialogue, a person. Resampled as a whole.
        truth: The label of each row.
        predicted: The label that the system gave.
        scores: Probabilities, `(row, label)`, in the order of the benchmark's labels.
    """
    count = len(ids)
    probabilities = None
    if scores is not None:
        probabilities = list(np.asarray(scores, np.float32))
    return pa.table(
        {
            "benchmark": [benchmark] * count,
            "system": [system] * count,
            "split": [split] * count,
            "fold": [fold] * count if isinstance(fold, str) else list(fold),
            "id": list(ids),
            "group": list(groups),
            "truth": list(truth),
            "predicted": list(predicted),
            "scores": pa.nulls(count, PREDICTIONS.field("scores").type)
            if probabilities is None
            else pa.array(probabilities, PREDICTIONS.field("scores").type),
        },
        schema=PREDICTIONS,
    )


def systems(table: pa.Table) -> list[str]:
    """The systems of a table, in the order in which they appear."""
    return pc.unique(table["system"]).to_pylist()


def of(table: pa.Table, system: str) -> pa.Table:
    """The rows of one system."""
    return table.filter(pc.equal(table["system"], system))


def probabilities(table: pa.Table, labels: Collection[str]) -> NDArray[np.float64] | None:
    """The scores as an array `(row, label)`; `None` where a row has none."""
    if not len(table) or table["scores"].null_count:
        return None
    rows = np.array(table["scores"].to_pylist(), np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(labels):
        raise ValueError(
            f"`scores` must hold a probability for each of the {len(labels)} labels, but has the "
            f"shape {rows.shape} (system {table['system'][0].as_py()!r})."
        )
    return rows


def check(table: pa.Table, labels: Sequence[str]) -> None:
    """Refuse predictions that cannot be judged.

    Raises:
        ValueError: Columns differ from `PREDICTIONS`, a value is missing, a label is unknown, a
            system answered an id twice, or not the same rows of a split as the others.
    """
    if not table.schema.equals(PREDICTIONS):
        raise ValueError(f"predictions must have the columns {PREDICTIONS.names}, in their types.")
    for name in PREDICTIONS.names[:-1]:
        if table[name].null_count:
            raise ValueError(f"predictions lack `{name}` in {table[name].null_count} rows.")
    for name in ("truth", "predicted"):
        unknown = set(pc.unique(table[name]).to_pylist()) - set(labels)
        if unknown:
            raise ValueError(
                f"`{name}` must be one of {', '.join(labels)}, but is {min(unknown)!r}."
            )
    asked: dict[str, dict[str, str]] = {}
    for system in systems(table):
        part = of(table, system)
        for split in pc.unique(part["split"]).to_pylist():
            rows = part.filter(pc.equal(part["split"], split))
            truth = dict(zip(rows["id"].to_pylist(), rows["truth"].to_pylist(), strict=True))
            if len(truth) < len(rows):
                raise ValueError(f"system {system!r} answered an id of {split!r} more than once.")
            first = asked.setdefault(split, truth)
            if truth != first:
                raise ValueError(
                    f"system {system!r} was judged on other rows or labels of {split!r} than the "
                    f"first one ({len(truth)} rows, {len(first)} before): a table compares only "
                    "systems that answered the same."
                )
