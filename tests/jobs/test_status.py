"""What `mien status` counts: the rows of the corpus as it is now."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from mien.datasets.schema import PROBE
from mien.datasets.table import Table, table_schema
from mien.jobs.analyze import Analyze
from mien.jobs.main import configuration
from mien.jobs.main import run as command
from mien.jobs.status import RECORD, Status
from mien.jobs.tally import CORPUS, tallies

PRINT = pa.schema([("fingerprint", pa.string())])


def row(name: str, video: str, content: str | None, status: str = "ok", **more: object) -> dict:
    """A row as far as `status` reads it."""
    base: dict[str, Any] = {"id": name, "video_id": video, "uri": f"{video}.mp4"}
    outcome = {"status": status, "attempt": 1, "config_hash": "h", "error_message": None}
    if status == "failed":
        outcome |= {"error_stage": "probe", "error_type": "MediaError", "error_message": "is cut"}
    return {**base, "fingerprint": content, **outcome, **more}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Video `a` was broken, was replaced, and is well; `b` left the corpus."""
    tables = {"videos": "videos-1", "turns": "turns-1", "utterances": "utterances-1"}
    record = {"tables": tables, "corpus": {}, "finished": "now", "started": "then"}
    (tmp_path / RECORD).write_text(json.dumps({**record, "command": "mien analyze x"}))
    pq.write_table(pa.table({"id": ["a2"], "video_id": ["a"]}), tmp_path / CORPUS)
    content = {
        "videos": [row("a1", "a", None, "failed"), row("a2", "a", "new"), row("b1", "b", "b")],
        "turns": [row("t1", "a", "old", "failed"), row("t2", "a", "new"), row("t3", "b", "b")],
        "utterances": [row("u1", "a", None), row("u2", "b", None)],
    }
    for name, rows in content.items():
        adds = {"videos": PROBE, "turns": PRINT}.get(name, pa.schema([]))
        table = Table(tmp_path / "tables" / tables[name], table_schema(adds))
        table.write(pa.Table.from_pylist(rows, schema=table.schema))
    return tmp_path


def change(run: Path, **facts: object) -> None:
    record = json.loads((run / RECORD).read_text())
    (run / RECORD).write_text(json.dumps({**record, **facts}))


def test_only_what_is_in_the_corpus_counts(run: Path) -> None:
    found = tallies(run, json.loads((run / RECORD).read_text())["tables"])
    counts = {name: (t.rows, t.failed) for name, t in found.items()}
    assert counts == {"videos": (1, 0), "turns": (1, 0), "utterances": (1, 0)}


def test_a_run_that_is_finished_and_well_is_0(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert Status(run=str(run))() == 0
    assert "failed a.mp4" not in capsys.readouterr().out


def test_failed_rows_are_1_and_named(run: Path, capsys: pytest.CaptureFixture) -> None:
    table = Table(run / "tables" / "turns-1", table_schema(PRINT))
    bad = row("t2", "a", "new", "failed", attempt=2)
    table.write(pa.Table.from_pylist([bad], schema=table.schema))
    assert Status(run=str(run))() == 1
    said = capsys.readouterr().out
    assert "failed a.mp4 probe: MediaError: is cut (attempt 2)" in said
    assert f"mien retry {run}" in said


def test_an_unfinished_run_is_3(run: Path, capsys: pytest.CaptureFixture) -> None:
    change(run, finished=None)
    assert Status(run=str(run))() == 3
    assert "Resume: mien analyze x" in capsys.readouterr().out


def test_a_damaged_record_is_named(run: Path) -> None:
    (run / RECORD).write_text("{")
    with pytest.raises(ValueError, match=r"run\.json.*cannot be read"):
        Status(run=str(run))()


def test_what_may_be_copied_is_quoted(run: Path, capsys: pytest.CaptureFixture) -> None:
    odd = run.rename(run.parent / "my [run]")
    table = Table(odd / "tables" / "turns-1", table_schema(PRINT))
    bad = row("t2", "a", "new", "failed", attempt=2)
    table.write(pa.Table.from_pylist([bad], schema=table.schema))
    change(odd, finished=None, command="mien analyze x 'corpus.extensions=[mp4]'")
    assert Status(run=str(odd))() == 3
    said = capsys.readouterr().out
    assert f"mien retry '{odd}'" in said
    assert "Resume: mien analyze x 'corpus.extensions=[mp4]'" in said
    with pytest.raises(ValueError, match=r"mien analyze VIDEOS 'out=no run'"):
        Status(run="no run")()


@pytest.mark.parametrize(
    ("before", "words", "address", "cores"),
    [
        (["cluster.cores=3"], [], None, 3),
        (["cluster.cores=3"], ["cluster.cores=2"], None, 2),
        (["cluster=ray", "cluster.address=10.0.0.1:6379"], [], None, None),
        (["cluster=ray"], ["cluster=ray", "cluster.address=h:1"], "h:1", None),
    ],
)
def test_a_retry_runs_where_the_run_ran_unless_that_is_gone_or_another_is_named(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: list[str],
    words: list[str],
    address: str | None,
    cores: int | None,
) -> None:
    cfg = configuration("analyze", [str(run), f"out={run}", "job.span_s=30", *before])
    change(run, config=OmegaConf.to_yaml(cfg))
    jobs: list[Analyze] = []
    monkeypatch.setattr(Analyze, "__call__", lambda self: jobs.append(self) or 0)
    assert command(["retry", str(run), *words]) == 0
    (job,) = jobs
    assert (job.cluster.address, job.cluster.cores) == (address, cores)
    assert (job.retry, job.span_s) == (True, 30)
