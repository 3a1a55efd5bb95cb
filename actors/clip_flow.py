"""What networks see of a micro-expression clip: its apex, and the flow to it from both ends."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.micro import pictures
from ..datasets.schema import CLIP_FLOW
from .actor import MACHINE, Actor, answer
from .apex import RULES, energies, middle, strongest
from .finders import described
from .flow import Dis, Flow, TvL1, directions, magnitude, scaled, strain
from .people import Finder

Image = NDArray[np.uint8]
EYES = (33, 263)  # outer corners, of the right and of the left eye


@dataclass(kw_only=True)
class ClipFlow(Actor):
    """The input of "Mimicking the Annotation Process" (ACM MM 2022), per clip.

    Three grey pictures: the apex, and the length of the flow from the onset and from the offset to
    it, each taken to 0-255, what is below 1.5 times the mean being 0. Frames are brought to
    `size_px` before the flow is found, so that a released crop and a raw frame cost the same; the
    paper's code scales afterwards.

    Attributes:
        flow: From the ends to the apex.
        search: Finds the apex where a rule by motion is asked for.
        apex: Which frame is the apex: `given` by the release (`middle` where it gives none),
            `middle`, `flow` or `strain`; see `actors.apex`.
        smooth: Frames that a moving mean takes when the apex is searched.
        magnify: How much of the change from the onset the apex is shown with: linear Eulerian
            magnification (Wu et al. 2012) without filters; 1 leaves it as it is.
        flow_to_magnified: The flow goes to the magnified apex, as the paper has it for SAMM.
        noise: Flow below this multiple of its mean is 0.
        faces: Finds the face in the onset, by which all frames of the clip are cut and made
            upright; null: they are cropped already.
        margin: Side of that cut, in sides of the mesh.
        size_px: Side of the pictures.
    """

    reads = ("uri", "onset", "apex", "offset", "missing")
    adds = CLIP_FLOW
    model = "optical flow"
    revision = "OpenCV"
    licence = "Apache-2.0"

    flow: Flow = field(default_factory=TvL1)
    search: Flow = field(default_factory=Dis)
    apex: str = "given"
    smooth: int = 3
    magnify: float = 1.0
    flow_to_magnified: bool = False
    noise: float = 1.5
    faces: Finder | None = None
    margin: float = 1.1
    size_px: int = 224
    memory_gb: float = field(default=0.5, metadata=MACHINE)
    batch_size: int = field(default=4, metadata=MACHINE)

    def __post_init__(self) -> None:
        if self.apex not in RULES:
            raise ValueError(f"`apex` must be one of {', '.join(RULES)}, but is {self.apex!r}.")
        for name, least in (("magnify", 1), ("smooth", 1), ("margin", 0.5), ("size_px", 28)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"`{name}` must be at least {least:g}, but is {value:g}.")

    def setup(self) -> None:
        """Build the flow, and load the face models."""
        import cv2

        cv2.setNumThreads(1)
        for part in (self.flow, self.search, self.faces):
            if part is not None:
                part.setup()

    def close(self) -> None:
        """Release them."""
        for part in (self.flow, self.search, self.faces):
            if part is not None:
                part.close()

    def identity(self) -> dict[str, Any]:
        """As of any actor; of its parts also which they are."""
        parts = {name: described(getattr(self, name)) for name in ("flow", "search", "faces")}
        return super().identity() | parts

    def process(self, rows: pa.Table) -> pa.Table:
        """Read each clip.

        Raises:
            ValueError: A clip cannot be used, or shows no face where one is looked for.
        """
        made = [self._input(row) for row in rows.select(self.reads).to_pylist()]
        return answer({name: [one[name] for one in made] for name in CLIP_FLOW.names}, CLIP_FLOW)

    def _input(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["missing"]:
            raise ValueError(f"the clip cannot be used: {row['missing']}.")
        files = pictures(Path(row["uri"]))
        onset, offset = row["onset"], row["offset"]
        if len(files) <= offset:
            raise ValueError(
                f"the clip '{row['uri']}' must have its offset (frame {offset}), but has only "
                f"{len(files)} frames: load the data set again."
            )
        cut = self._cut(files[onset])
        rule, apex = "middle", middle(onset, offset)
        if self.apex == "given" and row["apex"] is not None:
            rule, apex = "given", row["apex"]
        elif self.apex in ("flow", "strain"):
            span = [self._grey(file, cut) for file in files[onset : offset + 1]]
            rule = self.apex
            apex = onset + strongest(energies(self.search, span, rule), self.smooth)
        first, top, last = (self._grey(files[i], cut) for i in (onset, apex, offset))
        shown = magnified(first, top, self.magnify)
        target = shown if self.flow_to_magnified else top
        rise, fall = self.flow.between(first, target), self.flow.between(last, target)
        stretched = strain(rise)
        lengths = [magnitude(one) for one in (rise, fall)]
        shapes = [scaled(one, self.noise) for one in lengths]
        return {
            "flow_input": packed(np.stack([shown, *shapes], axis=2)),
            "flow_strain": packed(scaled(stretched)),
            "flow_directions": directions(rise).ravel(),
            "flow_peak_px": float(lengths[0].max()),
            "strain_peak": float(stretched.max()),
            "apex_used": apex,
            "apex_rule": rule,
        }

    def _cut(self, file: Path) -> NDArray[np.float64] | None:
        """The map from a picture's pixels to those of the upright face of a frame."""
        if self.faces is None:
            return None
        image = read(file)
        boxes = self.faces.detect(image)
        mesh = self.faces.mesh(image, boxes[:1, :4]) if len(boxes) else np.zeros((0, 478, 3))
        if not len(mesh) or np.isnan(mesh).any():
            raise ValueError(
                f"a face must be seen in the onset, but none is in '{file}': look at the frame, or "
                "use the cropped frames of the release (`faces: null`)."
            )
        return upright(mesh[0], self.margin, self.size_px)

    def _grey(self, file: Path, cut: NDArray[np.float64] | None) -> Image:
        import cv2

        grey = cv2.cvtColor(read(file), cv2.COLOR_RGB2GRAY)
        size = (self.size_px, self.size_px)
        if cut is None:
            way = cv2.INTER_AREA if min(grey.shape) > self.size_px else cv2.INTER_LINEAR
            made = cv2.resize(grey, size, interpolation=way)
        else:
            made = cv2.warpAffine(
                grey, cut, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        return np.asarray(made, np.uint8)


def read(file: Path) -> Image:
    """A frame: RGB `(height, width, 3)` uint8.

    Raises:
        ValueError: The file is no picture, or a damaged one.
    """
    import cv2

    found = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if found is None:
        raise ValueError(f"the frame '{file}' cannot be decoded: copy it from the release again.")
    return np.ascontiguousarray(found[:, :, ::-1], np.uint8)


def magnified(first: Image, top: Image, factor: float) -> Image:
    """The apex with `factor` times its difference from the onset; 1 is the apex itself."""
    change = top.astype(np.float32) - first
    return np.clip(np.round(first + factor * change), 0, 255).astype(np.uint8)


def upright(mesh: NDArray[np.floating], margin: float, size_px: int) -> NDArray[np.float64]:
    """The affine map that cuts a face out and makes its eyes level.

    Args:
        mesh: `(478, 3)`, pixels.
        margin: Side of the cut, in longer sides of the mesh when upright.
        size_px: Side of the result.

    Returns:
        `(2, 3)`: from pixels of the picture to those of the cut.
    """
    points = np.asarray(mesh, np.float64)[:, :2]
    across = points[EYES[1]] - points[EYES[0]]
    tilt = np.arctan2(across[1], across[0])
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    level = points @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    scale = size_px / (float(np.max(high - low)) * margin)
    linear = scale * turn
    return np.column_stack([linear, size_px / 2 - scale * (low + high) / 2])


def packed(image: Image) -> bytes:
    """A picture as PNG: grey `(height, width)`, or RGB `(height, width, 3)`."""
    import cv2

    pixels = image[:, :, ::-1] if image.ndim == 3 else image
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be written as a PNG.")
    return data.tobytes()


def unpacked(data: bytes) -> Image:
    """What `packed` was given: `flow_input` is `(height, width, 3)`, `flow_strain` grey."""
    import cv2

    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise ValueError("the bytes of a feature are no picture: make the features again.")
    pixels = found[:, :, ::-1] if found.ndim == 3 else found
    return np.ascontiguousarray(pixels, np.uint8)
