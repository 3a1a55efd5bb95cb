"""Watching: one decoding pass over a span that finds all that later actors need of the picture."""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.media import best_video, opened
from ..datasets.schema import WATCH
from ..datasets.video import BACKENDS, Clip, Frame
from .actor import MACHINE, Actor, answer
from .people import Finder, People
from .sampler import Reason, Sampler, trim
from .shots import Cut, Shots, small_size

LEAD_S = 2.0
"""Read before a span, so that its first cuts are those that the whole video has there."""
MOTION_S = 0.5
"""Motion is averaged over this long before it counts as action."""


@dataclass(kw_only=True)
class Watch(Actor):
    """Shots, samples, faces and facial signals of a span of video.

    Null in all columns where the file has no video stream.

    Attributes:
        shots: Finds the cuts.
        sampler: Chooses the frames to keep.
        faces: Finds faces; `None`: watch without.
        signals_hz: Measurements of each tracked face per second, at least, where the video has
            as many frames.
        action: Change of luma per second (1: from black to white) from which motion is action.
        thumbnail_px: Longer edge of the thumbnails; smaller frames are not enlarged.
        backend: Decoder; see `datasets.video.Clip`.
        threads: Decoding threads per worker.
    """

    reads = ("uri", "start_s", "stop_s", "fps", "speech")
    adds = WATCH
    model = "PySceneDetect, adaptive sampler"
    revision = version("scenedetect")
    licence = "BSD-3-Clause"
    quality = (
        "Finds 21 of 21 clear hard cuts of the labelled clips to the frame; "
        "the starts of 2 fades from black are reported as cuts too."
    )

    shots: Shots = field(default_factory=Shots)
    sampler: Sampler = field(default_factory=Sampler)
    faces: Finder | None = None
    signals_hz: float = 15.0
    action: float = 0.5
    thumbnail_px: int = 320
    backend: str = "pyav"
    threads: int = field(default=1, metadata=MACHINE)

    def __post_init__(self) -> None:
        for name in ("signals_hz", "action", "thumbnail_px"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, but is {getattr(self, name):g}."
                )
        if self.backend not in BACKENDS:
            raise ValueError(f"`backend` must be one of {BACKENDS}, but is {self.backend!r}.")

    def setup(self) -> None:
        """Load the detectors and the face models."""
        import cv2

        import_module("scenedetect")  # slow, so not with the first file

        cv2.setNumThreads(1)
        if self.faces is not None:
            self.faces.setup()

    def process(self, rows: pa.Table) -> pa.Table:
        """Watch each span."""
        spans = [self._watch(row) for row in rows.select(self.reads).to_pylist()]
        return answer({name: [span.get(name) for span in spans] for name in WATCH.names}, WATCH)

    def close(self) -> None:
        """Release the face models."""
        if self.faces is not None:
            self.faces.close()

    def _watch(self, row: dict[str, Any]) -> dict[str, Any]:
        with opened(row["uri"]) as container:
            if best_video(container) is None:
                return {}
        clip = Clip(
            uri=row["uri"],
            start_s=row["start_s"] or 0.0,
            stop_s=math.inf if row["stop_s"] is None else row["stop_s"],
            lead_s=LEAD_S,
            tail=self.shots.delay,
            backend=self.backend,
            threads=self.threads,
        )
        view = _View(self, row["fps"], row["speech"] or [])
        for frame in clip:
            view.push(frame)
        return view.finish() | {"n_frames": clip.frames, "warning": clip.warning}


