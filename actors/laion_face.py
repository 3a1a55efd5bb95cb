"""Fine-grained emotions of faces: LAION's Empathic Insight on SigLIP2."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.laion import LAION_FACE_NAMES, file_of, read_statistics
from ..datasets.ragged import regroup
from ..datasets.schema import LAION_FACE
from .actor import MACHINE, answer
from .crops import MARGIN, answered, decoded, framed
from .neural import Neural
from .weights import Weights

ENCODER = Weights(
    name="google/siglip2-so400m-patch16-384",
    licence="Apache-2.0",
    files=("config.json", "preprocessor_config.json", "*.safetensors"),
    size_gb=4.5,
)
HEADS = Weights(
    name="laion/Empathic-Insight-Face-Small",
    licence="CC-BY-4.0",
    files=("model_*_best.pth",),
    size_gb=0.03,
)
STATISTICS = "neutral_stats*.json"
"""Neutral statistics beside the heads; the name has changed from release to release."""
OUTSIDE = 10.0
"""A score beyond it cannot be, for they are about 0-7."""
SHARE = 0.01
"""Of the scores that may lie outside before something must be wrong."""

Scores = NDArray[np.float32]


class CalibrationWarning(UserWarning):
    """Scores lie where the heads were never trained to put them."""


@dataclass(kw_only=True)
class LaionFace(Neural):
    """Scores of 40 emotions for each face, as `LAION_FACE_NAMES`.

    Not probabilities, and not to be softmaxed as if they were. The checkpoints decide on the sizes
    of the heads, Small and Large alike. Training data were made up by image generators, and the
    model's card warns that the EU AI Act restricts inferring emotions at work and in education.

    Attributes:
        encoder: SigLIP2; only its picture half is loaded.
        heads: Folder of the 40 checkpoints, and of the neutral statistics if there are any.
        l2_normalize: Whether embeddings are brought to length 1. The heads' scores are about 0-7
            with it and far beyond without (see `laion_face_warning`).
        neutral: Whether to read the neutral statistics beside the heads; without them
            `laion_face_adjusted` is null.
        neutral_std: Whether to divide by their standard deviation too.
        view: Side of what the encoder sees, in sides of the face's box; the largest is the whole
            crop, with hair and chin. Which one the heads like best was not measured.
    """

    reads: ClassVar[tuple[str, ...]] = ("faces",)
    adds: ClassVar[pa.Schema] = LAION_FACE
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "cv2")
    model: ClassVar[str] = HEADS.name
    revision: ClassVar[str] = HEADS.revision
    licence: ClassVar[str] = f"{ENCODER.licence} AND {HEADS.licence}"
    quality: ClassVar[str] = (
        "Not measured here, for want of the weights. A weak signal: where its authors had people "
        "label faces, these agreed by a weighted kappa of 0.47 only (EmoNet-Face HQ)."
    )

    encoder: Weights = ENCODER
    heads: Weights = HEADS
    l2_normalize: bool = True
    neutral: bool = True
    neutral_std: bool = False
    view: float = MARGIN
    micro_batch: int = field(default=32, metadata=MACHINE)
    memory_gb: float = field(default=5.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.view <= MARGIN:
            raise ValueError(f"`view` must be between 0.5 and {MARGIN}, but is {self.view:g}.")

    def identity(self) -> dict[str, Any]:
        """As of any actor, with the statistics: other ones give other answers."""
        file = self._statistics()
        content = "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        return super().identity() | {"statistics": content}

    def setup(self) -> None:
        """Load the encoder, all heads and the neutral statistics."""
        import torch
        from transformers import AutoImageProcessor

        from . import laion_net

        folder, file = self.encoder.resolved(), self._statistics()
        network = laion_net.vision(folder)
        files = [self.heads.resolved() / file_of(name) for name in LAION_FACE_NAMES]
        reads = {network.config.hidden_size: laion_net.View(torch.Tensor.float, torch.float32)}
        self._heads = laion_net.Heads(files, reads, self.place)
        self._usual = None if file is None else read_statistics(file)
        if self.neutral_std and (self._usual is None or self._usual.std is None):
            raise ValueError(
                f"`neutral_std` needs {STATISTICS} with standard deviations beside the heads, but "
                f"there are none ({self.heads.resolved()}); set it to false."
            )
        self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self._network = self.placed(network)

    def close(self) -> None:
        """Release the networks."""
        del self._network, self._processor, self._heads

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge each face; null where a crop is missing, or half precision overflows."""
        judged, counts = answered(self, rows["faces"], self.prepared, self.judged)
        found = [None if one is None or not np.isfinite(one).all() else one for one in judged]
        adjusted = [None if one is None else self._adjusted(one) for one in found]
        kind = LAION_FACE.field(0).type.value_type
        lists = [regroup(pa.array(some, type=kind), counts) for some in (found, adjusted)]
        texts, at = [], 0
        for count in counts.to_pylist():
            texts.append(self._doubt(judged[at : at + (count or 0)]))
            at += count or 0
        for text in dict.fromkeys(text for text in texts if text):
            warnings.warn(text, CalibrationWarning, stacklevel=2)
        return answer(dict(zip(LAION_FACE.names, (*lists, texts), strict=True)), LAION_FACE)

    def prepared(self, crops: Sequence[bytes]) -> Any:  # noqa: ANN401
        """RGB pictures as the encoder wants them, `(n, 3, side, side)`."""
        views = (framed(decoded(crop), self.view, self.view) for crop in crops)
        faces = [np.ascontiguousarray(view) for view in views]
        made = self._processor(images=faces, input_data_format="channels_last", return_tensors="pt")
        return made["pixel_values"]

    def judged(self, pictures: Any) -> list[Scores]:  # noqa: ANN401
        """Scores in the order of `LAION_FACE_NAMES`; not finite where half precision overflowed."""
        return list(self._heads(self.embedded(pictures)).cpu().numpy())

    def embedded(self, pictures: Any) -> Any:  # noqa: ANN401
        """What the heads read: `(n, 1152)` float32, of length 1 with `l2_normalize`."""
        import torch

        given = self._network(pixel_values=self.moved(pictures)).pooler_output.float()
        return torch.nn.functional.normalize(given, dim=-1) if self.l2_normalize else given

    def _adjusted(self, scores: Scores) -> NDArray[np.float64] | None:
        if self._usual is None:
            return None
        return self._usual.adjusted(scores.astype(np.float64), scaled=self.neutral_std)

    def _statistics(self) -> Path | None:
        """The one file of neutral statistics, if there is one and it is wanted."""
        place = self.heads.find() if self.neutral else None
        files = sorted(place.glob(STATISTICS)) if place is not None else []
        if len(files) > 1:
            raise ValueError(
                f"there must be one {STATISTICS} beside the heads, but there are "
                f"{', '.join(file.name for file in files)} ({place}); keep one or set `neutral` "
                "to false."
            )
        return files[0] if files else None

    def _doubt(self, faces: Sequence[Scores | None]) -> str | None:
        """What is suspicious of the scores of one row."""
        known = np.array([one for one in faces if one is not None])
        if not np.isfinite(known).all():
            return f"`precision` {self.precision} is too small for some faces; take bfloat16"
        share = float((np.abs(known) > OUTSIDE).mean()) if len(known) else 0.0
        if share <= SHARE:
            return None
        return (
            f"more than {SHARE:.0%} of the scores are beyond {OUTSIDE:g}, though they should be "
            f"about 0-7: the heads expect other embeddings; try `l2_normalize` "
            f"{str(not self.l2_normalize).lower()}"
        )
