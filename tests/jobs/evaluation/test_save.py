import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mien.jobs.evaluation.outcome import Outcome
from mien.jobs.evaluation.predictions import PREDICTIONS
from mien.jobs.evaluation.record import Record, config_hash
from mien.jobs.evaluation.results import RESULTS
from mien.jobs.evaluation.save import save

CONFIG = """
job: {_target_: x.Y, benchmark: "${benchmark}", cluster: "${cluster}", out: "${out}"}
benchmark: {folds: 5, classifier: {c: 1.0}}
cluster: {cores: 2}
corpus: {path: "???"}
out: /somewhere
"""


def test_a_run_leaves_tables_page_and_record(
    tmp_path: Path, outcome: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    with Record(tmp_path, kind="benchmark", config=CONFIG) as record:
        before = json.loads((tmp_path / "run.json").read_text())
        save(tmp_path, outcome(), record)
    assert (before["finished"], before["error"]) == (None, None)
    after = json.loads((tmp_path / "run.json").read_text())
    assert after["finished"] >= after["started"]
    assert after["wall_s"] > 0
    assert (after["kind"], after["benchmark"]) == ("benchmark", "meld")
    assert after["headline"] == "weighted_f1"
    assert {"git", "machine", "versions", "command", "config", "peak_memory_gb"} <= set(after)
    assert "gpus" in after["machine"]
    assert pq.read_schema(tmp_path / "predictions.parquet").equals(PREDICTIONS)
    assert pq.read_schema(tmp_path / "results.parquet").equals(RESULTS)
    assert after["config_hash"] in (tmp_path / "index.html").read_text()
    printed = capsys.readouterr().out
    for text in ("words plain", "anchor 2024", "0.6737", "Chosen on dev."):
        assert text in printed


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"), Record(tmp_path, kind="train", config=CONFIG):
        raise ValueError("no rows")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["error"] == "ValueError: no rows"
    assert record["finished"] is None


def test_a_configuration_is_named_by_what_changes_its_numbers() -> None:
    same = config_hash(CONFIG)
    assert config_hash(CONFIG.replace("cores: 2", "cores: 64")) == same
    assert config_hash(CONFIG.replace("/somewhere", "/elsewhere")) == same
    assert config_hash(CONFIG.replace("folds: 5", "folds: 5.0")) == same
    assert config_hash(CONFIG.replace("c: 1.0", "c: 2.0")) != same


def test_how_fast_an_actor_runs_is_no_part_of_that_name() -> None:
    target = "mien.actors.voice_states.VoiceStates"
    actor = f"job: {{actor: {{_target_: {target}, layer: 3, batch_size: 4}}}}"
    same = config_hash(actor)
    assert config_hash(actor.replace("batch_size: 4", "batch_size: 64")) == same
    assert config_hash(actor.replace("layer: 3", "layer: 4")) != same
    assert config_hash(actor.replace(target, "x.Y")) != same
