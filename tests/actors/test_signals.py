import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.actors import signals
from mien.datasets.schema import MEASURES

Array = NDArray[np.float64]
SIZE = (640, 480)


def rotation(yaw: float = 0, pitch: float = 0, roll: float = 0) -> Array:
    """Subject's left, up and clockwise are positive; camera: right, down, away. Independent."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = [[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]]
    about_x = [[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]]
    about_z = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
    return np.array(about_y) @ np.array(about_x) @ np.array(about_z)


@pytest.fixture
def mesh() -> Array:
    """A face by numbers: mirrored about x = 0, 100 wide between the outer eye corners."""
    face = np.random.default_rng(0).normal(0, 20, (478, 3))
    tilt = np.radians(signals.PITCH_ZERO_DEG)
    for right, left in signals.ACROSS:
        half = 50 if (right, left) == (33, 263) else abs(face[right, 0]) + 5
        face[right], face[left] = (-half, 0, 0), (half, 0, 0)
    for top, base in signals.DOWN:  # along what the meshes of frontal faces show as "down"
        face[base] = (0, 50, -20)
        face[top] = face[base] - 80 * np.array([0, np.cos(tilt), -np.sin(tilt)]) * (
            1 + 0.1 * top / 151
        )
    face[[133, 362]] = (-20, 0, 0), (20, 0, 0)
    for right, left in ((61, 291), (78, 308), (55, 285), (53, 283), (63, 293), (107, 336)):
        face[left] = face[right] * (-1, 1, 1)
    return face


def named(values: Array) -> dict[str, float]:
    return dict(zip(MEASURES, values, strict=True))


def ahead(mesh: Array) -> Array:
    """The same face, turned so that it faces the camera by our definition."""
    return mesh @ signals.axes(mesh[None])[0]


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (30, 0, 0), (0, 20, 0), (0, 0, 15), (-25, 10, -20)]
)
def test_head_pose_of_a_turned_mesh(mesh: Array, yaw: float, pitch: float, roll: float) -> None:
    turned = ahead(mesh) @ rotation(yaw, pitch, roll).T
    found = named(signals.measure(turned[None], SIZE)[0])
    assert found["yaw"] == pytest.approx(yaw, abs=1e-3)
    assert found["pitch"] == pytest.approx(pitch, abs=1e-3)
    assert found["roll"] == pytest.approx(roll, abs=1e-3)


def test_the_signs_of_the_head_pose(mesh: Array) -> None:
    face = ahead(mesh)
    nose = np.array([0.0, 0.0, -1.0])
    assert (rotation(yaw=20) @ nose)[0] > 0  # the subject's left is the right of the picture
    assert (rotation(pitch=20) @ nose)[1] < 0  # up in the picture
    across = (rotation(roll=20) @ np.array([1.0, 0, 0]))[1]
    assert across > 0  # the right of the picture sinks: clockwise
    assert signals.measure((face @ rotation(yaw=20).T)[None], SIZE)[0, 0] > 0


def test_what_a_face_does_is_free_of_place_size_and_pose(mesh: Array) -> None:
    moved = 2.5 * mesh @ rotation(20, -15, 10).T + (300, 200, 5)
    plain, other = signals.measure(np.stack([mesh, moved]), SIZE)
    np.testing.assert_allclose(plain[3:], other[3:], rtol=1e-4, atol=1e-5)


def test_eye_aspect_ratio_and_gaze_in_closed_form(mesh: Array) -> None:
    face = ahead(mesh)
    # Right eye: corners 30 apart, heights 9 and 9: 18 / 60. Left eye: 6 and 12.
    for point, place in zip(
        signals.EYE_RIGHT,
        [(-50, 0), (-40, -4.5), (-30, -4.5), (-20, 0), (-30, 4.5), (-40, 4.5)],
        strict=True,
    ):
        face[point] = (*place, 0)
    for point, place in zip(
        signals.EYE_LEFT,
        [(20, 0), (30, -3), (40, -6), (50, 0), (40, 6), (30, 3)],
        strict=True,
    ):
        face[point] = (*place, 0)
    face[468], face[473] = (-35 + 6, 0, 0), (35 + 6, 0, 0)
    face[159], face[145] = (-35, -5, 0), (-35, 5, 0)
    face[386], face[374] = (35, -5, 0), (35, 5, 0)
    found = named(signals.measure(face[None], SIZE)[0])
    # `axes` sees the inner corners too; they stay on the same line, so the pose is the same.
    assert found["eye_right"] == pytest.approx(0.3, abs=1e-4)
    assert found["eye_left"] == pytest.approx(18 / 60, abs=1e-4)
    assert found["gaze_h"] == pytest.approx(0.5 + 6 / 30, abs=1e-4)  # to the subject's left
    assert found["gaze_v"] == pytest.approx(0.5, abs=1e-4)
    for point in (*signals.EYE_RIGHT[1:3], *signals.EYE_RIGHT[4:]):
        face[point, 1] *= 0.05
    closed = named(signals.measure(face[None], SIZE)[0])
    assert closed["eye_right"] == pytest.approx(0.015, abs=1e-4)
    assert np.isnan(closed["gaze_h"])
    assert np.isnan(closed["gaze_v"])


def test_mouth_in_closed_form(mesh: Array) -> None:
    face = ahead(mesh)
    face[[13, 14]] = (0, 58, 0), (0, 70, 0)
    face[[78, 308]] = (-20, 64, 0), (20, 64, 0)
    face[[61, 291]] = (-25, 60, 0), (25, 56, 0)
    found = named(signals.measure(face[None], SIZE)[0])
    assert found["mouth_open"] == pytest.approx(12 / 40, abs=1e-4)
    assert found["mouth_width"] == pytest.approx(np.hypot(50, 4) / 100, abs=1e-4)
    assert found["smile"] == pytest.approx((64 - 58) / 100, abs=1e-4)
    assert found["smile_skew"] == pytest.approx(4 / 100, abs=1e-4)


def test_nan_in_nan_out_and_no_faces(mesh: Array) -> None:
    both = signals.measure(np.stack([np.full_like(mesh, np.nan), mesh]), SIZE)
    assert both.dtype == np.float32
    assert np.isnan(both[0]).all()
    assert np.isfinite(both[1, :3]).all()
    assert signals.measure(np.zeros((0, 478, 3), np.float32), SIZE).shape == (0, len(MEASURES))
    assert np.isnan(signals.box(np.full((1, 478, 3), np.nan))).all()


def test_the_box_of_a_mesh() -> None:
    points = np.zeros((1, 478, 3), np.float32)
    points[0, 5], points[0, 9] = (-3, 4, 100), (17, 30, 0)
    assert signals.box(points).tolist() == [[-3, 0, 20, 30]]


def test_a_crop_at_the_corner_is_square_and_keeps_the_colours() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, :, 0] = 200
    crop = np.asarray(Image.open(io.BytesIO(signals.crop(image, np.array([-10, -10, 40, 30])))))
    assert crop.shape == (160, 160, 3)
    np.testing.assert_allclose(crop.reshape(-1, 3).mean(0), (200, 0, 0), atol=4)


def test_a_crop_is_centred_on_the_box() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:120, 60:100] = 255
    crop = np.asarray(
        Image.open(io.BytesIO(signals.crop(image, np.array([60, 80, 40, 40]), size_px=60)))
    )
    bright = np.argwhere(crop[:, :, 0] > 128)
    assert bright.min(0).tolist() == [10, 10]  # a margin of a quarter of the box on each side
    assert bright.max(0).tolist() == [49, 49]


def test_quality_falls_with_size_blur_and_turning(mesh: Array) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 300, 3), np.uint8)
    face = ahead(mesh)
    meshes = np.stack([face, face, face @ rotation(yaw=60).T, np.full_like(face, np.nan)])
    boxes = np.array([[50, 50, 128, 128], [50, 50, 24, 24], [50, 50, 128, 128], [0, 0, 128, 128]])
    good, small, turned, none = signals.quality(image, boxes, meshes)
    blurred = signals.quality(np.full_like(image, 90), boxes[:1], meshes[:1])[0]
    assert good > 0.9
    assert good > small > 0
    assert turned == pytest.approx(good * np.cbrt(0.5), abs=1e-4)
    assert none == 0
    assert blurred == 0
