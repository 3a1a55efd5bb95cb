"""`mien profile`: the actors of a profile, measured on a clip by the real thing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
from hydra.utils import instantiate

from mien.actors.claude import Claude
from mien.actors.polarity import Polarity
from mien.cluster.findings import Store
from mien.cluster.host import Stage
from mien.cluster.measure import Finding, Step
from mien.jobs import measure as job
from mien.jobs.graph import Graph
from mien.jobs.main import UsageError, built, configuration
from mien.jobs.measure import Measure, blank, cells, needed, remarks

QUICK = ["models.roles.diarize=[speakers]", "job.limits.seconds=0.3"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds: a moving gradient, and a tone that comes and goes."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio: Any = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(50):
            image = np.add.outer(np.arange(120), np.arange(160) + 5 * i).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.stack([image] * 3, axis=-1), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        time_s = np.arange(5 * 16000) / 16000
        tone = np.sin(2 * np.pi * 220 * time_s) * (np.sin(2 * np.pi * time_s) > 0)
        sound = av.AudioFrame.from_ndarray((8000 * tone).astype(np.int16)[None], "s16", "mono")
        sound.sample_rate = 16000
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return path


def profile(words: Sequence[str]) -> Measure:
    made = built(configuration("profile", [*QUICK, *words]).job)
    assert isinstance(made, Measure)
    return made


def graph_of(job: Measure, run: Path) -> Graph:
    return Graph(profile=job.models, run=run, span_s=60.0, chunk_s=30.0)


def test_actors_are_measured_on_a_clip_and_the_plan_finds_them(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(clip), f"profile.dir={tmp_path / 'kept'}", "job.only=[voice_activity]"]
    assert profile(words)() == 0
    progress = capsys.readouterr().out.split("┏")[0]
    assert "answered  probe (1 rows)" in progress  # what is heard stands on it
    assert "measured  voice_activity (1 rows)" in progress
    assert "diarize" not in progress  # behind all that was asked for

    words = [f"corpus.path={clip}", "job.span_s=30", *QUICK[:1]]
    models = instantiate(configuration("analyze", words).models, _convert_="object")
    graph = Graph(profile=models, run=tmp_path / "run", span_s=30.0, chunk_s=20.0)
    store = Store(tmp_path / "kept")
    known = {s.role: store.find(s.actor) for s in graph.stages()}
    assert {role for role, found in known.items() if found} == {"voice_activity"}
    found = known["voice_activity"]
    assert found is not None
    assert found.startup_s > 0
    assert 0.05 < found.memory_gb[1] < 3
    assert found.rates[1] > 0

    def never(*args: object, **options: object) -> Finding:
        raise AssertionError("measured again")

    monkeypatch.setattr(job, "measure", never)
    again = [str(clip), f"profile.dir={tmp_path / 'kept'}", "job.only=[voice_activity]"]
    assert profile(again)() == 0
    with pytest.raises(AssertionError, match="measured again"):
        profile([*again, "job.again=true"])()


def test_rows_shorter_than_they_can_be_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = profile(["x.mp4", f"profile.dir={tmp_path / 'kept'}", "job.only=[watch,transcribe]"])
    for stage in graph_of(made, tmp_path).stages():
        step = Step(size=1, rows_s=2.0, media_s_s=20.0, memory_gb=0.1, device_gb=None)
        longest_s = 59.0 if stage.role == "watch" else 12.0
        bound_s = {"watch": 60.0, "transcribe": 30.0}.get(stage.role)
        found = Finding(startup_s=1.0, steps=(step,), longest_s=longest_s, bound_s=bound_s)
        made.store.save(stage.actor, found)
    assert made() == 0
    said = capsys.readouterr().out
    assert "Rows can be longer than those measured: transcribe (12 of 30 s). For these" in said


def test_a_failure_ends_only_what_stands_on_it(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Finding(ended="killed by SIGKILL during setup", failed=True)
    real = job.measure

    def dying(stage: Stage, *rest: Any, **options: Any) -> Finding:  # noqa: ANN401
        return dead if stage.role == "voice_activity" else real(stage, *rest, **options)

    monkeypatch.setattr(job, "measure", dying)
    words = [str(clip), f"profile.dir={tmp_path / 'kept'}", "job.only=[voice_activity,diarize]"]
    assert profile(words)() == 1
    said = capsys.readouterr().out
    assert "killed by SIGKILL during setup" in said
    assert "there was no row for it in these media" in said
    assert not (tmp_path / "kept").exists()


def test_a_role_that_is_not_there_is_refused(clip: Path, tmp_path: Path) -> None:
    words = [str(clip), f"profile.dir={tmp_path}", "job.only=[whatch]"]
    with pytest.raises(ValueError, match=r"`job.only` must name roles .*, but names 'whatch'"):
        profile(words)()


def test_without_the_clip_it_asks_for_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(path: Path) -> Path:
        raise RuntimeError("the sample clip needs the package 'skimage'.")

    monkeypatch.setattr(job.demo, "make", lacking)
    with pytest.raises(RuntimeError, match="Or name a video: `mien profile VIDEO`"):
        profile([f"profile.dir={tmp_path}"])()


def test_limits_come_from_the_configuration(tmp_path: Path) -> None:
    made = profile(["x.mp4", "job.limits.timeout_s=30", "profile.dir=~/kept"])
    assert made.limits.timeout_s == 30
    assert made.store.folder == Path.home() / "kept"
    assert made.path == str(Path("x.mp4").absolute())
    with pytest.raises(UsageError, match=r"`job.rows` must be at least 1, but is 0"):
        profile(["job.rows=0"])


def test_phases_bring_those_they_stand_on(tmp_path: Path) -> None:
    graph = graph_of(profile(["x.mp4"]), tmp_path)
    assert needed(graph, {"videos"}) == ["videos"]
    assert needed(graph, {"speech"}) == ["videos", "turns", "speech"]
    assert needed(graph, {"timeline"}) == list(graph.phases)


def test_what_asks_a_service_is_not_measured() -> None:
    assert Claude.remote
    assert not Polarity.remote
    rows = pa.table({"status": ["ok"], "text_polarity": [0.5]})
    adds = pa.schema([("text_polarity", pa.float32()), ("note", pa.string())])
    row = {"text_polarity": 0.5, "note": None}
    assert blank(rows, adds, status="ok").to_pylist() == [{"status": "ok", **row}]
    assert blank(rows, adds).to_pylist() == [{"status": "failed", **row}]


def test_the_table_says_what_is_measured_and_what_is_more_than_declared() -> None:
    step = Step(size=1, rows_s=2.0, media_s_s=20.0, memory_gb=0.5, device_gb=None)
    fast = Step(size=2, rows_s=3.0, media_s_s=30.0, memory_gb=0.7, device_gb=None)
    found = Finding(startup_s=1.25, steps=(step, fast), rows=1, longest_s=9.0, ended="largest")
    stage = Stage(role="text_affect", actor=Polarity(memory_gb=0.6))
    line = ["text_affect", "Polarity", "1.25", "0.6 -> 0.7", "-", "1: 2, 2: 3", "2"]
    assert cells(stage, found, "") == [*line, "30", "9.0", "largest"]
    assert list(remarks(stage, found)) == []
    (remark,) = remarks(Stage(role="text_affect", actor=Polarity(memory_gb=0.5)), found)
    assert "takes 0.7 GB, but declares 0.5" in remark
    assert cells(stage, None, "not asked for")[-1] == "not asked for"
