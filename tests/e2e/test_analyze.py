"""The main job as a user runs it, from a folder of files to pages and back after every mishap.

The tests share one run and are in order: each takes up the folder where the one before left it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

pytest.importorskip("skimage", reason="scikit-image is not installed (extra `demo`)")
pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed (extra `demo`)")

from mien.cluster.session import Cluster
from mien.datasets import timeline
from mien.jobs import demo
from mien.jobs.benchmark.timeline import Timeline
from mien.jobs.flat import utterances
from mien.jobs.fusion.rules import Rules
from mien.jobs.graph import Graph
from mien.jobs.main import built

pytestmark = pytest.mark.ray

MIEN = Path(sys.executable).with_name("mien")
PHASES = ("videos", "turns", "speech", "watch", "voice", "timeline")
ODD = "a b='c',[x].mp4"
FIVE_MINUTES = 300


def tiny(path: Path, seconds: float = 1.0) -> Path:
    """Make a clip without people or speech: a grey ramp and a tone."""
    rate_hz, fps = 16000, 10
    with av.open(str(path), "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=rate_hz, layout="mono")
        for i in range(round(seconds * fps)):
            image = np.full((48, 64, 3), 10 * i % 256, np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode())
        time_s = np.arange(int(seconds * rate_hz)) / rate_hz
        tone = (0.1 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.sample_rate = rate_hz
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@dataclass
class Place:
    """A corpus and its run.

    Attributes:
        corpus: Folder of videos.
        run: The run's folder.
        healthy: What the broken file should have held.
    """

    corpus: Path
    run: Path
    healthy: bytes

    def mien(self, job: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a job to its end."""
        done = subprocess.run(
            self.command(job, *words), capture_output=True, text=True, timeout=FIVE_MINUTES
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def command(self, job: str, *words: str) -> list[str]:
        """The words of a command line."""
        argument = [str(self.corpus)] if job == "analyze" else []
        return [str(MIEN), job, *argument, f"out={self.run}", *words]

    def graph(self) -> Graph:
        """The phases as the run's own record has them."""
        cfg: Any = OmegaConf.create(self.record()["config"])
        return built(cfg.job).graph()  # type: ignore[attr-defined]

    def record(self) -> dict[str, Any]:
        """What `run.json` says."""
        return json.loads((self.run / "run.json").read_text())

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Every row in every file, each attempt counted."""
        folder = self.run / "tables" / self.record()["tables"][table]
        files = sorted(folder.glob("*.parquet"))
        return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]

    def files(self) -> dict[str, int]:
        """What the run's tables and pages are, with their times."""
        roots = (self.run / "tables", self.run / "videos")
        found = [p for root in roots for p in root.rglob("*") if p.is_file()]
        return {str(p.relative_to(self.run)): p.stat().st_mtime_ns for p in found}

    def new_rows(self, before: dict[str, int]) -> dict[str, int]:
        """Rows of files that were not there before, by table."""
        counts: Counter[str] = Counter()
        for name in set(self.files()) - set(before):
            if name.startswith("tables"):
                table = name.split("/")[1].rpartition("-")[0]
                counts[table] += pq.read_metadata(self.run / name).num_rows
        return dict(counts)

    def page(self, video: str) -> Path:
        """A video's page; the video by the beginning of its name."""
        (found,) = (self.run / "videos").glob(f"{video}-????????/report.html")
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A corpus of two good clips and a broken one."""
    folder = tmp_path_factory.mktemp("e2e")
    corpus = folder / "corpus"
    corpus.mkdir()
    demo.make(corpus / "talk.mp4")
    tiny(corpus / ODD)
    healthy = tiny(folder / "healthy.mp4").read_bytes()
    broken = corpus / "broken.mp4"
    broken.write_bytes(bytes(len(healthy)))
    os.utime(broken, ns=(10**18, 10**18))
    return Place(corpus, folder / "run", healthy)


def wait_for(what: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(what.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def stopped(place: Place) -> dict[str, Any]:
    """A run that another one wanted to join, and that Ctrl-C ended in its middle."""
    process = subprocess.Popen(
        place.command("analyze"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the whole group of a terminal's foreground
    )
    try:
        wait_for(place.run / "tables", "turns-*/part-*.parquet", process)
        second = place.mien("analyze")
        halfway = place.mien("status")
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return {
        "pid": process.pid,
        "second": second,
        "halfway": halfway,
        "status": process.returncode,
        "errors": errors,
        "seconds": time.monotonic() - began,
        "rows": len(place.rows("videos")),
    }


@pytest.fixture(scope="module")
def first(place: Place, stopped: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """The run, resumed to its end."""
    return place.mien("analyze")


def test_a_second_run_on_the_folder_is_refused_naming_the_holder(stopped: dict[str, Any]) -> None:
    second = stopped["second"]
    assert second.returncode == 2
    assert f"process {stopped['pid']} " in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_status_says_that_a_run_is_not_finished(stopped: dict[str, Any]) -> None:
    assert stopped["halfway"].returncode == 3
    assert "Not finished" in stopped["halfway"].stdout


def test_ctrl_c_ends_the_run_and_says_how_to_resume(stopped: dict[str, Any]) -> None:
    assert stopped["status"] == 130
    assert stopped["seconds"] < 15
    assert "the same command takes up the rest" in stopped["errors"]
    assert "Traceback" not in stopped["errors"]


def test_it_ends_well_although_a_file_is_broken(
    place: Place, first: subprocess.CompletedProcess[str], stopped: dict[str, Any]
) -> None:
    assert first.returncode == 0, first.stderr
    summary = {p["name"]: p for p in place.record()["phases"]}
    assert summary["videos"]["skipped"] == stopped["rows"] == 3  # before Ctrl-C


@pytest.mark.parametrize("name", PHASES)
def test_each_row_of_each_manifest_stands_once(
    place: Place, first: subprocess.CompletedProcess[str], name: str
) -> None:
    graph = place.graph()
    manifest = graph.manifest(name, pq.read_table(place.run / "corpus.parquet"))
    assert len(manifest)
    assert Counter(row["id"] for row in place.rows(name)) == Counter(manifest["id"].to_pylist())
    assert graph.table(name).folder.name == place.record()["tables"][name]


def test_only_the_broken_file_failed(place: Place, first: subprocess.CompletedProcess[str]) -> None:
    failed = [(t, row) for t in PHASES for row in place.rows(t) if row["status"] == "failed"]
    ((table, row),) = failed
    assert (table, Path(row["uri"]).name, row["error_stage"]) == ("videos", "broken.mp4", "probe")
    assert "broken.mp4" in row["error_message"]
    status = place.mien("status")
    assert status.returncode == 1
    assert "broken.mp4" in status.stdout
    assert "mien retry" in status.stdout


def test_the_talk_is_understood_as_far_as_it_goes(
    place: Place, first: subprocess.CompletedProcess[str]
) -> None:
    made = json.loads(place.page("talk").with_name("timeline.json").read_text())
    assert timeline.validate(made) == []
    assert made["segments"]
    assert made["people"]
    said = utterances(place.graph()).read(["video_id", "text"]).to_pylist()
    assert len(said) == len(made["segments"])


def test_timelines_and_pages_stand(place: Place, first: subprocess.CompletedProcess[str]) -> None:
    done = place.mien("validate", f"job.path={place.run}")
    assert done.returncode == 0, done.stdout
    assert "2 valid, 0 invalid" in done.stdout
    index = (place.run / "index.html").read_text()
    for name in ("talk", "a-b-c-x"):
        page = place.page(name)
        assert page.stat().st_size > 10_000
        assert f"videos/{page.parent.name}/report.html" in index
    assert "broken.mp4" in index


def test_its_fusion_is_judged_and_tuned_without_extraction(
    place: Place, first: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """Labels are what the fusion itself says, so that it has them all right."""
    made = [json.loads(file.read_text()) for file in place.run.glob("videos/*/timeline.json")]
    rows = [
        f"{one['video_id']},{s['start']},{s['end']},{s['emotion']['dominant'] or 'none'}"
        for one in made
        for s in one["segments"] or [{"start": 0.0, "end": 1.0, "emotion": {"dominant": None}}]
    ]
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(["video,start_s,stop_s,emotion", *rows]))
    task = Timeline(folder=str(place.run), truth=str(truth), parts=2, headline="accuracy")
    task.prepare(Cluster(), tmp_path)
    assert list(task.tune("part 1")) == [1.0]
    answers = pa.concat_tables([task.judge(fold) for fold in task.folds()])
    assert len(answers) == len(rows)
    assert answers["predicted"] == answers["truth"]
    window, gap = (
        Timeline(folder=str(place.run), truth=str(truth), rules=rules)
        for rules in (Rules(window_s=3.0), Rules(max_gap_s=2.0))
    )
    assert window.extraction() == task.extraction()
    assert gap.extraction() != task.extraction()
    with pytest.raises(ValueError, match=r"change the tables .*voice.* first"):
        gap.prepare(Cluster(), tmp_path)


def test_the_record_is_complete(place: Place, first: subprocess.CompletedProcess[str]) -> None:
    record = place.record()
    assert record["finished"] >= record["started"]
    assert [phase["name"] for phase in record["phases"]] == list(PHASES)
    assert record["corpus"]["files"] == 3
    assert record["peak_memory_gb"] > 0.1
    assert {"python", "ray", "pyarrow"} <= set(record["versions"])
    assert all(model["model"] and model["licence"] for model in record["models"])
    assert not list(place.run.rglob(".*.parquet")), "drafts were left"
    assert not list((place.run / "scratch").rglob("*.json"))


@pytest.mark.parametrize("table", [*PHASES, "utterances"])
def test_others_read_the_tables(
    place: Place, first: subprocess.CompletedProcess[str], table: str
) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    (folder,) = (place.run / "tables").glob(f"{table}-*")
    files = f"{folder}/part-*.parquet"
    count = pa.concat_tables([pq.read_table(p) for p in folder.glob("part-*")]).num_rows
    assert count
    newest = "qualify attempt = max(attempt) over (partition by id)"
    found = duckdb.sql(f"select * from read_parquet('{files}') {newest}").fetchall()
    assert len(found) == len(polars.read_parquet(files)) == count
    try:
        import pandas as pd
    except ImportError:
        return
    assert len(pd.concat([pd.read_parquet(p) for p in folder.glob("part-*")])) == count


def test_the_same_command_again_does_nothing(
    place: Place, first: subprocess.CompletedProcess[str]
) -> None:
    before, record = place.files(), place.record()
    began = time.monotonic()
    again = place.mien("analyze")
    assert again.returncode == 0
    assert time.monotonic() - began < 15
    assert place.files() == before
    assert place.record()["phases"] == record["phases"]  # of the run that did the work
    assert place.record()["tables"] == record["tables"]


def test_a_deleted_page_and_a_new_file_are_all_that_is_done(
    place: Place, first: subprocess.CompletedProcess[str]
) -> None:
    page = place.page("talk")
    html = page.read_text()
    page.unlink()
    tiny(place.corpus / "new.mp4", seconds=1.5)
    before = place.files()
    assert place.mien("analyze").returncode == 0
    assert len(place.page("talk").read_text()) == pytest.approx(len(html), rel=0.01)
    made = place.new_rows(before)
    assert made.pop("utterances", 0) == len(utterances_of(place, "talk"))
    assert made == {"videos": 1, "turns": 1, "watch": 1, "timeline": 2}
    assert place.page("new").exists()
    now = place.files()
    changed = {k for k, v in before.items() if now.get(k) != v and "utterances" not in k}
    beside = (place.page("talk").with_name(name) for name in ("timeline.json", ".timeline"))
    assert changed == {str(path.relative_to(place.run)) for path in beside}


def utterances_of(place: Place, video: str) -> list[dict[str, Any]]:
    """Segments in a video's timeline."""
    return json.loads(place.page(video).with_name("timeline.json").read_text())["segments"]


def test_what_became_readable_is_done_by_retry(
    place: Place, first: subprocess.CompletedProcess[str]
) -> None:
    broken = place.corpus / "broken.mp4"
    broken.write_bytes(place.healthy)
    os.utime(broken, ns=(10**18, 10**18))
    before = place.files()
    done = place.mien("retry")
    assert done.returncode == 0, done.stderr
    attempts = [r["attempt"] for r in place.rows("videos") if r["uri"] == str(broken)]
    assert attempts == [1, 2] or attempts == [2, 1]
    assert place.new_rows(before) == {"videos": 1, "turns": 1, "watch": 1, "timeline": 1}
    assert place.page("broken").exists()
    assert place.mien("status").returncode == 0


def test_a_parameter_changes_its_phase_and_what_follows(
    place: Place, first: subprocess.CompletedProcess[str]
) -> None:
    before = place.files()
    old = place.record()["tables"]
    assert place.mien("analyze", "+models.actors.prosody.pause_s=0.4").returncode == 0
    new = place.record()["tables"]
    changed = {"voice", "timeline", "utterances"}
    assert {name for name in old if old[name] != new[name]} == changed
    assert set(place.new_rows(before)) == changed
    folders = Counter(p.name.rpartition("-")[0] for p in (place.run / "tables").iterdir())
    assert folders == {**dict.fromkeys(PHASES, 1), **dict.fromkeys(changed, 2)}


def test_pages_are_made_again_from_the_tables(
    place: Place, first: subprocess.CompletedProcess[str]
) -> None:
    page = place.page("talk")
    page.unlink()
    (place.run / "index.html").unlink()
    done = place.mien("report")
    assert done.returncode == 0, done.stderr
    assert page.exists()
    assert (place.run / "index.html").exists()


def test_a_folder_without_videos_is_refused_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [str(MIEN), "analyze", str(tmp_path), f"out={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert re.fullmatch(r"mien: `corpus.path` must hold media files.*\n", done.stderr)
    assert time.monotonic() - began < 30
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
