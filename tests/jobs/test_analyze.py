"""The main job's own rules; `tests/e2e` runs it."""

import shlex
from pathlib import Path

import pytest

from mien.datasets.manifest import FILES
from mien.jobs.analyze import Analyze
from mien.jobs.conclude import MARK, mark
from mien.jobs.main import built, configuration


def test_a_page_counts_only_for_the_timeline_that_it_shows(tmp_path: Path) -> None:
    cfg = configuration("analyze", [f"corpus.path={tmp_path}", f"out={tmp_path / 'run'}"])
    job = built(cfg.job)
    assert isinstance(job, Analyze)
    wanted = mark("config", "row", "digest")
    folder = job.folder / "videos" / "v"
    folder.mkdir(parents=True)
    for name in ("report.html", "timeline.json"):
        assert not job._shown("v", wanted)  # pyright: ignore[reportPrivateUsage]
        (folder / name).touch()
    (folder / MARK).write_text(mark("another config", "row", "digest"))
    assert not job._shown("v", wanted)  # pyright: ignore[reportPrivateUsage]
    (folder / MARK).write_text(wanted)
    assert job._shown("v", wanted)  # pyright: ignore[reportPrivateUsage]


def test_the_command_that_is_kept_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["analyze", "my videos", "models.roles.watch=[a, b]"]
    monkeypatch.setattr("sys.argv", ["/bin/mien", *words])
    cfg = configuration("analyze", [f"corpus.path={tmp_path}", f"out={tmp_path / 'run'}"])
    job = built(cfg.job)
    assert isinstance(job, Analyze)
    record = job._keep(job.graph(), FILES.empty_table(), [])  # pyright: ignore[reportPrivateUsage]
    assert shlex.split(record["command"]) == ["mien", *words]
