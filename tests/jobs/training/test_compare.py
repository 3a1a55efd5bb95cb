"""Comparing two runs: on the same rows and folds only."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from mien.jobs.evaluation.predictions import predictions
from mien.jobs.training.compare import Other, compared, others

LABELS = ("a", "b")


def judged(errors: float, seed: int, system: str = "net") -> pa.Table:
    random, parts = np.random.default_rng(seed), []
    for fold in range(5):
        ids = [f"{fold}-{i}" for i in range(20)]
        truth = [LABELS[i % 2] for i in range(20)]
        wrong = random.random(20) < errors
        said = [LABELS[(i + w) % 2] for i, w in enumerate(wrong)]
        parts.append(
            predictions(
                benchmark="set",
                system=system,
                split="cv",
                fold=f"r1f{fold}",
                ids=ids,
                groups=[f"p{fold}{i % 2}" for i in range(20)],
                truth=truth,
                predicted=said,
            )
        )
    return pa.concat_tables(parts)


def test_a_clear_difference_and_none() -> None:
    good, bad = judged(0.05, 1), judged(0.4, 2)
    rival = Other("other", "net", bad.take(np.random.default_rng(0).permutation(len(bad))))
    table = compared(good, [rival, Other("same", "net", good)], LABELS, "accuracy", "cv")
    worse, same = table.to_pylist()
    assert worse["difference"] == pytest.approx(worse["this"] - worse["other"])
    assert worse["low"] > 0
    assert worse["p by group"] < 0.05
    assert (same["difference"], same["t"], same["p by fold"]) == (0, 0, 1)
    folds = [
        [
            np.mean([r["truth"] == r["predicted"] for r in t.to_pylist() if r["fold"] == f"r1f{i}"])
            for i in range(5)
        ]
        for t in (good, bad)
    ]
    plain = stats.ttest_rel(folds[0], folds[1])
    # 1/J becomes 1/J + n_test/n_train: here 1/5 + 1/4
    assert worse["t"] == pytest.approx(plain.statistic * np.sqrt(0.2 / 0.45))
    assert worse["p by fold"] > plain.pvalue


def test_other_rows_are_refused() -> None:
    mine = judged(0.1, 1)
    with pytest.raises(ValueError, match="the run 'x' must have the rows, labels and folds"):
        compared(mine, [Other("x", "net", mine.slice(1))], LABELS, "accuracy", "cv")


def test_runs_are_read_by_their_folders(tmp_path: Path) -> None:
    pq.write_table(
        pa.concat_tables([judged(0.1, 1), judged(0.5, 2, "most frequent label")]),
        tmp_path / "predictions.parquet",
    )
    (tmp_path / "run.json").write_text(json.dumps({"kind": "train", "system": "net"}))
    [other] = others([str(tmp_path)])
    assert (other.name, other.system, len(other.predictions)) == (tmp_path.name, "net", 100)
    with pytest.raises(ValueError, match="`compare` must name finished runs"):
        others([str(tmp_path / "nothing")])
