"""The real landmarker of MediaPipe's Tasks, packed from the models that the package carries."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
pytest.importorskip("torch")

import tiny_faces  # noqa: E402
from mien.actors.faces import FaceFinder  # noqa: E402
from mien.actors.landmarker import Landmarker  # noqa: E402


@pytest.fixture(scope="module")
def landmarker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landmarker]:
    models = tmp_path_factory.mktemp("models")
    tiny_faces.build_task(models / "google/face_landmarker")
    made = Landmarker(weights=replace(Landmarker().weights, dir=str(models)))
    made.setup()
    yield made
    made.close()


def test_where_there_is_no_face_there_is_no_mesh(landmarker: Landmarker) -> None:
    image = np.full((300, 300, 3), 90, np.uint8)
    boxes = np.array([[50, 50, 100, 100], [0, 0, 0, 0], [np.nan] * 4], np.float32)
    found = landmarker.mesh(image, boxes)
    assert found.shape == (3, 478, 3)
    assert np.isnan(found).all()


@pytest.mark.data
@pytest.mark.parametrize("name", ["detection/patlevin_group.jpg", "expression_stills/neutral.jpg"])
def test_points_lie_where_the_packaged_mesh_lies(
    landmarker: Landmarker, data: Path, name: str
) -> None:
    """The packed network gives x, y, z of 468 points, which the task reads as x, y of 478.

    So the first two numbers of every even point stand, rightly scaled, at 3/2 of its number.
    """
    bgr = cv2.imread(str(data / "faces" / name))
    assert bgr is not None
    image = np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)
    finder = FaceFinder()
    finder.setup()
    boxes = finder.detect(image)
    expected = finder.mesh(image, boxes[:, :4])
    finder.close()
    found = landmarker.mesh(image, boxes[:, :4])
    even = np.arange(0, 318, 2)
    gaps = np.linalg.norm(found[:, 3 * even // 2, :2] - expected[:, even, :2], axis=2)
    assert len(boxes) in (1, 8)
    assert np.median(gaps / boxes[:, 2:3], axis=1).max() < 0.03
    assert (gaps / boxes[:, 2:3]).max() < 0.12
