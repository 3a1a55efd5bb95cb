"""Face crops as models want them: decoded, turned upright, framed, and answered one for one."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.ragged import flatten

MARGIN = 1.5
"""Side of a crop, in sides of its box, as `signals.crop` cuts it."""
FRAME = (0.91, 1.25, 0.1)
"""Width, height and how far up its centre lies of the frame that detectors trained on WIDER FACE
(RetinaFace, YuNet) draw, in sides of our boxes. Ours go from the brows to the chin, theirs from
the hairline. Medians of 28 faces found by both YuNet and `FaceFinder` on the labelled pictures."""

Image = NDArray[np.uint8]
Answer = TypeVar("Answer")


class Sender(Protocol):
    """An actor that sends items through its network some at a time, as `Neural` does."""

    def through(
        self,
        items: Sequence[Any],
        prepare: Callable[[Sequence[Any]], Any],
        infer: Callable[[Any], Sequence[Any]],
    ) -> list[Any]:
        """One answer per item, in order."""
        ...


def answered(
    actor: Sender,
    faces: pa.ChunkedArray,
    prepare: Callable[[Sequence[bytes]], Any],
    infer: Callable[[Any], Sequence[Answer]],
) -> tuple[list[Answer | None], pa.Array]:
    """Send the crops of many rows through an actor's network, missing ones left out.

    Args:
        actor: Whose `through` it is.
        faces: The column `faces`.
        prepare: See `Neural.through`.
        infer: See `Neural.through`.

    Returns:
        One answer per face, `None` where its crop is missing, and the counts for `regroup`.
    """
    items, counts = flatten(faces)
    crops = items.field("crop").to_pylist() if len(items) else []
    known = [row for row, crop in enumerate(crops) if crop is not None]
    answers: list[Answer | None] = [None] * len(crops)
    found = actor.through([crops[row] for row in known], prepare, infer)
    for row, one in zip(known, found, strict=True):
        answers[row] = one
    return answers, counts


def decoded(crop: bytes) -> Image:
    """The RGB picture `(side, side, 3)` uint8 of a crop.

    Raises:
        ValueError: It is not a picture.
    """
    import cv2

    image = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a face crop must be a JPEG, but cannot be decoded.")
    return np.ascontiguousarray(image[:, :, ::-1], np.uint8)


def framed(image: Image, width: float, height: float, up: float = 0.0) -> Image:
    """Cut a frame out of a crop.

    Args:
        image: The crop, square, with its box in the middle.
        width: Of the frame, in sides of the box, at most `MARGIN`.
        height: See `width`.
        up: How far the frame's centre lies above the box's.

    Returns:
        A view of the crop; the frame ends where the crop ends.
    """
    side = image.shape[0] / MARGIN
    middle = np.array([MARGIN / 2, MARGIN / 2 - up])
    half = np.array([width, height]) / 2
    edge = image.shape[0]
    (left, top), (right, bottom) = (
        np.clip(np.round((middle + sign * half) * side).astype(int), 0, edge) for sign in (-1, 1)
    )
    return image[top:bottom, left:right]


def upright(image: Image, mesh: NDArray[np.floating]) -> Image:
    """Turn a crop about its centre so that the eyes lie level, as DeepFace aligns faces.

    Args:
        image: The crop.
        mesh: `(478, 3)` in its pixels; NaN leaves the crop as it is.

    Returns:
        A picture of the same size; what comes in from beyond the crop repeats its border.
    """
    import cv2

    if not np.isfinite(mesh[:, :2]).all():
        return image
    right, left = mesh[[33, 133], :2].mean(axis=0), mesh[[263, 362], :2].mean(axis=0)
    angle = float(np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle, 1.0)
    turned = cv2.warpAffine(
        image, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(turned, np.uint8)
