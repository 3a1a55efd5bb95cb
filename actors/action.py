"""Actions: what is done in a clip, by TimeSformer, of the 400 classes of Kinetics."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.schema import ACTIONS
from .actor import MACHINE, answer
from .crops import decoded
from .neural import Neural
from .weights import Weights

Span = tuple[float, float]


class Look(NamedTuple):
    """A clip and the pictures that stand for it.

    Attributes:
        row: Which row it is of.
        span: Its start and stop, in seconds.
        pictures: As many JPEGs as the network looks at, in order of time.
    """

    row: int
    span: Span
    pictures: tuple[bytes, ...]


@dataclass(kw_only=True)
class Action(Neural):
    """The likeliest actions of each clip, with their probabilities.

    A span is divided at its cuts, and what is longer than `clip_s` into equal clips. The network
    looks at 8 pictures, spread evenly over the clip: of the frames that the watching kept, those
    nearest to the even grid, none of them twice unless there are too few. A clip with fewer than
    `min_frames` kept frames is left out of the answer.

    Attributes:
        clip_s: Longest clip. The network was trained on about 8.5 s.
        min_frames: Fewest different frames of a clip that is judged.
        top_k: How many labels are given for a clip.
        mean: Of the pixels (0-1) by which the pictures are normalised, as of revision 4022b66 of
            the checkpoint's processor; older ones have 0.5.
        std: See `mean`; older ones have 0.5.
        checkpoint: The weights.
    """

    packages = ("torch", "transformers", "cv2")
    reads: ClassVar[tuple[str, ...]] = ("start_s", "stop_s", "frames", "cuts")
    adds: ClassVar[pa.Schema] = ACTIONS
    model = "facebook/timesformer-base-finetuned-k400"
    licence = "CC-BY-NC-4.0"
    quality = "Not measured here: its weights were not at hand."

    clip_s: float = 10.0
    min_frames: int = 4
    top_k: int = 5
    mean: float = 0.45
    std: float = 0.225
    checkpoint: Weights = field(
        default_factory=lambda: Weights(
            name=Action.model,
            licence=Action.licence,
            files=("config.json", "preprocessor_config.json", "*model.*[ns]"),
        )
    )
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _processor: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _config: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("clip_s", "std"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, but is {getattr(self, name):g}."
                )
        for name in ("min_frames", "top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")

    def setup(self) -> None:
        """Load the processor and the network.

        Warns:
            UserWarning: The checkpoint's processor has another `mean` or `std`.
        """
        from transformers import AutoImageProcessor, TimesformerForVideoClassification

        folder = self.checkpoint.resolved()
        self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        for name, ours in (("mean", self.mean), ("std", self.std)):
            theirs = getattr(self._processor, f"image_{name}")
            if not np.allclose(theirs, ours):
                warnings.warn(
                    f"the processor of {str(folder)!r} has the {name} {list(theirs)}, but `{name}` "
                    f"is {ours:g}, which is used.",
                    stacklevel=2,
                )
        network = TimesformerForVideoClassification.from_pretrained(folder, local_files_only=True)
        self._config = network.config
        self._network = self.placed(network)

    def close(self) -> None:
        """Release the network."""
        self._network = self._processor = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge each clip of each row; null where there is no picture track."""
        known = rows.select(self.reads).to_pylist()
        looks = [look for i, row in enumerate(known) for look in self.looks(i, row)]
        judged = self.through(looks, self.prepared, self.judged)
        actions: list[list[dict[str, Any]]] = [[] for _ in known]
        for look, labels in zip(looks, judged, strict=True):
            start_s, stop_s = look.span
            actions[look.row].append({"start_s": start_s, "stop_s": stop_s, "labels": labels})
        answers = [
            None if row["frames"] is None else found
            for row, found in zip(known, actions, strict=True)
        ]
        return answer({"actions": answers}, ACTIONS)

    def looks(self, number: int, row: dict[str, Any]) -> list[Look]:
        """The clips of a row that can be judged."""
        frames = [frame for frame in row["frames"] or [] if frame["thumbnail"] is not None]
        if not frames:
            return []
        times = np.array([frame["time_s"] for frame in frames])
        start_s = min(0.0, times[0]) if row["start_s"] is None else row["start_s"]
        stop_s = np.nextafter(times[-1], np.inf) if row["stop_s"] is None else row["stop_s"]
        cuts = [cut["time_s"] for cut in row["cuts"] or []]
        looks = []
        for span in clips((start_s, float(stop_s)), cuts, self.clip_s):
            inside = np.flatnonzero((times >= span[0]) & (times < span[1]))
            if len(inside) >= self.min_frames:
                chosen = inside[spread(times[inside], span, self._config.num_frames)]
                looks.append(Look(number, span, tuple(frames[i]["thumbnail"] for i in chosen)))
        return looks

    def prepared(self, looks: Sequence[Look]) -> Any:  # noqa: ANN401
        """Pixels `(clip, frame, 3, side, side)`; each picture is decoded once."""
        import torch

        batch = []
        for look in looks:
            kept = {one: np.ascontiguousarray(decoded(one)) for one in set(look.pictures)}
            batch.append(
                self._processor(
                    [kept[one] for one in look.pictures],
                    image_mean=[self.mean] * 3,
                    image_std=[self.std] * 3,
                    return_tensors="pt",
                ).pixel_values
            )
        return torch.cat(batch)

    def judged(self, pixels: Any) -> list[list[dict[str, Any]]]:  # noqa: ANN401
        """The `top_k` labels of each clip, best first.

        Args:
            pixels: `(clip, frame, 3, side, side)`.

        Raises:
            ValueError: Another number of frames than the network was trained on; it would answer
                all the same, with time embeddings that are interpolated.
        """
        if pixels.shape[1] != self._config.num_frames:
            raise ValueError(
                f"a clip must have {self._config.num_frames} frames, but has {pixels.shape[1]}."
            )
        logits = self._network(pixel_values=self.moved(pixels)).logits
        best = logits.float().softmax(dim=1).topk(min(self.top_k, logits.shape[1]), dim=1)
        return [
            [
                {"label": self._config.id2label[i], "score": score}
                for i, score in zip(indices, scores, strict=True)
            ]
            for indices, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def clips(span: Span, cuts: Sequence[float], clip_s: float) -> list[Span]:
    """Divide a span at its cuts, and each shot into equal clips.

    Args:
        span: Start and stop, in seconds.
        cuts: Times of the first frames after a cut, in seconds; those outside the span are none.
        clip_s: Longest clip.

    Example:
        >>> clips((0.0, 30.0), [6.0], 10.0)
        [(0.0, 6.0), (6.0, 14.0), (14.0, 22.0), (22.0, 30.0)]
    """
    start, stop = span
    edges = [start, *sorted({cut for cut in cuts if start < cut < stop}), stop]
    made = []
    for first, last in pairwise(edges):
        count = max(1, math.ceil(round((last - first) / clip_s, 9)))
        inner = [first + (last - first) * i / count for i in range(count)]
        made += list(zip(inner, [*inner[1:], last], strict=True))
    return made


def spread(times: NDArray[np.float64], span: Span, count: int) -> NDArray[np.int64]:
    """Choose frames that are spread evenly over a clip.

    Of all choices in which no frame comes up more often than it must, the one that is nearest to
    the middles of `count` equal parts of the clip.

    Args:
        times: Of the frames, ascending, in seconds.
        span: The clip's start and stop, in seconds.
        count: How many to choose.

    Returns:
        `(count,)` indices into `times`, ascending.

    Example:
        >>> spread(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), (0.0, 6.0), 3).tolist()
        [1, 3, 5]
        >>> spread(np.array([0.0, 1.0, 5.0]), (0.0, 6.0), 4).tolist()
        [1, 1, 2, 2]
    """
    from scipy.optimize import linear_sum_assignment

    start, stop = span
    grid = start + (stop - start) * (np.arange(count) + 0.5) / count
    places = np.repeat(np.arange(len(times)), math.ceil(count / len(times)))
    _, chosen = linear_sum_assignment(np.abs(grid[:, None] - times[places][None]))
    return np.sort(places[chosen])
