"""The people of a span: faces looked for, followed and measured while its frames go by."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..datasets.schema import MEASURES
from ..datasets.video import Frame
from . import signals
from .tracks import Tracker

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


class Finder(Protocol):
    """What `FaceFinder` offers."""

    def setup(self) -> None:
        """Load the models."""

    def close(self) -> None:
        """Release them."""

    def detect(self, image: Image) -> NDArray[np.float32]:
        """Faces of a picture: `(face, 5)` x, y, w, h, score."""
        ...

    def mesh(self, image: Image, boxes: Boxes) -> NDArray[np.float32]:
        """Their meshes: `(face, 478, 3)`."""
        ...


@dataclass(kw_only=True)
class People:
    """Follows the faces of one span.

    Faces are detected on the first frame, on the first of a shot, on sampled frames, every
    `look_s` otherwise, and at once where a followed face is lost. In between the mesh of each face
    leads to its mesh `stride` frames later.

    Attributes:
        finder: Finds faces and meshes.
        stride: Frames from one measurement to the next.
        look_s: Longest time without a detection.
        faces: Rows of the `faces` column so far; `frame` counts samples.
    """

    finder: Finder
    stride: int
    look_s: float
    faces: list[dict[str, Any]] = field(default_factory=list)
    _tracker: Tracker = field(default_factory=Tracker)
    _boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    _seen: list[tuple[float, NDArray[np.int32], NDArray[np.float32]]] = field(default_factory=list)
    _looked_s: float | None = None
    _found: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 5), np.float32))
    _meshes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 478, 3), np.float32))
    _tracks: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    _count: int = 0
    _size: tuple[int, int] = (0, 0)

    @property
    def present(self) -> bool:
        """Whether a face is, or was last seen, on screen."""
        return len(self._found) > 0

    def follow(self, frame: Frame, *, cut: bool) -> None:
        """Take the next frame of the span."""
        due = self._looked_s is None or frame.time_s - self._looked_s >= self.look_s - 1e-6
        if cut:
            self._tracker.cut()
            self._boxes = self._boxes[:0]
        if cut or due:
            self._detect(frame)
        elif len(self._boxes) and self._count % self.stride == 0:
            self._advance(frame)
        self._count += 1

    def sample(self, frame: Frame, index: int) -> None:
        """Keep the faces of the frame that `follow` saw last: it is sample number `index`."""
        if self._looked_s != frame.time_s:
            self._detect(frame)
        if not self.present:
            return
        image, boxes = frame.rgb(), self._found[:, :4]
        quality = signals.quality(image, boxes, self._meshes)
        for row, (x, y, w, h, score) in enumerate(self._found.tolist()):
            self.faces.append(
                {"frame": index, "time_s": frame.time_s, "x": x, "y": y, "w": w, "h": h}
                | {"score": score, "track": int(self._tracks[row]), "quality": float(quality[row])}
                | {"crop": signals.crop(image, boxes[row])}
            )

    def signals(self) -> list[dict[str, Any]]:
        """Rows of the `signals` column: all meshes, measured at once."""
        if not self._seen:
            return []
        meshes = np.concatenate([meshes for _, _, meshes in self._seen])
        times = np.repeat(
            [time_s for time_s, _, _ in self._seen], [len(t) for _, t, _ in self._seen]
        )
        tracks = np.concatenate([tracks for _, tracks, _ in self._seen])
        values = np.concatenate([signals.box(meshes), signals.measure(meshes, self._size)], axis=1)
        names = ("time_s", "track", "x", "y", "w", "h", *MEASURES)
        return [
            dict(zip(names, (time_s, track, *known), strict=True))
            for time_s, track, row in zip(
                times.tolist(), tracks.tolist(), values.tolist(), strict=True
            )
            for known in [[value if value == value else None for value in row]]
        ]

    def _detect(self, frame: Frame) -> None:
        image = frame.rgb()
        again = self._seen and self._seen[-1][0] == frame.time_s
        if again:  # measured a moment ago, on the way from the frame before
            self._seen.pop()
        self._looked_s = frame.time_s
        self._found = self.finder.detect(image)
        self._meshes = self.finder.mesh(image, self._found[:, :4])
        self._tracks = self._tracker.update(frame.time_s, self._found[:, :4])
        self._keep(frame, self._tracks, self._meshes)

    def _advance(self, frame: Frame) -> None:
        meshes = self.finder.mesh(frame.rgb(), self._boxes)
        if np.isnan(meshes[:, 0, 0]).any():
            self._detect(frame)
            return
        self._keep(frame, self._tracker.update(frame.time_s, signals.box(meshes)), meshes)

    def _keep(self, frame: Frame, tracks: NDArray[np.int32], meshes: NDArray[np.float32]) -> None:
        self._size = frame.size
        known = ~np.isnan(meshes[:, 0, 0])
        self._boxes = signals.box(meshes[known])
        if known.any():
            self._seen.append((frame.time_s, tracks[known], meshes[known]))
