"""Shots: where one shot ends and the next begins, by PySceneDetect's own detectors.

The detectors' decisions are PySceneDetect's; the change of content they decide on (the mean
absolute difference of hue, saturation and value, 0-255) is computed once per frame by OpenCV, which
gives the same numbers several times faster.
"""

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
TICKS = 1_000_000
_BASE = Fraction(1, TICKS)
"""Times are handed to PySceneDetect in microseconds."""
DETECTORS = ("adaptive", "content", "both")
EDGE_PX = 256
"""Longer edge of the frames that are compared, as PySceneDetect has it."""


def small_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height for comparing frames of this width and height; never larger."""
    scale = min(1.0, EDGE_PX / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@dataclass(frozen=True, slots=True)
class Cut:
    """A hard cut.

    Attributes:
        time_s: Of the first frame of the new shot.
        detector: Which found it: `adaptive`, `content`, or `both`.
        score: Change of content at the cut, 0-255.
    """

    time_s: float
    detector: str
    score: float


@dataclass(kw_only=True)
class Shots:
    """Finds cuts in frames that come one by one.

    Attributes:
        detector: `adaptive` (a change that stands out from its neighbours: finds cuts between
            similar pictures, ignores camera motion), `content` (a change above a threshold), or
            `both` (what either finds).
        threshold: Of the content detector: change of content, 0-255.
        ratio: Of the adaptive detector: change over the mean of its neighbours.
        least_change: Of the adaptive detector: smallest change that can be a cut, 0-255.
        window: Of the adaptive detector: neighbours on either side.
        min_shot_s: A cut that follows another, or the first frame, sooner is none.
    """

    detector: str = "adaptive"
    threshold: float = 27.0
    ratio: float = 3.0
    least_change: float = 10.0
    window: int = 2
    min_shot_s: float = 0.3

    def __post_init__(self) -> None:
        if self.detector not in DETECTORS:
            raise ValueError(f"`detector` must be one of {DETECTORS}, but is {self.detector!r}.")
        if self.min_shot_s <= 0:
            raise ValueError(f"`min_shot_s` must be greater than 0, but is {self.min_shot_s:g}.")
        self.reset()

    @property
    def delay(self) -> int:
        """How many frames later than its first frame a cut is known."""
        return 0 if self.detector == "content" else self.window

    def reset(self, fps: float | None = None) -> None:
        """Begin anew, with another video or span; `fps` is its average frame rate."""
        self._fps = fps or 25.0
        self._last: Image | None = None
        self._changes: deque[tuple[int, float]] = deque(maxlen=self.delay + 1)
        self._content: set[int] = set()
        self._last_cut = -math.inf
        self._detectors: dict[str, Any] = {}

    def push(self, time_s: float, small: Image) -> Cut | None:
        """Take the next frame.

        Args:
            time_s: When it is shown, ascending.
            small: BGR uint8 `(height, width, 3)`, of the size that `small_size` says.

        Returns:
            The cut at the frame that came `delay` frames before this one, if there is one.
        """
        from scenedetect import FrameTimecode
        from scenedetect.common import Timecode

        if not self._detectors:
            self._detectors = detectors(self)
        tick = round(time_s * TICKS)
        change = self._change(small)
        self._changes.append((tick, change))
        timecode = FrameTimecode(Timecode(pts=tick, time_base=_BASE), fps=self._fps)
        found: dict[str, list[int]] = {}
        for name, detector in self._detectors.items():
            detector.change = change
            found[name] = [cut.pts for cut in detector.process_frame(timecode, small)]
        return self._decide(found)

    def _decide(self, found: dict[str, list[int]]) -> Cut | None:
        """Whether the oldest frame at hand begins a shot, and who says so."""
        self._content.update(found.get("content", ()))
        if len(self._changes) <= self.delay:
            return None
        tick, change = self._changes[0]
        says = [name for name in ("adaptive", "content") if tick in found.get(name, ())]
        if tick in self._content:
            self._content.discard(tick)
            says = says if "content" in says else [*says, "content"]
        if not says or tick - self._last_cut < self.min_shot_s * TICKS:
            return None
        self._last_cut = tick
        return Cut(tick / TICKS, "both" if len(says) == 2 else says[0], change)

    def _change(self, small: Image) -> float:
        import cv2

        hsv = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2HSV), np.uint8)
        last, self._last = self._last, hsv
        if last is None or last.shape != hsv.shape:
            return 0.0
        return cv2.norm(hsv, last, cv2.NORM_L1) / hsv.size


def detectors(shots: Shots) -> dict[str, Any]:
    """PySceneDetect's detectors; each is told `change` instead of computing it."""
    from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode
    from scenedetect.detector import FlashFilter

    class Adaptive(AdaptiveDetector):
        change = 0.0

        def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: Image) -> float:
            return self.change

    class Content(ContentDetector):
        change = 0.0

        def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: Image) -> float:
            return self.change

    made: dict[str, Any] = {}
    if shots.detector in ("adaptive", "both"):
        made["adaptive"] = Adaptive(
            adaptive_threshold=shots.ratio,
            min_content_val=shots.least_change,
            window_width=shots.window,
            min_scene_len=float(shots.min_shot_s),
        )
    if shots.detector in ("content", "both"):
        made["content"] = Content(
            threshold=shots.threshold,
            min_scene_len=float(shots.min_shot_s),
            filter_mode=FlashFilter.Mode.SUPPRESS,
        )
    return made
