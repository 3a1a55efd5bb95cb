"""Finders for `Watch` that are put together: any face detector with any mesh."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .faces import FaceFinder
from .watch import Watch
from .weights import Weights

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


class Detector(Protocol):
    """What finds faces; `FaceFinder` is one, those of `detectors` are others."""

    def setup(self) -> None:
        """Load the model."""

    def close(self) -> None:
        """Release it."""

    def detect(self, image: Image) -> Boxes:
        """Faces of a picture: `(face, 5)` x, y, w, h, score."""
        ...


class Mesher(Protocol):
    """What fits meshes; `FaceFinder` is one, `Landmarker` another."""

    def setup(self) -> None:
        """Load the model."""

    def close(self) -> None:
        """Release it."""

    def mesh(self, image: Image, boxes: Boxes) -> NDArray[np.float32]:
        """Meshes of faces: `(face, 478, 3)`."""
        ...


@dataclass(kw_only=True)
class Faces:
    """A finder made of a detector and a mesh.

    Attributes:
        detector: Finds the faces.
        mesher: Fits their meshes; by default MediaPipe's packaged one.
    """

    detector: Detector
    mesher: Mesher = field(default_factory=FaceFinder)

    def setup(self) -> None:
        """Load both."""
        self.detector.setup()
        self.mesher.setup()

    def close(self) -> None:
        """Release both."""
        self.detector.close()
        self.mesher.close()

    def detect(self, image: Image) -> Boxes:
        """Find the faces of a picture; see `FaceFinder.detect`."""
        return self.detector.detect(image)

    def mesh(self, image: Image, boxes: Boxes) -> NDArray[np.float32]:
        """Fit the meshes; see `FaceFinder.mesh`."""
        return self.mesher.mesh(image, boxes)


@dataclass(kw_only=True)
class WatchFaces(Watch):
    """`Watch` with a finder that loads weights of its own, which no package carries."""

    def weights(self) -> tuple[Weights, ...]:
        """All weights of the finder."""
        return tuple(part for part in parts(self.faces) if isinstance(part, Weights))

    def missing(self) -> str | None:
        """Why it cannot work here: packages or weights of the finder."""
        known = [super().missing()]
        if self.environment is None:
            asked = (getattr(part, "missing", None) for part in parts(self.faces))
            known += [ask() for ask in asked if ask and not isinstance(ask.__self__, Weights)]
        return "; ".join(reason for reason in known if reason) or None

    def provenance(self) -> dict[str, str]:
        """Of the watching itself, and of the finder."""
        own = {"model": self.model, "revision": self.revision, "licence": self.licence}
        if not self.weights():
            return own
        return {name: f"{own[name]} + {value}" for name, value in super().provenance().items()}

    def identity(self) -> dict[str, Any]:
        """As of any actor; of the finder's weights what they are, rather than where."""
        return super().identity() | {"faces": described(self.faces)}


def parts(value: object) -> Iterator[object]:
    """A dataclass and all dataclasses that it is made of."""
    if is_dataclass(value) and not isinstance(value, type):
        yield value
        for f in fields(value):
            yield from parts(getattr(value, f.name))


def described(value: object) -> object:
    """A part of an actor as its identity tells it: the class, and what changes the answer."""
    if isinstance(value, Weights):
        return value.identity()
    if not is_dataclass(value) or isinstance(value, type):
        return value
    known = (f for f in fields(value) if f.init and "machine" not in f.metadata)
    own = {f.name: described(getattr(value, f.name)) for f in known}
    return {"class": type(value).__qualname__, **own}
