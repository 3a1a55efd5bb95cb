"""Who is who, by deep face recognition: DeepFace's networks, and a gallery of known people."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.ragged import regroup
from ..datasets.schema import IDENTITY, MATCHES
from . import signals
from .actor import MACHINE, answer
from .crops import FRAME, MARGIN, Image, answered, decoded, framed, upright
from .deep_faces import DeepFaceNetwork
from .faces import FaceFinder

Embedding = NDArray[np.float32]


class Kind(NamedTuple):
    """A network: its file, the side of its input in pixels, its threshold, its licence.

    Thresholds are cosine distances below which DeepFace takes two pictures for one person
    (`deepface.config.threshold`).
    """

    stem: str
    side_px: int
    threshold: float
    licence: str


KINDS = {
    "Facenet512": Kind("facenet512_weights", 160, 0.30, "MIT"),
    "ArcFace": Kind("arcface_weights", 112, 0.68, "LicenseRef-InsightFace-NC"),
}
NORMALIZATIONS = ("base", "raw", "Facenet", "Facenet2018", "VGGFace", "VGGFace2", "ArcFace")
"""DeepFace's; `base`, its default, to which the thresholds belong, is 0-1."""
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(kw_only=True)
class Recognition(DeepFaceNetwork):
    """An embedding of each face, and the person of the gallery whom it shows.

    A crop is turned until the eyes lie level and framed as DeepFace's detectors frame a face; from
    there each answer is what `DeepFace.represent(detector_backend="skip", l2_normalize=True)` says
    of the same picture.

    Attributes:
        kind: `Facenet512` or `ArcFace`.
        gallery: Folder with pictures of known people, `NAME/*.jpg` or `NAME.jpg`, each of one
            person, whose face is the largest in the picture. Without it there are no matches.
        threshold: Largest cosine distance (0-2) to a picture of the gallery that is a match; null
            takes the network's own.
        align: Whether to level the eyes, with MediaPipe's packaged mesh.
        normalization: Of the pixels, as DeepFace names it.
    """

    reads: ClassVar[tuple[str, ...]] = ("faces",)
    adds: ClassVar[pa.Schema] = pa.schema([*IDENTITY, *MATCHES])
    packages = (*DeepFaceNetwork.packages, "mediapipe")
    task = "facial_recognition"
    model = "DeepFace recognition"
    licence = "MIT"
    quality = "Not measured here: its weights were not at hand."

    kind: str = "Facenet512"
    gallery: str | None = None
    threshold: float | None = None
    align: bool = True
    normalization: str = "base"
    _finder: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _known: tuple[list[str], Embedding] | None = field(
        default=None, init=False, repr=False, compare=False, metadata=MACHINE
    )

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, but is {self.kind!r}.")
        if self.normalization not in NORMALIZATIONS:
            known = ", ".join(NORMALIZATIONS)
            raise ValueError(
                f"`normalization` must be one of {known}, but is {self.normalization!r}."
            )
        if self.threshold is not None and not 0 < self.threshold <= 2:
            raise ValueError(f"`threshold` must be in (0, 2], but is {self.threshold:g}.")
        super().__post_init__()

    @property
    def network(self) -> str:
        """The network's name."""
        return self.kind

    @property
    def stem(self) -> str:
        """Its file's name."""
        return KINDS[self.kind].stem

    @property
    def terms(self) -> str:
        """Licence of the network's weights."""
        return KINDS[self.kind].licence

    @property
    def reach(self) -> float:
        """The threshold in use."""
        return KINDS[self.kind].threshold if self.threshold is None else self.threshold

    @property
    def likeness(self) -> float:
        """Least mean cosine between two groups of tracks that are one person, for clustering."""
        return 1 - self.reach

    def missing(self) -> str | None:
        """Why it cannot work here; a gallery without pictures is a reason too."""
        reasons = [super().missing()]
        if self.gallery is not None and not any(pictures(Path(self.gallery))):
            reasons.append(
                f"`gallery` must hold pictures as NAME/*.jpg or NAME.jpg, but {self.gallery!r} "
                + ("holds none" if Path(self.gallery).is_dir() else "is no folder")
            )
        return "; ".join(reason for reason in reasons if reason) or None

    def identity(self) -> dict[str, Any]:
        """What changes the answer: of the gallery its content, not its place."""
        known = super().identity()
        return known if self.gallery is None else known | {"gallery": seal(Path(self.gallery))}

    def setup(self) -> None:
        """Load the network, and embed the gallery.

        Raises:
            ValueError: The gallery has no pictures, or somebody in it no usable one.
        """
        super().setup()
        if self.align or self.gallery is not None:
            self._finder = FaceFinder()
            self._finder.setup()
        if self.gallery is not None:
            self._known = self._read(Path(self.gallery))

    def close(self) -> None:
        """Release the network and the gallery."""
        super().close()
        if self._finder is not None:
            self._finder.close()
        self._finder = self._known = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Embed each face and look it up; null where a crop is missing."""
        found, counts = answered(self, rows["faces"], self.prepared, self.embedded)
        vectors = pa.array(found, type=IDENTITY.field(0).type.value_type)
        columns = {"face_embeddings": regroup(vectors, counts)}
        if self._known is not None:
            names, gallery = self._known
            matches = matched(found, names, gallery, self.reach)
            matches = pa.array(matches, type=MATCHES.field(0).type.value_type)
            columns["face_matches"] = regroup(matches, counts)
        return answer(columns, self.adds)

    def prepared(self, crops: Sequence[bytes]) -> NDArray[np.float32]:
        """Crops as `(n, side, side, 3)` BGR in the network's own range."""
        return np.concatenate([self._shaped(self.portrait(crop)) for crop in crops])

    def embedded(self, faces: NDArray[np.float32]) -> list[Embedding]:
        """Embeddings of length 1, one per face."""
        found = self.forward(faces)
        return list(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))

    def portrait(self, crop: bytes) -> Image:
        """The picture that the network sees, before it is scaled: RGB, eyes level."""
        image = decoded(crop)
        if self.align:
            side = image.shape[0]
            inner = side / MARGIN
            box = np.array([[(side - inner) / 2] * 2 + [inner] * 2], np.float32)
            image = upright(image, self._finder.mesh(image, box)[0])
        return framed(image, *FRAME)

    def _shaped(self, face: Image) -> NDArray[np.float32]:
        from deepface.modules.preprocessing import normalize_input, resize_image

        side = KINDS[self.kind].side_px
        return normalize_input(
            resize_image(face[:, :, ::-1], (side, side)), normalization=self.normalization
        )

    def _read(self, folder: Path) -> tuple[list[str], Embedding]:
        """Names and embeddings `(picture, d)` of a gallery."""
        names, crops = [], []
        people = {}
        for name, path in pictures(folder):
            people.setdefault(name, 0)
            crop = self._largest(path)
            if crop is not None:
                names.append(name)
                crops.append(crop)
                people[name] += 1
        if not people:
            raise ValueError(self.missing())
        lost = [name for name, count in people.items() if not count]
        if lost:
            raise ValueError(
                f"`gallery` must show the face of everybody in it, but no picture of "
                f"{', '.join(lost)} shows one ({str(folder)!r})."
            )
        return names, np.stack(self.through(crops, self.prepared, self.embedded))

    def _largest(self, path: Path) -> bytes | None:
        """A crop of the largest face of a picture; warns and gives `None` where there is none."""
        import cv2

        data = np.fromfile(path, np.uint8)
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if bgr is None:
            warnings.warn(f"gallery: {path} cannot be read as a picture.", stacklevel=2)
            return None
        image = np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)
        boxes = self._finder.detect(image)
        if not len(boxes):
            warnings.warn(f"gallery: {path} shows no face.", stacklevel=2)
            return None
        return signals.crop(image, boxes[boxes[:, 2].argmax(), :4])


