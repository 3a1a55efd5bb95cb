"""Spotting: brief movements of faces that may be micro-expressions, at the video's full rate."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.schema import MICRO
from ..datasets.video import Clip
from .actor import MACHINE, Actor, answer
from .excursions import Brief, Excursion, alone, excursions
from .face_motion import REGIONS, FaceMotion
from .faces import FaceFinder
from .finders import described
from .flow import Dis, Flow
from .people import Finder

Array = NDArray[np.floating]
LEAST_FPS, GOOD_FPS = 25.0, 60.0
"""A video slower than the first is refused: the shortest movements fall between its frames. One
slower than the second sees a movement of a fifteenth of a second in fewer than four frames."""
BLINK = 0.75
"""An eye whose aspect ratio falls below this share of its median is closing."""


@dataclass(kw_only=True)
class Track:
    """What the watching measured of one face between two cuts.

    Attributes:
        name: Number of the track.
        times: Of the measurements, seconds, sorted.
        boxes: `(measurement, 4)`: x, y, w, h, px.
        eyes: `(measurement,)`: the lesser aspect ratio of both eyes; NaN where unknown.
    """

    name: int
    times: list[float]
    boxes: NDArray[np.float32]
    eyes: Array

    def box(self, time_s: float) -> NDArray[np.float32]:
        """The box that was measured nearest to a time."""
        after = min(bisect_left(self.times, time_s), len(self.times) - 1)
        before = max(after - 1, 0)
        near = after if self.times[after] - time_s < time_s - self.times[before] else before
        return self.boxes[near]

    def blinks(self, start_s: float, stop_s: float) -> bool:
        """Whether an eye closes in a span, or just beside it."""
        times = np.array(self.times)
        beside = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        near = self.eyes[(times >= start_s - beside) & (times <= stop_s + beside)]
        usual = np.nanmedian(self.eyes) if np.isfinite(self.eyes).any() else np.nan
        return bool((near < BLINK * usual).any())


@dataclass(kw_only=True)
class Spotting(Actor):
    """Candidates for micro-expressions: parts of a face that move briefly, and return.

    The file is read again, since every frame counts. Each tracked face is followed by dense flow
    (`face_motion`); a candidate is a way of its brows, eyes or mouth against the head that leaves
    its running baseline and returns to it (`excursions`). Blinks, what moves with the head, and
    mouths while somebody speaks are left out. It says that something moved, not what it means.

    Attributes:
        brief: What counts as one.
        flow: Between frames of a face.
        faces: Fits the mesh, once a second for each face.
        size_px: Side of the cut that flow sees.
        least_px: Smaller faces are not looked at: width of the box.
        least_s: Nor are faces that are followed for less.
        still: The head may go this far during a candidate, as a share of the distance of the
            outer eye corners.
        speaking: Also take mouths while somebody speaks.
        threads: Decoding threads per worker.
    """

    reads = ("uri", "start_s", "stop_s", "fps", "speech", "signals")
    adds = MICRO
    model = "region flow, running baseline"
    revision = "1"
    licence = "Apache-2.0"
    quality = (
        "2 of 2 synthetic movements of still faces without a false one; 1 of 30 small brow "
        "movements injected into speaking faces. Never measured on real micro-expressions."
    )

    brief: Brief = field(default_factory=Brief)
    flow: Flow = field(default_factory=Dis)
    faces: Finder = field(default_factory=FaceFinder)
    size_px: int = 128
    least_px: float = 64.0
    least_s: float = 1.0
    still: float = 0.1
    speaking: bool = False
    threads: int = field(default=1, metadata=MACHINE)
    memory_gb: float = field(default=0.8, metadata=MACHINE)

    def __post_init__(self) -> None:
        for name in ("size_px", "least_px", "least_s", "still"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, but is {getattr(self, name):g}."
                )

    def setup(self) -> None:
        """Build the flow, and load the face models."""
        import cv2

        cv2.setNumThreads(1)
        self.flow.setup()
        self.faces.setup()

    def close(self) -> None:
        """Release them."""
        self.flow.close()
        self.faces.close()

    def identity(self) -> dict[str, Any]:
        """As of any actor; of its parts also which they are."""
        parts = {name: described(getattr(self, name)) for name in ("brief", "flow", "faces")}
        return super().identity() | parts

    def process(self, rows: pa.Table) -> pa.Table:
        """Look through each span.

        Raises:
            ValueError: A video has too few frames per second.
        """
        found = [self._spot(row) for row in rows.select(self.reads).to_pylist()]
        return answer({name: [one[name] for one in found] for name in MICRO.names}, MICRO)

    def _spot(self, row: dict[str, Any]) -> dict[str, Any]:
        fps, uri = row["fps"], row["uri"]
        if fps is not None:
            fast_enough(fps, uri)
        tracks = [t for t in tracks_of(row["signals"] or []) if self._worth(t)]
        found: list[dict[str, Any]] = []
        seen_s = 0.0
        for track, motion in self._followed(row, tracks):
            if len(motion.times) > 1:
                if fps is None:  # the file does not say it, its frames do
                    fps = fast_enough(1 / float(np.median(np.diff(motion.times))), uri)
                seen_s += motion.times[-1] - motion.times[0]
                found += self._candidates(track, motion, row["speech"] or [])
        slow = None
        if fps is not None and fps < GOOD_FPS:
            slow = (
                f"{fps:.4g} frames per second are few for micro-expressions: the shorter ones are "
                f"missed (record at {GOOD_FPS:g} or more)"
            )
        return {
            "candidates": sorted(found, key=lambda one: (one["onset_s"], one["track"])),
            "face_s": seen_s,
            "micro_warning": slow,
        }

    def _worth(self, track: Track) -> bool:
        wide = float(np.median(track.boxes[:, 2]))
        return track.times[-1] - track.times[0] >= self.least_s and wide >= self.least_px

    def _followed(
        self, row: Mapping[str, Any], tracks: Sequence[Track]
    ) -> Iterator[tuple[Track, FaceMotion]]:
        """Every face's ways, after one pass over the span's frames."""
        made = [FaceMotion(flow=self.flow, faces=self.faces, size_px=self.size_px) for _ in tracks]
        if tracks:
            stop_s = math.inf if row["stop_s"] is None else row["stop_s"]
            clip = Clip(
                uri=row["uri"], start_s=row["start_s"] or 0.0, stop_s=stop_s, threads=self.threads
            )
            for frame in clip:
                time_s = frame.time_s
                live = [
                    (track, motion)
                    for track, motion in zip(tracks, made, strict=True)
                    if track.times[0] <= time_s <= track.times[-1]
                ]
                image = frame.rgb() if live else None
                for track, motion in live:
                    if image is not None:
                        motion.follow(time_s, image, track.box(time_s))
        yield from zip(tracks, made, strict=True)

    def _candidates(
        self, track: Track, motion: FaceMotion, speech: Sequence[dict[str, float]]
    ) -> Iterator[dict[str, Any]]:
        times, names = np.array(motion.times), list(REGIONS)
        heads = np.array(motion.heads)
        found = []
        for one in excursions(times, np.array(motion.ways), self.brief):
            region = names[one.series].partition("_")[0]
            span = float(times[one.onset]), float(times[one.offset])
            if region in ("brow", "eye"):
                spoilt = track.blinks(*span)
            else:
                spoilt = not self.speaking and any(
                    said["start_s"] <= span[1] and span[0] < said["stop_s"] for said in speech
                )
            if not spoilt and _sway(heads, one) <= self.still:
                found.append(one)
        for one in alone(found):
            part = names[one.series]
            apex_s = float(times[one.apex])
            x, y, w, h = track.box(apex_s).tolist()
            yield {
                "track": track.name,
                "onset_s": float(times[one.onset]),
                "apex_s": apex_s,
                "offset_s": float(times[one.offset]),
                "region": {"brow": "brows", "eye": "eyes"}.get(part.partition("_")[0], "mouth"),
                "part": part,
                "peak": one.peak,
                "clear": one.clear,
                "x": x,
                "y": y,
                "w": w,
                "h": h,
            }


def _sway(heads: Array, one: Excursion) -> float:
    """How far the head itself goes during an excursion, as a share of the eyes' distance."""
    ways = heads[one.onset : one.offset + 1]
    return float(np.linalg.norm(ways - ways[0], axis=1).max())


def fast_enough(fps: float, uri: str) -> float:
    """The frame rate, unless it is too low.

    Raises:
        ValueError: It is below `LEAST_FPS`.
    """
    if fps < LEAST_FPS:
        raise ValueError(
            f"brief movements need at least {LEAST_FPS:g} frames per second, but '{uri}' has "
            f"{fps:.4g}: leave the role `micro` out for it, or record at {GOOD_FPS:g} or more."
        )
    return fps


def tracks_of(signals: Sequence[Mapping[str, Any]]) -> list[Track]:
    """The faces of a span, from column `signals` of table `watch`; unmeasured boxes left out."""
    groups: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for one in signals:
        if one["x"] is not None:
            groups[one["track"]].append(one)
    found = []
    for name, rows in sorted(groups.items()):
        rows.sort(key=lambda one: one["time_s"])
        eyes = [[one["eye_left"], one["eye_right"]] for one in rows]
        found.append(
            Track(
                name=name,
                times=[one["time_s"] for one in rows],
                boxes=np.array([[one[k] for k in "xywh"] for one in rows], np.float32),
                eyes=np.array(eyes, np.float64).min(axis=1),
            )
        )
    return found
