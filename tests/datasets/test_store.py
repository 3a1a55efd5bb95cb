"""Stores: whole files, one writer of several, listings, parts of files."""

import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest
from upath import UPath

from mien.datasets.store import (
    BLOCK_BYTES,
    Place,
    StoreError,
    create,
    drafted,
    is_url,
    listed,
    opened,
    place,
    ranges,
    replace,
)


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest) -> Place:
    if request.param == "disk":
        return place(str(request.getfixturevalue("tmp_path"))) / "run"
    return place(request.getfixturevalue("s3")) / "run"


def test_paths_become_absolute_and_urls_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("a/../b") == tmp_path / "b"
    assert place(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert isinstance(place("/videos"), Path)
    assert str(place("s3://bucket/run") / "tables") == "s3://bucket/run/tables"


def test_other_urls_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"a URL with one of file://, s3://, .* but is 'http://a/b'"
    ):
        place("http://a/b")
    assert is_url("http://a/b")


def test_files_are_replaced_and_listed(folder: Place) -> None:
    assert listed(folder) == []
    replace(folder / "b.txt", b"old")
    before_ns = listed(folder)[0].mtime_ns
    assert abs(before_ns / 1e9 - time.time()) < 120
    replace(folder / "b.txt", b"newer")
    replace(folder / "a.txt", b"")
    replace(folder / "below" / "c.txt", b"deep")
    found = listed(folder, "*.txt")
    assert [(file.place.name, file.size_bytes) for file in found] == [("a.txt", 0), ("b.txt", 5)]
    assert (folder / "b.txt").read_bytes() == b"newer"
    assert listed(folder, "b*")[0].place == folder / "b.txt"


def test_of_writers_at_once_one_creates(s3: str) -> None:
    where = cast(UPath, place(s3) / "lock")
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda i: create(where, str(i).encode()), range(8)))
    assert made.count(True) == 1
    assert where.read_bytes() == str(made.index(True)).encode()


WRITER = """
import sys
from mien.datasets.store import place, replace

target, size = place(sys.argv[1]), 150_000_000
print("ready", flush=True)
while True:
    replace(target, bytes(size))
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(folder: Place) -> None:
    target = folder / "file"
    replace(target, b"old")
    for delay_s in (0.05, 0.15, 0.3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        writer.kill()
        writer.communicate()
        assert listed(folder, "file")[0].size_bytes in (3, 150_000_000)


def test_parts_are_read_alike(folder: Place) -> None:
    content = bytes(range(256)) * (3 * BLOCK_BYTES // 256)
    replace(folder / "film.mp4", content)
    uri = str(folder / "film.mp4")
    with opened(uri) as file:
        assert file.read(10) == content[:10]
        file.seek(-7, 2)
        assert file.read() == content[-7:]
        file.seek(BLOCK_BYTES - 3)
        assert file.read(6) == content[BLOCK_BYTES - 3 : BLOCK_BYTES + 3]
    starts = [0, 1000, len(content) - 4]
    assert ranges(uri, starts, 8) == [content[start : start + 8] for start in starts]


def test_a_store_without_credentials_says_what_to_do(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "from mien.datasets.store import listed, place\n"
        f"try: listed(place('{s3}/run'))\n"
        "except OSError as error: print(error)"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "cannot be reached" in said
    assert "environment" in said


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(StoreError, match="'gs://bucket/run' needs the package gcsfs"):
        place("gs://bucket/run")


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be synced elsewhere")
@pytest.mark.parametrize("way", ["replace", "drafted"])
def test_the_folder_is_synced_once_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    where, synced = tmp_path / "file", []

    def fsync(number: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(number).st_mode), where.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    if way == "replace":
        replace(where, b"x")
    else:
        with drafted(where) as draft:
            draft.write_bytes(b"x")
    assert synced == [(False, False), (True, True)]
