import cv2
import numpy as np
import pytest

from mien.actors import signals
from mien.actors.crops import FRAME, MARGIN, decoded, framed, upright


def test_a_crop_comes_back_as_rgb() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[...] = (200, 40, 10)
    found = decoded(signals.crop(image, np.array([50, 50, 80, 80])))
    assert found.shape == (160, 160, 3)
    assert np.abs(found.mean(axis=(0, 1)) - (200, 40, 10)).max() < 4


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a JPEG, but cannot be decoded"):
        decoded(b"no picture")


def test_the_frame_of_one_side_is_the_box_that_was_cropped() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    box = np.array([100.0, 120, 80, 80])
    image[120:200, 100:180] = 255
    inner = framed(decoded(signals.crop(image, box, 240)), 1.0, 1.0)
    assert inner.shape == (160, 160, 3)
    assert inner[2:-2, 2:-2].min() > 200  # all of the box, whose edges are blurred
    wider = framed(decoded(signals.crop(image, box, 240)), 1.1, 1.1)
    assert wider[0].max() < 60  # and nothing but it


def test_a_frame_ends_where_the_crop_ends() -> None:
    image = np.arange(150 * 150 * 3, dtype=np.uint32).reshape(150, 150, 3).astype(np.uint8)
    assert framed(image, MARGIN, MARGIN).shape == image.shape
    assert framed(image, 1.0, MARGIN, up=0.2).shape == (130, 100, 3)
    width, height, _ = FRAME
    shape = framed(image, *FRAME).shape
    assert shape[1] / shape[0] == pytest.approx(width / height, abs=0.02)


def test_eyes_come_to_lie_level() -> None:
    image = np.zeros((160, 160, 3), np.uint8)
    eyes = np.array([[60.0, 60.0], [100.0, 90.0]])  # the right eye stands on the left, and higher
    for at in eyes:
        cv2.circle(image, at.astype(int).tolist(), 5, (255, 255, 255), -1)
    mesh = np.zeros((478, 3))
    mesh[[33, 133], :2], mesh[[263, 362], :2] = eyes
    turned = upright(image, mesh)[:, :, 0] > 128
    rows, cols = np.nonzero(turned)
    left, right = rows[cols < 80].mean(), rows[cols > 80].mean()
    assert abs(left - right) < 1.0
    assert abs(cols.max() - cols.min() - 60) < 4  # 50 apart, and two radii


def test_a_crop_without_a_mesh_stays_as_it_is() -> None:
    image = np.zeros((160, 160, 3), np.uint8)
    assert upright(image, np.full((478, 3), np.nan)) is image
