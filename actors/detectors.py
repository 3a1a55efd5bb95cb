"""Face detectors: YuNet, and those of DeepFace.

Detectors agree on little. Here each takes RGB and answers with the boxes of `FaceFinder`: squares
from the brows to the chin, to which tracks, crops and meshes are fitted.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .actor import MACHINE
from .deep_faces import (
    SUFFIXES,
    client,
    engine_checked,
    engine_missing,
    environment,
    home,
    located,
    published,
)
from .weights import Weights

SQUARE = (0.8, 0.08)
"""From a box as WIDER FACE draws it, hairline to chin: side of our square, and how far its centre
lies below the box's, in heights of the box. Medians of 28 faces found by both YuNet and
`FaceFinder` on the labelled pictures; standard deviations 0.055 and 0.035."""

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(kw_only=True)
class BoxDetector(ABC):
    """A detector whose boxes go from the hairline to the chin, as WIDER FACE draws them.

    Attributes:
        min_score: Least score (0-1) of a face.
        max_px: Longer edge to which larger pictures are scaled down before they are searched.
    """

    min_score: float = 0.8
    max_px: int = 960

    def __post_init__(self) -> None:
        if not 0 < self.min_score <= 1:
            raise ValueError(f"`min_score` must be in (0, 1], but is {self.min_score:g}.")
        if self.max_px < 64:
            raise ValueError(f"`max_px` must be at least 64, but is {self.max_px}.")

    def missing(self) -> str | None:
        """Which package it lacks here, and the cure; `None` where it has all."""
        return None

    @abstractmethod
    def setup(self) -> None:
        """Load the model."""

    @abstractmethod
    def close(self) -> None:
        """Release it."""

    @abstractmethod
    def search(self, bgr: Image) -> NDArray[np.float64]:
        """The model's own boxes `(face, 5)`: x, y, w, h in pixels of a BGR picture, score."""

    def detect(self, image: Image) -> Boxes:
        """Find the faces of a picture.

        Args:
            image: RGB `(height, width, 3)` uint8, upright.

        Returns:
            `(face, 5)` float32: x, y, w, h in pixels and score (0-1), best first. A box is a
            square from the brows to the chin, and what of it lies in the picture: one at the
            border is clipped.
        """
        small = reduced(image, self.max_px)
        boxes = self.search(np.ascontiguousarray(small[:, :, ::-1])).reshape(-1, 5)
        boxes = boxes[boxes[:, 4] >= self.min_score]
        height, width = image.shape[:2]
        boxes[:, :4] *= np.tile([width / small.shape[1], height / small.shape[0]], 2)
        boxes = clipped(squared(boxes), width, height)
        return boxes[np.argsort(-boxes[:, 4], kind="stable")].astype(np.float32)


@dataclass(kw_only=True)
class YuNet(BoxDetector):
    """YuNet through OpenCV (Wu et al., 2023): 75 thousand parameters, fast on a CPU.

    Attributes:
        weights: The ONNX file that OpenCV's zoo publishes, or one of the same outputs.
        overlap: Intersection over union from which the lesser of two boxes goes.
    """

    weights: Weights = field(
        default_factory=lambda: Weights(
            name="opencv/face_detection_yunet",
            licence="MIT",
            files=("face_detection_yunet_2023mar.onnx",),
            cached="~/.deepface/weights",
        )
    )
    max_px: int = 640
    overlap: float = 0.3
    _model: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def setup(self) -> None:
        """Load the network."""
        import cv2

        path = str(located(self.weights))
        self._model = cv2.FaceDetectorYN.create(
            path, "", (320, 320), self.min_score, self.overlap, 5000
        )

    def close(self) -> None:
        """Release the network."""
        self._model = None

    def search(self, bgr: Image) -> NDArray[np.float64]:
        """Run the network."""
        self._model.setInputSize((bgr.shape[1], bgr.shape[0]))
        found = self._model.detect(bgr)[1]
        if found is None:
            return np.zeros((0, 5))
        return found[:, [0, 1, 2, 3, 14]].astype(np.float64)


REFUSED = {
    "opencv": "it needs Haar cascades, which OpenCV 5 no longer has and which DeepFace would "
    "download",
    "mediapipe": "it needs `mp.solutions`, gone since MediaPipe 0.10.30; `FaceFinder` runs the "
    "same model",
    "ssd": "it runs only with OpenCV before 5 and its boxes have not been compared with ours",
    "dlib": "its boxes have not been compared with ours",
    "skip": "it detects nothing",
}
"""DeepFace's backends that are not taken, and why."""
PACKAGES = {
    "retinaface": "retinaface",
    "mtcnn": "mtcnn",
    "fastmtcnn": "facenet_pytorch",
    "yolo": "ultralytics",
}
"""What the backends stand on, beside DeepFace."""
LICENCES = {"retinaface": "LicenseRef-InsightFace-NC", "yolo": "AGPL-3.0-only"}
"""Of the weights, where not MIT: RetinaFace's were converted from InsightFace's."""