class _View:
    """What has been seen of one span."""

    def __init__(self, watch: Watch, fps: float | None, speech: list[dict[str, float]]) -> None:
        self._watch, self._shots, self._sampler = watch, watch.shots, watch.sampler
        self._shots.reset(fps)
        self._sampler.reset()
        self._motion = Motion()
        self._waiting: deque[tuple[Frame, float, float]] = deque()
        self._speech = Spans(speech)
        stride = max(1, math.floor((fps or 25.0) / watch.signals_hz))
        self._people = (
            None
            if watch.faces is None
            else People(finder=watch.faces, stride=stride, look_s=1 / watch.sampler.face_hz)
        )
        self._small: tuple[int, int] | None = None
        self.cuts: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []

    def push(self, frame: Frame) -> None:
        """Take a decoded frame; it is judged `delay` frames later, when cuts are known."""
        self._small = self._small or small_size(frame.size)
        small = frame.small(*self._small)
        motion, speed = self._motion.push(frame.time_s, small)
        self._waiting.append((frame, motion, speed))
        cut = self._shots.push(frame.time_s, small)
        if len(self._waiting) > self._shots.delay:
            self._judge(*self._waiting.popleft(), cut)

    def finish(self) -> dict[str, Any]:
        """The columns of the span."""
        while self._waiting:
            self._judge(*self._waiting.popleft(), None)
        reasons: list[Reason] = [frame["reason"] for frame in self.frames]
        kept = trim([f["time_s"] for f in self.frames], reasons, self._sampler.budget)
        place = {old: new for new, old in enumerate(kept)}
        people = self._people
        return {
            "cuts": self.cuts,
            "frames": [self.frames[i] for i in kept],
            "faces": []
            if people is None
            else [f | {"frame": place[f["frame"]]} for f in people.faces if f["frame"] in place],
            "signals": [] if people is None else people.signals(),
        }

    def _judge(self, frame: Frame, motion: float, speed: float, cut: Cut | None) -> None:
        if not frame.inside:
            return
        if cut is not None:
            score = {"detector": cut.detector, "score": cut.score}
            self.cuts.append({"time_s": frame.time_s} | score)
        if self._people is not None:
            self._people.follow(frame, cut=cut is not None)
        reason = self._sampler.offer(
            frame.time_s,
            cut=cut is not None,
            face=self._people is not None and self._people.present,
            speech=self._speech.hold(frame.time_s),
            action=speed >= self._watch.action,
        )
        if reason is None:
            return
        if self._people is not None:
            self._people.sample(frame, len(self.frames))
        picture = thumbnail(frame, self._watch.thumbnail_px)
        self.frames.append(
            {"time_s": frame.time_s, "reason": reason, "motion": motion, "thumbnail": picture}
        )


class Spans:
    """Spans of time that a moment can lie in."""

    def __init__(self, spans: Sequence[dict[str, float]]) -> None:
        ordered = sorted(spans, key=lambda span: span["start_s"])
        self._starts = [span["start_s"] for span in ordered]
        self._stops = list(np.maximum.accumulate([span["stop_s"] for span in ordered]))

    def hold(self, time_s: float) -> bool:
        """Whether a span holds this moment."""
        index = bisect_right(self._starts, time_s) - 1
        return index >= 0 and time_s < self._stops[index]


class Motion:
    """How much the picture changes."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None
        self._past: deque[tuple[float, float]] = deque()

    def push(self, time_s: float, small: NDArray[np.uint8]) -> tuple[float, float]:
        """Take the next frame, BGR.

        Returns:
            Mean absolute change of luma (0-1) since the frame before, and its speed: the median
            change of the last `MOTION_S`, per second, which a single cut or flash does not raise.
        """
        import cv2

        luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        last, self._last = self._last, luma
        if last is None or last.shape != luma.shape:
            change = 0.0
        else:
            change = cv2.norm(luma, last, cv2.NORM_L1) / luma.size / 255
        self._past.append((time_s, change))
        while self._past[0][0] < time_s - MOTION_S:
            self._past.popleft()
        seconds = time_s - self._past[0][0]
        if seconds <= 0:
            return change, 0.0
        changes = sorted(value for _, value in self._past)
        return change, changes[len(changes) // 2] * (len(changes) - 1) / seconds


def thumbnail(frame: Frame, edge_px: int) -> bytes:
    """A JPEG of a frame with a longer edge of at most `edge_px`."""
    import cv2

    width, height = frame.size
    scale = min(1.0, edge_px / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    done, data = cv2.imencode(".jpg", frame.small(*size), [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ValueError(f"the frame at {frame.time_s:.3f} s could not be written as a JPEG.")
    return data.tobytes()
