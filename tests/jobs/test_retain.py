"""Emptying what identifies people: nothing else changes, and what is missing is said."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.cluster.host import Stage
from mien.cluster.phase import Phase
from mien.datasets import schema
from mien.datasets.table import Table, table_schema
from mien.jobs.clean import forget
from mien.jobs.recall import POINTER, Recall, RecallPictures, needed
from mien.jobs.retain import (
    COLUMNS,
    KINDS,
    NotRetainedError,
    Retain,
    emptied,
    empty,
    held,
    lost,
    refuse,
)

WATCH = table_schema(schema.WATCH, schema.IDENTITY)
TURNS = table_schema(schema.TURNS)
RECORD = {"tables": {"watch": "watch-1", "turns": "turns-1"}}


def span(number: int, faces: int = 2) -> dict[str, Any]:
    frame = {"time_s": 0.5, "reason": "start", "motion": 0.0, "thumbnail": b"picture" * 99}
    face = {"frame": 0, "time_s": 0.5, "x": 1.0, "score": 0.9, "track": 3, "crop": b"face" * 99}
    return {
        **dict.fromkeys(WATCH.names),
        "id": f"row{number}",
        "video_id": f"v{number:03d}",
        "uri": "a.mp4",
        "start_s": 0.0,
        "stop_s": 60.0,
        "status": "ok",
        "attempt": 1,
        "config_hash": "x",
        "cuts": [],
        "frames": [frame, frame],
        "faces": [face] * faces,
        "face_embeddings": [[0.25, 0.5]] * faces,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a table `watch` of two files, the second without any face, and one of turns."""
    watch = Table(tmp_path / "tables" / "watch-1", WATCH)
    watch.write(pa.Table.from_pylist([span(0), span(1)], schema=WATCH))
    watch.write(pa.Table.from_pylist([span(2, faces=0)], schema=WATCH))
    row = {name: span(0).get(name) for name in TURNS.names}
    row["speakers"] = [{"speaker": "SPEAKER_00", "speech_s": 3.0, "embedding": [0.1] * 8}]
    Table(tmp_path / "tables" / "turns-1", TURNS).write(pa.Table.from_pylist([row], schema=TURNS))
    return tmp_path


def rows(run: Path, name: str = "watch-1") -> list[dict]:
    found = WATCH if name.startswith("watch") else TURNS
    return Table(run / "tables" / name, found).read().sort_by("id").to_pylist()


