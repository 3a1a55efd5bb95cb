from pathlib import Path

import numpy as np
import pytest

from mien.actors.landmarker import CONTEXT, Landmarker, cut, placed
from mien.actors.weights import Weights


def test_without_its_file_the_error_names_it(tmp_path: Path) -> None:
    weights = Weights(
        name="google/face_landmarker",
        licence="Apache-2.0",
        files=("face_landmarker.task",),
        path=str(tmp_path),
    )
    with pytest.raises(FileNotFoundError, match=r"must hold face_landmarker\.task of google"):
        Landmarker(weights=weights).setup()


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`min_presence` must be between 0 and 1, but is 1\.5"):
        Landmarker(min_presence=1.5)
    with pytest.raises(ValueError, match="`patch_px` must be at least 128, but is 9"):
        Landmarker(patch_px=9)


@pytest.mark.parametrize("most_px", [128, 512])
def test_a_point_of_the_patch_is_put_back_where_it_was(most_px: int) -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    image[230:240, 410:420] = 255
    patch, low, side = cut(image, np.array([380.0, 180, 100, 100]), most_px)
    assert side == 100 * CONTEXT
    assert patch.shape == (min(most_px, 200),) * 2 + (3,)
    rows, cols = np.nonzero(patch[:, :, 0] > 128)
    share = (np.array([cols.mean(), rows.mean()]) + 0.5) / len(patch)
    points = np.tile([*share, 0.1], (478, 1))
    assert placed(points, low, side)[0] == pytest.approx([415, 235, 20], abs=1.5)


def test_beyond_the_border_the_outermost_pixels_are_repeated() -> None:
    image = np.full((50, 50, 3), 90, np.uint8)
    patch, low, side = cut(image, np.array([-20.0, 10, 60, 60]), 512)
    assert (low.tolist(), side) == ([-50, -20], 120)
    assert (patch == 90).all()
