"""Restoration: face crops made readable before other models see them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..datasets.ragged import flatten, regroup
from ..datasets.schema import RESTORED, WATCH
from . import gfpgan
from .actor import MACHINE, answer
from .crops import MARGIN, Image, decoded
from .deep_faces import located
from .faces import FaceFinder
from .neural import Neural
from .weights import Weights

MODES = ("none", "clahe", "gfpgan", "both")
SCALES = (2, 4)
GOOD_PX, SHARP, PATCH_PX = 96.0, 60.0, 64
"""Of the watching's own quality, see `signals.quality`."""

Floats = NDArray[np.float64]


class Face(NamedTuple):
    """A crop on its way through the network.

    Attributes:
        image: RGB, square.
        matrix: How it is laid into the network's frame, see `gfpgan.placement`.
    """

    image: Image
    matrix: gfpgan.Matrix


@dataclass(kw_only=True)
class Restore(Neural):
    """Face crops with more contrast (CLAHE), or drawn anew and larger (GFPGAN), or both.

    CLAHE evens the lightness of every crop (L of Lab, colours stay). GFPGAN takes those below
    `below_quality` or `below_px` and makes them `scale` times as large; where both are asked for
    CLAHE comes first. GFPGAN invents what it cannot see: what later models read in such a face is
    partly its own. Boxes stay as they are. The actors behind this one get the new crops; the table
    keeps the old ones, which stand in table `watch`.

    Attributes:
        mode: `none`, `clahe`, `gfpgan` or `both`.
        clip_limit: Of CLAHE; 1 changes little, 4 much.
        tiles: Of CLAHE, along each side of the crop.
        scale: Of GFPGAN: 2 or 4.
        below_quality: GFPGAN takes faces whose `quality` (0-1) is below this ...
        below_px: ... or whose box has a side below this.
        align: Whether GFPGAN's frame is placed by the pupils, the nose and the mouth, with
            MediaPipe's packaged mesh; otherwise, and where no mesh is found, by the box.
        jpeg_quality: Of the new crops, 1-100.
        checkpoint: Weights of GFPGAN, one file.
    """

    packages = ("cv2",)
    reads: ClassVar[tuple[str, ...]] = ("faces",)
    adds: ClassVar[pa.Schema] = pa.schema([*RESTORED, WATCH.field("faces")])
    passes: ClassVar[tuple[str, ...]] = ("faces",)
    model = "CLAHE"
    licence = "Apache-2.0"  # OpenCV
    quality = "Not measured here: GFPGAN's weights were not at hand."

    mode: str = "clahe"
    clip_limit: float = 2.0
    tiles: int = 4
    scale: int = 2
    below_quality: float = 0.5
    below_px: float = GOOD_PX
    align: bool = True
    jpeg_quality: int = 90
    checkpoint: Weights | None = field(
        default_factory=lambda: Weights(
            name="TencentARC/GFPGAN", licence="Apache-2.0", files=("GFPGANv1.4.pth",)
        )
    )
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _finder: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("mode", MODES), ("scale", SCALES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(map(str, known))}, "
                    f"but is {getattr(self, name)!r}."
                )
        for name, low, high in (
            ("clip_limit", 0.1, 100),
            ("tiles", 1, 16),
            ("below_quality", 0, 1),
            ("below_px", 0, 1e6),
            ("jpeg_quality", 1, 100),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(
                    f"`{name}` must be between {low:g} and {high:g}, "
                    f"but is {getattr(self, name):g}."
                )
        if self.draws and self.precision == "float16":
            raise ValueError("`precision` of GFPGAN must be float32 or bfloat16, but is 'float16'.")
        if not self.draws:
            self.checkpoint = None
        elif self.checkpoint is None:
            raise ValueError(f"`checkpoint` must be given with `mode` {self.mode!r}, but is null.")

    @property
    def draws(self) -> bool:
        """Whether GFPGAN has a part in it."""
        return self.mode in ("gfpgan", "both")

    @property
    def evens(self) -> bool:
        """Whether CLAHE has a part in it."""
        return self.mode in ("clahe", "both")

    def missing(self) -> str | None:
        """Why it cannot work here; CLAHE needs no more than OpenCV."""
        needed = ("torch", "spandrel") if self.draws and self.environment is None else ()
        absent = [name for name in needed if find_spec(name) is None]
        lack = f"needs the package {', '.join(absent)}: `make setup` installs all of them"
        reasons = (lack if absent else None, super().missing())
        return "; ".join(reason for reason in reasons if reason) or None

    def setup(self) -> None:
        """Load GFPGAN, and the mesh that places its frame, where they have a part in it."""
        if self.checkpoint is None:
            return
        self._network = self.placed(gfpgan.load(located(self.checkpoint)))
        if self.align:
            self._finder = FaceFinder()
            self._finder.setup()

    def close(self) -> None:
        """Release the models."""
        if self._finder is not None:
            self._finder.close()
        self._network = self._finder = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Restore each crop; null where it is missing or cannot be decoded."""
        items, counts = flatten(rows["faces"])
        faces = pa.Table.from_struct_array(items)
        images = [readable(crop) for crop in faces["crop"].to_pylist()]
        known = [i for i, image in enumerate(images) if image is not None]
        crops = dict(zip(known, self.improved(images, faces, known), strict=True))
        data = faces["crop"].to_pylist()
        restored: list[bool | None] = [None] * len(data)
        quality: list[float | None] = [None] * len(data)
        before = qualities(faces)
        for i, image in enumerate(images):
            if image is None:
                data[i] = None
                continue
            restored[i] = crops[i] is not image
            quality[i] = after(float(before[i]), image, crops[i])
            if restored[i]:
                data[i] = written(crops[i], self.jpeg_quality)
        at = faces.schema.get_field_index("crop")
        faces = faces.set_column(at, faces.schema.field(at), pa.array(data, pa.binary()))
        columns = [
            (pa.array(quality, pa.float32(), from_pandas=True), "face_quality"),
            (pa.array(restored, pa.bool_()), "restored"),
            (pa.concat_arrays(faces.to_struct_array().chunks) if len(faces) else items, "faces"),
        ]
        return answer({name: regroup(values, counts) for values, name in columns}, self.adds)

    def improved(
        self, images: Sequence[Image | None], faces: pa.Table, known: Sequence[int]
    ) -> list[Image]:
        """The crops that `known` names, each replaced or the very same."""
        crops = [image for image in (images[i] for i in known) if image is not None]
        if self.evens:
            crops = [evened(crop, self.clip_limit, self.tiles) for crop in crops]
        if self.draws:
            poor = self.poor(faces)
            chosen = [at for at, i in enumerate(known) if poor[i]]
            laid = [Face(crops[at], self.matrix(crops[at])) for at in chosen]
            for at, image in zip(chosen, self.through(laid, prepared, self.drawn), strict=True):
                crops[at] = image
        return crops

    def poor(self, faces: pa.Table) -> NDArray[np.bool_]:
        """Which faces GFPGAN takes; one of unknown quality is judged by its size."""
        quality = pc.fill_null(faces["quality"], 1.0).to_numpy()
        return (quality < self.below_quality) | (sides(faces) < self.below_px)

    def matrix(self, image: Image) -> gfpgan.Matrix:
        """How a crop is laid into GFPGAN's frame."""
        side = image.shape[0]
        if self._finder is None:
            return gfpgan.placement(side)
        inner = side / MARGIN
        box = np.array([[(side - inner) / 2] * 2 + [inner] * 2], np.float32)
        return gfpgan.placement(side, self._finder.mesh(image, box)[0])

    def drawn(self, batch: tuple[Sequence[Face], Any]) -> list[Image]:
        """The new crops of a micro-batch."""
        faces, pictures = batch
        found = gfpgan.drawn(self._network, self.moved(pictures)).float().cpu().numpy()
        return [
            gfpgan.returned(face.image, picture, face.matrix, self.scale)
            for face, picture in zip(faces, found, strict=True)
        ]


def prepared(faces: Sequence[Face]) -> tuple[Sequence[Face], Any]:
    """Crops laid into GFPGAN's frame, as one tensor; the faces come along."""
    return faces, gfpgan.stacked([gfpgan.laid(face.image, face.matrix) for face in faces])


def readable(crop: bytes | None) -> Image | None:
    """The picture of a crop; `None` where it is missing or cannot be decoded."""
    try:
        return None if not crop else np.ascontiguousarray(decoded(crop))
    except ValueError:
        return None


def evened(image: Image, clip_limit: float, tiles: int) -> Image:
    """Even the lightness of a picture (CLAHE on L of Lab).

    Args:
        image: RGB uint8.
        clip_limit: See `Restore`.
        tiles: See `Restore`.
    """
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    clahe = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def sharpness(image: Image) -> float:
    """How sharp the face in the middle of a crop is, 0-1, as `signals.quality` counts it."""
    import cv2

    side = image.shape[0]
    edge = round(side * (1 - 1 / MARGIN) / 2)
    inner = np.ascontiguousarray(image[edge : side - edge, edge : side - edge])
    way = cv2.INTER_AREA if inner.shape[0] > PATCH_PX else cv2.INTER_LINEAR
    patch = cv2.resize(inner, (PATCH_PX, PATCH_PX), interpolation=way)
    edges = cv2.Laplacian(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
    return float(edges / (edges + SHARP))


def after(before: float, image: Image, improved: Image) -> float:
    """Quality of a face after its restoration.

    The quality before is the cube root of size, sharpness and frontality; only the sharpness has
    changed: pixels that were made up add no size. Contrast that CLAHE adds counts as sharpness.

    Args:
        before: 0-1; NaN stays NaN.
        image: The crop as it was.
        improved: The crop as it is.

    Returns:
        0-1.
    """
    if improved is image:
        return before
    change = sharpness(improved) / max(sharpness(image), 1e-6)
    return float(np.clip(before * np.cbrt(change), 0, 1))


def sides(faces: pa.Table) -> Floats:
    """The shorter side of each box, in pixels of the frame."""
    return np.minimum(faces["w"].to_numpy(), faces["h"].to_numpy())


def qualities(faces: pa.Table) -> Floats:
    """The quality of each face before, 0-1; NaN where it is unknown."""
    return pc.fill_null(faces["quality"].cast(pa.float64()), np.nan).to_numpy()


def written(image: Image, quality: int) -> bytes:
    """A picture as JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("a restored crop could not be written as a JPEG.")
    return data.tobytes()
