"""Flow and clips: TV-L1 against DIS, and the actor against a plain loop.

The clips are drawn (`tiny_micro`): no real data is read. The plain loop opens the same three frames
of each clip and makes the same features, without tables and checks.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

import tiny_micro
from common import arguments, show
from mien.actors.apex import middle
from mien.actors.clip_flow import ClipFlow
from mien.actors.flow import Dis, Flow, TvL1, directions
from mien.datasets.micro_sets import Smic

SHIFT = (1.5, -0.75)


def pair(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured picture, and the same moved by `SHIFT`."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(size, size)), (0, 0), 2.0)
    first = np.interp(noise, [noise.min(), noise.max()], [0, 255]).astype(np.float32)
    move = np.array([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]], np.float32)
    second = cv2.warpAffine(first, move, (size, size), flags=cv2.INTER_CUBIC)
    return first.round().astype(np.uint8), second.clip(0, 255).round().astype(np.uint8)


def seconds(work: Callable[[], object], times: int) -> float:
    """Median time of a call, after one that warms up."""
    work()
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return median(taken)


def flows(size: int, times: int) -> list[dict[str, Any]]:
    """Each method on one pair."""
    first, second = pair(size)
    rows = []
    kinds: dict[str, Flow] = {
        "TV-L1": TvL1(),
        **{f"DIS {preset}": Dis(preset=preset) for preset in ("medium", "fast", "ultrafast")},
    }
    for name, flow in kinds.items():
        flow.setup()
        found = flow.between(first, second)[16:-16, 16:-16].mean(axis=(0, 1))
        taken = seconds(lambda flow=flow: flow.between(first, second), times)
        rows.append(
            {
                "what": f"{name}, {size} px",
                "ms": f"{1e3 * taken:.1f}",
                "found px": f"{found[0]:+.3f} {found[1]:+.3f}",
                "true px": f"{SHIFT[0]:+.3f} {SHIFT[1]:+.3f}",
            }
        )
    return rows


def plain(clips: list[dict[str, Any]], size: int) -> None:
    """What a script would do."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for clip in clips:
        files = sorted(Path(clip["uri"]).iterdir())
        chosen = (clip["onset"], middle(clip["onset"], clip["offset"]), clip["offset"])
        greys = []
        for at in chosen:
            grey = cv2.cvtColor(cv2.imread(str(files[at])), cv2.COLOR_BGR2GRAY)
            greys.append(cv2.resize(grey, (size, size)))
        rise, fall = (flow.calc(end, greys[1], None) for end in (greys[0], greys[2]))
        parts = [greys[1]]
        for found in (rise, fall):
            length = np.hypot(found[..., 0], found[..., 1])
            grey = cv2.normalize(length, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
            grey[grey < 1.5 * grey.mean()] = 0
            parts.append(grey)
        cv2.imencode(".png", np.stack(parts, axis=2))
        uy, ux = np.gradient(rise[..., 0])
        vy, vx = np.gradient(rise[..., 1])
        bent = np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2)
        cv2.imencode(".png", cv2.normalize(bent, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8))
        directions(rise)


def clips(size: int, times: int) -> list[dict[str, Any]]:
    """The actor against the plain loop, on drawn clips."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_micro.smic(Path(folder), subjects=3, each=2, size=170)
        table: pa.Table = Smic(folder=folder).load().clips
        actor = ClipFlow(flow=Dis(), size_px=size)
        actor.setup()
        cv2.setNumThreads(1)
        rows = table.to_pylist()
        loop = seconds(lambda: plain(rows, size), times)
        ours = seconds(lambda: actor.process(table), times)
        read = seconds(lambda: Smic(folder=folder).load(), times)
    count = len(rows)
    return [
        {"what": f"plain loop, {size} px", "clips per second": f"{count / loop:.1f}"},
        {
            "what": f"ClipFlow with DIS, {size} px",
            "clips per second": f"{count / ours:.1f}",
            "ratio": f"{loop / ours:.2f}",
        },
        {"what": "Smic.load", "clips per second": f"{count / read:.0f}"},
    ]


def main() -> None:
    """Print both tables as one."""
    options = arguments(
        __doc__,
        size={"type": int, "default": 224, "help": "side of the pictures, px"},
        times={"type": int, "default": 5, "help": "repetitions"},
    )
    cv2.setNumThreads(1)
    rows = [*flows(options.size, options.times), *clips(options.size, options.times)]
    show("Flow, one thread, CPU time", rows, options.json)


if __name__ == "__main__":
    main()
