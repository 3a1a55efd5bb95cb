"""What can be freed is shown; what the run reads never goes."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.datasets import schema
from mien.datasets.table import Table, table_schema
from mien.jobs import clean
from mien.jobs.clean import WHAT, Clean, finds
from mien.jobs.lock import BusyError, locked
from mien.jobs.main import run as command
from mien.jobs.report import BARE
from mien.jobs.retain import DRAFT, KINDS

PLAIN = table_schema(schema.PROBE)
WATCH = table_schema(schema.WATCH, schema.IDENTITY)
HEX = "0123456789abcdef" * 2
OWNERS = ("ours", "theirs")


def fill(folder: Path, made: pa.Schema = PLAIN) -> None:
    row = dict.fromkeys(made.names) | {"id": "r", "video_id": "v", "uri": "a", "status": "ok"}
    row |= {"attempt": 1, "config_hash": "x"}
    if "faces" in made.names:
        frame = {"time_s": 0.5, "thumbnail": b"picture"}
        row |= {"frames": [frame], "faces": [{"frame": 0, "crop": b"face"}]}
        row |= {"face_embeddings": [[0.5]]}
    Table(folder, made).write(pa.Table.from_pylist([row], schema=made))


def a_run(
    folder: Path,
    *,
    present: Iterable[str] = ("videos", "watch"),
    old: Iterable[str] = ("videos",),
    cuts: Iterable[str] = ("faces",),
    finished: bool = True,
    corpus: dict[str, Any] | None = None,
) -> Path:
    """The folder of a run, with all that may lie in one."""
    tables = {name: f"{name}-new" for name in present}
    for name, place in tables.items():
        fill(folder / "tables" / place, WATCH if name == "watch" else PLAIN)
        path = folder / "manifests" / f"{name}.rows.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"id": ["r"]}), path)
    for name in old:
        fill(folder / "tables" / f"{name}-old")
    for name in cuts:
        fill(folder / "cuts" / f"{name}-new", WATCH)
    for name in (f".part-a.parquet.{HEX}", f".{HEX}.parquet"):
        draft = folder / "tables" / "videos-new" / name
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(b"half")
    for name in (".lock", "tables/videos-new/.merging.json", "videos/v/.timeline"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "videos" / "v" / "report.html").write_bytes(BARE)
    (folder / "api").mkdir(exist_ok=True)
    (folder / "api" / "ledger.sqlite").write_bytes(b"paid for")
    (folder / "scratch" / "videos").mkdir(parents=True, exist_ok=True)
    (folder / "scratch" / "videos" / "note").write_text("x")
    pq.write_table(pa.table({"id": ["r"], "video_id": ["v"]}), folder / "corpus.parquet")
    record = {
        "tables": tables,
        "finished": "2026-01-01" if finished else None,
        "config": json.dumps({"corpus": corpus or {"_target_": "mien.datasets.corpus.Folder"}}),
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def reads(folder: Path) -> dict[str, bytes]:
    """What a run reads when its command is given again."""
    record = json.loads((folder / "run.json").read_text())
    tables = {f"tables/{place}" for place in record["tables"].values()}
    own = ("corpus.parquet", "run.json", "videos/", "api/", ".lock")
    listed = tuple(f"manifests/{name}." for name in record["tables"])
    return {
        name: content
        for name, content in contents(folder).items()
        if (str(Path(name).parent) in tables and not DRAFT.fullmatch(Path(name).name))
        or name.startswith((*own, *listed))
        or (name.startswith("cuts/") and not record["finished"])
    }


NAMES = st.sets(st.sampled_from(["videos", "turns", "speech", "watch"]))


@settings(max_examples=25)
@given(
    present=NAMES,
    old=NAMES,
    cuts=NAMES,
    finished=st.booleans(),
    do=st.sets(st.sampled_from([word for word in WHAT if word not in KINDS])),
)
def test_what_the_run_reads_never_goes(
    present: set[str], old: set[str], cuts: set[str], finished: bool, do: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = a_run(Path(name), present=present, old=old, cuts=cuts, finished=finished)
        before = reads(run)
        Clean(run=name, do=sorted(do))()
        after = contents(run)
        assert {path: after.get(path) for path in before if path != ".lock"} == {
            path: content for path, content in before.items() if path != ".lock"
        }
        assert {p.name for p in (run / "tables").glob("*-old")} == (
            set() if "old" in do else {f"{one}-old" for one in old}
        )
        if "leftovers" in do:
            assert not [path for path in after if DRAFT.fullmatch(Path(path).name)]


def test_nothing_goes_unless_it_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = a_run(tmp_path)
    before = contents(run)
    assert command(["clean", str(run)]) == 0
    assert {**contents(run), ".lock": b""} == {**before, ".lock": b""}
    said = capsys.readouterr().out
    assert all(word in said for word in WHAT)


def test_what_is_shown_is_what_it_takes(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    found = finds(run, json.loads((run / "run.json").read_text()))
    sizes = {name: len(content) for name, content in contents(run).items()}
    for word, start in (("old", "tables/videos-old"), ("cuts", "cuts/")):
        assert found[word].size_bytes == sum(n for name, n in sizes.items() if start in name) > 0
    assert found["leftovers"].size_bytes == 2 * len(b"half") + len(b"x")


def test_cuts_of_a_run_that_is_not_finished_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = a_run(tmp_path, finished=False)
    assert Clean(run=str(run), do=["cuts", "crops"])() == 1
    assert (run / "cuts" / "faces-new").exists()
    assert b"face" in b"".join(path.read_bytes() for path in run.rglob("part-*"))
    assert "not finished" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_goes_from_every_table_and_its_rows_stand(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "write_index", lambda run, record: None)
    run = a_run(tmp_path, old=())
    before = finds(run, json.loads((run / "run.json").read_text()))
    assert before[kind].size_bytes > 0
    assert Clean(run=str(run), do=[kind])() == 0
    after = finds(run, json.loads((run / "run.json").read_text()))
    assert after[kind].size_bytes == 0
    assert all(after[other].size_bytes > 0 for other in KINDS if other != kind)
    assert Table(run / "tables" / "watch-new", WATCH).count() == 1


def test_downloads_go_only_if_they_are_this_runs(tmp_path: Path) -> None:
    """Another run fetched `theirs.mp4`; `begun.mp4.part` may be anybody's."""
    videos = tmp_path / "downloads"
    videos.mkdir()
    for path in (videos / "ours.mp4", videos / "theirs.mp4", tmp_path / "elsewhere.mp4"):
        path.write_bytes(b"film")
    (videos / "begun.mp4.part").write_bytes(b"half")
    lines = [json.dumps({"url": f"https://x.org/{n}", "file": f"{n}.mp4"}) for n in OWNERS]
    (videos / "archive.jsonl").write_text("\n".join(lines))
    (tmp_path / "run").mkdir()
    corpus = {"_target_": "mien.datasets.corpus.Urls", "folder": str(videos)}
    run = a_run(tmp_path / "run", corpus=corpus)
    uris = [str(videos / "ours.mp4"), str(tmp_path / "elsewhere.mp4"), str(videos / "gone.mp4")]
    pq.write_table(pa.table({"id": uris, "video_id": uris, "uri": uris}), run / "corpus.parquet")
    assert Clean(run=str(run), do=["downloads"])() == 0
    left = {path.name for path in videos.iterdir()}
    assert left == {"theirs.mp4", "begun.mp4.part", "archive.jsonl"}
    assert (tmp_path / "elsewhere.mp4").exists()


