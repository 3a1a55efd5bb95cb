"""Meshes of faces by MediaPipe's Tasks: the face landmarker, from a `.task` file."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .actor import MACHINE
from .deep_faces import located
from .faces import POINTS, bridge, quiet_stderr
from .weights import Weights

CONTEXT = 2.0
"""Side of the patch that the landmarker sees, in box sides: it first finds the face again."""


@dataclass(kw_only=True)
class Landmarker:
    """Fits the mesh of each face with the landmarker, one patch of the picture per face.

    It runs in image mode: each patch stands for itself. Video mode follows faces from frame to
    frame with a state, wants ever-increasing times, and would need one landmarker per video and
    face; here `people.People` follows the faces, by boxes. It is the mesh to take where a newer
    MediaPipe, which carries no models, is installed.

    Attributes:
        weights: The `.task` file, or a folder with it.
        min_score: Least score (0-1) of the face found again in the patch.
        min_presence: Least score (0-1) of the mesh model's own "this is a face".
        patch_px: Longest side of a patch; larger faces are scaled down.
    """

    weights: Weights = field(
        default_factory=lambda: Weights(
            name="google/face_landmarker",
            licence="Apache-2.0",
            files=("face_landmarker.task",),
            url="https://storage.googleapis.com/mediapipe-models/face_landmarker/"
            "face_landmarker/float16/1/face_landmarker.task",
            size_gb=0.004,
        )
    )
    min_score: float = 0.5
    min_presence: float = 0.5
    patch_px: int = 512
    _landmarker: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        for name in ("min_score", "min_presence"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, but is {value:g}.")
        if self.patch_px < 128:
            raise ValueError(f"`patch_px` must be at least 128, but is {self.patch_px}.")

    def setup(self) -> None:
        """Load the landmarker.

        Raises:
            FileNotFoundError: There is no `.task` file; says where it was looked for.
        RuntimeError: MediaPipe was at work in this process before this module was imported.
        """
        path = located(self.weights)
        with quiet_stderr():
            from mediapipe.tasks.python import BaseOptions, vision

            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(path)),
                running_mode=vision.RunningMode.IMAGE,
                num_faces=1,
                min_face_detection_confidence=self.min_score,
                min_face_presence_confidence=self.min_presence,
            )
            try:
                self._landmarker = vision.FaceLandmarker.create_from_options(options)
            except TypeError as error:  # see `bridge`
                raise RuntimeError(
                    "the landmarker must be imported before MediaPipe is first used in a process: "
                    "import `mien.actors.landmarker` earlier."
                ) from error
            self._fit(np.zeros((128, 128, 3), np.uint8))

    def close(self) -> None:
        """Release the landmarker."""
        if self._landmarker is not None:
            self._landmarker.close()
        self._landmarker = None

    def mesh(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fit the mesh to each face.

        Args:
            image: RGB `(height, width, 3)` uint8, upright.
            boxes: `(face, 4)`: x, y, w, h in pixels, from the brows to the chin.

        Returns:
            `(face, 478, 3)` float32: x and y in pixels, z (away from the camera) in the same
            unit; NaN where the landmarker sees no face in the box.
        """
        out = np.full((len(boxes), POINTS, 3), np.nan, np.float32)
        for row, box in enumerate(boxes):
            if not (np.isfinite(box).all() and min(box[2:4]) >= 1):
                continue
            patch, low, side = cut(image, box, self.patch_px)
            found = self._fit(patch)
            if found is not None:
                out[row] = placed(found, low, side)
        return out

    def _fit(self, patch: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        import mediapipe

        picture = mediapipe.Image(
            image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(patch)
        )
        faces = self._landmarker.detect(picture).face_landmarks
        if not faces or len(faces[0]) != POINTS:
            return None
        return np.array([(point.x, point.y, point.z) for point in faces[0]])


def cut(
    image: NDArray[np.uint8], box: NDArray[Any], most_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], float]:
    """Cut a square patch around a box; beyond the border the outermost pixels are repeated.

    Returns:
        The patch, its upper left corner and its side in pixels of the picture.
    """
    import cv2

    side = max(float(max(box[2:4])) * CONTEXT, 1.0)
    low = np.asarray(box[:2], np.float64) + np.asarray(box[2:4], np.float64) / 2 - side / 2
    size = int(np.clip(round(side), 128, most_px))
    back = np.column_stack([np.eye(2) * side / size, low])
    patch = cv2.warpAffine(
        image,
        back,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(patch, np.uint8), low, side


def placed(points: NDArray[np.float64], low: NDArray[np.float64], side: float) -> NDArray:
    """Points `(478, 3)` in shares of a patch, as pixels of the picture; z scales as x does."""
    found = points * side
    found[:, :2] += low
    return found


bridge()  # here, since it must come before any graph of MediaPipe's in this process