def without(value: Any, names: set[str]) -> Any:  # noqa: ANN401
    """Records as they must be afterwards, by another way than Arrow's."""
    if isinstance(value, list):
        return [without(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    made = {name: None if name in names else without(item, names) for name, item in value.items()}
    if "face_embeddings" in names and value.get("face_embeddings") is not None:
        made["face_embeddings"] = [None] * len(value["face_embeddings"])  # parallel to the faces
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_emptied_and_nothing_else_changes(run: Path, kind: str) -> None:
    names = {name for name, one in COLUMNS.items() if one == kind}
    before = {name: rows(run, name) for name in ("watch-1", "turns-1")}
    held_before = held(run / "tables" / "watch-1")
    for name, stood in before.items():
        empty(run / "tables" / name, [kind])
        assert rows(run, name) == without(stood, names)
    after = held(run / "tables" / "watch-1")
    assert kind not in after
    assert {k: v for k, v in held_before.items() if k != kind}.keys() == after.keys()


NESTED = pa.schema(
    [
        ("id", pa.int32()),
        ("thumbnail", pa.binary()),
        ("faces", schema.rows(("score", pa.float32()), ("crop", pa.binary()))),
        ("speakers", schema.rows(("embedding", pa.list_(pa.float32())), ("name", pa.string()))),
        ("face_embeddings", pa.list_(pa.list_(pa.float32()))),
    ]
)
NUMBERS = st.lists(st.sampled_from([0.5, 1.5]), max_size=3)
FACES = st.fixed_dictionaries({"score": st.just(0.5), "crop": st.none() | st.binary(max_size=4)})
SPEAKERS = st.fixed_dictionaries({"embedding": st.none() | NUMBERS, "name": st.just("a")})
ROWS = st.fixed_dictionaries(
    {
        "id": st.integers(0, 9),
        "thumbnail": st.none() | st.binary(max_size=4),
        "faces": st.none() | st.lists(st.none() | FACES, max_size=3),
        "speakers": st.none() | st.lists(SPEAKERS, max_size=2),
        "face_embeddings": st.none() | st.lists(st.none() | NUMBERS, max_size=3),
    }
)


@given(st.lists(ROWS, max_size=6), st.sets(st.sampled_from(sorted(COLUMNS))), st.integers(0, 3))
def test_whatever_a_table_holds_the_named_fields_become_null(
    records: list[dict], names: set[str], start: int
) -> None:
    table = pa.Table.from_pylist(records, schema=NESTED).slice(start)
    made = emptied(table, names)
    made.validate(full=True)
    assert made.schema == table.schema
    assert made.to_pylist() == without(table.to_pylist(), names)


def test_again_changes_nothing(run: Path) -> None:
    folder = run / "tables" / "watch-1"
    assert empty(folder, KINDS) > 0
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert empty(folder, KINDS) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files


def test_what_is_to_stay_stays(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*.parquet")}
    assert forget(run, RECORD, Retain().gone) == 0
    assert {path: path.read_bytes() for path in run.rglob("*.parquet")} == before


def test_what_is_not_to_stay_leaves_all_tables_also_cuts(run: Path) -> None:
    Table(run / "cuts" / "faces-9", WATCH).write(pa.Table.from_pylist([span(5)], schema=WATCH))
    gone = Retain(crops=False, thumbnails=False, embeddings=False).gone
    assert gone == KINDS
    assert forget(run, RECORD, gone) > 0
    assert all(not held(path.parent) for path in run.rglob("*.parquet"))
    content = b"".join(path.read_bytes() for path in run.rglob("*.parquet"))
    assert b"facefaceface" not in content
    assert b"picturepicture" not in content


@pytest.mark.parametrize("folder", ["tables/watch-1", "cuts/faces-9", "videos/v000"])
def test_what_a_killed_process_began_goes_whatever_it_holds(run: Path, folder: str) -> None:
    begun = run / folder / f".part-a.parquet.{'0a' * 16}"
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_bytes(b"face" * 9)
    other = begun.with_name(".merging.json")
    other.write_text("{}")
    assert forget(run, RECORD, ["crops"]) > len(b"face" * 9)
    assert not begun.exists()
    assert other.exists()


def test_a_crash_leaves_the_old_file_or_the_new_one(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(run)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("power")))
    with pytest.raises(OSError, match="power"):
        empty(run / "tables" / "watch-1", ["crops"])
    assert rows(run) == before


def test_faces_without_crops_are_told_from_spans_without_faces(run: Path) -> None:
    folder = run / "tables" / "watch-1"
    assert not lost(folder, "crops")
    empty(folder, ["crops"])
    assert lost(folder, "crops")
    assert not lost(folder, "thumbnails")
    bare = Table(run / "tables" / "watch-2", WATCH)
    bare.write(pa.Table.from_pylist([span(0, faces=0)], schema=WATCH))
    assert not lost(bare.folder, "crops")


def faces(run: Path) -> Phase:
    recall = Recall(folder=str(run / "tables" / "watch-1"), needs=("crops",))
    return Phase(name="faces", stages=(Stage(role="recall", actor=recall),))


def test_a_new_model_is_refused_with_the_cure(run: Path) -> None:
    refuse([faces(run)], run)
    empty(run / "tables" / "watch-1", ["crops"])
    with pytest.raises(NotRetainedError) as refused:
        refuse([faces(run)], run)
    for part in ("'faces'", "crops", "watch-1", "retain.crops=true", "Remove that folder"):
        assert part in str(refused.value)


def test_a_model_that_has_rows_already_goes_on(run: Path) -> None:
    empty(run / "tables" / "watch-1", ["crops"])
    phase = faces(run)
    file = phase.table(run).folder / "part-a.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"]}), file)
    refuse([phase], run)


def recalled(run: Path, needs: tuple[str, ...]) -> pa.Table:
    folder = run / "tables" / "watch-1"
    names = {row["id"]: p.name for p in folder.iterdir() for row in pq.read_table(p).to_pylist()}
    asked = [{"file": names[id_], "id": id_} for id_ in ("row0", "row2")]
    actor = Recall(folder=str(folder), needs=needs)
    actor.setup()
    return actor.process(pa.table({"watched": pa.array(asked, POINTER)}))


def test_a_span_whose_crops_are_gone_fails_where_they_are_needed(run: Path) -> None:
    assert len(recalled(run, ("crops", "thumbnails"))) == 2
    empty(run / "tables" / "watch-1", ["crops"])
    assert len(recalled(run, ("thumbnails",))) == 2
    with pytest.raises(NotRetainedError, match="needs crops"):
        recalled(run, ("crops",))


def test_a_moment_whose_pictures_are_gone_fails(run: Path) -> None:
    folder = run / "tables" / "watch-1"
    empty(folder, ["thumbnails"])
    (file,) = (p.name for p in folder.iterdir() if "row0" in pq.read_table(p)["id"].to_pylist())
    actor = RecallPictures(folder=str(folder))
    actor.setup()
    frame = {"file": file, "id": "row0", "index": 0, "time_s": 0.5}
    with pytest.raises(NotRetainedError, match="needs thumbnails"):
        actor.process(pa.table({"frames": [[frame]]}))


def test_what_is_needed_does_not_change_the_name_of_a_table(run: Path) -> None:
    plain = Recall(folder="a")
    assert plain.identity() == Recall(folder="b", needs=needed(["action"])).identity()
