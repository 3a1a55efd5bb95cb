"""The files that `benchmarks/hostile.py` makes are as hostile as it says."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import av
import pytest
from av.error import FFmpegError

from mien.datasets.corpus import Folder

SOURCE = Path(__file__).parents[2] / "benchmarks" / "hostile.py"


@pytest.fixture(scope="module")
def hostile() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hostile"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus(hostile: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    folder = tmp_path_factory.mktemp("hostile")
    return folder, hostile.make_good(folder, 1) + hostile.make_hostile(folder)


def frames(path: Path) -> int:
    """How many frames can be decoded; an error where there is none."""
    count = 0
    with av.open(str(path)) as container:
        try:
            for _ in container.decode(video=0):
                count += 1
        except FFmpegError:
            if not count:
                raise
    return count


def test_there_are_at_least_twenty_kinds(corpus: tuple[Path, list]) -> None:
    folder, cases = corpus
    assert len({case.what for case in cases}) >= 40
    assert len({case.path for case in cases}) == len(cases)
    assert all(os.path.lexists(case.path) for case in cases)
    assert all(case.path.is_relative_to(folder) for case in cases)


def test_every_file_is_a_row_or_a_named_skip(corpus: tuple[Path, list]) -> None:
    folder, cases = corpus
    rows, skips = Folder(path=str(folder)).survey()
    skipped = {skip.uri for skip in skips}
    listed = set(rows["uri"].to_pylist())
    for case in cases:
        uri = os.fsencode(case.path).decode(errors="replace")
        assert (uri in skipped) == (case.ends == ("skipped",)), uri
        assert (uri in listed) != (uri in skipped), uri
    assert len(set(rows["video_id"].to_pylist())) == rows.num_rows


def test_the_broken_are_broken_and_the_odd_can_be_read(
    corpus: tuple[Path, list],
) -> None:
    _, cases = corpus
    by_name = {case.path.name: case for case in cases}
    for case in cases:
        if case.ends == ("failed",) and case.path.name != "unreadable.mp4":
            with pytest.raises((FFmpegError, OSError)):
                frames(case.path)
    assert frames(by_name["good_0.mp4"].path) == 75
    assert frames(by_name["one_frame.mp4"].path) == 1
    assert 0 < frames(by_name["truncated_front_50.mp4"].path) < 75
    assert len(by_name["n" * 196 + ".mp4"].path.name) == 200
    with av.open(str(by_name["still_8k.mp4"].path)) as container:
        assert container.streams.video[0].width == 7680
    with av.open(str(by_name["no_video.mp4"].path)) as container:
        assert not container.streams.video


def test_what_a_clear_message_is(hostile: ModuleType) -> None:
    assert hostile.clear("'/x/a.mp4' is not media: convert it with ffmpeg.", "/x/a.mp4")
    assert not hostile.clear("is not media: convert it with ffmpeg.", "/x/a.mp4")
    assert not hostile.clear("'/x/a.mp4' is broken", "/x/a.mp4")
    assert not hostile.clear("[Errno 2] no such file: '/x/a.mp4'", "/x/a.mp4")


def test_a_changed_neighbour_is_seen(hostile: ModuleType) -> None:
    row = {"id": "1", "video_id": "a", "uri": "/one/a", "timings": 1, "faces": [1.5]}
    same = {**row, "uri": "/two/a", "timings": 2}
    other = {"id": "9", "video_id": "z", "uri": "", "timings": 0, "faces": []}
    assert hostile.differences({"watch": [row]}, {"watch": [same, other]}) == []
    assert hostile.differences({"watch": [row]}, {"watch": [{**same, "faces": []}]}) == ["watch"]
    assert hostile.differences({"watch": [row]}, {"watch": [other]}) == ["watch"]
