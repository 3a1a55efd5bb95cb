"""GFPGAN: faces drawn anew from what is left of them, through `spandrel`'s architecture.

The network wants faces as those of FFHQ stand in their pictures of 512 pixels. A crop is laid into
that frame, restored, and laid back into a crop that is larger by a whole factor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .crops import MARGIN, Image

SIDE_PX = 512
"""Of the network's pictures."""
TEMPLATE = np.array(
    [[193.0, 239.9], [318.9, 240.2], [256.6, 314.0], [201.3, 371.4], [313.1, 371.2]]
)
"""Where both pupils, the tip of the nose and the corners of the mouth stand in FFHQ's frame, as
facexlib has them; the subject's right comes first."""
POINTS = (468, 473, 1, 61, 291)
"""The same points in MediaPipe's mesh."""
BOX_PX, CENTRE_PX = 297.0, (259.0, 316.0)
"""Side and centre of our boxes in FFHQ's frame: medians over the 20 faces of 40 pixels and more
that `FaceFinder` meshes on the labelled pictures (standard deviations 16, 23 and 12 pixels)."""
FEATHER_PX = 16
"""Width of the seam between the restored picture and the crop around it."""

Matrix = NDArray[np.float64]


def load(path: Path) -> Any:  # noqa: ANN401
    """The network of a checkpoint, in float32 on the CPU.

    Raises:
        ValueError: It is another network.
    """
    import torch
    from spandrel import ModelLoader, canonicalize_state_dict

    state = torch.load(path, map_location="cpu", weights_only=True)
    found = ModelLoader(device="cpu").load_from_state_dict(canonicalize_state_dict(state))
    if found.architecture.id != "GFPGAN":
        raise ValueError(
            f"the checkpoint {str(path)!r} must be of GFPGAN, but is of {found.architecture.id}."
        )
    return found.model


def placement(side_px: int, mesh: NDArray[np.floating] | None = None) -> Matrix:
    """How a crop is laid into FFHQ's frame.

    Args:
        side_px: Of the crop, with its box in the middle.
        mesh: `(478, 3)` in its pixels; where it is unknown or NaN the box decides.

    Returns:
        `(2, 3)`: from pixels of the crop to those of the frame.
    """
    import cv2

    if mesh is not None and np.isfinite(mesh[POINTS, :2]).all():
        points = np.asarray(mesh[POINTS, :2], np.float64)
        found, _ = cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)
        if found is not None:
            return np.asarray(found, np.float64)
    scale = BOX_PX * MARGIN / side_px
    middle = np.array(CENTRE_PX) - scale * (side_px - 1) / 2
    return np.array([[scale, 0.0, middle[0]], [0.0, scale, middle[1]]])


def laid(image: Image, matrix: Matrix) -> NDArray[np.float32]:
    """The picture `(3, 512, 512)` that the network sees, -1 to 1; borders are repeated."""
    import cv2

    size = (SIDE_PX, SIDE_PX)
    frame = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(frame.transpose(2, 0, 1), np.float32) / 127.5 - 1


def drawn(network: Any, pictures: Any) -> Any:  # noqa: ANN401
    """Run the network, with its noise fixed: the same faces get the same answer.

    Args:
        network: As `load` gives it.
        pictures: Tensor `(n, 3, 512, 512)`, -1 to 1.
    """
    return network(pictures, return_rgb=False, randomize_noise=False)[0]


def returned(image: Image, restored: NDArray[np.float32], matrix: Matrix, scale: int) -> Image:
    """Lay a restored picture back into its crop.

    Args:
        image: The crop.
        restored: `(3, 512, 512)`, -1 to 1.
        matrix: As `placement` gave it.
        scale: How many times larger the crop becomes.

    Returns:
        The crop at `scale` times its side: restored where the frame reaches, enlarged elsewhere.
    """
    import cv2

    side = image.shape[0] * scale
    # Pixel centres: at the larger scale x becomes scale * x + (scale - 1) / 2.
    shift = (scale - 1) / 2
    linear = matrix[:, :2] / scale
    back = np.column_stack([linear, matrix[:, 2] - linear.sum(axis=1) * shift])
    around = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    picture = ((restored.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255)
    edge = np.minimum(np.arange(SIDE_PX), np.arange(SIDE_PX)[::-1]) / FEATHER_PX
    mask = np.minimum(edge[:, None], edge[None]).clip(0, 1).astype(np.float32)
    way: Any = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside, share = (
        cv2.warpAffine(part, back, (side, side), flags=way) for part in (picture, mask)
    )
    mixed = around + share.clip(0, 1)[..., None] * (inside - around)
    return np.rint(mixed.clip(0, 255)).astype(np.uint8)


def stacked(pictures: Sequence[NDArray[np.float32]]) -> Any:  # noqa: ANN401
    """Pictures as one tensor."""
    import torch

    return torch.from_numpy(np.stack(pictures))
