"""The main job from and to an object store."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("s3fs")

from mien.datasets import timeline
from mien.datasets.scan import index
from mien.datasets.store import Place, place, replace

pytestmark = pytest.mark.ray

MIEN = Path(sys.executable).with_name("mien")


def clip(path: Path) -> bytes:
    """Two seconds without people or speech: a grey ramp and a tone."""
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream("aac", rate=16_000, layout="mono")
        for i in range(20):
            picture = np.full((48, 64, 3), 10 * i, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode())
        tone = (0.1 * np.sin(np.arange(32_000) * 0.17)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.sample_rate = 16_000
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return path.read_bytes()


def names(run: Place) -> list[str]:
    """What a run holds, by path inside it."""
    return sorted(str(path).removeprefix(f"{run}/") for path in run.rglob("*"))


def mien(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(MIEN), *words], capture_output=True, text=True, timeout=150)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def test_a_run_from_and_to_a_store(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    replace(place(s3) / "videos" / "day 1" / "a.mp4", clip(tmp_path / "clip.mp4"))
    replace(place(s3) / "videos" / "broken.mp4", b"no media")
    words = ("analyze", f"{s3}/videos", f"out={s3}/run", "cluster.cores=2")

    done = mien(*words)
    assert done.returncode == 0, done.stderr
    run = place(s3) / "run"
    record = json.loads((run / "run.json").read_text())
    assert record["finished"]
    assert record["corpus"]["files"] == 2
    files = names(run)
    (line,) = (name for name in files if name.endswith("/timeline.json"))
    made = json.loads((run / line).read_text())
    assert timeline.validate(made) == []
    assert made["uri"] == f"{s3}/videos/day 1/a.mp4"
    page = line.replace("timeline.json", "report.html")
    assert "../../../videos/day%201/a.mp4" in (run / page).read_text()
    assert "broken.mp4" in (run / "index.html").read_text()
    for table in ("videos", "turns", "timeline"):
        assert index(run / "tables" / record["tables"][table]).files(), table
    assert not [*tmp_path.glob("*s3:*")], "something was written beside the store"

    done = mien(*words)
    assert done.returncode == 0, done.stderr
    parts = [[name for name in found if "/part-" in name] for found in (files, names(run))]
    assert parts[0] == parts[1]

    assert mien("report", f"{s3}/run").returncode == 0
    assert "../../../videos/day%201/a.mp4" in (run / page).read_text()
    done = mien("status", f"{s3}/run")
    assert done.returncode == 1
    assert "is text, not media" in " ".join(done.stdout.split())
