"""Facial signals: what the 478 points of a mesh say about pose, eyes, mouth and brows.

All lengths are taken on the frontalised mesh (its own three-dimensional shape with the head pose
undone) and divided by the distance of the outer eye corners. "Left" is the subject's.
Point numbers are those of MediaPipe's face mesh.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.schema import MEASURES

# Eye: outer or right corner first, as the aspect ratio of Soukupova and Cech (2016) wants it.
EYE_RIGHT = (33, 160, 158, 133, 153, 144)
EYE_LEFT = (362, 385, 387, 263, 373, 380)
LIDS_RIGHT, LIDS_LEFT = (159, 145), (386, 374)  # upper, lower
ACROSS = ((33, 263), (133, 362), (127, 356), (234, 454))  # right to left, on bone
DOWN = ((10, 2), (151, 2), (9, 2))  # forehead to the nose's base, on bone
MIRRORED = (
    *((61, 291), (78, 308), (39, 269), (181, 405), (205, 425), (50, 280)),  # mouth and cheeks
    *((55, 285), (105, 334), (46, 276), (159, 386), (145, 374)),  # brows and lids
)
PITCH_ZERO_DEG = 3.0  # median of what speakers who face the camera show without it
CLOSED = 0.1  # eye aspect ratio below which an iris is not seen

Points = NDArray[np.float64]


def measure(mesh: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """Measure faces.

    Args:
        mesh: `(face, 478, 3)`: x, y, z in pixels, z away from the camera.
        size: Width and height of the picture, in pixels; not needed by the present measures,
            which suppose a distant camera.

    Returns:
        `(face, len(MEASURES))` float32, in the order and the units of `MEASURES`; NaN for a NaN
        mesh, and the gaze of closed eyes is NaN too.
    """
    mesh = np.asarray(mesh, np.float64).reshape(-1, 478, 3)
    turn = axes(mesh)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = dict(zip(("yaw", "pitch", "roll"), angles(turn), strict=True))
        columns |= lengths(frontal(mesh, turn))
    return np.column_stack([columns[name] for name in MEASURES]).astype(np.float32)


def axes(mesh: Points) -> NDArray[np.float64]:
    """The head's own axes.

    Args:
        mesh: `(face, 478, 3)`.

    Returns:
        `(face, 3, 3)` rotations; the columns are the subject's left, down, and back of the head in
        the camera's coordinates (right, down, away); the identity faces the camera.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        across = np.sum([unit(mesh[:, b] - mesh[:, a]) for a, b in ACROSS], axis=0)
        down = np.sum([unit(mesh[:, b] - mesh[:, a]) for a, b in DOWN], axis=0)
        left = unit(across)
        down = unit(down - (down * left).sum(1, keepdims=True) * left)
        back = np.cross(left, down)
        zero = np.radians(PITCH_ZERO_DEG)
        lower = np.cos(zero) * down + np.sin(zero) * back
        behind = np.cos(zero) * back - np.sin(zero) * down
    return np.stack([left, lower, behind], axis=2)