def matched(
    found: Sequence[Embedding | None],
    names: Sequence[str],
    gallery: Embedding,
    reach: float,
) -> list[dict[str, Any] | None]:
    """The person of the nearest picture of a gallery, by one product with all of it.

    Args:
        found: Embeddings `(d,)` of length 1; `None` where there is none.
        names: Of whom each picture shows.
        gallery: `(picture, d)`, rows of length 1.
        reach: Largest cosine distance of a match.

    Returns:
        `name` and `distance` (0-2) for each embedding; `None` where nobody is near.
    """
    matches: list[dict[str, Any] | None] = [None] * len(found)
    known = [(row, one) for row, one in enumerate(found) if one is not None]
    if not known:
        return matches
    distances = 1 - np.stack([one for _, one in known]) @ gallery.T
    for (row, _), to_all in zip(known, np.clip(distances, 0, 2), strict=True):
        best = int(to_all.argmin())
        if to_all[best] <= reach:
            matches[row] = {"name": names[best], "distance": float(to_all[best])}
    return matches


def pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    """The pictures of a gallery with the names of whom they show, sorted."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
            yield from ((path.name, picture) for picture in found)
        elif path.suffix.lower() in PICTURES:
            yield path.stem, path


def seal(folder: Path) -> str:
    """A digest of the pictures of a gallery and the names they stand under."""
    content = hashlib.sha256()
    for name, path in pictures(folder):
        content.update(f"{name}/{path.name} {path.stat().st_size} ".encode())
        content.update(path.read_bytes())
    return content.hexdigest()[:12]
