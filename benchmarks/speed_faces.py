"""Speed of the face actors: batches against DeepFace one picture at a time, and detectors."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

import tiny_faces
from common import data_folder
from mien.actors.crops import decoded, framed
from mien.actors.detectors import BoxDetector, DeepFaceDetector, YuNet
from mien.actors.face_emotion import VIEW, DeepFaceEmotion
from mien.actors.faces import FaceFinder
from mien.actors.recognition import Recognition
from mien.actors.weights import Weights
from mien.datasets.schema import FACE, rows
from models import Contest
from parity_faces import crops

Sides = tuple[Callable[[], object], Callable[[], object]]
SIZES = {"small": (256, 24, 2), "full": (4096, 1024, 32)}
"""Faces for emotions, faces for identity, frames."""
OPEN = ExitStack()
"""What stays as it is set for as long as the process lives."""


def contests(size: str) -> list[Contest]:
    """One contest per actor; the networks are of full size in both."""
    emotions, identities, frames = SIZES[size]
    return [
        Contest(
            actor="deepface_emotion",
            items=emotions,
            unit="face",
            build=lambda folder: emotion(folder, emotions),
            note="against DeepFace.analyze with a list",
        ),
        *(
            Contest(
                actor=kind.lower(),
                items=identities,
                unit="face",
                build=lambda folder, kind=kind: identity(folder, kind, identities),
                note="against DeepFace.represent; ours levels the eyes first, on top",
            )
            for kind in ("Facenet512", "ArcFace")
        ),
        Contest(
            actor="watch_retinaface",
            items=frames,
            unit="frame of 1080p",
            build=lambda folder: retinaface(folder, frames),
            note="detection alone, searched at 960 px; against DeepFace's own, at 1024 px and more",
        ),
        Contest(
            actor="watch_yunet",
            items=frames,
            unit="frame of 1080p",
            build=lambda folder: yunet(folder, frames),
            note="detection alone; against the packaged FaceFinder",
        ),
    ]


def weights(folder: Path) -> Weights:
    """DeepFace's, in a folder."""
    return Weights(name=tiny_faces.REPOSITORY, licence="MIT", dir=str(folder))


def table(faces: list[bytes]) -> pa.Table:
    """One row with all faces."""
    return pa.table({"faces": pa.array([[{"crop": c} for c in faces]], type=rows(*FACE))})


def emotion(folder: Path, count: int) -> Sides:
    """Batches against a list given to `DeepFace.analyze`."""
    tiny_faces.build_network(folder / tiny_faces.REPOSITORY, "facial_expression_model_weights")
    actor = DeepFaceEmotion(checkpoint=weights(folder), micro_batch=64)
    actor.setup()
    faces = [crop for crop in crops([160] * 16) for _ in range(count // 16)]

    def naive() -> object:
        from deepface import DeepFace

        pictures = [np.ascontiguousarray(framed(decoded(c), VIEW, VIEW)[:, :, ::-1]) for c in faces]
        return DeepFace.analyze(
            pictures,
            actions=["emotion"],
            enforce_detection=False,
            detector_backend="skip",
            silent=True,
        )

    return lambda: actor.process(table(faces)), held(folder, naive)


def identity(folder: Path, kind: str, count: int) -> Sides:
    """Batches against `DeepFace.represent` in a loop."""
    actor = Recognition(kind=kind, checkpoint=weights(folder), micro_batch=32)
    tiny_faces.build_network(folder / tiny_faces.REPOSITORY, actor.stem)
    actor.setup()
    faces = [crop for crop in crops([160] * 8) for _ in range(count // 8)]

    def naive() -> object:
        from deepface import DeepFace

        pictures = [np.ascontiguousarray(decoded(crop)[:, :, ::-1]) for crop in faces]
        return [
            DeepFace.represent(
                picture,
                model_name=kind,
                enforce_detection=False,
                detector_backend="skip",
                l2_normalize=True,
            )
            for picture in pictures
        ]

    return lambda: actor.process(table(faces)), held(folder, naive)


def held(folder: Path, naive: Callable[[], Any]) -> Callable[[], Any]:
    """A loop through DeepFace, with its weights loaded once and before the clock runs."""
    OPEN.enter_context(tiny_faces.deepface(folder, "pytorch"))
    naive()
    return naive


def frames(count: int) -> list[np.ndarray]:
    """Pictures of 1080p, with faces where there is real media."""
    path = data_folder() / "faces/detection/patlevin_group.jpg"
    bgr = cv2.imread(str(path)) if path.exists() else None
    if bgr is None:
        bgr = np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8)
    large = np.asarray(cv2.resize(bgr, (1920, 1080))[:, :, ::-1], np.uint8)
    return [np.ascontiguousarray(np.roll(large, 8 * i, axis=1)) for i in range(count)]


def retinaface(folder: Path, count: int) -> Sides:
    """Ours against DeepFace's class."""
    home = folder / tiny_faces.REPOSITORY
    tiny_faces.build_retinaface(home, reserve=6.0)
    ours = DeepFaceDetector(weights=weights(folder))
    ours.setup()
    pictures = frames(count)
    with tiny_faces.deepface(folder, "pytorch"):
        from deepface.models.face_detection.RetinaFace import RetinaFaceClient

        theirs = RetinaFaceClient()
    return looked(ours, pictures), lambda: [theirs.detect_faces(p[:, :, ::-1]) for p in pictures]


def yunet(folder: Path, count: int) -> Sides:
    """YuNet against MediaPipe's packaged models with confirmation and tiles."""
    source = data_folder() / "models/yunet/yunet_n_640_640.onnx"
    path = tiny_faces.build_yunet(folder, source if source.exists() else None)
    ours = YuNet(weights=Weights(name="yunet", licence="MIT", files=(path.name,), path=str(path)))
    ours.setup()
    theirs = FaceFinder()
    theirs.setup()
    pictures = frames(count)
    return looked(ours, pictures), looked(theirs, pictures)


def looked(detector: BoxDetector | FaceFinder, pictures: list[np.ndarray]) -> Callable[[], object]:
    """Detection on each picture."""
    return lambda: [detector.detect(picture) for picture in pictures]
