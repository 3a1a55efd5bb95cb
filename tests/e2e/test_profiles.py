"""The whole graph with the true architectures: one command, real Ray, a real clip, to the page.

The weights are tiny and random, so the words mean nothing; that every model is loaded from its
files, is given what the models before it found, and answers into its table, is what is tested.
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

pytest.importorskip("skimage")
pytest.importorskip("espeakng_loader")
pytest.importorskip("torch")
pytest.importorskip("vllm")
pytest.importorskip("anthropic")

import claude_server
from mien.datasets import timeline
from mien.jobs import demo

pytestmark = [
    pytest.mark.models,
    pytest.mark.ray,
    pytest.mark.filterwarnings("default"),
]

MIEN = Path(sys.executable).with_name("mien")
TOPICS = ("speech", "sound", "affect", "faces", "laion", "vlm")
TEN_MINUTES = 600
TINY = (
    *("pyannote", "whisper", "align", "watch_retinaface", "facenet512", "deepface_emotion"),
    *("laion_face", "timesformer", "laion_voice", "audeering", "distilroberta"),
)
VLM = [
    *("models.actors.qwen2_vl.memory_gb=4", "models.actors.qwen2_vl.kv_cache_gb=1"),
    *("+models.actors.qwen2_vl.eager=true", "models.moments.kinds=[flag,keyframe]"),
]
HEARD = [  # random weights say nonsense and see turns of a fifth of a second: keep and judge them
    *("+models.actors.whisper.max_compression=1000", "+models.actors.whisper.min_logprob=-1000"),
    *("job.segmentation.mode=fixed", "job.segmentation.pps=0.2"),
]
SEEN = [  # a RetinaFace with random weights finds nobody: the packaged finder stands in
    *("+actor@models.actors.watch=watch", "models.roles.watch=[watch]"),
    "+models.actors.watch.thumbnail_px=448",
]
GPU = ["cluster.cores=8", "cluster.gpus=1"]  # logical: placement is real, the device is not


def mien(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MIEN, *words], capture_output=True, text=True, timeout=TEN_MINUTES)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "talk.mp4"
    demo.make(path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All checkpoints of the profile, tiny, where `models.dir` looks for them."""
    folder = tmp_path_factory.mktemp("weights")
    for topic in TOPICS:
        importlib.import_module(f"tiny_{topic}").build_all(folder)
    return folder


def small() -> list[str]:
    """What tiny models need, where the profile declares what those of full size do."""
    return [f"models.actors.{name}.memory_gb=0.5" for name in TINY]


def table(run: Path, name: str) -> pa.Table:
    folder = json.loads((run / "run.json").read_text())["tables"][name]
    return ds.dataset(run / "tables" / folder, format="parquet").to_table()


def items(rows: pa.Table, name: str) -> list[Any]:
    """What stands in a list column, all rows together."""
    return [item for row in rows[name].to_pylist() for item in row or []]


