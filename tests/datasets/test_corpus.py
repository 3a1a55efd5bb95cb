"""What is in a folder, a list, and under which names."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.datasets.corpus import EXTENSIONS, Folder, List
from mien.datasets.manifest import FILES, Listing, slug
from mien.datasets.store import place, replace


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names(listing: Listing, root: Path) -> list[str]:
    return [uri.removeprefix(f"{root}/") for uri in listing.rows["uri"].to_pylist()]


def test_rows_of_a_folder(tmp_path: Path) -> None:
    put(tmp_path, "b.mp4", "a/c.MKV", "a.wav", "notes.txt", ".hidden.mp4", ".git/x.mp4")
    rows, skips = listing = Folder(path=str(tmp_path)).survey()
    assert rows.schema == FILES
    assert names(listing, tmp_path) == ["a.wav", "b.mp4", "a/c.MKV"]
    assert rows["size_bytes"].to_pylist() == [5, 5, 7]
    assert rows["mtime_ns"][1].as_py() == (tmp_path / "b.mp4").stat().st_mtime_ns
    assert rows["start_s"].null_count == 3
    assert skips == []


@pytest.mark.parametrize("extension", [".mp4", ".webm", ".mts", ".3gp", ".opus"])
def test_common_extensions(extension: str) -> None:
    assert extension in EXTENSIONS


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*", ["a.mp4", "x/a.mkv", "x/a.mp4", "x/y/b.mp4"]),
        ("*", ["a.mp4"]),
        ("**/*.mp4", ["a.mp4", "x/a.mp4", "x/y/b.mp4"]),
        ("x/*.mp4", ["x/a.mp4"]),
        ("*/**/[b-d].mp4", ["x/y/b.mp4"]),
        ("**/?.mkv", ["x/a.mkv"]),
    ],
)
def test_patterns_and_globs_agree_with_pathlib(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    put(tmp_path, "a.mp4", "x/a.mp4", "x/a.mkv", "x/y/b.mp4", "x/y/b.txt")
    by_pathlib = {str(p.relative_to(tmp_path)) for p in tmp_path.glob(pattern) if p.is_file()}
    assert {name for name in by_pathlib if not name.endswith("txt")} == set(expected)
    for corpus in (
        Folder(path=str(tmp_path), pattern=pattern),
        Folder(path=f"{tmp_path}/{pattern}"),
    ):
        assert names(corpus.survey(), tmp_path) == expected


def test_a_moved_corpus_keeps_its_names(tmp_path: Path) -> None:
    put(tmp_path / "one", "a.mp4", "x/a.mp4")
    before = Folder(path=str(tmp_path / "one")).files()
    shutil.move(tmp_path / "one", tmp_path / "two")
    after = Folder(path=str(tmp_path / "two")).files()
    for column in ("id", "video_id"):
        assert after[column] == before[column]
    assert after["uri"] != before["uri"]
    assert len(set(after["video_id"].to_pylist())) == 2  # both files are called `a`


def test_a_changed_file_is_another_row_of_the_same_video(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    before = Folder(path=str(tmp_path)).files().to_pylist()[0]
    (tmp_path / "a.mp4").write_bytes(b"something longer")
    after = Folder(path=str(tmp_path)).files().to_pylist()[0]
    assert after["id"] != before["id"]
    assert after["video_id"] == before["video_id"]


def test_a_single_file_is_named_as_in_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "a [1].mp4", "odd.xyz")
    alone = Folder(path=str(tmp_path / "a [1].mp4")).files()
    assert alone == Folder(path=str(tmp_path)).files()
    assert Folder(path=str(tmp_path / "odd.xyz")).files().num_rows == 1  # named by the user


def test_colliding_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uuid import UUID

    from mien.datasets import manifest

    hashes = {"x/a.mp4": "1" * 32, "y/a.mp4": "1" * 8 + "2" * 24, "z/a.mp4": "3" * 32}
    monkeypatch.setattr(manifest, "uuid5", lambda _, name: UUID(hashes[name]))
    put(tmp_path, *hashes)
    found = Folder(path=str(tmp_path)).files()["video_id"].to_pylist()
    assert found == ["a-" + "1" * 24, "a-" + "1" * 8 + "2" * 16, "a-33333333"]


def test_hostile_names(tmp_path: Path) -> None:
    hostile = ["line\nbreak.mp4", "x" * 196 + ".mp4", "<script>'\"&.mp4", "日本.mp4", "-rf.mp4"]
    put(tmp_path, *hostile)
    listing = Folder(path=str(tmp_path)).survey()
    assert sorted(names(listing, tmp_path)) == sorted(hostile)
    for name in listing.rows["video_id"].to_pylist():
        assert len(name) <= 57
        assert slug(name) == name or len(name) > 48


def test_a_name_that_is_no_text_is_skipped(tmp_path: Path) -> None:
    put(tmp_path, "good.mp4")
    try:
        put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), "a.mp4")
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    rows, skips = Folder(path=str(tmp_path)).survey()
    assert rows.num_rows == 1
    assert len(skips) == 2
    for skip in skips:
        assert "not valid UTF-8" in skip.reason
        skip.uri.encode()


def test_loops_end_and_are_named(tmp_path: Path) -> None:
    put(tmp_path, "x/a.mp4")
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    listing = Folder(path=str(tmp_path)).survey()
    assert names(listing, tmp_path) == ["gone.mp4", "self.mp4", "x/a.mp4"]
    assert listing.rows["size_bytes"].to_pylist() == [None, None, 7]
    assert [skip.uri for skip in listing.skips] == [f"{tmp_path}/x/up"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "store/a.mp4")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "linked").symlink_to("../store")
    (tmp_path / "corpus" / "b.mp4").symlink_to("../store/a.mp4")
    listing = Folder(path=str(tmp_path / "corpus")).survey()
    assert names(listing, tmp_path) == ["corpus/b.mp4", "corpus/linked/a.mp4"]


def test_a_folder_named_like_a_file(tmp_path: Path) -> None:
    put(tmp_path, "x.mp4/inside.mp4")
    listing = Folder(path=str(tmp_path)).survey()
    assert names(listing, tmp_path) == ["x.mp4/inside.mp4"]
    assert listing.skips == [(f"{tmp_path}/x.mp4", "is a folder, named like a file")]


def test_a_pipe_would_block_for_ever(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    listing = Folder(path=str(tmp_path)).survey()
    assert names(listing, tmp_path) == ["a.mp4"]
    assert "pipe" in listing.skips[0].reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder_is_skipped(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "shut/b.mp4")
    (tmp_path / "shut").chmod(0)
    try:
        rows, [skip] = Folder(path=str(tmp_path)).survey()
    finally:
        (tmp_path / "shut").chmod(0o700)
    assert rows.num_rows == 1
    assert "cannot be read (Permission denied)" in skip.reason


def test_an_unreadable_folder_is_skipped_also_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.mp4", "shut/b.mp4")
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("shut"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    rows, skips = Folder(path=str(tmp_path)).survey()
    assert rows.num_rows == 1
    assert skips == [(f"{tmp_path}/shut", "the folder cannot be read (Permission denied)")]


def test_a_vanishing_file_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    real = os.scandir

    def scan_then_remove(folder: str) -> object:
        entries = list(real(folder))
        (tmp_path / "b.mp4").unlink()
        return memoryview_like(entries)

    class memoryview_like(list):  # noqa: N801 (a list that closes)
        def __enter__(self) -> "memoryview_like":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", scan_then_remove)
    rows = Folder(path=str(tmp_path)).files()
    assert rows["size_bytes"].to_pylist() == [5, None]


def test_a_wrong_path_names_the_nearest(tmp_path: Path) -> None:
    put(tmp_path, "interviews/a.mp4")
    wrong = tmp_path / "interveiws"
    with pytest.raises(ValueError, match=r"`corpus.path` must .* is '.*interveiws'. Did you mean"):
        Folder(path=str(wrong)).survey()
    with pytest.raises(ValueError, match=r"Its folder '.*/no' does not exist either"):
        Folder(path=str(tmp_path / "no" / "such")).survey()


def test_an_empty_corpus_says_what_it_looked_for(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=r"must hold media files, .* \.mp4 "):
        Folder(path=str(tmp_path)).survey()


def test_extensions_have_a_dot() -> None:
    with pytest.raises(ValueError, match=r"`corpus.extensions` must .* 'mp4'"):
        Folder(path=".", extensions=["mp4"])


def test_names_do_not_depend_on_the_process(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    code = (
        "from mien.datasets.corpus import Folder; import sys;"
        "print(Folder(path=sys.argv[1]).files()['id'][0])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == Folder(path=str(tmp_path)).files()["id"][0].as_py()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "x/a.mp4", "b.mp4")
    table = pa.table({"uri": ["x/a.mp4", str(tmp_path / "b.mp4"), "gone.mp4"], "n": [1, 2, 3]})
    path = tmp_path / f"list.{kind}"
    if kind == "csv":
        path.write_text(f'\ufeffuri,n\n"x/a.mp4",1\n{tmp_path}/b.mp4,2\ngone.mp4,3\n')
    else:
        pq.write_table(table, path)
    listing = List(path=str(path)).survey()
    assert names(listing, tmp_path) == ["x/a.mp4", "b.mp4", "gone.mp4"]
    assert listing.rows["size_bytes"].to_pylist() == [7, 5, None]


def test_a_list_may_name_its_videos(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("video_id,uri\n007,a.mp4\ns2.e1,b.mp4\n")
    rows = List(path=str(tmp_path / "l.csv")).files()
    assert rows["video_id"].to_pylist() == ["007", "s2.e1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url\na.mp4\n", r"must have a column `uri`, but '.*' has url"),
        ("uri\na.mp4\na.mp4\n", r"`uri` must be unique, but 'a.mp4' is also in row 1 \(row 2 of"),
        ('uri,x\na.mp4,1\n"",2\n', r"`uri` must be a path .* but is '' \(row 2 of"),
        ("uri\nhttps://x/y\n", r"`uri` must be a path .* \(of the web: `corpus=urls`\)"),
        ("uri,video_id\na,../b\n", r"`video_id` must be 1 to 80 .* but is '../b' \(row 1 of"),
        ("uri,video_id\na,x\nb,x\n", r"`video_id` must be unique, but 'x' is also in row 1"),
        ("uri\n", r"must have rows"),
        ("", r"cannot be read"),
    ],
)
def test_errors_of_a_list_name_row_and_column(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "l.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        List(path=str(path)).survey()


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    put(tmp_path, "list.csv")
    with pytest.raises(ValueError, match=r"must be a CSV or Parquet file .* Did you mean .*list.c"):
        List(path=str(tmp_path / "lits.csv")).survey()


def shelf(s3: str, *names: str) -> str:
    for name in names:
        replace(place(s3) / "videos" / name, name.encode())
    return f"{s3}/videos"


def test_a_store_is_listed_with_size_and_time(s3: str) -> None:
    url = shelf(s3, "b.mp4", "x/a.MKV", "notes.txt", ".hidden/c.mp4", "x/.d.mp4", "x/y/e f#1.mp4")
    rows, skips = Folder(path=url).survey()
    assert rows["uri"].to_pylist() == [f"{url}/{n}" for n in ("b.mp4", "x/a.MKV", "x/y/e f#1.mp4")]
    assert rows["size_bytes"].to_pylist() == [5, 7, 13]
    assert all(abs(at / 1e9 - time.time()) < 120 for at in rows["mtime_ns"].to_pylist())
    assert not skips
    assert len(Folder(path=f"{url}/", pattern="*").files()) == 1


def test_globs_and_single_files_of_a_store(s3: str) -> None:
    url = shelf(s3, "a.mp4", "x/b.mp4", "x/y/c.mp4", "x/d.mkv")

    def found(path: str) -> list[str]:
        return [uri.removeprefix(f"{url}/") for uri in Folder(path=path).files()["uri"].to_pylist()]

    assert found(f"{url}/**/*.mp4") == ["a.mp4", "x/b.mp4", "x/y/c.mp4"]
    assert found(f"{url}/x/*.m??") == ["x/b.mp4", "x/d.mkv"]
    assert found(f"{url}/x/b.mp4") == ["x/b.mp4"]


def test_a_video_is_named_alike_in_a_store_and_on_disk(s3: str, tmp_path: Path) -> None:
    url = shelf(s3, "x/a.mp4")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.mp4").write_bytes(b"x/a.mp4")
    there, here = Folder(path=url).files(), Folder(path=str(tmp_path)).files()
    assert there["video_id"].equals(here["video_id"])


@pytest.mark.parametrize("path", ["absent", "absent/*.mp4", "notes/**"])
def test_a_store_without_media_is_an_error(s3: str, path: str) -> None:
    shelf(s3, "notes/a.txt")
    with pytest.raises(ValueError, match=r"`corpus\.path` must"):
        Folder(path=f"{s3}/videos/{path}").survey()


def test_a_list_may_name_urls_and_lie_in_a_store(s3: str, tmp_path: Path) -> None:
    url = shelf(s3, "a.mp4", "x/b.mp4")
    (tmp_path / "c.mp4").write_bytes(b"local")
    table = f"uri,video_id\n{url}/a.mp4,a\nx/b.mp4,b\n{tmp_path}/c.mp4,c\ngone.mp4,d\n"
    replace(place(url) / "list.csv", table.encode())
    rows = List(path=f"{url}/list.csv").files()
    wanted = [f"{url}/a.mp4", f"{url}/x/b.mp4", f"{tmp_path}/c.mp4", f"{url}/gone.mp4"]
    assert rows["uri"].to_pylist() == wanted
    assert rows["size_bytes"].to_pylist() == [5, 7, 5, None]
    assert rows["video_id"].to_pylist() == ["a", "b", "c", "d"]
    local = tmp_path / "list.csv"
    local.write_text(f"uri\n{url}/a.mp4\nfile://{tmp_path}/c.mp4\nc.mp4\n")
    local_uris = List(path=str(local)).files()["uri"].to_pylist()
    assert local_uris == [f"{url}/a.mp4", *[f"{tmp_path}/c.mp4"] * 2]
    with pytest.raises(ValueError, match=r"is 's3://.*/absent.csv'\.$"):
        List(path=f"{url}/absent.csv").survey()
