"""Who is who, modestly: a hand-made descriptor of an aligned face, without learned weights."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.ragged import flatten, regroup
from ..datasets.schema import IDENTITY
from .actor import Actor, answer
from .faces import FaceFinder

SIDE_PX = 112  # of the aligned face
ANCHORS = ((33, 133, 159, 145), (263, 362, 386, 374), (61, 291), (1,))  # eyes, mouth, nose tip
PLACES = ((34, 44), (78, 44), (56, 90), (56, 66))  # where the anchors' means go
CELLS = 7  # of the texture, per side
CODES = 59  # uniform patterns, and all others
EDGES = 1296  # numbers of the histograms of gradients
SPREAD = (20.0, 6.0, 8.0)
"""How far L, a and b of two people differ, about (8-bit Lab); set by hand."""
WAVES = 256
WIDTH = 0.34
"""Of the kernel, in lengths of the descriptor: faces whose descriptors have a cosine of 0.92 come
out with 0.5, where `people` begins to take two for one."""


@dataclass(kw_only=True)
class Identity(Actor):
    """An embedding of each face: edges, texture, and colours of skin and hair.

    It tells the people of one video apart under about the same light; it does not recognise a
    person across years and cameras.

    Attributes:
        margin: Side of a crop in sides of its box.
    """

    reads: ClassVar[tuple[str, ...]] = ("faces",)
    adds: ClassVar[pa.Schema] = IDENTITY
    packages: ClassVar[tuple[str, ...]] = ("mediapipe", "cv2")
    version: ClassVar[int] = 2
    model: ClassVar[str] = "mien appearance (HOG, LBP, colour)"
    revision: ClassVar[str] = "2"
    licence: ClassVar[str] = "Apache-2.0"
    quality: ClassVar[str] = (
        "Same or different person, pair by pair: AUC 0.77 on 14 photographs of six people, "
        "0.96 on single faces of 13 short videos; the same person in another light or "
        "another video is often taken for somebody else."
    )

    margin: float = 1.5
    _finder: Any = field(default=None, init=False, repr=False, compare=False)
    _waves: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.margin < 1:
            raise ValueError(f"`margin` must be at least 1, but is {self.margin:g}.")

    def setup(self) -> None:
        """Load the mesh model, which aligns the faces."""
        self._finder = FaceFinder()
        self._finder.setup()
        self._waves = waves()

    def close(self) -> None:
        """Release the mesh model."""
        if self._finder is not None:
            self._finder.close()
        self._finder = self._waves = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Describe each face; null where a crop is missing or shows no face to the mesh model."""
        faces, counts = flatten(rows["faces"])
        crops = faces.field("crop").to_pylist() if len(faces) else []
        vectors = pa.array([self.embed(crop) for crop in crops], type=pa.list_(pa.float32()))
        return answer({"face_embeddings": regroup(vectors, counts)}, IDENTITY)

    def embed(self, crop: bytes | None) -> NDArray[np.float32] | None:
        """The embedding of one JPEG crop: `(512,)` float32 of length 1."""
        parts = None if crop is None else describe(crop, self._finder, self.margin)
        return None if parts is None else combine(parts, self._waves)


def describe(crop: bytes, finder: FaceFinder, margin: float) -> dict[str, NDArray] | None:
    """The three parts of the descriptor, or `None` where the crop shows no face."""
    import cv2

    image = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a face crop must be a JPEG, but cannot be decoded.")
    image = np.ascontiguousarray(image[:, :, ::-1], np.uint8)
    side = image.shape[0]
    inner = side / margin
    box = np.array([[(side - inner) / 2, (side - inner) / 2, inner, inner]], np.float32)
    mesh = finder.mesh(image, box)[0].astype(np.float64)
    if np.isnan(mesh).any():
        return None
    source = np.array([mesh[list(points), :2].mean(axis=0) for points in ANCHORS])
    warp, _ = cv2.estimateAffinePartial2D(source, np.array(PLACES, np.float64), method=cv2.LMEDS)
    if warp is None:
        return None
    face = cv2.warpAffine(image, warp, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REPLICATE)
    even = cv2.createCLAHE(2.0, (4, 4)).apply(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY))
    grey = np.asarray(even, np.uint8)
    return {
        "edges": edges(grey),
        "texture": texture(grey),
        "colour": colours(image, mesh),
    }


