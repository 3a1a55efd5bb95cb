"""Spotting of brief movements: precision, recall and false candidates per minute.

Everything it finds here is SYNTHETIC. `micro_proxy` are posed expressions played to a low intensity
and back; `injected` are real films of faces into which a brief movement was warped at a known time
and place. Neither says how spontaneous micro-expressions are spotted. What is found elsewhere in
those films counts as false, also where a face really moved. `talking` are films as they are, in
which people speak, blink and move: each candidate counts as false.

A candidate is right where it overlaps the truth by at least half (intersection over union), as in
the spotting challenges of MEGC; each truth is found once at most.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import tiny_micro
from common import arguments, data_folder, show
from mien.actors.excursions import overlap
from mien.actors.faces import FaceFinder
from mien.actors.people import People
from mien.actors.spotting import Spotting
from mien.datasets.video import Clip

Image = NDArray[np.uint8]
Span = tuple[float, float]

TALKING = (
    *("video/grid/bbaf2n.mpg", "video/grid/brbk7n.mpg", "video/grid/lbax4n.mpg"),
    *("video/grid/lbbc2a.mpg", "video/grid/pwij3p.mpg", "video/grid/sbia1a.mpg"),
    *("video/grid/swwp2s.mpg", "video/expressive_face_T2/d0.mp4", "video/pyfeat/single_face.mp4"),
    "video/talking_head_T2/WDA_AlexandriaOcasioCortez_000.mp4",
)
MOVES = {"brows": ((66, 296), (0.0, -1.0)), "mouth": ((291,), (0.4, -1.0))}
"""Points of the mesh about which the picture is warped, and which way."""
FRAMES = 7
"""Of an injected movement: at 25 frames per second a quarter of a second."""
WIDE = 0.25
"""Spread of the warp, as a share of the distance of the outer eye corners."""


@dataclass
class Count:
    """What was found in some films."""

    truths: int = 0
    found: int = 0
    candidates: int = 0
    seconds: float = 0.0

    def add(self, spans: Sequence[Span], truths: Sequence[Span], seconds: float) -> None:
        """Count a film."""
        self.truths += len(truths)
        self.found += sum(any(overlap(one, t) >= 0.5 for one in spans) for t in truths)
        self.candidates += len(spans)
        self.seconds += seconds

    def row(self, name: str, what: str) -> dict[str, Any]:
        """As a row of the table."""
        false = self.candidates - self.found

        def share(part: int, whole: int) -> str:
            return f"{part / whole:.2f}" if whole else "-"

        return {
            "set": name,
            "what": what,
            "events": self.truths,
            "found": self.found,
            "candidates": self.candidates,
            "precision": share(self.found, self.candidates),
            "recall": share(self.found, self.truths),
            "false per minute": f"{60 * false / self.seconds:.1f}",
            "minutes": f"{self.seconds / 60:.2f}",
        }


class Spotter:
    """Watches the faces of a film, and spots."""

    def __init__(self) -> None:
        self.finder = FaceFinder()
        self._actor = Spotting(faces=self.finder)
        self._actor.setup()

    def spot(self, path: Path) -> tuple[list[dict[str, Any]], float]:
        """The candidates of a film, and its length in seconds."""
        clip = Clip(uri=str(path))
        people = People(finder=self.finder, stride=1, look_s=1.0)
        last_s = 0.0
        for frame in clip:
            people.follow(frame, cut=False)
            last_s = frame.time_s
        row = {"uri": str(path), "start_s": 0.0, "stop_s": None, "fps": clip.fps, "speech": []}
        rows = pa.Table.from_pylist([row | {"signals": people.signals()}])
        return self._actor.process(rows)["candidates"].to_pylist()[0], last_s


def spans(candidates: Sequence[dict[str, Any]], step_s: float) -> list[Span]:
    """Their times, each reaching to the end of its last frame."""
    return [(one["onset_s"], one["offset_s"] + step_s) for one in candidates]


def injected(
    path: Path, finder: FaceFinder, region: str, strength: float, at: float
) -> tuple[list[Image], Span] | None:
    """The frames of a film with a brief movement, and when it happens; `None` without a face.

    Args:
        path: The film.
        finder: Finds the face.
        region: See `MOVES`.
        strength: Way at the apex, as a share of the distance of the outer eye corners.
        at: When, as a share of the film.
    """
    clip = Clip(uri=str(path))
    frames = [frame.rgb() for frame in clip]
    fps = clip.fps or 25.0  # known once the frames are read
    first = round(at * (len(frames) - FRAMES))
    levels = np.interp(np.arange(FRAMES + 2), [0, (FRAMES + 1) / 2, FRAMES + 1], [0, 1, 0])[1:-1]
    for i, level in enumerate(levels):
        image = frames[first + i]
        boxes = finder.detect(image)
        mesh = finder.mesh(image, boxes[:1, :4]) if len(boxes) else np.full((1, 478, 3), np.nan)
        if np.isnan(mesh).any():
            return None
        frames[first + i] = warped(image, mesh[0], region, strength * float(level))
    return frames, (first / fps, (first + FRAMES) / fps)


def warped(image: Image, mesh: NDArray[np.float32], region: str, far: float) -> Image:
    """A picture whose region has moved by `far` eye distances."""
    points, way = MOVES[region]
    eyes = float(np.linalg.norm(mesh[263, :2] - mesh[33, :2]))
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    weight = np.zeros_like(x)
    for point in points:
        distance = np.hypot(x - mesh[point, 0], y - mesh[point, 1])
        weight = np.maximum(weight, np.exp(-0.5 * (distance / (WIDE * eyes)) ** 2))
    length = far * eyes / np.hypot(*way)
    back = [
        (axis - weight * length * go).astype(np.float32)
        for axis, go in zip((x, y), way, strict=True)
    ]
    moved = cv2.remap(image, *back, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def proxies(spotter: Spotter, data: Path) -> Iterator[dict[str, Any]]:
    """The clips of `micro_proxy`."""
    count = Count()
    for path in sorted((data / "video/micro_proxy").glob("*.truth.json")):
        truth = json.loads(path.read_text())
        found, seconds = spotter.spot(path.with_name(truth["video"]))
        step_s = 1 / truth["fps"]
        truths = []
        if truth.get("onset_frame") is not None:
            truths = [(truth["onset_frame"] * step_s, (truth["offset_frame"] + 1) * step_s)]
        count.add(spans(found, step_s), truths, seconds)
    yield count.row("micro_proxy", "SYNTHETIC: posed, played low and back")


def talking(spotter: Spotter, data: Path) -> Iterator[dict[str, Any]]:
    """Films as they are."""
    every, still = Count(), Count()
    for name in TALKING:
        found, seconds = spotter.spot(data / name)
        every.add(spans(found, 0.04), [], seconds)
        still.add(spans([o for o in found if o["region"] != "mouth"], 0.04), [], seconds)
    yield every.row("talking", "nothing injected; speech not known")
    yield still.row("talking", "nothing injected; mouths left out, as in speech")


def injections(spotter: Spotter, data: Path, strengths: Sequence[float]) -> Iterator[dict]:
    """Films with a movement each, by region and strength."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for region in MOVES:
            for strength in strengths:
                count = Count()
                for name in TALKING:
                    at = rng.uniform(0.4, 0.6)
                    made = injected(data / name, spotter.finder, region, strength, at)
                    if made is None:
                        continue
                    frames, truth = made
                    bgr = (np.ascontiguousarray(one[:, :, ::-1]) for one in frames)
                    fps = round(FRAMES / (truth[1] - truth[0]))
                    path = tiny_micro.film(Path(folder) / "film.mp4", bgr, fps)
                    found, seconds = spotter.spot(path)
                    mine = [one for one in found if one["region"] == region]
                    count.add(spans(mine, 1 / fps), [truth], seconds)
                what = f"SYNTHETIC: warped by {strength:.1%} of the eyes' distance"
                yield count.row(f"injected, {region}", what)


def main() -> None:
    """Print the table."""
    options = arguments(
        __doc__,
        strengths={
            "nargs": "*",
            "type": float,
            "default": [0.01, 0.02, 0.04],
            "help": "of what is injected, as shares of the distance of the outer eye corners",
        },
    )
    data, spotter = data_folder(), Spotter()
    rows = [
        *proxies(spotter, data),
        *talking(spotter, data),
        *injections(spotter, data, options.strengths),
    ]
    show("Spotting (all events SYNTHETIC)", rows, options.json)


if __name__ == "__main__":
    main()