def angles(turn: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Yaw, pitch and roll of rotations `(face, 3, 3)`, in degrees.

    The rotation is yaw about the vertical, then pitch, then roll about the head's own axis.
    """
    ahead = -turn[:, :, 2]
    yaw = np.arctan2(ahead[:, 0], -ahead[:, 2])
    pitch = np.arctan2(-ahead[:, 1], np.hypot(ahead[:, 0], ahead[:, 2]))
    roll = np.arctan2(turn[:, 1, 0], turn[:, 1, 1])
    return tuple(np.degrees(angle) for angle in (yaw, pitch, roll))


def frontal(mesh: Points, turn: NDArray[np.float64]) -> Points:
    """Undo the head pose.

    Args:
        mesh: `(face, 478, 3)`.
        turn: `(face, 3, 3)`, from `axes`.

    Returns:
        `(face, 478, 3)`: subject's left, down, back, from the middle of the outer eye corners, in
        units of their distance.
    """
    right, left = mesh[:, 33], mesh[:, 263]
    scale = np.linalg.norm(left - right, axis=1)
    return (mesh - ((left + right) / 2)[:, None]) @ turn / scale[:, None, None]


def lengths(face: Points) -> dict[str, NDArray[np.float64]]:
    """All measures of frontalised meshes `(face, 478, 3)` but the head pose, by name."""

    def at(*points: int) -> Points:
        return face[:, points, :2].mean(axis=1)

    def gap(a: int, b: int) -> NDArray[np.float64]:
        return np.linalg.norm(at(a) - at(b), axis=1)

    def below(upper: tuple[int, ...], lower: tuple[int, ...]) -> NDArray[np.float64]:
        return at(*lower)[:, 1] - at(*upper)[:, 1]

    eye_right, eye_left = aspect(at, EYE_RIGHT), aspect(at, EYE_LEFT)
    seen = np.minimum(eye_right, eye_left) > CLOSED
    gaze_h = [along(at(i), at(a), at(b)) for i, a, b in ((468, 33, 133), (473, 362, 263))]
    gaze_v = [along(at(i), at(a), at(b)) for i, (a, b) in ((468, LIDS_RIGHT), (473, LIDS_LEFT))]
    pairs = np.stack([at(a) * (-1, 1) - at(b) for a, b in MIRRORED], axis=1)
    return {
        "eye_left": eye_left,
        "eye_right": eye_right,
        "gaze_h": np.where(seen, np.mean(gaze_h, axis=0), np.nan),
        "gaze_v": np.where(seen, np.mean(gaze_v, axis=0), np.nan),
        "mouth_open": gap(13, 14) / gap(78, 308),
        "mouth_width": gap(61, 291),
        "smile": below((61, 291), (13, 14)),
        "smile_skew": below((291,), (61,)),
        "jaw_drop": below((2,), (152,)),
        "lip_raise": below((2,), (0,)),
        "lip_height": below((0,), (13,)) + below((14,), (17,)),
        "brow_inner": (below((55, 107), (133,)) + below((285, 336), (362,))) / 2,
        "brow_outer": (below((53, 63), (33,)) + below((283, 293), (263,))) / 2,
        "brow_gap": gap(55, 285),
        "nose_wrinkle": (below((55,), (49,)) + below((285,), (279,))) / 2,
        "asymmetry": np.linalg.norm(pairs, axis=2).mean(axis=1),
    }


def aspect(at: Callable[..., Points], eye: tuple[int, ...]) -> NDArray[np.float64]:
    """Eye aspect ratio: mean height over width."""
    p1, p2, p3, p4, p5, p6 = (at(point) for point in eye)
    heights = np.linalg.norm(p2 - p6, axis=1) + np.linalg.norm(p3 - p5, axis=1)
    return heights / (2 * np.linalg.norm(p1 - p4, axis=1))


def along(point: Points, start: Points, stop: Points) -> NDArray[np.float64]:
    """Where a point lies between two others: 0 at `start`, 1 at `stop`."""
    way = stop - start
    return ((point - start) * way).sum(axis=1) / (way**2).sum(axis=1)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale vectors (last axis) to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def box(mesh: NDArray[np.floating]) -> NDArray[np.float32]:
    """The box around each mesh: `(face, 4)` float32 x, y, w, h in pixels, NaN for a NaN mesh."""
    flat = np.asarray(mesh)[:, :, :2]
    low, high = flat.min(axis=1), flat.max(axis=1)
    return np.concatenate([low, high - low], axis=1).astype(np.float32)


def quality(
    image: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    meshes: NDArray[np.floating],
    *,
    good_px: float = 96.0,
    sharp: float = 60.0,
) -> NDArray[np.float32]:
    """How well faces can be read.

    Args:
        image: RGB `(height, width, 3)` uint8.
        boxes: `(face, 4)`: x, y, w, h in pixels.
        meshes: `(face, 478, 3)`; NaN where there is none.
        good_px: Shorter side of a box from which size costs nothing.
        sharp: Variance of the Laplacian at which a face of 64 pixels counts as half sharp.

    Returns:
        `(face,)` float32, 0-1: the geometric mean of size, sharpness and frontality; 0 where no
        mesh was found.
    """
    import cv2

    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    size = np.clip(boxes[:, 2:4].min(axis=1, initial=np.inf) / good_px, 0, 1)
    edges = np.zeros(len(boxes))
    for row, one in enumerate(boxes):
        patch = cv2.cvtColor(square(image, one, 64, margin=1.0), cv2.COLOR_RGB2GRAY)
        edges[row] = cv2.Laplacian(patch, cv2.CV_64F).var()
    yaw, pitch, _ = angles(axes(np.asarray(meshes, np.float64).reshape(-1, 478, 3)))
    front = np.clip(np.cos(np.radians(yaw)), 0, 1) * np.clip(np.cos(np.radians(pitch)), 0, 1)
    product = size * edges / (edges + sharp) * np.nan_to_num(front)
    return np.cbrt(product).astype(np.float32)


def crop(image: NDArray[np.uint8], box: NDArray[np.floating], size_px: int = 160) -> bytes:
    """Cut out a face as a JPEG.

    Args:
        image: RGB `(height, width, 3)` uint8, upright.
        box: x, y, w, h in pixels.
        size_px: Side of the crop.

    Returns:
        A square JPEG around the box with a margin of a quarter on each side; what lies beyond the
        picture repeats its border.
    """
    import cv2

    patch = square(image, np.asarray(box, np.float64), size_px, margin=1.5)
    done, data = cv2.imencode(".jpg", patch[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise ValueError(f"the face at {np.asarray(box).tolist()} could not be written as a JPEG.")
    return data.tobytes()


def square(
    image: NDArray[np.uint8], box: NDArray[np.float64], size_px: int, margin: float
) -> NDArray[np.uint8]:
    """Cut a square of `margin` times a box's longer side, `size_px` wide, borders repeated."""
    import cv2

    side = max(float(np.max(box[2:4])) * margin, 1.0)
    low = np.round(box[:2] + box[2:4] / 2 - side / 2).astype(int)
    side = max(round(side), 1)
    height, width = image.shape[:2]
    rows = np.clip(np.arange(low[1], low[1] + side), 0, height - 1)
    cols = np.clip(np.arange(low[0], low[0] + side), 0, width - 1)
    way: Any = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    patch = cv2.resize(image[np.ix_(rows, cols)], (size_px, size_px), interpolation=way)
    return np.asarray(patch, np.uint8)
