"""The audeering network: wav2vec 2.0, the mean of its frames, and a regression of three numbers.

It is written anew for transformers 5, under which the class on the model's card cannot be loaded:
`post_init` takes the place of `init_weights`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import LongTensor, Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model, Wav2Vec2PreTrainedModel

DIMENSIONS = ("arousal", "dominance", "valence")
"""What the network answers, in its own order."""


class RegressionHead(nn.Module):
    """Two layers over pooled states; their names are those of the checkpoint."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.final_dropout)
        self.out_proj = nn.Linear(config.hidden_size, len(DIMENSIONS))

    def forward(self, states: Tensor) -> Tensor:
        """`(n, hidden)` to `(n, 3)`."""
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(states)))))


class AffectModel(Wav2Vec2PreTrainedModel):
    """Arousal, dominance and valence of utterances, about 0-1 each."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.classifier = RegressionHead(config)
        self.post_init()

    def forward(self, sound: Tensor, mask: LongTensor) -> Tensor:
        """Judge utterances of different lengths.

        Args:
            sound: `(n, samples)`, each normalised by itself, zero behind its end.
            mask: `(n, samples)` int64, 1 where there is sound.

        Returns:
            `(n, 3)`: see `DIMENSIONS`. What lies behind the end of an utterance plays no part: it
            is masked in the attention, and the mean goes over the true frames alone.
        """
        states = self.wav2vec2(sound, attention_mask=mask)[0]
        frames = self._get_feature_vector_attention_mask(states.shape[1], mask)
        share = frames[..., None].to(states.dtype)
        pooled = (states * share).sum(dim=1) / share.sum(dim=1)
        return self.classifier(pooled)


def load(folder: Path) -> AffectModel:
    """Read a checkpoint.

    Raises:
        ValueError: It is another network than this one: its labels, or the norm of its first
            layers, under which padding would change the answer.
    """
    config = Wav2Vec2Config.from_pretrained(folder, local_files_only=True)
    labels = tuple(name.lower() for _, name in sorted((config.id2label or {}).items()))
    if labels != DIMENSIONS:
        raise ValueError(
            f"the labels of {str(folder)!r} must be {', '.join(DIMENSIONS)}, in this order, "
            f"but are {', '.join(labels)}."
        )
    if config.feat_extract_norm != "layer":
        raise ValueError(
            f"`feat_extract_norm` of {str(folder)!r} must be 'layer', "
            f"but is {config.feat_extract_norm!r}: padding would change the answers."
        )
    found: Any = AffectModel.from_pretrained(
        folder, config=config, local_files_only=True, output_loading_info=True
    )
    network, report = found
    lost = sorted(set(report["missing_keys"]) - {"wav2vec2.masked_spec_embed"})
    if lost:
        raise ValueError(f"the checkpoint {str(folder)!r} must hold {lost[0]!r}, but does not.")
    return network
