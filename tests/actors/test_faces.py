import csv
import json
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mien.actors import signals
from mien.actors.faces import INPUT_PX, FaceFinder, look, suppress, tiles


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceFinder]:
    finder = FaceFinder()
    finder.setup()
    yield finder
    finder.close()


def picture(path: Path) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def frames(path: Path, step: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    with av.open(path) as media:
        for index, frame in enumerate(media.decode(video=0)):
            if index % step == 0:
                yield index, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


@pytest.mark.data
def test_counts_faces_in_pictures(finder: FaceFinder, data: Path) -> None:
    with (data / "faces/detection/face_counts.csv").open() as file:
        truth = {row["file"]: int(row["faces"]) for row in csv.DictReader(file)}
    found = {name: len(finder.detect(picture(data / "faces/detection" / name))) for name in truth}
    assert found == truth


@pytest.mark.data
def test_finds_no_face_where_there_is_none(finder: FaceFinder, data: Path) -> None:
    found = [len(finder.detect(image)) for _, image in frames(data / "video/pyfeat/no_face.mp4", 6)]
    assert found == [0] * len(found)
    assert len(found) > 10


@pytest.mark.data
def test_two_shots_show_one_face_in_each_half(finder: FaceFinder, data: Path) -> None:
    folder = data / "video/composites"
    truth = json.loads((folder / "grid_twoshot_a1.truth.json").read_text())
    for _, image in frames(folder / "grid_twoshot_a1.mp4", 15):
        boxes = finder.detect(image)[:, :4]
        centres = np.sort(boxes[:, 0] + boxes[:, 2] / 2)
        assert len(centres) == len(truth["faces"])
        for centre, (x, _, width, _) in zip(
            centres, (face["region"] for face in truth["faces"]), strict=True
        ):
            assert x < centre < x + width


@pytest.mark.data
def test_a_face_cut_by_the_border_is_found_and_meshed(finder: FaceFinder, data: Path) -> None:
    image = picture(data / "faces/detection/pyfeat_single_face.jpg")
    whole = finder.detect(image)
    left = round(float(whole[0, 0] + 0.15 * whole[0, 2]))
    part = finder.detect(image[:, left:])
    assert len(part) == 1
    assert np.isfinite(finder.mesh(image[:, left:], part[:, :4])).all()


@pytest.mark.data
def test_grey_and_dark_faces_are_found(finder: FaceFinder, data: Path) -> None:
    image = picture(data / "faces/detection/pyfeat_single_face.jpg")
    grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert len(finder.detect(grey)) == 1
    assert len(finder.detect((image * 0.2).astype(np.uint8))) == 1


@pytest.mark.data
@pytest.mark.parametrize("turn_deg", [-40, 25])
def test_the_mesh_follows_a_tilted_head(finder: FaceFinder, data: Path, turn_deg: float) -> None:
    image = picture(data / "faces/expression_stills/neutral.jpg")
    height, width = image.shape[:2]
    plain = finder.mesh(image, finder.detect(image)[:, :4])
    centre = plain[0, :, :2].mean(axis=0).tolist()
    way = cv2.getRotationMatrix2D(centre, -turn_deg, 1.0)  # OpenCV turns counterclockwise
    tilted = np.asarray(cv2.warpAffine(image, way, (width, height)), np.uint8)
    mesh = finder.mesh(tilted, signals.box(plain))
    moved = plain[0, :, :2] @ way[:, :2].T + way[:, 2]
    eyes = np.linalg.norm(plain[0, 263] - plain[0, 33])
    assert np.linalg.norm(mesh[0, :, :2] - moved, axis=1).mean() < 0.06 * eyes
    pose = signals.measure(np.concatenate([plain, mesh]), (width, height))
    assert pose[1, 2] - pose[0, 2] == pytest.approx(turn_deg, abs=4)  # roll
    np.testing.assert_allclose(pose[1, 3:5], pose[0, 3:5], atol=0.04)  # the eyes stay as open


@pytest.mark.data
def test_calls_do_not_depend_on_what_was_seen_before(finder: FaceFinder, data: Path) -> None:
    image = picture(data / "faces/expression_stills/angry.jpg")
    other = picture(data / "faces/expression_stills/happy.jpg")
    boxes = finder.detect(image)
    mesh = finder.mesh(image, boxes[:, :4])
    finder.mesh(other, finder.detect(other)[:, :4])
    np.testing.assert_array_equal(finder.detect(image), boxes)
    np.testing.assert_array_equal(finder.mesh(image, boxes[:, :4]), mesh)


def test_blank_and_tiny_pictures_have_no_face(finder: FaceFinder) -> None:
    for shape in ((1, 1, 3), (2, 300, 3), (240, 320, 3)):
        boxes = finder.detect(np.full(shape, 128, np.uint8))
        assert boxes.shape == (0, 5)
        assert boxes.dtype == np.float32


def test_no_mesh_where_there_is_no_face_or_no_box(finder: FaceFinder) -> None:
    image = np.full((200, 200, 3), 128, np.uint8)
    boxes = np.array([[50, 50, 80, 80], [np.nan] * 4, [10, 10, 0, 0]], np.float32)
    mesh = finder.mesh(image, boxes)
    assert mesh.shape == (3, 478, 3)
    assert np.isnan(mesh).all()
    assert finder.mesh(image, np.zeros((0, 4), np.float32)).shape == (0, 478, 3)


@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_a_look_and_its_way_back(tilt: float) -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    image[150 - 3 : 150 + 4, 260 - 3 : 260 + 4] = 255
    patch, back = look(image, np.array([180, 100, 96, 96]), 2.0, tilt)
    spot = np.argwhere(patch[:, :, 0] > 128).mean(axis=0)[::-1]
    np.testing.assert_allclose(back[:, :2] @ spot + back[:, 2], (260, 150), atol=0.6)
    assert np.hypot(back[0, 0], back[1, 0]) == pytest.approx(2 * 96 / INPUT_PX)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(480, 854, 322), (100, 90, 192), (64, 64, 64)]
)
def test_tiles_cover_the_picture(height: int, width: int, size: int) -> None:
    covered = np.zeros((height, width), bool)
    for x, y, w, h in tiles(height, width, size):
        assert w <= size
        assert h <= size
        assert x + w <= width
        assert y + h <= height
        covered[y : y + h, x : x + w] = True
    assert covered.all()


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = np.array(
        [[0, 0, 10, 10, 0.7], [1, 1, 10, 10, 0.9], [50, 50, 9, 9, 0.8], [7, 0, 10, 10, 0.6]]
    )
    assert suppress(boxes)[:, 4].tolist() == [0.9, 0.8, 0.6]  # the last shares 0.36 with the best
    assert suppress(np.zeros((0, 5))).shape == (0, 5)


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`min_score` must be between 0 and 1, but is 2\."):
        FaceFinder(min_score=2)
