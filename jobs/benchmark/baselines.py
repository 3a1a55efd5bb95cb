"""What needs no look at the row: the bars below which a system has learnt nothing."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..evaluation.results import RESULTS
from ..evaluation.scores import METRICS, codes


def commonest(truth: Sequence[str]) -> str:
    """The label that occurs most often; of several, the first in the alphabet."""
    counts = Counter(truth)
    return min(counts, key=lambda label: (-counts[label], label))


def by_key(keys: Sequence[str], truth: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The commonest label of each key, for example of a speaker; of an unknown one, of all rows.

    Args:
        keys: Of the training rows.
        truth: Their labels.
        asked: Keys of the rows to judge.
    """
    labels: dict[str, list[str]] = defaultdict(list)
    for key, label in zip(keys, truth, strict=True):
        labels[key].append(label)
    overall = commonest(truth)
    best = {key: commonest(every) for key, every in labels.items()}
    return [best.get(key, overall) for key in asked]


def random_labels(
    benchmark: str,
    truth: Sequence[str],
    learnt: Sequence[str],
    *,
    labels: Sequence[str],
    metrics: Sequence[str],
    split: str,
) -> pa.Table:
    """Labels drawn as often as they occur in training: the metrics of the expected counts.

    A row of true label i gets label j with j's share p_j of the training rows, so that
    E[C_ij] = n_i p_j. Nothing is drawn, hence there is no interval.

    Args:
        benchmark: What was asked.
        truth: Labels of the rows to judge.
        learnt: Labels of the training rows.
        labels: All there are, in their order.
        metrics: Keys of `scores.METRICS`.
        split: Of the rows to judge.

    Returns:
        `RESULTS`.
    """
    size = len(labels)
    occurs = np.bincount(codes(truth, labels), minlength=size)
    shares = np.bincount(codes(learnt, labels), minlength=size) / len(learnt)
    counts = np.outer(occurs, shares)
    return pa.Table.from_pylist(
        [
            {
                "benchmark": benchmark,
                "system": "labels by frequency",
                "kind": "baseline",
                "inputs": "none",
                "split": split,
                "metric": name,
                "value": float(METRICS[name](counts)),
                "rows": len(truth),
                "note": "of the expected counts",
            }
            for name in metrics
        ],
        schema=RESULTS,
    )
