"""Labelled faces: crops of a run, chosen by spans of a table."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.datasets.faces import Faces
from mien.datasets.schema import WATCH
from mien.datasets.table import Table, table_schema


def face(time_s: float, w: float, crop: bytes | None) -> dict:
    return {"frame": 0, "time_s": time_s, "x": w, "y": 0.0, "w": w, "h": w, "crop": crop}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    schema = table_schema(WATCH)
    table = Table(tmp_path / "tables" / "watch-0", schema)
    faces = [face(0.5, 10, b"small"), face(0.5, 30, b"large"), face(4.0, 20, b"later")]
    row = dict.fromkeys(schema.names) | {"id": "w0", "video_id": "talk-1", "uri": "/v/talk.mp4"}
    row |= {"status": "ok", "attempt": 1, "config_hash": "0", "faces": faces}
    table.write(pa.Table.from_pylist([row], schema=schema))
    (tmp_path / "run.json").write_text(json.dumps({"tables": {"watch": "watch-0"}}))
    pq.write_table(
        pa.table({"video_id": ["talk-1"], "uri": ["/v/talk.mp4"]}), tmp_path / "corpus.parquet"
    )
    return tmp_path


def labelled(run: Path, *lines: str) -> Faces:
    (run / "labels.csv").write_text("\n".join(["video,label,person,start_s,stop_s", *lines]))
    return Faces(run=str(run), labels=str(run / "labels.csv"))


def test_the_largest_face_of_each_frame_in_a_span(run: Path) -> None:
    source = labelled(run, "talk.mp4,sad,bo,0,2", "talk-1,happy,bo,4,")
    rows = source.survey()
    assert rows["label"].to_pylist() == ["sad", "happy"]
    assert rows["time_s"].to_pylist() == [0.5, 4.0]
    assert rows["sound"].to_pylist() == ["/v/talk.mp4"] * 2
    assert [read() for read in source.pictures(rows)] == [b"large", b"later"]
    assert source.name == "labels"


def test_a_run_without_faces_is_named(run: Path) -> None:
    (run / "run.json").write_text(json.dumps({"tables": {}}))
    with pytest.raises(ValueError, match="must have a table `watch`"):
        labelled(run, "talk-1,sad,bo,,").survey()


def test_a_crop_that_was_not_retained_cannot_be_read(run: Path) -> None:
    source = labelled(run, "talk-1,sad,bo,,")
    rows = source.survey()
    path = next((run / "tables" / "watch-0").glob("*.parquet"))
    kept = pq.read_table(path).to_pylist()
    for one in kept[0]["faces"]:
        one["crop"] = None
    pq.write_table(pa.Table.from_pylist(kept, schema=table_schema(WATCH)), path)
    with pytest.raises(ValueError, match="kept no picture of this face"):
        next(source.pictures(rows))()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("talk-1,sad,,0,2", "line 2 .* must name a `person`: without it"),
        ("other,sad,bo,0,2", "'other' names 0: give its `video_id`"),
        ("talk-1,sad,bo,2,3", "no face of the run"),
        ("talk-1,sad,bo,3,2", r"`stop_s` must be greater than `start_s` \(3\), but is 2 \(line 2"),
    ],
)
def test_a_wrong_label_is_refused(run: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labelled(run, line).survey()


def test_a_face_in_two_spans_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match=r"labelled once, but that of '/v/talk\.mp4' at 0\.5 s"):
        labelled(run, "talk-1,sad,bo,0,2", "talk-1,happy,bo,0,1").survey()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a run of `mien analyze`"):
        labelled(tmp_path, "talk-1,sad,bo,0,2").survey()
