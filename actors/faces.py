"""Faces in a picture: boxes, and the 478-point mesh of each, with MediaPipe's packaged models."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

POINTS = 478
"""Points of a mesh: 468 of the face, then five of each iris."""

INPUT_PX = 192  # side of the patches that the detector and the mesh see
CONTEXT = (1.7, 2.5)  # sides of the two looks that confirm a face, in box sides
MESH_CONTEXT = 1.5  # side of what the mesh model expects to see, in box sides
TILT_RAD = np.radians(12.0)  # beyond it the mesh is taken again on an upright patch

DETECTION_GRAPH = """
num_threads: 1
input_stream: "image"
output_stream: "detections"
node {{
  calculator: "FaceDetection{model}RangeCpu"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:detections"
}}
"""
MESH_GRAPH = """
num_threads: 1
input_stream: "image"
input_stream: "roi"
input_side_packet: "with_attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""


class Graph(Protocol):
    """A MediaPipe graph that runs on one picture."""

    def process(self, input_data: Any) -> Any:  # noqa: ANN401
        """Run it."""


@dataclass(kw_only=True)
class FaceFinder:
    """Finds faces and their meshes; stateless from one picture to the next.

    Detection proposes and confirms. Proposals come from the short- and the full-range model on the
    whole picture and, unless that shows a close-up, from the full-range model on square tiles, so
    that small faces are seen. Each proposal is looked at twice more, enlarged, by the short-range
    model; what is a face at one scale only is none.

    Attributes:
        min_score: Least mean score of the two confirming looks (0-1). Those of true faces are
            above 0.7 on the labelled pictures, those of false ones mostly below 0.6.
        tile: Side of a tile, as a share of the picture's shorter side; 0 makes no tiles.
        close_up: Face side, as a share of the picture's shorter side, from which there are none.
        min_presence: Least score (0-1) of the mesh model's own "this is a face".
    """

    min_score: float = 0.67
    tile: float = 0.67
    close_up: float = 0.25
    min_presence: float = 0.5
    _short: Any = field(default=None, init=False, repr=False, compare=False)
    _full: Any = field(default=None, init=False, repr=False, compare=False)
    _mesh: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("min_score", "tile", "close_up", "min_presence"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, but is {value:g}.")

    def setup(self) -> None:
        """Load the three models and run each once."""
        os.environ.setdefault("GLOG_minloglevel", "2")
        bridge()
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of protobuf, that MediaPipe uses
            from mediapipe.python.solution_base import SolutionBase

            self._short, self._full = (
                SolutionBase(
                    graph_config=DETECTION_GRAPH.format(model=model),
                    outputs=["detections"],
                )
                for model in ("Short", "Full")
            )
            self._mesh = SolutionBase(
                graph_config=MESH_GRAPH,
                side_inputs={"with_attention": True},
                outputs=["landmarks"],
                calculator_params={
                    "facelandmarkcpu__ThresholdingCalculator.threshold": self.min_presence
                },
            )
            blank = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
            self.detect(blank)
            self.mesh(blank, np.array([[48, 48, 96, 96]], np.float32))

    def close(self) -> None:
        """Release the models."""
        for graph in (self._short, self._full, self._mesh):
            if graph is not None:
                graph.close()
        self._short = self._full = self._mesh = None

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the faces of a picture.

        Args:
            image: RGB `(height, width, 3)` uint8, upright.

        Returns:
            `(face, 5)` float32: x, y, w, h in pixels and score (0-1), best first. A box is square,
            from the brows to the chin; it may reach beyond the picture.
        """
        image = np.ascontiguousarray(image)
        height, width = image.shape[:2]
        whole = (0, 0, width, height)
        found = [search(self._short, image, whole), search(self._full, image, whole)]
        confirmed = self._confirm(image, suppress(np.concatenate(found)))
        side = min(height, width)
        if self.tile and not (confirmed[:, 2] >= self.close_up * side).any():
            size = max(round(side * self.tile), INPUT_PX)
            found = [search(self._full, image, tile) for tile in tiles(height, width, size)]
            more = self._confirm(image, suppress(np.concatenate(found)))
            confirmed = np.concatenate([confirmed, more])
        return suppress(confirmed).astype(np.float32)

    def mesh(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fit the mesh to each face.

        Args:
            image: RGB `(height, width, 3)` uint8, upright.
            boxes: `(face, 4)`: x, y, w, h in pixels, from `detect` or around an earlier mesh.

        Returns:
            `(face, 478, 3)` float32: x and y in pixels, z (away from the camera) in the same
            unit; NaN where the model sees no face in the box.
        """
        out = np.full((len(boxes), POINTS, 3), np.nan, np.float32)
        for row, box in enumerate(boxes):
            if not (np.isfinite(box).all() and min(box[2:4]) >= 1):
                continue
            points = self._fit(image, box, 0.0)
            if points is not None:
                across = (
                    points[263] - points[33]
                )  # outer corner of the right to that of the left eye
                tilt = float(np.arctan2(across[1], across[0]))
                if abs(tilt) > TILT_RAD:
                    low, high = points[:, :2].min(0), points[:, :2].max(0)
                    points = self._fit(image, np.concatenate([low, high - low]), tilt)
            if points is not None:
                out[row] = points
        return out

    def _fit(
        self, image: NDArray[np.uint8], box: NDArray[Any], tilt: float
    ) -> NDArray[np.float64] | None:
        from mediapipe.framework.formats.rect_pb2 import (
            NormalizedRect,  # pyright: ignore[reportAttributeAccessIssue]
        )

        patch, back = look(image, box, MESH_CONTEXT, tilt)
        roi = NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0)
        landmarks = self._mesh.process({"image": patch, "roi": roi}).landmarks
        if landmarks is None:
            return None
        points = INPUT_PX * np.array([(p.x, p.y, p.z) for p in landmarks.landmark])
        points[:, :2] = points[:, :2] @ back[:, :2].T + back[:, 2]
        points[:, 2] *= np.hypot(back[0, 0], back[1, 0])
        return points

    def _confirm(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Keep what two closer looks confirm, with the box and the mean score that they give."""
        kept = []
        for box in boxes:
            scores = []
            for context in CONTEXT:
                patch, back = look(image, box, context)
                faces = search(self._short, patch, (0, 0, INPUT_PX, INPUT_PX))
                best = central(faces, INPUT_PX / context)
                if best is None:
                    break
                if not scores:
                    box = np.append(best[:2] @ back[:, :2].T + back[:, 2], best[2:4] * back[0, 0])
                scores.append(best[4])
            if len(scores) == len(CONTEXT) and np.mean(scores) >= self.min_score:
                kept.append(np.append(box, np.mean(scores)))
        return np.array(kept, np.float64).reshape(-1, 5)


def search(
    graph: Graph, image: NDArray[np.uint8], window: tuple[int, int, int, int]
) -> NDArray[np.float64]:
    """Run a detector on a window (x, y, w, h) of a picture: `(face, 5)` in its pixels."""
    x, y, w, h = window
    view = np.ascontiguousarray(image[y : y + h, x : x + w])
    found = []
    for detection in graph.process(view).detections or ():
        box = detection.location_data.relative_bounding_box
        found.append(
            (x + box.xmin * w, y + box.ymin * h, box.width * w, box.height * h, detection.score[0])
        )
    return np.array(found, np.float64).reshape(-1, 5)


def central(faces: NDArray[np.float64], size_px: float) -> NDArray[np.float64] | None:
    """The best of the faces that lie at the middle of a patch and have about the size wanted."""
    off = np.abs(faces[:, :2] + faces[:, 2:4] / 2 - INPUT_PX / 2).max(axis=1, initial=0)
    ratio = faces[:, 2] / size_px
    faces = faces[(off < 0.5 * size_px) & (ratio > 0.5) & (ratio < 2.0)]
    return faces[faces[:, 4].argmax()] if len(faces) else None


def look(
    image: NDArray[np.uint8], box: NDArray[Any], context: float, tilt: float = 0.0
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut a square patch around a box; beyond the border the outermost pixels are repeated.

    Args:
        image: The picture.
        box: x, y, w, h; the patch has `context` times its longer side.
        context: See `box`.
        tilt: Angle in radians by which the patch is turned, clockwise in the picture.

    Returns:
        The patch, `INPUT_PX` square, and the `(2, 3)` affine map from its pixels to the picture's.
    """
    import cv2

    scale = max(float(box[2]), float(box[3])) * context / INPUT_PX
    turn = scale * np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    centre = np.asarray(box[:2], np.float64) + np.asarray(box[2:4], np.float64) / 2
    back = np.column_stack([turn, centre - turn @ (INPUT_PX / 2, INPUT_PX / 2)])
    patch = cv2.warpAffine(
        image,
        back,
        (INPUT_PX, INPUT_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(patch, np.uint8), back


def tiles(height: int, width: int, size: int) -> list[tuple[int, int, int, int]]:
    """Cover a picture with square tiles (x, y, w, h) that overlap by at least 0.3 of a side."""

    def starts(length: int) -> list[int]:
        count = 1 + int(np.ceil(max(length - size, 0) / (0.7 * size)))
        return np.linspace(0, max(length - size, 0), count).astype(int).tolist()

    return [
        (x, y, min(size, width), min(size, height)) for y in starts(height) for x in starts(width)
    ]


def suppress(boxes: NDArray[np.float64], overlap: float = 0.5) -> NDArray[np.float64]:
    """Keep the best of boxes that overlap by more than a share of the smaller one.

    Args:
        boxes: `(face, 5)`: x, y, w, h, score.
        overlap: Intersection over the smaller box's area.

    Returns:
        The kept rows, best first.
    """
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]
    area = np.prod(boxes[:, 2:4], axis=1)
    kept: list[int] = []
    for row in range(len(boxes)):
        size = np.minimum(high[row], high[kept]) - np.maximum(low[row], low[kept])
        shared = np.prod(np.maximum(size, 0), axis=1)
        if not (shared > overlap * np.minimum(area[row], area[kept])).any():
            kept.append(row)
    return boxes[kept]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what native code writes to standard error: MediaPipe's greetings, before any frame."""
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(sink)
        os.close(saved)


def bridge() -> None:
    """Let MediaPipe 0.10 hand its options to native code beside protobuf 5 and later.

    It asks `MessageFactory` for a method that protobuf has dropped, once in a process, when the
    first graph is made; without it every task fails with a `TypeError`.
    """
    from google.protobuf import message_factory

    factory: Any = getattr(message_factory, "MessageFactory", None)
    if factory is not None and not hasattr(factory, "GetPrototype"):
        factory.GetPrototype = lambda _, kind: message_factory.GetMessageClass(kind)
