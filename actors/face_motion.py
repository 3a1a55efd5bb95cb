"""How the parts of one face move against the head, frame by frame.

Each frame is compared with a reference of the same face by dense flow, on a small upright cut. What
the head itself does (shift, turn in the picture, nearing) is fitted to points on bone and taken
off. The reference is renewed every second or so, and the ways are added up.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .clip_flow import EYES, upright
from .flow import Flow
from .people import Finder

Image = NDArray[np.uint8]
Array = NDArray[np.floating]

REGIONS = {
    "brow_right": (107, 66, 105, 63, 70),
    "brow_left": (336, 296, 334, 293, 300),
    "eye_right": (159, 158, 160, 145),
    "eye_left": (386, 385, 387, 374),
    "mouth_right": (61, 91, 185),
    "mouth_left": (291, 321, 409),
    "lip_upper": (0, 37, 267),
    "lip_lower": (17, 84, 314),
}
"""Points of MediaPipe's mesh; left and right are the subject's."""
BONE = (6, 197, 195, 5, 4, 33, 133, 362, 263, 9, 151, 10, 108, 337)
"""Nose, corners of the eyes, forehead: where a face moves least of itself."""
PATCH = 0.07
"""Side of the patch that a point's flow is the mean of, as a share of the cut."""


@dataclass(kw_only=True)
class FaceMotion:
    """Follows one face.

    Attributes:
        flow: From the reference to a frame.
        faces: Fits the mesh to a reference.
        size_px: Side of the cut.
        margin: Side of the cut, in sides of the mesh.
        renew_s: Age at which the reference is renewed.
        times: Of the frames followed so far.
        ways: Per frame `(region, 2)`: to the right and down since the first, as a share of the
            distance of the outer eye corners.
        heads: Per frame `(2,)`: the head's own way, in the same unit.
    """

    flow: Flow
    faces: Finder
    size_px: int = 128
    margin: float = 1.2
    renew_s: float = 1.0
    times: list[float] = field(default_factory=list)
    ways: list[Array] = field(default_factory=list)
    heads: list[Array] = field(default_factory=list)
    _reference: "_Reference | None" = None

    def follow(self, time_s: float, image: Image, box: NDArray[np.float32]) -> None:
        """Take the next frame; without effect until a mesh is found.

        Args:
            time_s: Its time.
            image: RGB `(height, width, 3)` uint8.
            box: x, y, w, h of the face, px; used where the reference is renewed.
        """
        if self._reference is not None:
            self._add(time_s, image, self._reference)
            if time_s - self._reference.time_s < self.renew_s - 1e-6:
                return
        made = self._renewed(time_s, image, box)
        if made is not None and self._reference is None:
            self.times.append(time_s)
            self.ways.append(made.way)
            self.heads.append(made.head)
        self._reference = made or self._reference

    def _add(self, time_s: float, image: Image, reference: "_Reference") -> None:
        found = self.flow.between(reference.grey, cut(image, reference.map, self.size_px))
        way, head = reference.parted(found)
        self.times.append(time_s)
        self.ways.append(reference.way + way)
        self.heads.append(reference.head + head)

    def _renewed(
        self, time_s: float, image: Image, box: NDArray[np.float32]
    ) -> "_Reference | None":
        mesh = self.faces.mesh(image, np.asarray(box, np.float32)[None])
        if np.isnan(mesh).any():
            return None
        to_cut = upright(mesh[0], self.margin, self.size_px)
        points = mesh[0][:, :2] @ to_cut[:, :2].T + to_cut[:, 2]
        return _Reference(
            time_s=time_s,
            map=to_cut,
            grey=cut(image, to_cut, self.size_px),
            points=points,
            eyes_px=float(np.linalg.norm(points[EYES[1]] - points[EYES[0]])),
            way=self.ways[-1] if self.ways else np.zeros((len(REGIONS), 2)),
            head=self.heads[-1] if self.heads else np.zeros(2),
        )


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """A frame that others are compared with; points `(478, 2)` in pixels of its cut."""

    time_s: float
    map: Array
    grey: Image
    points: Array
    eyes_px: float
    way: Array
    head: Array

    def parted(self, flow: NDArray[np.float32]) -> tuple[Array, Array]:
        """The ways of the regions against the head `(region, 2)`, and that of the head `(2,)`."""
        import cv2

        side = len(self.grey)
        width = max(3, round(PATCH * side))
        means = np.asarray(cv2.blur(flow, (width, width)), np.float64)

        def at(points: tuple[int, ...]) -> Array:
            x, y = np.clip(self.points[list(points)].round().astype(int), 0, side - 1).T
            return means[y, x]

        bone = self.points[list(BONE)]
        model = similarity(bone, at(BONE))
        ways = [
            (at(points) - moved(model, self.points[list(points)])).mean(axis=0)
            for points in REGIONS.values()
        ]
        head = moved(model, bone.mean(axis=0, keepdims=True))[0]
        return np.array(ways) / self.eyes_px, head / self.eyes_px


def cut(image: Image, to_cut: Array, size_px: int) -> Image:
    """The grey cut of a frame, `(size_px, size_px)` uint8."""
    import cv2

    found = cv2.warpAffine(
        image, to_cut, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_RGB2GRAY), np.uint8)


def similarity(points: NDArray[np.floating], ways: NDArray[np.floating]) -> Array:
    """Fit a shift, a small turn and a scaling to the ways of some points.

    By least squares, twice: the quarter of the points that fits worst is left out of the second.

    Args:
        points: `(point, 2)`.
        ways: `(point, 2)`.

    Returns:
        `(4,)`: shift right and down, scaling less 1, turn (clockwise, radians).
    """
    kept = np.arange(len(points))
    model = np.zeros(4)
    for _ in range(2):
        x, y = points[kept].T
        one, zero = np.ones(len(kept)), np.zeros(len(kept))
        right = np.column_stack([one, zero, x, -y])
        down = np.column_stack([zero, one, y, x])
        model = np.linalg.lstsq(np.concatenate([right, down]), ways[kept].T.ravel(), rcond=None)[0]
        errors = np.linalg.norm(ways - moved(model, points), axis=1)
        kept = np.argsort(errors, kind="stable")[: max(3, round(0.75 * len(points)))]
    return model


def moved(model: Array, points: Array) -> Array:
    """Where a `similarity` takes points: their ways `(point, 2)`."""
    shift, (grow, turn) = model[:2], model[2:]
    return shift + points @ np.array([[grow, turn], [-turn, grow]])
