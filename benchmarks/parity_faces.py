"""Parity of the face actors: with DeepFace, with RetinaFace's own package, with YuNet."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

import tiny_faces
from mien.actors import signals
from mien.actors.crops import decoded, framed
from mien.actors.detectors import DeepFaceDetector, clipped, squared
from mien.actors.face_emotion import VIEW, DeepFaceEmotion
from mien.actors.recognition import Recognition
from mien.actors.weights import Weights
from mien.datasets.schema import FACE, LABELS, rows

FACES = 8


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """The comparisons."""
    home = folder / tiny_faces.REPOSITORY
    tiny_faces.build_network(home, "facial_expression_model_weights", onnx=True)
    tiny_faces.build_network(home, "facenet512_weights", onnx=True)
    tiny_faces.build_network(home, "arcface_weights", onnx=True)
    tiny_faces.build_retinaface(home)
    weights = Weights(name=tiny_faces.REPOSITORY, licence="MIT", dir=str(folder))
    for engine in ("pytorch", "onnx"):
        yield emotion(DeepFaceEmotion(engine=engine, checkpoint=weights), folder)
    for kind in ("Facenet512", "ArcFace"):
        for engine in ("pytorch", "onnx"):
            yield identity(Recognition(kind=kind, engine=engine, checkpoint=weights), folder)
    yield boxes(DeepFaceDetector(weights=weights, min_score=0.6), folder)


def crops(sizes: Sequence[int]) -> list[bytes]:
    """Crops of colourful pictures, of some sizes."""
    made = []
    for seed, size in enumerate(sizes):
        coarse = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8)
        image = np.asarray(cv2.resize(coarse, (300, 300), interpolation=cv2.INTER_CUBIC), np.uint8)
        made.append(signals.crop(image, np.array([60.0, 60, 160, 160]), size))
    return made


def answers(actor: Any, faces: Sequence[bytes], cuts: Sequence[int]) -> np.ndarray:  # noqa: ANN401
    """The first column of an actor, `(face, d)`, with the faces spread over rows."""
    records = [
        [{"crop": crop} for crop in part] for part in np.split(np.array(faces, object), cuts)
    ]
    table = pa.table({"faces": pa.array(records, type=rows(*FACE))})
    found = actor.process(table)[0].to_pylist()
    return np.array([one for row in found for one in row])


def compared(actor: Any, reference: Any, folder: Path) -> dict[str, float]:  # noqa: ANN401
    """Both differences of an actor that answers crops."""
    actor.setup()
    found = {}
    even, ragged = [160] * FACES, [60, 97, 160, 240] * (FACES // 4)
    for name, sizes, cuts in (("batched", even, []), ("ragged", ragged, [0, 5, 5, 6])):
        faces = crops(sizes)
        with tiny_faces.deepface(folder, actor.engine):
            expected = np.array([reference(crop) for crop in faces])
        found[name] = float(np.abs(answers(actor, faces, cuts) - expected).max())
    actor.close()
    return found


def emotion(actor: DeepFaceEmotion, folder: Path) -> dict[str, Any]:
    """Probabilities."""

    def reference(crop: bytes) -> list[float]:
        from deepface import DeepFace

        picture = np.ascontiguousarray(framed(decoded(crop), VIEW, VIEW)[:, :, ::-1])
        one: Any = DeepFace.analyze(
            picture,
            actions=["emotion"],
            enforce_detection=False,
            detector_backend="skip",
            silent=True,
        )
        return [one[0]["emotion"][label] / 100 for label in LABELS]

    return {
        "actor": "deepface_emotion",
        "reference": f"DeepFace.analyze, {actor.engine}",
        "compared": "probabilities",
        **compared(actor, reference, folder),
        "tolerance": 1e-5,
    }


def identity(actor: Recognition, folder: Path) -> dict[str, Any]:
    """Embeddings of length 1."""

    def reference(crop: bytes) -> list[float]:
        from deepface import DeepFace

        picture = np.ascontiguousarray(actor.portrait(crop)[:, :, ::-1])
        one: Any = DeepFace.represent(
            picture,
            model_name=actor.kind,
            enforce_detection=False,
            detector_backend="skip",
            l2_normalize=True,
        )
        return one[0]["embedding"]

    return {
        "actor": actor.kind.lower(),
        "reference": f"DeepFace.represent, {actor.engine}",
        "compared": "embedding of length 1",
        **compared(actor, reference, folder),
        "tolerance": 2e-5,
    }


def boxes(detector: DeepFaceDetector, folder: Path) -> dict[str, Any]:
    """RetinaFace's boxes, in pixels; there is nothing to batch."""
    detector.setup()
    coarse = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (384, 256)), np.uint8)
    ours = detector.detect(image)
    from retinaface import RetinaFace

    bgr = np.ascontiguousarray(image[:, :, ::-1])
    theirs = RetinaFace.detect_faces(bgr, threshold=0.6, allow_upscaling=False).values()
    raw = np.array([(*face["facial_area"], face["score"]) for face in theirs], np.float64)
    raw[:, 2:4] -= raw[:, :2]
    expected = clipped(squared(raw), 384, 256)
    same = ours.shape == expected.shape
    gap = np.abs(ours[np.lexsort(ours.T)] - expected[np.lexsort(expected.T)]).max() if same else 1e9
    detector.close()
    return {
        "actor": "watch_retinaface",
        "reference": "RetinaFace.detect_faces, pytorch",
        "compared": f"{len(ours)} boxes, pixels",
        "batched": float(gap),
        "ragged": None,
        "tolerance": 1e-3,
    }