def test_the_record_is_the_one_that_stands_once_nobody_else_works_on_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path, old=())

    @contextmanager
    def waiting(folder: Path) -> Iterator[None]:
        """Meanwhile another process ends, which has made a table of its own."""
        fill(run / "tables" / "speech-new")
        record = json.loads((run / "run.json").read_text())
        record["tables"]["speech"] = "speech-new"
        (run / "run.json").write_text(json.dumps(record))
        yield

    monkeypatch.setattr(clean, "locked", waiting)
    assert Clean(run=str(run), do=["old"])() == 0
    assert (run / "tables" / "speech-new").exists()


def test_what_may_be_copied_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "my run").mkdir()
    Clean(run=str(a_run(tmp_path / "my run")))()
    assert f"mien clean '{tmp_path}/my run' job.do" in capsys.readouterr().out


def test_the_files_of_a_folder_corpus_are_no_downloads(tmp_path: Path) -> None:
    corpus = {"_target_": "mien.datasets.corpus.Folder", "path": str(tmp_path)}
    (tmp_path / "a.mp4").write_bytes(b"film")
    run = a_run(tmp_path, corpus=corpus)
    assert Clean(run=str(run), do=["downloads"])() == 0
    assert (tmp_path / "a.mp4").exists()


def test_a_link_goes_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "film.mp4").write_bytes(b"film")
    (tmp_path / "run").mkdir()
    run = a_run(tmp_path / "run")
    (run / "tables" / "linked-old").symlink_to(tmp_path / "elsewhere")
    assert Clean(run=str(run), do=["old"])() == 0
    assert not (run / "tables" / "linked-old").exists()
    assert (tmp_path / "elsewhere" / "film.mp4").exists()


def test_a_run_that_somebody_works_on_is_left_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    with locked(run), pytest.raises(BusyError):
        Clean(run=str(run), do=["old"])()
    assert (run / "tables" / "videos-old").exists()


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(ValueError, match="names 'everything'"):
        Clean(run="x", do=["everything"])
