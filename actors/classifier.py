"""Emotions of faces, by a classifier that `mien train` made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.frames import picture
from ..datasets.ragged import regroup
from ..datasets.schema import FACE_EMOTIONS, LABELS
from . import sidecar
from .actor import MACHINE, Actor, answer
from .crops import Answer, answered
from .packages import absent, cure
from .sidecar import MODEL, SIDECAR, Sidecar
from .text_emotion import SYNONYMS
from .weights import Weights

CURE = "`models.actors.classifier.model_dir=FOLDER`, the folder that `mien train` exported"


@dataclass(kw_only=True)
class Classifier(Actor):
    """Probabilities of emotions for each face, by an exported network of single frames.

    Its classes must be of the canonical seven; one that it does not know has probability 0. It
    sees each crop as the training saw it: whole, scaled to the network's size.

    Attributes:
        model_dir: Folder of `model.onnx` and `model.json`.
        names: The emotion that each class stands for, where the class has another name.
        micro_batch: Faces through the network at once, at most.
        threads: Of the network.
    """

    reads: ClassVar[tuple[str, ...]] = ("faces",)
    adds: ClassVar[pa.Schema] = FACE_EMOTIONS
    model: ClassVar[str] = "classifier"
    licence: ClassVar[str] = "as its sidecar says"
    quality: ClassVar[str] = "As measured in its training; see the report of `mien train`."

    model_dir: str | None = field(default=None, metadata=MACHINE)  # its content is the identity
    names: Mapping[str, str] = field(default_factory=dict)
    micro_batch: int = field(default=64, metadata=MACHINE)
    threads: int = field(default=1, metadata=MACHINE)
    _session: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        for name in ("micro_batch", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")
        unknown = sorted(set(self.names.values()) - set(LABELS))
        if unknown:
            raise ValueError(
                f"`names` must lead to {', '.join(LABELS)}, but leads to {', '.join(unknown)}."
            )

    def missing(self) -> str | None:
        """Why it cannot work: no folder, or one of something else."""
        if lacking := absent(["onnxruntime"]):
            return f"needs the package onnxruntime: {cure(lacking)}"
        if self.model_dir is None:
            return f"needs a classifier: {CURE}"
        if not (self._folder / MODEL).is_file():
            return f"`model_dir` must hold {MODEL}, but {self.model_dir!r} does not: {CURE}"
        try:
            self._order(self._card())
        except ValueError as error:
            return str(error).rstrip(".")
        return None

    def weights(self) -> tuple[Weights, ...]:
        """The exported network, under the licence that its sidecar says."""
        if self.missing() is not None:
            return ()
        card = self._card()
        name = f"{card.network} (config {card.config_hash})"
        files = (MODEL, SIDECAR)
        return (Weights(name=name, licence=card.licence, files=files, path=self.model_dir),)

    def identity(self) -> dict[str, Any]:
        """What changes the answer: the content of the folder, not where it is."""
        return super().identity() | {"weights": [one.identity() for one in self.weights()]}

    def setup(self) -> None:
        """Load the network.

        Raises:
            ValueError: It is not the one that the sidecar describes.
        """
        import onnxruntime

        card, path = self._card(), self._folder / MODEL
        if sidecar.sha256(path) != card.sha256:
            raise ValueError(
                f"'{path}' must be the network that {SIDECAR} describes, but its content is "
                "another (`sha256`): export it again, or bring both files from one training."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self._session = onnxruntime.InferenceSession(str(path), options)
        outputs = self._session.get_outputs()[0].shape[1]
        if outputs != len(card.labels):
            raise ValueError(
                f"'{path}' must have a probability for each of the {len(card.labels)} `labels` of "
                f"{SIDECAR}, but has {outputs}."
            )
        self._size_px, self._columns = card.size_px, self._order(card)

    def close(self) -> None:
        """Release the network."""
        self._session = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge each face; null where a crop is missing."""
        found, counts = answered(self, rows["faces"], self.prepared, self.judged)
        scores = pa.array(found, type=FACE_EMOTIONS.field(0).type.value_type)
        return answer({"face_emotions": regroup(scores, counts)}, FACE_EMOTIONS)

    def through(
        self,
        items: Sequence[bytes],
        prepare: Callable[[Sequence[bytes]], Any],
        infer: Callable[[Any], Sequence[Answer]],
    ) -> list[Answer]:
        """Send crops through the network in micro-batches."""
        starts = range(0, len(items), self.micro_batch)
        parts = (items[at : at + self.micro_batch] for at in starts)
        return [one for part in parts for one in infer(prepare(part))]

    def prepared(self, crops: Sequence[bytes]) -> NDArray[np.uint8]:
        """Pictures `(n, 3, size, size)`."""
        pictures = np.stack([picture(crop, self._size_px) for crop in crops])
        return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))

    def judged(self, pictures: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Probabilities in the order of `LABELS`, one array per picture."""
        [found] = self._session.run(None, {"frames": pictures})
        scores = np.zeros((len(pictures), len(LABELS)), np.float32)
        scores[:, self._columns] = found
        return list(scores)

    @property
    def _folder(self) -> Path:
        return Path(self.model_dir or "").expanduser()

    def _card(self) -> Sidecar:
        return sidecar.read(self._folder)

    def _order(self, card: Sidecar) -> list[int]:
        """Which of `LABELS` each class is.

        Raises:
            ValueError: A class is no emotion, two are the same one, or the network does not see
                single frames.
        """
        if card.inputs != "frames":
            raise ValueError(
                f"a classifier of faces must see single frames, but {card.network} "
                f"('{self._folder}') sees {card.inputs}: train one of `inputs` frames."
            )
        known = [self.names.get(x, SYNONYMS.get(x.lower(), x.lower())) for x in card.labels]
        if set(known) - set(LABELS) or len(set(known)) < len(known):
            raise ValueError(
                f"the classes of a classifier of faces must be of {', '.join(LABELS)}, each once, "
                f"but those of '{self._folder}' are {', '.join(card.labels)}: say what they "
                "stand for (`models.actors.classifier.names={CLASS: EMOTION}`)."
            )
        return [LABELS.index(name) for name in known]
