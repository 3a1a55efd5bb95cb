"""Emotions of texts, by a DistilRoBERTa with seven classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.schema import LABELS, TEXT_AFFECT
from .actor import MACHINE, answer
from .neural import Neural
from .weights import Weights

SYNONYMS = {"joy": "happy", "anger": "angry", "sadness": "sad"}
"""The model's names of the canonical emotions, where they differ."""
POSITIVE, NEGATIVE = ("happy",), ("angry", "disgust", "fear", "sad")
"""Surprise and neutral take no side."""

Scores = NDArray[np.float32]


@dataclass(kw_only=True)
class TextEmotion(Neural):
    """Probabilities of the canonical seven emotions for English text.

    The polarity is the probability of `happy` less those of `angry`, `disgust`, `fear` and `sad`:
    -1 to 1, 0 for what is neutral or surprised. It reads English only; what is said in another
    language gets an answer too, which means nothing, for the rows do not name their language.

    Attributes:
        max_tokens: A longer text is cut there; the model takes 512.
        checkpoint: The weights.
    """

    packages = ("torch", "transformers")
    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[pa.Schema] = TEXT_AFFECT
    model = "j-hartmann/emotion-english-distilroberta-base"
    licence = "LicenseRef-not-stated"  # its card names none; DistilRoBERTa, its base: Apache-2.0
    quality = "Not measured here: its weights were not at hand. English only."

    max_tokens: int = 512
    checkpoint: Weights = field(
        default_factory=lambda: Weights(
            name=TextEmotion.model,
            licence=TextEmotion.licence,
            files=("config.json", "tokenizer*.json", "*model.*[ns]"),
        )
    )
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _tokenizer: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _order: list[int] = field(
        default_factory=list, init=False, repr=False, compare=False, metadata=MACHINE
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 8 <= self.max_tokens <= 512:
            raise ValueError(f"`max_tokens` must be between 8 and 512, but is {self.max_tokens}.")

    def setup(self) -> None:
        """Load the tokenizer and the network."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = self.checkpoint.resolved()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
        self._order = order(network.config.id2label)
        self._network = self.placed(network)

    def close(self) -> None:
        """Release the network."""
        self._network = self._tokenizer = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Judge texts; null where there is none."""
        texts = [(text or "").strip() for text in rows["text"].to_pylist()]
        known = sorted((i for i, text in enumerate(texts) if text), key=lambda i: len(texts[i]))
        found = self.through([texts[i] for i in known], self.prepared, self.judged)
        polarities: list[float | None] = [None] * len(texts)
        scores: list[list[dict[str, Any]] | None] = [None] * len(texts)
        for i, one in zip(known, found, strict=True):
            polarities[i] = polarity(one)
            scores[i] = [
                {"label": label, "score": float(score)}
                for label, score in zip(LABELS, one, strict=True)
            ]
        return answer({"text_polarity": polarities, "text_scores": scores}, TEXT_AFFECT)

    def prepared(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        """Tokens `(n, tokens)` and their mask, padded to the longest."""
        return self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )

    def judged(self, batch: Any) -> list[Scores]:  # noqa: ANN401
        """Probabilities in the order of `LABELS`, one array per text."""
        names = ("input_ids", "attention_mask")
        logits = self._network(**{name: self.moved(batch[name]) for name in names}).logits
        return list(logits.float().softmax(dim=1).cpu().numpy()[:, self._order])


def order(id2label: Mapping[int, str]) -> list[int]:
    """Which of the model's classes each of `LABELS` is.

    Args:
        id2label: Of the model's configuration.

    Raises:
        ValueError: A class is none of the canonical seven, or one of them is absent.

    Example:
        >>> names = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
        >>> order(dict(enumerate(names)))
        [0, 1, 2, 3, 5, 6, 4]
    """
    found = {SYNONYMS.get(name.lower(), name.lower()): int(i) for i, name in id2label.items()}
    if set(found) != set(LABELS) or len(id2label) != len(LABELS):
        raise ValueError(
            f"the classes of the checkpoint must be {', '.join(LABELS)} (or "
            f"{', '.join(SYNONYMS)}), each once, but are {', '.join(id2label.values())}."
        )
    return [found[label] for label in LABELS]


def polarity(scores: Scores) -> float:
    """Positive less negative probability, -1 to 1.

    Args:
        scores: Probabilities in the order of `LABELS`.

    Example:
        >>> polarity(np.array([0.5, 0, 0.25, 0.25, 0, 0, 0]))
        -0.5
    """
    known: dict[str, float] = dict(zip(LABELS, scores.tolist(), strict=True))
    positive, negative = (sum(known[name] for name in side) for side in (POSITIVE, NEGATIVE))
    return float(np.clip(positive - negative, -1, 1))