def combine(parts: dict[str, NDArray], waves: NDArray[np.float64]) -> NDArray[np.float32]:
    """One vector of length 1 from the parts, which count the same.

    Faces are all alike: the cosines of their descriptors crowd near 1. Random Fourier features
    (Rahimi and Recht, 2007) spread them out: the cosine of two embeddings is about
    `exp((cosine - 1) / WIDTH**2)` of the descriptors', so the order of likeness stays.
    """
    lengths = [max(float(np.linalg.norm(part)), 1e-9) for part in parts.values()]
    whole = np.concatenate([p / n for p, n in zip(parts.values(), lengths, strict=True)])
    phase = waves @ (whole / np.linalg.norm(whole))
    return (np.concatenate([np.cos(phase), np.sin(phase)]) / np.sqrt(WAVES)).astype(np.float32)


def waves() -> NDArray[np.float64]:
    """Random directions, `(WAVES, length of a descriptor)`: the same everywhere, as seeded."""
    length = EDGES + CELLS**2 * CODES + 6 * len(SPREAD)
    return np.random.default_rng(0).standard_normal((WAVES, length)) / WIDTH


def edges(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Histograms of oriented gradients (Dalal and Triggs, 2005): cells of 16 pixels."""
    import cv2

    side = (SIDE_PX, SIDE_PX)
    gradients = cv2.HOGDescriptor(side, (32, 32), (16, 16), (16, 16), 9)
    return np.asarray(gradients.compute(grey), np.float64).ravel()


def texture(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Uniform local binary patterns of radius 2 (Ahonen et al., 2006), square roots of shares."""
    import cv2

    smooth = np.asarray(cv2.GaussianBlur(grey, (3, 3), 0), np.int16)
    size = SIDE_PX - 4
    centre = smooth[2:-2, 2:-2]
    code = np.zeros((size, size), np.int64)
    ring = ((-2, 0), (-1, 1), (0, 2), (1, 1), (2, 0), (1, -1), (0, -2), (-1, -1))
    for bit, (dy, dx) in enumerate(ring):
        code |= (smooth[2 + dy : 2 + dy + size, 2 + dx : 2 + dx + size] >= centre) << bit
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    uniform = (bits != np.roll(bits, -1, axis=1)).sum(axis=1) <= 2
    label = np.where(uniform, np.cumsum(uniform) - 1, 58)[code]
    cell = np.minimum(np.arange(size) // (size // CELLS), CELLS - 1)
    place = cell[:, None] * CELLS + cell[None, :]
    counts = np.bincount((place * CODES + label).ravel(), minlength=CELLS**2 * CODES)
    counts = counts.reshape(CELLS**2, CODES)
    return np.sqrt(counts / counts.sum(axis=1, keepdims=True)).ravel()


def colours(image: NDArray[np.uint8], mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lab colours of skin, hair and what is beside the face; brows, lip and chin against skin.

    Returns:
        `(18,)`, in `SPREAD`, 0 for medium grey.
    """
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)
    side = image.shape[0]

    def at(points: NDArray[np.float64], reach: int = 4) -> NDArray[np.float64]:
        found = []
        for x, y in np.clip(points, reach, side - 1 - reach).astype(int):
            patch = lab[y - reach : y + reach + 1, x - reach : x + reach + 1]
            found.append(np.median(patch.reshape(-1, 3), axis=0))
        return np.median(found, axis=0)

    flat = mesh[:, :2]
    top = flat[10] + 0.35 * (flat[10] - flat[168])
    hair = at(np.array([top, *(top + 0.6 * (flat[[54, 284]] - flat[10]))]))
    width = flat[356] - flat[127]
    beside = at(np.array([flat[127] - 0.08 * width, flat[356] + 0.08 * width]))
    skin = at(flat[[50, 280, 205, 425, 151]])
    brow, lip = at(flat[[105, 334, 66, 296]], 2), at(flat[[17, 0]], 2)
    chin = at(flat[[199, 200, 175]], 3)
    found = np.array([skin - 128, hair - 128, brow - skin, lip - skin, chin - skin, beside - 128])
    return (found / SPREAD).ravel()
