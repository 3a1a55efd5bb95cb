"""The main job's own rules; `tests/e2e` runs it."""

from pathlib import Path

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