@dataclass(kw_only=True)
class DeepFaceDetector(BoxDetector):
    """A detector of DeepFace's, by its own class.

    RetinaFace is run without the enlarging of each picture to 1024 pixels that DeepFace asks of
    it, and on the device that torch has; DeepFace's own way stays on the CPU.

    Attributes:
        backend: See `BACKENDS`.
        weights: Its file; null takes DeepFace's, by its own name for it.
        engine: Of RetinaFace: `pytorch`, `onnx` or `tensorflow`. One per process.
        device: Of RetinaFace with `engine` pytorch, as torch names it; `auto` takes a GPU.
    """

    BACKENDS: ClassVar[dict[str, str | None]] = {
        "retinaface": "retinaface",
        "yunet": "face_detection_yunet_2023mar.onnx",
        "centerface": "centerface.onnx",
        "mtcnn": None,
        "fastmtcnn": None,
        **{f"yolov{v}": f"yolov{v}-face.pt" for v in ("8n", "8m", "8l", "11n", "11s", "11m")},
        **{f"yolov{v}": f"yolov{v}-face.pt" for v in ("11l", "12n", "12s", "12m", "12l")},
    }
    """The backends, with the file each needs: `None` where its package carries it."""

    backend: str = "retinaface"
    weights: Weights | None = None
    min_score: float = 0.9
    engine: str = "pytorch"
    device: str = field(default="auto", metadata=MACHINE)
    _search: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _held: ExitStack = field(
        default_factory=ExitStack, init=False, repr=False, compare=False, metadata=MACHINE
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backend in REFUSED:
            raise ValueError(f"`backend` cannot be {self.backend}: {REFUSED[self.backend]}.")
        if self.backend not in self.BACKENDS:
            known = ", ".join(self.BACKENDS)
            raise ValueError(f"`backend` must be one of {known}, but is {self.backend!r}.")
        engine_checked(self.engine)
        file = self.BACKENDS[self.backend]
        if file is None:
            self.weights = None
        else:
            name = file + SUFFIXES[self.engine] if self.backend == "retinaface" else file
            usual = published(next((v for k, v in LICENCES.items() if k in self.backend), "MIT"))
            self.weights = replace(self.weights or usual, files=(name,))

    def missing(self) -> str | None:
        """Which package it lacks here, and the cure."""
        own = next((p for name, p in PACKAGES.items() if self.backend.startswith(name)), None)
        needed = ("deepface", own) if own else ("deepface",)
        absent = [name for name in needed if find_spec(name) is None]
        if absent:
            return f"`backend` {self.backend} needs the package {', '.join(absent)}: install it"
        return engine_missing(self.engine) if self.backend == "retinaface" else None

    def setup(self) -> None:
        """Build DeepFace's detector from the file at hand.

        Raises:
            FileNotFoundError: The file is not there: nothing is downloaded.
            ImportError: The backend's package is not there.
        """
        if self.weights is not None:
            # To the end: CenterFace is read again for each picture.
            self._held.enter_context(home(located(self.weights)))
        if self.backend == "retinaface":
            self._search = retinaface(self.engine, self.device, self.min_score)
        else:
            detector = client("face_detector", self.backend, self.engine)
            self._search = lambda bgr: regions(detector, bgr)

    def close(self) -> None:
        """Release the detector."""
        self._held.close()
        self._search = None

    def search(self, bgr: Image) -> NDArray[np.float64]:
        """Run the detector."""
        least = str(self.min_score)
        with environment(  # where DeepFace's classes read their own least scores
            yunet_score_threshold=least,
            CENTERFACE_THRESHOLD=least,
            YOLO_MIN_DETECTION_CONFIDENCE=least,
        ):
            return self._search(bgr)


def retinaface(
    engine: str, device: str, min_score: float
) -> Callable[[Image], NDArray[np.float64]]:
    """RetinaFace of the package that DeepFace calls; to be called inside `home`.

    Raises:
        RuntimeError: This process has loaded it with another engine.
    """
    with warnings.catch_warnings(), environment(DEEPFACE_BACKEND_ENGINE=engine):
        module = import_module("retinaface.RetinaFace")  # which silences all warnings for good
    used = import_module("retinaface.commons.backend_utils").get_backend_engine()
    if used != engine:
        raise RuntimeError(
            f"`engine` of RetinaFace must be {used}, which this process has loaded, "
            f"but is {engine}."
        )
    vars(module).pop("model", None)  # what was built before, maybe of other weights
    model = client("face_detector", "retinaface", engine).model
    if engine == "pytorch":
        model = on_device(model, device)

    def search(bgr: Image) -> NDArray[np.float64]:
        found = module.detect_faces(
            bgr, threshold=min_score, model=model, allow_upscaling=False
        ).values()
        boxes = [(*face["facial_area"], face["score"]) for face in found]
        boxes = np.array(boxes, np.float64).reshape(-1, 5)
        boxes[:, 2:4] -= boxes[:, :2]
        return boxes

    return search


def on_device(network: Any, device: str) -> Callable[[Any], list[Any]]:  # noqa: ANN401
    """A torch network that is called with a tensor of the CPU and answers with such."""
    import torch

    usual = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(usual if device == "auto" else device)
    network = network.to(place).eval()
    return lambda pictures: [part.cpu() for part in network(pictures.to(place))]


def regions(detector: Any, bgr: Image) -> NDArray[np.float64]:  # noqa: ANN401
    """What a detector of DeepFace's finds: `(face, 5)`."""
    found = [(r.x, r.y, r.w, r.h, r.confidence or 0.0) for r in detector.detect_faces(bgr)]
    return np.array(found, np.float64).reshape(-1, 5)


def reduced(image: Image, max_px: int) -> Image:
    """A picture whose longer edge is at most `max_px`."""
    import cv2

    scale = max_px / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(edge * scale)) for edge in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def squared(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn boxes from the hairline to the chin, `(face, 5)`, into ours; see `SQUARE`."""
    share, below = SQUARE
    height = boxes[:, 3]
    side = share * height
    centre_x = boxes[:, 0] + boxes[:, 2] / 2
    centre_y = boxes[:, 1] + (0.5 + below) * height
    return np.column_stack([centre_x - side / 2, centre_y - side / 2, side, side, boxes[:, 4]])


def clipped(boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """The part of each box that lies in a picture; boxes with less than a pixel there go."""
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:4], (width, height))
    inside = ((high - low) >= 1).all(axis=1)
    return np.column_stack([low, high - low, boxes[:, 4]])[inside]
