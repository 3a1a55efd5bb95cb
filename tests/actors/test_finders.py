from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.actors.detectors import DeepFaceDetector, YuNet
from mien.actors.finders import Faces, WatchFaces
from mien.actors.weights import Weights
from mien.datasets.schema import WATCH

ONNX = "face_detection_yunet_2023mar.onnx"


def weights(folder: Path) -> Weights:
    return Weights(name="opencv/yunet", licence="MIT", files=(ONNX,), dir=str(folder))


def planted(folder: Path, content: bytes) -> Weights:
    (folder / "opencv/yunet").mkdir(parents=True)
    (folder / "opencv/yunet" / ONNX).write_bytes(content)
    return weights(folder)


def watch(weights: Weights, **parameters: float) -> WatchFaces:
    return WatchFaces(faces=Faces(detector=YuNet(weights=weights, **parameters)))  # type: ignore[arg-type]


def test_what_the_finder_lacks_is_missing(tmp_path: Path) -> None:
    actor = watch(weights(tmp_path))
    assert "needs the weights opencv/yunet" in str(actor.missing())
    planted(tmp_path, b"x")
    assert actor.missing() is None


def test_a_package_that_the_finder_lacks_is_missing() -> None:
    actor = WatchFaces(faces=Faces(detector=DeepFaceDetector(backend="yolov8n")))
    assert "`backend` yolov8n needs the package" in str(actor.missing())
    assert "ultralytics" in str(actor.missing())


def test_provenance_names_the_watching_and_the_finder(tmp_path: Path) -> None:
    known = watch(planted(tmp_path, b"x")).provenance()
    assert known["model"] == "PySceneDetect, adaptive sampler + opencv/yunet"
    assert known["licence"] == "BSD-3-Clause + MIT"
    assert " + " in known["revision"]


def test_identity_tells_the_weights_and_not_their_place(tmp_path: Path) -> None:
    here = watch(planted(tmp_path / "a", b"x")).identity()
    assert str(tmp_path) not in str(here)
    assert watch(planted(tmp_path / "b", b"x")).identity() == here
    assert watch(planted(tmp_path / "c", b"y")).identity() != here
    assert watch(weights(tmp_path / "a"), min_score=0.7).identity() != here
    other = WatchFaces(
        faces=Faces(detector=DeepFaceDetector(backend="yunet", weights=weights(tmp_path / "a")))
    )
    assert other.identity() != here


@pytest.mark.data
def test_watch_runs_with_another_detector(data: Path, tmp_path: Path) -> None:
    planted(tmp_path, (data / "models/yunet/yunet_n_640_640.onnx").read_bytes())
    actor = watch(weights(tmp_path))
    actor.setup()
    path = data / "video/composites/grid_dialogue_a1.mp4"
    row = {"uri": str(path), "start_s": 2.0, "stop_s": 5.0, "fps": 25.0, "speech": None}
    table = actor.process(pa.Table.from_pylist([row]))
    actor.close()
    assert table.schema == WATCH
    [seen] = table.to_pylist()
    assert len(seen["faces"]) == len(seen["frames"])
    assert min(face["quality"] for face in seen["faces"]) > 0
    assert len(seen["signals"]) == 75  # a mesh on each frame
    assert {s["track"] for s in seen["signals"]} == {0, 1}  # one before the cut and one after
    boxes = np.array([[f["w"], f["h"]] for f in seen["faces"]])
    assert np.allclose(boxes[:, 0], boxes[:, 1])


def test_a_finder_closes_both_its_parts() -> None:
    class Part:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def setup(self) -> None:
            self.calls.append("setup")

        def close(self) -> None:
            self.calls.append("close")

        def detect(self, image: np.ndarray) -> np.ndarray:
            return np.zeros((1, 5), np.float32)

        def mesh(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
            return np.zeros((len(boxes), 478, 3), np.float32)

    one, other = Part(), Part()
    finder = Faces(detector=one, mesher=other)
    finder.setup()
    assert finder.mesh(np.zeros((9, 9, 3), np.uint8), np.zeros((2, 4), np.float32)).shape == (
        2,
        478,
        3,
    )
    finder.close()
    assert one.calls == other.calls == ["setup", "close"]
