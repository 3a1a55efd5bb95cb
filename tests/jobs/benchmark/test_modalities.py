"""Numbers of clips: means over what was heard, the head on them, and rows that have none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mien.datasets.laion import LAION_VOICE_NAMES
from mien.datasets.schema import LAION_VOICE, PROSODY, VOICE_AFFECT
from mien.datasets.table import Table, table_schema
from mien.jobs.benchmark.clip_features import heard, weighted
from mien.jobs.benchmark.modalities import Features, Head
from mien.jobs.graph import Graph


@dataclass
class Tables:
    """A graph of which only the tables matter."""

    run: Path
    schemas: dict[str, pa.Schema]

    @property
    def phases(self) -> dict[str, pa.Schema]:
        return self.schemas

    def table(self, name: str) -> Table:
        return Table(self.run / name, table_schema(self.schemas[name]))

    def write(self, name: str, *rows: dict[str, Any]) -> None:
        key = {"uri": "x", "status": "ok", "attempt": 1, "config_hash": "x"}
        table = self.table(name)
        made = [{**key, "id": f"{name}{i}", **row} for i, row in enumerate(rows)]
        table.write(pa.Table.from_pylist(made, schema=table.schema))


def test_what_is_heard_is_weighted_by_its_length(tmp_path: Path) -> None:
    tables = Tables(
        tmp_path,
        {"voice": pa.schema([*PROSODY, *VOICE_AFFECT]), "segments": LAION_VOICE},
    )
    tables.write(
        "voice",
        {"video_id": "a", "start_s": 0.0, "stop_s": 3.0, "pitch_hz": 100.0, "arousal": 0.2},
        {"video_id": "a", "start_s": 3.0, "stop_s": 4.0, "pitch_hz": 200.0},
        {"video_id": "b", "start_s": 0.0, "stop_s": 1.0, "pauses": 2},
        {"video_id": "c", "start_s": 0.0, "stop_s": 1.0, "pitch_hz": 9.0, "status": "failed"},
        {"video_id": "other", "start_s": 0.0, "stop_s": 1.0, "pitch_hz": 9.0},
    )
    fine = np.arange(len(LAION_VOICE_NAMES), dtype=float)
    tables.write(
        "segments",
        {"video_id": "a", "start_s": 0.0, "stop_s": 1.0, "laion_voice": fine.tolist()},
        {"video_id": "a", "start_s": 1.0, "stop_s": 4.0, "laion_voice": (2 * fine).tolist()},
        {"video_id": "a", "start_s": 4.0, "stop_s": 5.0, "laion_voice": None},
    )
    names, found = heard(cast(Graph, tables), ["a", "b", "c"])
    assert set(found) == {"a", "b"}
    first, second = (dict(zip(names, found[video], strict=True)) for video in "ab")
    assert first["pitch_hz"] == pytest.approx(125)
    assert first["arousal"] == pytest.approx(0.2)
    assert first["speech_s"] == pytest.approx(4)
    assert first[LAION_VOICE_NAMES[3]] == pytest.approx((3 * 1 + 6 * 3) / 4)
    assert second["pauses"] == 2
    assert np.isnan([second["pitch_hz"], second[LAION_VOICE_NAMES[0]]]).all()


def test_the_mean_of_nothing_is_unknown() -> None:
    assert np.isnan(weighted(np.full((2, 1), np.nan), np.ones(2))).all()
    assert weighted(np.array([[1.0], [3.0]]), np.array([0.0, 2.0])).tolist() == [3.0]


def generated(rows: int, seed: int = 0) -> tuple[Features, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.choice(3, rows)
    values = random.normal(size=(rows, 4))
    values[:, 0] += truth
    return Features(names=tuple("abcd"), values=values, missing=[None] * rows), truth


def test_a_head_is_the_regression_of_scikit_learn() -> None:
    (train, truth), (held, _) = generated(200), generated(50, seed=1)
    scaler = StandardScaler().fit(train.values)
    own = LogisticRegression(C=0.5, max_iter=2000).fit(scaler.transform(train.values), truth)
    found = Head(c=0.5).fit_predict(train, truth, held, 3)
    assert found == pytest.approx(own.predict_proba(scaler.transform(held.values)), abs=1e-3)


def test_a_row_without_numbers_is_neither_learnt_from_nor_judged() -> None:
    (train, truth), (held, _) = generated(200), generated(50, seed=1)
    holes = train.values.copy()
    holes[::2] = np.nan
    gone = ["no voice was heard" if i % 2 == 0 else None for i in range(200)]
    lacking = Features(names=train.names, values=holes, missing=gone)
    found = Head().fit_predict(lacking, truth, held, 3)
    half = np.arange(1, 200, 2)
    assert found == pytest.approx(Head().fit_predict(train.take(half), truth[half], held, 3))
    silent = Head().fit_predict(train, truth, lacking, 3)
    assert np.isnan(silent[::2]).all()
    assert silent[1::2].sum(1) == pytest.approx(np.ones(100))


def test_a_number_that_is_never_known_does_no_harm() -> None:
    (train, truth), (held, _) = generated(100), generated(20, seed=1)
    for one in (train, held):
        one.values[:, 3] = np.nan
    found = Head().fit_predict(train, truth, held, 3)
    assert np.isfinite(found).all()


def test_a_label_that_training_lacks_is_never_given() -> None:
    (train, truth), (held, _) = generated(100), generated(20, seed=1)
    assert (Head().fit_predict(train, truth, held, 5)[:, 3:] == 0).all()
    one = Head().fit_predict(train, np.full(100, 2), held, 3)
    assert one.tolist() == [[0, 0, 1]] * 20


def test_a_penalty_must_be_positive() -> None:
    with pytest.raises(ValueError, match="`c` must be greater than 0, but is 0"):
        Head(c=0)
