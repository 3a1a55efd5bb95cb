import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.jobs.evaluation.predictions import predictions
from mien.jobs.evaluation.results import Anchor, anchors, measured
from mien.jobs.leaderboard import LEADERBOARD, Leaderboard
from mien.jobs.main import run

TRUTH = ["joy", "joy", "fear", "fear"]
LABELS = ("joy", "fear")
HOSTILE = "</script><script>alert(1)</script>"
PUBLISHED = Anchor(
    system="TelME", metric="uar", value=0.6737, inputs="T+A+V", source="Yun et al.", date="2024"
)
Made = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Writes a run that is finished; what is given replaces its facts."""

    def make(
        name: str,
        *,
        system: str = "words",
        right: int = 3,
        split: str = "dev",
        kind: str = "system",
        **facts: object,
    ) -> Path:
        given = [*TRUTH[:right], *("fear" if t == "joy" else "joy" for t in TRUTH[right:])]
        answers = predictions(
            benchmark="meld",
            system=system,
            split=split,
            fold=split,
            ids=["1", "2", "3", "4"],
            groups=["x", "y", "z", "w"],
            truth=TRUTH,
            predicted=given,
        )
        results = measured(
            "meld",
            answers,
            labels=LABELS,
            inputs={system: "T"},
            kinds={system: kind},
            metrics=["accuracy", "uar"],
            split=split,
            resamples=20,
        )
        record = {
            "kind": "benchmark",
            "benchmark": "meld",
            "headline": "uar",
            "config_hash": name,
            "git": "0123456789ab",
            "machine": {"processor": "Some CPU", "cores": 2, "memory_gb": 24.0, "gpus": []},
            "finished": "2026-11-21T10:00:00+00:00",
            "error": None,
        } | facts
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(record))
        published = anchors("meld", [PUBLISHED], split)
        pq.write_table(pa.concat_tables([results, published]), folder / "results.parquet")
        return folder

    return make


def shown(folder: Path) -> tuple[list[dict], str]:
    table = pq.read_table(folder / "leaderboard.parquet")
    assert table.schema.equals(LEADERBOARD)
    return table.to_pylist(), (folder / "leaderboard.html").read_text()


def of_runs(tmp_path: Path) -> tuple[list[dict], str]:
    assert Leaderboard(runs=[str(tmp_path / "runs")], out=str(tmp_path / "board"))() == 0
    return shown(tmp_path / "board")


def test_runs_stand_beside_each_other_with_what_they_ran_on(tmp_path: Path, made: Made) -> None:
    made("aaa", system="words", right=3)
    made("bbb", system="sentences", right=4, kind="baseline")
    rows, html = of_runs(tmp_path)
    values = {(row["system"], row["metric"]): row for row in rows}
    assert values["words", "uar"]["value"] == 0.75
    assert values["sentences", "uar"]["config_hash"] == "bbb"
    assert values["words", "accuracy"]["hardware"] == "Some CPU, 2 cores, 24 GB"
    assert values["words", "accuracy"]["git"] == "0123456789ab"
    (anchor,) = (row for row in rows if row["kind"] == "anchor")  # of two runs, once
    assert (anchor["run"], anchor["date"], anchor["source"]) == (None, "2024", "Yun et al.")
    for text in ("words", "sentences", "aaa", "bbb", "0123456789ab", "Some CPU", "Yun et al."):
        assert text in html
    best = html.index("<bdi>words</bdi>"), html.index("<bdi>TelME</bdi>")
    assert html.index("<bdi>sentences</bdi>") < min(best)  # by the headline


def test_of_one_configuration_the_newest_run_is_shown(tmp_path: Path, made: Made) -> None:
    made("old", config_hash="same", right=4, finished="2026-11-20T10:00:00+00:00")
    made("new", config_hash="same", right=3, finished="2026-11-21T10:00:00+00:00")
    rows, html = of_runs(tmp_path)
    (row,) = (row for row in rows if row["metric"] == "uar" and row["kind"] == "system")
    assert (row["value"], row["runs"]) == (0.75, 2)
    assert "the newest of 2 runs" in html


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("test", True),
        ("loso", True),
        ("dev", False),
        ("dev, three sentiments", False),
        ("inner", False),
    ],
)
def test_looks_at_the_rows_that_judge_are_counted(
    tmp_path: Path, made: Made, split: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made("aaa", split=split)
    made("bbb", split=split)
    made("ccc", split=split, kind="baseline")
    _, html = of_runs(tmp_path)
    printed = " ".join(capsys.readouterr().out.split())
    for text in (html, printed):
        assert ("2 configurations were judged on the split" in text) == said


def test_what_is_broken_is_named_and_left_out(
    tmp_path: Path, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made("good")
    made("failed", error="ValueError: no rows", finished=None)
    made("going", finished=None)
    (made("torn") / "results.parquet").write_bytes(b"PAR1")
    (made("bare") / "results.parquet").unlink()
    (made("odd") / "run.json").write_text("{")
    (made("list") / "run.json").write_text("[]")
    pq.write_table(pa.table({"a": [1]}), made("other") / "results.parquet")
    rows, html = of_runs(tmp_path)
    assert {row["config_hash"] for row in rows} == {"good", None}
    printed = " ".join(capsys.readouterr().out.split())
    reasons = {
        "failed": "it failed: ValueError: no rows",
        "going": "it is not finished",
        "torn": "results.parquet cannot be read",
        "bare": "it has no results.parquet",
        "odd": "run.json cannot be read",
        "list": "run.json is no record",
        "other": "results.parquet has other columns",
    }
    for name, reason in reasons.items():
        assert f"{name}: {reason}" in printed
        assert f"{name}: {reason}" in html


def test_runs_of_the_main_job_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "videos"
    (folder / "tables").mkdir(parents=True)
    record = {
        "corpus": {"files": 3},
        "phases": [{"media_s": 7200.0}, {"media_s": None}],
        "wall_s": 3600.0,
        "finished": "2026-11-21T10:00:00+00:00",
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "tables" / "run.json").write_text("{")  # content of a run is not looked through
    rows, html = of_runs(tmp_path)
    assert rows == []
    assert "Analysed videos" in html
    assert "2.0000" in html
    assert "Left out" not in html


def test_hostile_words_stay_words(tmp_path: Path, made: Made) -> None:
    made("aaa", system=HOSTILE, git=HOSTILE, error=None, machine={"processor": HOSTILE})
    made("bbb", error=HOSTILE)
    assert "<script" not in of_runs(tmp_path)[1]


def test_from_the_command_line(
    tmp_path: Path, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = made("aaa", system="words"), made("bbb", system="sentences")
    out = f"out={tmp_path / 'board'}"
    assert run(["leaderboard", str(first), str(second), out]) == 0
    assert {"words", "sentences"} <= {row["system"] for row in shown(tmp_path / "board")[0]}
    assert run(["leaderboard", f"job.runs=[{first}]", out]) == 0
    assert "sentences" not in {row["system"] for row in shown(tmp_path / "board")[0]}
    assert run(["leaderboard", str(tmp_path / "none"), out]) == 2
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(["leaderboard", str(tmp_path / "empty"), out]) == 1
