"""Maps of where a network looked, laid over its pictures."""

import numpy as np
from numpy.typing import NDArray


def overlay(
    picture: NDArray[np.uint8], weights: NDArray[np.floating], *, strength: float = 0.6
) -> bytes:
    """A picture with its map over it, blue to red, as PNG.

    Args:
        picture: RGB `(height, width, 3)` uint8.
        weights: `(rows, columns)` of the map, at least 0; its largest value is red.
        strength: Share of the map's colours where it is largest (0-1); where it is 0 the picture
            stays as it is.
    """
    import cv2

    height, width = picture.shape[:2]
    most = float(weights.max())
    scaled = np.asarray(weights / most if most > 0 else weights, np.float32)
    smooth = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    heat = cv2.applyColorMap(np.asarray(smooth * 255, np.uint8), cv2.COLORMAP_TURBO)
    share = strength * smooth[..., None]
    mixed = picture[:, :, ::-1] * (1 - share) + heat * share
    done, data = cv2.imencode(".png", np.asarray(mixed.round(), np.uint8))
    if not done:
        raise RuntimeError("the picture could not be encoded as PNG.")
    return data.tobytes()
