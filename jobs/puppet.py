"""A portrait that talks, smiles, raises its brows and blinks: the face of the sample clip.

The portrait is scikit-image's `astronaut` (Eileen Collins, NASA, public domain). Its face is moved
by small local warps at fixed landmarks: enough for the demo, no model of a face.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.floating]

SCALE = 2
"""The portrait is warped at twice its 512 px, so that close-ups stay sharp."""

# Landmarks of the portrait, in pixels of its 512 x 512.
MOUTH = (223.4, 22.0)  # centre, half width
UPPER_LIP, LOWER_LIP = 143.7, 150.3  # inner edges at the centre
CORNERS = ((202.7, 139.6), (245.3, 141.1))
BROWS = ((205.0, 88.0), (247.0, 91.0))
EYES = ((203.5, 104.8), (247.2, 106.8))  # middle of the lower lids
EYE_HALF_WIDTH, EYE_HEIGHT = 11.0, 8.0
OPEN_PX = 14.0  # lower lip to upper lip at `mouth=1`
FACE = (150, 60, 300, 215)  # left, top, right, bottom of all that moves
INSIDE = np.array([52, 14, 16], np.float32)  # of an open mouth


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a face does at one moment.

    Attributes:
        mouth: 0 shut, 1 wide open.
        smile: 0 as in the portrait (a broad smile), -1 corners of the mouth down.
        brow: 0 as in the portrait, 1 raised.
        blink: 0 eyes as in the portrait, 1 shut.
    """

    mouth: float = 0.0
    smile: float = 0.0
    brow: float = 0.0
    blink: float = 0.0


class Puppet:
    """One person made from the portrait.

    Args:
        portrait: `(512, 512, 3)` uint8 RGB.
    """

    def __init__(self, portrait: Image) -> None:
        import cv2

        size = portrait.shape[1] * SCALE, portrait.shape[0] * SCALE
        self._rest = np.asarray(cv2.resize(portrait, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        left, top, right, bottom = FACE
        self._part = np.s_[top * SCALE : bottom * SCALE, left * SCALE : right * SCALE]
        y, x = np.mgrid[self._part].astype(np.float32) / SCALE
        self._x, self._y = x, y
        self._brows = sum(_bump(x, y, brow, radius=13.0) for brow in BROWS)
        self._corners = [_bump(x, y, corner, radius=9.0) for corner in CORNERS]
        self._lids = sum(_lid(x, y, eye) for eye in EYES)
        self._last: tuple[Look, Image] | None = None

    def draw(self, look: Look) -> Image:
        """The portrait with another expression: `(1024, 1024, 3)` uint8 RGB; read it only."""
        if self._last is None or self._last[0] != look:
            self._last = look, self._warp(look)
        return self._last[1]

    def _warp(self, look: Look) -> Image:
        import cv2

        x, y = self._expression(look)
        y, dark = self._mouth(x, y, look.mouth)
        face = cv2.remap(self._rest, x * SCALE, y * SCALE, cv2.INTER_LINEAR).astype(np.float32)
        face += dark[..., None] * (INSIDE - face)
        image = self._rest.copy()
        image[self._part] = face.astype(np.uint8)
        return image

    def _expression(self, look: Look) -> tuple[Field, Field]:
        """Where in the portrait each pixel comes from, before the mouth opens."""
        left, right = self._corners
        x = self._x + 4.0 * look.smile * (left - right)  # inwards and down, as it is negative
        y = self._y + 6.0 * look.smile * (left + right)
        y += 6.0 * look.brow * self._brows
        y -= look.blink * self._lids
        return x, y

    def _mouth(self, x: Field, y: Field, mouth: float) -> tuple[Field, Field]:
        """Move the lower lip; what stands open below the teeth is dark (0 to 1)."""
        centre, half_width = MOUTH
        across = np.clip(1 - ((x - centre) / half_width) ** 2, 0, 1)
        upper = UPPER_LIP - 4.5 * (1 - across)
        lower = upper + (LOWER_LIP - UPPER_LIP) * across
        lip = upper + mouth * OPEN_PX * across
        jaw = np.clip((205 - y) / 40, 0, 1)  # the chin follows, the neck stays
        below = y >= lip
        dark = np.clip((y - lower) * 0.8, 0, 1) * np.clip((lip - y) * 0.8, 0, 1)
        return np.where(below, y - (lip - lower) * jaw, y), dark


def _bump(x: Field, y: Field, centre: tuple[float, float], *, radius: float) -> Field:
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * radius**2))


def _lid(x: Field, y: Field, eye: tuple[float, float]) -> Field:
    """How far the upper lid comes down where an eye is shut, in pixels."""
    across = np.clip(1 - ((x - eye[0]) / EYE_HALF_WIDTH) ** 2, 0, 1)
    lower_lid = eye[1] - 2.5 * (1 - across)
    above = np.clip((y - (lower_lid - 13)) / 13, 0, 1)  # the skin below the brow is stretched
    return EYE_HEIGHT * np.sqrt(across) * above * (y < lower_lid)


def somebody_else(portrait: Image) -> Image:
    """The same portrait as another person: darker hair, a blue suit; the camera mirrors it.

    One picture cannot make two people: a good identity model may still call them one.
    """
    import cv2

    y, x = np.mgrid[:512, :512].astype(np.float32)
    image = portrait.astype(np.float32)
    suit = np.clip((y - 185) / 20, 0, 1)[..., None]
    image += suit * (image[..., ::-1] - image)
    head = ((x - 226) / 80) ** 2 + ((y - 88) / 78) ** 2
    face = ((x - 225) / 45) ** 2 + ((y - 130) / 52) ** 2
    hair = np.clip((1 - head) * 6, 0, 1) * np.clip((face - 1) * 4, 0, 1) * (y < 150)
    hair *= np.clip((image[..., 0] - image[..., 2]) / 30, 0, 1)  # not the grey behind it
    image *= 1 - 0.6 * cv2.GaussianBlur(hair, (0, 0), 2)[..., None]
    return image.astype(np.uint8)
