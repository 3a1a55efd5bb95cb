"""The log of a run."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from mien.cluster.host import begin
from mien.datasets.schema import KEY
from mien.jobs.logbook import KEPT, LOG, Logbook


def rows() -> pa.Table:
    manifest = pa.table(
        {
            "id": ["a", "b"],
            "video_id": ["v", "v"],
            "uri": ["v.mp4", "v.mp4"],
            "start_s": [0.0, 1.0],
            "stop_s": [1.0, 2.0],
        },
        schema=KEY,
    )
    done = begin(manifest, "hash", [1, 2])
    for name, values in (
        ("status", ["ok", "failed"]),
        ("error_stage", [None, "watch"]),
        ("error_message", [None, "cut off"]),
    ):
        at = done.schema.get_field_index(name)
        done = done.set_column(at, done.schema.field(at), pa.array(values, pa.string()))
    return done


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_failed_rows_are_named_line_by_line(tmp_path: Path) -> None:
    book = Logbook(folder=tmp_path, run="2026")
    book.say("run started", files=1)
    book.finished("watch", rows())
    book.phase("watch", {"name": "watch", "rows": 2})
    started, failed, ended = lines(tmp_path)
    assert started["event"] == "run started"
    assert (failed["level"], failed["phase"], failed["id"]) == ("warning", "watch", "b")
    assert (failed["error_stage"], failed["error_message"], failed["attempt"]) == (
        "watch",
        "cut off",
        2,
    )
    assert (ended["event"], ended["phase"], ended["rows"]) == ("phase finished", "watch", 2)
    assert all(line["run"] == "2026" for line in lines(tmp_path))


def test_a_later_run_adds_to_the_log_and_old_lines_go(tmp_path: Path) -> None:
    for run in ("one", "two"):
        book = Logbook(folder=tmp_path, run=run)
        for _ in range(KEPT // 2 + 1):
            book.say("run started")
        book.write()
    found = lines(tmp_path)
    assert {line["run"] for line in found} == {"one", "two"}
    assert len(found) <= KEPT + 2


def test_an_unhappy_end_is_told_with_what_was_said_before(tmp_path: Path) -> None:
    book = Logbook(folder=tmp_path, run="2026")

    def stopped() -> None:
        with book.ended():
            book.finished("watch", rows())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    failed, ended = lines(tmp_path)
    assert failed["event"] == "row failed"
    assert (ended["event"], ended["error"]) == ("run ended", "KeyboardInterrupt")
