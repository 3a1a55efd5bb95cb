import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.actors.detectors import (
    REFUSED,
    DeepFaceDetector,
    YuNet,
    clipped,
    reduced,
    squared,
)
from mien.actors.faces import FaceFinder
from mien.actors.weights import Weights

ONNX = "face_detection_yunet_2023mar.onnx"


def picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return np.ascontiguousarray(image[:, :, ::-1], np.uint8)


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("yunet") / "opencv" / "face_detection_yunet"
    folder.mkdir(parents=True)
    shutil.copy(data / "models/yunet/yunet_n_640_640.onnx", folder / ONNX)
    return Weights(
        name="opencv/face_detection_yunet",
        licence="MIT",
        files=(ONNX,),
        dir=str(folder.parents[1]),
    )


def yunet(weights: Weights, max_px: int = 640) -> YuNet:
    detector = YuNet(weights=weights, max_px=max_px)
    detector.setup()
    return detector


def nearest(boxes: np.ndarray, others: np.ndarray) -> float:
    """Largest difference of a box to the one of the others that is most like it."""
    gaps = np.abs(boxes[:, None, :4] - others[None, :, :4]).max(axis=2)
    return float(gaps.min(axis=1).max())


def test_a_box_from_hairline_to_chin_becomes_a_square_that_starts_lower() -> None:
    [box] = squared(np.array([[100.0, 50.0, 70.0, 100.0, 0.9]]))
    assert box.tolist() == pytest.approx([95.0, 68.0, 80.0, 80.0, 0.9])


def test_boxes_at_the_border_are_clipped_and_those_beyond_it_go() -> None:
    boxes = np.array([[-10.0, 5, 40, 40, 0.9], [80.0, 70, 40, 40, 0.8], [120.0, 0, 30, 30, 0.7]])
    assert clipped(boxes, 100, 90).tolist() == [[0, 5, 30, 40, 0.9], [80, 70, 20, 20, 0.8]]


def test_only_pictures_beyond_the_limit_are_reduced() -> None:
    image = np.zeros((1080, 1920, 3), np.uint8)
    assert reduced(image, 640).shape == (360, 640, 3)
    assert reduced(image, 1920) is image
    assert reduced(np.zeros((4000, 3, 3), np.uint8), 64).shape == (64, 1, 3)


@pytest.mark.parametrize("backend", sorted(REFUSED))
def test_a_backend_that_cannot_work_is_refused_with_the_reason(backend: str) -> None:
    with pytest.raises(ValueError, match=rf"`backend` cannot be {backend}: \w.{{10,}}"):
        DeepFaceDetector(backend=backend)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`backend` must be one of retinaface, .* 'retina'"):
        DeepFaceDetector(backend="retina")
    with pytest.raises(ValueError, match=r"`engine` must be one of .* 'torch'"):
        DeepFaceDetector(engine="torch")
    with pytest.raises(ValueError, match=r"`min_score` must be in \(0, 1\], but is 0"):
        YuNet(min_score=0.0)
    with pytest.raises(ValueError, match="`max_px` must be at least 64, but is 3"):
        YuNet(max_px=3)


def test_retinaface_wants_a_high_score_and_its_engine_names_the_file() -> None:
    assert DeepFaceDetector().min_score == 0.9
    for engine, suffix in (("pytorch", "pth"), ("onnx", "onnx"), ("tensorflow", "h5")):
        weights = DeepFaceDetector(engine=engine).weights
        assert weights is not None
        assert weights.files == (f"retinaface.{suffix}",)
        assert not weights.commercial


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    weights = Weights(name="opencv/yunet", licence="MIT", files=(ONNX,), path=str(tmp_path / "no"))
    with pytest.raises(FileNotFoundError, match=f"must hold {ONNX} of opencv/yunet"):
        YuNet(weights=weights).setup()


@pytest.mark.data
def test_faces_are_counted_as_by_eye(data: Path, weights: Weights) -> None:
    detector = yunet(weights)
    folder = data / "faces/detection"
    counts = list(csv.DictReader((folder / "face_counts.csv").read_text().splitlines()))
    assert len(counts) == 4
    for row in counts:
        assert len(detector.detect(picture(folder / row["file"]))) == int(row["faces"]), row


@pytest.mark.data
def test_boxes_agree_with_those_of_the_packaged_finder(data: Path, weights: Weights) -> None:
    image = picture(data / "faces/detection/patlevin_group.jpg")
    finder = FaceFinder()
    finder.setup()
    ours, theirs = yunet(weights).detect(image), finder.detect(image)
    finder.close()
    assert len(ours) == len(theirs) == 8
    assert nearest(ours, theirs) < 0.25 * np.median(theirs[:, 2])
    assert (np.diff(ours[:, 4]) <= 0).all()
    assert ours.dtype == np.float32


@pytest.mark.data
def test_the_network_is_handed_bgr(data: Path, weights: Weights) -> None:
    image = picture(data / "faces/detection/patlevin_group.jpg")
    detector = yunet(weights)
    reference = cv2.FaceDetectorYN.create(str(weights.resolved() / ONNX), "", (600, 400), 0.8)
    right, wrong = (reference.detect(np.ascontiguousarray(x))[1] for x in (image[..., ::-1], image))
    scores = detector.detect(image)[:, 4]
    np.testing.assert_allclose(scores, np.sort(right[:, 14])[::-1], atol=1e-6)
    assert np.abs(np.sort(wrong[:, 14])[::-1][:6] - scores[:6]).max() > 1e-3


@pytest.mark.data
def test_a_large_picture_is_searched_small_and_its_boxes_scaled_back(
    data: Path, weights: Weights
) -> None:
    small = picture(data / "faces/detection/patlevin_group.jpg")
    height, width = small.shape[:2]
    large = np.asarray(cv2.resize(small, (4 * width, 4 * height)), np.uint8)
    detector = yunet(weights, max_px=width)
    expected, found = detector.detect(small), detector.detect(large)
    assert len(found) == len(expected) == 8
    assert nearest(found / 4, expected) < 2.0
    assert found[:, 2].min() > 3.5 * expected[:, 2].min()


@pytest.mark.data
@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_face_that_the_border_cuts_is_kept_and_clipped(
    data: Path, weights: Weights, side: str
) -> None:
    image = picture(data / "faces/detection/pyfeat_single_face.jpg")
    detector = yunet(weights)
    [(x, y, w, h, _)] = detector.detect(image)
    share = 0.3  # of the square box that is cut away
    left, top = int(x + share * w), int(y + share * h)
    right, bottom = int(x + (1 - share) * w), int(y + (1 - share) * h)
    cut = {
        "left": image[:, left:],
        "right": image[:, :right],
        "top": image[top:],
        "bottom": image[:bottom],
    }[side]
    found = detector.detect(np.ascontiguousarray(cut))
    assert len(found) == 1
    height, width = cut.shape[:2]
    low, high = found[0, :2], found[0, :2] + found[0, 2:4]
    assert (low >= 0).all()
    assert (high <= (width, height)).all()
    edge = {"left": low[0], "right": width - high[0], "top": low[1], "bottom": height - high[1]}
    assert edge[side] < 0.2 * w