@pytest.fixture(scope="module")
def spark(clip: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("spark") / "run"
    done = mien(
        *("analyze", str(clip), f"out={run}", "models=spark", f"models.dir={weights}"),
        *("licence.allow_nc=true", *GPU, *small()),
        *VLM,
        *SEEN,
        *HEARD,
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    return run


def test_every_phase_stands_and_no_row_failed(spark: Path) -> None:
    record = json.loads((spark / "run.json").read_text())
    names = [n for n in record["tables"] if n != "utterances"]
    assert set(names) == {
        *("videos", "turns", "speech", "watch", "faces", "segments", "voice"),
        *("moments", "notes", "timeline"),
    }
    for name in names:
        rows = table(spark, name)
        bad = rows.filter(pc.not_equal(rows["status"], "ok"))
        assert not len(bad), (name, bad["error_message"].to_pylist())


def test_every_model_answered(spark: Path) -> None:
    assert items(table(spark, "turns"), "exclusive_turns")
    assert items(table(spark, "speech"), "segments")
    faces, kept = table(spark, "faces"), table(spark, "watch")
    count = len(items(kept, "faces"))
    assert count > 0
    for name in ("face_embeddings", "face_emotions", "laion_face"):
        answers = items(faces, name)
        assert len(answers) == count
        assert any(answer is not None for answer in answers)
    assert items(faces, "actions")
    assert any(table(spark, "segments")["laion_voice"].to_pylist())
    voice = table(spark, "voice")
    assert voice["valence"].null_count < len(voice)
    assert voice["text_scores"].null_count < len(voice)
    assert len(table(spark, "notes"))


def test_each_answer_names_its_model_and_licence(spark: Path) -> None:
    record = json.loads((spark / "run.json").read_text())
    by_role = {one["role"]: one for one in record["models"]}
    assert by_role["laion_face"]["model"].startswith("google/siglip2")
    assert by_role["voice_affect"]["licence"] == "CC-BY-NC-SA-4.0"
    assert all(one["revision"] for one in record["models"] if one["role"] != "conclude")


def test_the_timeline_is_valid_and_the_page_is_there(spark: Path) -> None:
    (path,) = spark.glob("videos/*/timeline.json")
    made = json.loads(path.read_text())
    assert timeline.validate(made) == []
    assert made["actions"]
    assert made["notes"]
    assert path.with_name("report.html").stat().st_size > 100_000


def test_running_it_again_does_nothing(spark: Path, clip: Path, weights: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in spark.glob("tables/*/*.parquet")}
    done = mien(
        *("analyze", str(clip), f"out={spark}", "models=spark", f"models.dir={weights}"),
        *("licence.allow_nc=true", *GPU, *small()),
        *VLM,
        *SEEN,
        *HEARD,
    )
    assert done.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in spark.glob("tables/*/*.parquet")} == before


def test_all_that_is_missing_and_all_that_is_forbidden_is_one_message(tmp_path: Path) -> None:
    done = mien(
        *("analyze", str(tmp_path), f"out={tmp_path / 'run'}", "models=spark"),
        f"models.dir={tmp_path}",
    )
    assert done.returncode == 2
    for named in ("openai/whisper", "pyannote/speaker-diarization", "Qwen/Qwen2-VL", "allow_nc"):
        assert named in done.stderr


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[claude_server.Server]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    with claude_server.serving() as server:
        yield server


def spent(run: Path) -> float:
    return pc.sum(pq.read_table(run / "ledger.parquet")["dollars"]).as_py()


def test_hybrid_asks_claude_pays_once_and_stays_in_its_budget(
    clip: Path, claude: claude_server.Server, tmp_path: Path
) -> None:
    """No weights at all: the packaged models, and Claude for every three seconds."""
    run = tmp_path / "run"
    words = [
        *("analyze", str(clip), f"out={run}", "models=hybrid", f"models.dir={tmp_path}"),
        f"models.actors.claude.base_url={claude.url}",
    ]
    few = ["models.moments.kinds=[keyframe,flag]", "models.moments.every_s=3", "budget.usd=1.0"]
    done = mien(*words, *few)
    assert done.returncode == 0, done.stderr[-4000:]
    notes = table(run, "notes")
    assert len(notes) >= 3
    assert pc.all(pc.equal(notes["status"], "ok")).as_py(), notes["error_message"].to_pylist()
    first = spent(run)
    assert 0 < first < 1.0
    assert pc.sum(notes["dollars"]).as_py() == pytest.approx(first)

    asked = len(claude.bodies)
    for path in run.glob("tables/notes-*/*.parquet"):  # as if the run had died before the rows
        path.unlink()
    assert mien(*words, *few).returncode == 0
    assert len(claude.bodies) == asked
    assert len(table(run, "notes")) == len(notes)
    assert spent(run) == pytest.approx(first)

    limit = first + 0.04
    many = [
        *("models.moments.kinds=[keyframe]", "models.moments.every_s=1"),
        *("models.moments.most_per_hour=3600", f"budget.usd={limit}"),
    ]
    assert mien(*words, *many).returncode == 0
    notes = table(run, "notes")
    failed = notes.filter(pc.equal(notes["status"], "failed"))
    assert 0 < len(failed) < len(notes)
    assert set(failed["error_type"].to_pylist()) == {"BudgetError"}
    assert first < spent(run) <= limit
