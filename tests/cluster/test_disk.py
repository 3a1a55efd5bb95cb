"""Room on the disk: refused, warned of, watched."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from upath import UPath

from mien.cluster.disk import Disk, DiskFullError, Guard, free_gb

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the disk is said to have free, in GB; change the item to change it."""
    left = [10.0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, left[0] * 1e9))
    return left


def test_what_is_free_is_what_the_system_says(tmp_path: Path) -> None:
    known = shutil.disk_usage(tmp_path).free / 1e9
    assert free_gb(tmp_path) == pytest.approx(known, abs=1.0)


def test_a_folder_need_not_exist_yet(tmp_path: Path, free: list[float]) -> None:
    assert free_gb(tmp_path / "a" / "b") == 10


def test_a_store_has_no_limit_that_could_be_read(free: list[float]) -> None:
    free[0] = 0
    run = UPath("memory://bucket/run")
    assert free_gb(run) is None
    assert Disk().judge(run, 1e6) is None
    Guard(folder=run, disk=Disk()).check()


@pytest.mark.parametrize(
    ("needed", "answer"),
    [(0, "fits"), (3.9, "fits"), (4.1, "tight"), (15.9, "tight"), (16.1, "refused")],
)
def test_a_run_fits_or_may_not_or_does_not(
    needed: float, answer: str, tmp_path: Path, free: list[float]
) -> None:
    disk = Disk(reserve_gb=2, slack=2)  # 8 GB of the 10 can be written
    if answer == "refused":
        with pytest.raises(DiskFullError, match=r"16\.1 GB"):
            disk.judge(tmp_path, needed)
    else:
        warning = disk.judge(tmp_path, needed)
        assert (warning is None) == (answer == "fits")


def test_a_refusal_names_the_folder_the_numbers_and_the_cure(
    tmp_path: Path, free: list[float]
) -> None:
    with pytest.raises(DiskFullError) as refused:
        Disk(reserve_gb=2).judge(tmp_path, 100)
    for part in (str(tmp_path), "100 GB", "10 GB", "2 GB", f"mien clean {tmp_path}", "`out`"):
        assert part in str(refused.value)


def test_a_run_ends_before_the_reserve_is_used(tmp_path: Path, free: list[float]) -> None:
    guard = Guard(folder=tmp_path, disk=Disk(reserve_gb=5))
    guard.check()
    free[0] = 4.9
    with pytest.raises(DiskFullError) as full:
        guard.check()
    for part in (str(tmp_path), "4.9 GB", "5 GB", "mien clean", "takes up the rest"):
        assert part in str(full.value)


def test_a_disk_that_is_full_already_is_refused(tmp_path: Path, free: list[float]) -> None:
    free[0] = 1.0
    with pytest.raises(DiskFullError):
        Disk(reserve_gb=2).judge(tmp_path, 0.0)


@pytest.mark.parametrize("wrong", [{"reserve_gb": -1}, {"slack": 0.5}])
def test_wrong_values_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be at least"):
        Disk(**wrong)


def test_the_command_that_makes_room_is_quoted(tmp_path: Path, free: list[float]) -> None:
    with pytest.raises(DiskFullError, match=rf"`mien clean '{tmp_path}/my run'` shows"):
        Disk().judge(tmp_path / "my run", 100)
