"""Emotions of faces, one face at a time: DeepFace's network, and the mini-Xception."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.ragged import regroup
from ..datasets.schema import FACE_EMOTIONS
from .actor import MACHINE, answer
from .crops import MARGIN, Image, answered, decoded, framed
from .deep_faces import DeepFaceNetwork, located
from .neural import Neural
from .weights import Weights

VIEW = 1.2
"""Of the four labelled expressions the mini-Xception names all from 1.0 to 1.3, and gives the
right one the highest mean probability at 1.2. FER2013, on which both networks were trained, shows
faces from the forehead to below the chin."""

Grey = NDArray[np.float32]


@dataclass(kw_only=True)
class FaceEmotion(Neural):
    """Probabilities of the canonical seven emotions for each face.

    A crop is wider than the face: what a network sees is cut out of its middle.

    Attributes:
        view: Side of what the network sees, in sides of the face's box.
    """

    reads: ClassVar[tuple[str, ...]] = ("faces",)
    adds: ClassVar[pa.Schema] = FACE_EMOTIONS

    view: float = VIEW

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.view <= MARGIN:
            raise ValueError(f"`view` must be between 0.5 and {MARGIN}, but is {self.view:g}.")

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge each face; null where a crop is missing."""
        found, counts = answered(self, rows["faces"], self.prepared, self.judged)
        scores = pa.array(found, type=FACE_EMOTIONS.field(0).type.value_type)
        return answer({"face_emotions": regroup(scores, counts)}, FACE_EMOTIONS)

    def prepared(self, crops: Sequence[bytes]) -> Grey:
        """Grey pictures `(n, side, side, 1)` in the network's own range."""
        faces = (framed(decoded(crop), self.view, self.view) for crop in crops)
        return np.stack([self.grey(face) for face in faces])[..., None]

    def judged(self, pictures: Grey) -> list[NDArray[np.float32]]:
        """Probabilities in the order of `LABELS`, one array per picture."""
        found = self.forward(pictures)
        return list(found / found.sum(axis=1, keepdims=True))

    @abstractmethod
    def grey(self, face: Image) -> Grey:
        """One RGB face of any size as the network wants it."""

    @abstractmethod
    def forward(self, pictures: Grey) -> NDArray[np.float32]:
        """Run the network: `(n, 7)`."""


@dataclass(kw_only=True)
class DeepFaceEmotion(DeepFaceNetwork, FaceEmotion):
    """Emotions by DeepFace's network, in batches.

    Each answer is a hundredth of what `DeepFace.analyze(actions=["emotion"],
    detector_backend="skip", enforce_detection=False)` says of the same picture.
    """

    task = "facial_attribute"
    model = "DeepFace Emotion"
    licence = "MIT"
    quality = "Not measured here: its weights were not at hand."

    @property
    def network(self) -> str:
        """The network's name."""
        return "Emotion"

    @property
    def stem(self) -> str:
        """Its file's name."""
        return "facial_expression_model_weights"

    def grey(self, face: Image) -> Grey:
        """48 x 48, 0-1, by way of 224 x 224: as `analyze` shrinks it."""
        import cv2
        from deepface.modules.preprocessing import resize_image

        bgr = face[:, :, ::-1]
        bright = bgr / 255 if bgr.max() > 1 else bgr
        even = resize_image(bright, (224, 224))[0]
        return np.asarray(cv2.resize(cv2.cvtColor(even, cv2.COLOR_BGR2GRAY), (48, 48)), np.float32)


@dataclass(kw_only=True)
class MiniXception(FaceEmotion):
    """Emotions by the mini-Xception of Arriaga et al., trained on FER2013: 58 thousand parameters.

    Attributes:
        checkpoint: Its Keras file.
    """

    packages = ("torch", "cv2", "h5py")
    model = "mini-Xception (FER2013)"
    licence = "MIT"
    quality = (
        "Names 4 of 4 labelled expressions on photographs; "
        "0.66 of FER2013's faces by its authors' own count."
    )

    checkpoint: Weights = field(
        default_factory=lambda: Weights(
            name="oarriaga/face_classification",
            licence="MIT",
            files=("fer2013_mini_XCEPTION.102-0.66.hdf5",),
        )
    )
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def setup(self) -> None:
        """Load the network."""
        from .xception_net import load

        self._network = self.placed(load(located(self.checkpoint)))

    def close(self) -> None:
        """Release the network."""
        self._network = None

    def grey(self, face: Image) -> Grey:
        """64 x 64, -1 to 1."""
        import cv2

        small = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (64, 64))
        return np.asarray(small, np.float32) / 127.5 - 1

    def forward(self, pictures: Grey) -> NDArray[np.float32]:
        """Run the network."""
        import torch

        tensor = self.moved(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous())
        return self._network(tensor).float().cpu().numpy()
