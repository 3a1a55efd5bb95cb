"""The detectors of DeepFace, on random checkpoints and on YuNet's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
pytest.importorskip("torch")
pytest.importorskip("deepface")

import tiny_faces  # noqa: E402
from mien.actors.deep_faces import environment  # noqa: E402
from mien.actors.detectors import DeepFaceDetector, YuNet, clipped, squared  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    home = models / tiny_faces.REPOSITORY
    tiny_faces.build_retinaface(home)
    tiny_faces.build_centerface(home)
    return models


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be fetched, whatever happens."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was to be downloaded")

    for name in ("gdown.download", "requests.head", "requests.get"):
        monkeypatch.setattr(name, refuse)


def detector(folder: Path, backend: str, **parameters: Any) -> DeepFaceDetector:  # noqa: ANN401
    weights = Weights(name=tiny_faces.REPOSITORY, licence="MIT", dir=str(folder))
    made = DeepFaceDetector(backend=backend, weights=weights, **parameters)
    made.setup()
    return made


def noise(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def ordered(boxes: np.ndarray) -> np.ndarray:
    return boxes[np.lexsort(boxes.T)]


def test_retinaface_finds_what_its_own_package_finds_in_bgr(folder: Path) -> None:
    from retinaface import RetinaFace

    image = noise(256, 384)
    ours = detector(folder, "retinaface", min_score=0.6).detect(image)
    assert len(ours) > 5

    def theirs(picture: np.ndarray) -> np.ndarray:
        found = RetinaFace.detect_faces(picture, threshold=0.6, allow_upscaling=False).values()
        boxes = np.array([(*f["facial_area"], f["score"]) for f in found], np.float64)
        boxes[:, 2:4] -= boxes[:, :2]
        return clipped(squared(boxes), 384, 256)

    bgr = np.ascontiguousarray(image[:, :, ::-1])
    np.testing.assert_allclose(ordered(ours), ordered(theirs(bgr)), atol=1e-3)
    assert theirs(image).shape != ours.shape or not np.allclose(theirs(image), ours, atol=1e-2)


def test_retinaface_does_not_enlarge_what_was_made_small(folder: Path) -> None:
    seen = []
    small = detector(folder, "retinaface", min_score=0.6, max_px=192)
    from retinaface import RetinaFace

    before = RetinaFace.preprocess.preprocess_image

    def watched(image: np.ndarray, upscaling: bool) -> object:
        done = before(image, upscaling)
        seen.append(done[0].shape)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RetinaFace.preprocess, "preprocess_image", watched)
        small.detect(noise(768, 1024))
    assert seen == [(1, 144, 192, 3)]


def test_a_high_score_is_asked_for(folder: Path) -> None:
    image = noise(256, 384)
    few, many = (detector(folder, "retinaface", min_score=s).detect(image) for s in (0.8, 0.6))
    assert 0 < len(few) < len(many)
    assert few[:, 4].min() >= 0.8


def test_other_weights_are_not_taken_for_those_loaded_before(folder: Path, tmp_path: Path) -> None:
    image = noise(128, 128)
    first = detector(folder, "retinaface", min_score=0.55).detect(image)
    tiny_faces.build_retinaface(tmp_path / tiny_faces.REPOSITORY, seed=1)
    second = detector(tmp_path, "retinaface", min_score=0.55).detect(image)
    assert first.shape != second.shape or not np.allclose(first, second)


def test_weights_that_are_not_there_are_an_error_and_no_download(tmp_path: Path) -> None:
    with (
        environment(HOME=str(tmp_path), HF_HOME=str(tmp_path)),
        pytest.raises(FileNotFoundError, match=f"needs the weights {tiny_faces.REPOSITORY}"),
    ):
        detector(tmp_path, "retinaface")
    assert not (tmp_path / ".deepface").exists()


def test_another_engine_in_the_same_process_is_refused(folder: Path) -> None:
    (folder / tiny_faces.REPOSITORY / "retinaface.onnx").write_bytes(b"")
    detector(folder, "retinaface")
    with pytest.raises(RuntimeError, match="`engine` of RetinaFace must be pytorch"):
        detector(folder, "retinaface", engine="onnx")


def test_centerface_gets_rgb_right_and_finds_its_file_each_time(folder: Path) -> None:
    image = np.zeros((256, 320, 3), np.uint8)
    image[100:104, 200:204, 0] = 255  # red
    image[180:184, 40:44, 2] = 255  # blue
    finder = detector(folder, "centerface", min_score=0.8)
    for _ in range(2):
        [[x, y, w, h, score]] = finder.detect(image)
        assert (w, h) == pytest.approx((32, 32), abs=1)
        assert (x + w / 2, y + h / 2) == pytest.approx((202, 102 + 0.08 * 40), abs=2)
        assert score > 0.99
    finder.close()


def test_deepface_leaves_no_trace_in_the_environment(folder: Path) -> None:
    import os

    before = dict(os.environ)
    finder = detector(folder, "centerface")
    finder.detect(np.zeros((64, 64, 3), np.uint8))
    finder.close()
    assert dict(os.environ) == before


@pytest.mark.data
def test_yunet_through_deepface_agrees_with_ours(data: Path, tmp_path: Path) -> None:
    source = data / "models/yunet/yunet_n_640_640.onnx"
    path = tiny_faces.build_yunet(tmp_path / tiny_faces.REPOSITORY, source)
    bgr = cv2.imread(str(data / "faces/detection/patlevin_group.jpg"))
    assert bgr is not None
    image = np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)
    theirs = detector(tmp_path, "yunet", min_score=0.8).detect(image)
    ours = YuNet(weights=replace(YuNet().weights, path=str(path)))
    ours.setup()
    boxes = ours.detect(image)
    gaps = np.abs(theirs[:, None, :4] - boxes[None, :, :4]).max(axis=2).min(axis=1)
    assert len(theirs) == len(boxes) == 8
    assert gaps.max() < 2.0  # DeepFace rounds to whole pixels
