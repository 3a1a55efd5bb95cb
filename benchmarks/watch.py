"""What watching costs: against decoding alone, and against PySceneDetect with a seek per sample.

    python benchmarks/watch.py [FILE] [--json FILE] [--workers N]

All lines run on the same cores: processes of one thread each, or one process with as many threads.
Without FILE a five-minute 720p film is made by code first.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import pyarrow as pa

from common import arguments, show
from film import make
from mien.actors.watch import Watch
from mien.datasets.media import probe
from mien.datasets.video import Clip, spans

_watch: Watch | None = None


def ffmpeg(path: str, threads: int) -> int:
    """Decode with the ffmpeg program, throw the frames away."""
    command = ["ffmpeg", "-v", "error", "-threads", str(threads), "-i", path, "-an"]
    subprocess.run([*command, "-f", "null", "-"], check=True)
    return 0


def pyav(path: str, threads: int) -> int:
    """Decode with PyAV, throw the frames away."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count, stream.codec_context.thread_type = threads, "AUTO"
        return sum(1 for _ in container.decode(stream))


def decode_span(path: str, span: tuple[float, float]) -> int:
    """Decode one span with our reader, throw the frames away."""
    clip = Clip(uri=path, start_s=span[0], stop_s=span[1])
    for _ in clip:
        pass
    return clip.frames


def start_worker() -> None:
    """Set up a watcher, once per process."""
    global _watch
    _watch = Watch()
    _watch.setup()


def watch_span(path: str, fps: float, span: tuple[float, float]) -> int:
    """Watch one span."""
    assert _watch is not None
    row = {"uri": path, "start_s": span[0], "stop_s": span[1], "fps": fps, "speech": None}
    return _watch.process(pa.Table.from_pylist([row]))["n_frames"][0].as_py()


def naive(path: str, threads: int) -> int:
    """PySceneDetect's `detect`, then one seek per sample, two per second."""
    import cv2
    from scenedetect import ContentDetector, detect

    cv2.setNumThreads(threads)
    detect(path, ContentDetector())
    capture = cv2.VideoCapture(path)
    fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    samples = 0
    for i in range(int(count / fps * 2)):
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(i * fps / 2))
        samples += capture.read()[0]
    return samples


def timed(work: Callable[[], int]) -> dict[str, float]:
    """Seconds and count of one piece of work."""
    start = time.perf_counter()
    count = work()
    return {"seconds": time.perf_counter() - start, "count": count}


def measure(path: str, workers: int) -> dict[str, Any]:
    """All lines of the table."""
    facts = probe(path)
    tiles = spans(facts["duration_s"])
    lines: dict[str, dict[str, float]] = {}
    if shutil.which("ffmpeg"):
        lines["ffmpeg -f null"] = timed(partial(ffmpeg, path, workers))
    lines["PyAV decode only"] = timed(partial(pyav, path, workers))
    start = time.perf_counter()
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=start_worker) as pool:
        list(pool.map(time.sleep, [0.5] * workers))  # every worker is up
        setup_s = time.perf_counter() - start - 0.5
        lines["our reader, spans over processes"] = timed(
            lambda: sum(pool.map(partial(decode_span, path), tiles))
        )
        lines["watching, spans over processes"] = timed(
            lambda: sum(pool.map(partial(watch_span, path, facts["fps"]), tiles))
        )
    lines["PySceneDetect + seek per sample"] = timed(partial(naive, path, workers))
    frames = lines["watching, spans over processes"]["count"]
    base = next(iter(lines.values()))["seconds"]
    for line in lines.values():
        line["frames_per_s"] = frames / line["seconds"]
        line["speed_to_first"] = base / line["seconds"]
    return {"file": facts, "cores": workers, "setup_s": setup_s, "lines": lines}


def main() -> None:
    """Measure and print."""
    asked = arguments(
        __doc__,
        file={"bare": True, "nargs": "?"},
        workers={"type": int, "default": len(os.sched_getaffinity(0))},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = asked.file or str(make(Path(folder) / "film.mp4"))
        result = measure(path, asked.workers)
    facts, lines = result["file"], result.pop("lines")
    title = (
        f"{facts['width']}x{facts['height']}, {facts['duration_s']:.0f} s, {facts['codec']}, "
        f"{8e-6 * facts['size_bytes'] / facts['duration_s']:.1f} Mbit/s"
    )
    rows = [{"what": name, **numbers} for name, numbers in lines.items()]
    show(title, rows, asked.json, **result)


if __name__ == "__main__":
    main()
