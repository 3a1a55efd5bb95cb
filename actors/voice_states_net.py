"""A frozen wav2vec 2.0, cut off behind one of its blocks."""

from pathlib import Path
from typing import Any

import torch
from torch import LongTensor, Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model


class States(nn.Module):
    """Moments over time of the hidden states behind one block.

    Attributes:
        padding: Whether utterances of different lengths may share a batch.
    """

    def __init__(self, network: Wav2Vec2Model, layer: int) -> None:
        super().__init__()
        self.network = network
        self.layer = layer
        self.padding = network.config.feat_extract_norm == "layer"

    def forward(self, sound: Tensor, mask: LongTensor) -> Tensor:
        """Describe utterances.

        Args:
            sound: `(n, samples)`, each normalised by itself, zero behind its end.
            mask: `(n, samples)` int64, 1 where there is sound.

        Returns:
            `(n, 2, hidden)`: mean and mean square over the true frames.
        """
        attention = mask if self.padding else None
        found = self.network(sound, attention_mask=attention, output_hidden_states=True)
        states = found.hidden_states[self.layer].float()
        frames = self.network._get_feature_vector_attention_mask(  # pyright: ignore[reportPrivateUsage]
            states.shape[1], mask
        )
        share = frames[..., None].to(states.dtype)
        moments = torch.stack([states, states**2], dim=1)  # (n, 2, frame, hidden)
        return (moments * share[:, None]).sum(dim=2) / share.sum(dim=1)[:, None]


def load(folder: Path, layer: int) -> States:
    """Read a checkpoint; blocks behind `layer` are dropped.

    Raises:
        ValueError: It has fewer blocks, or lacks weights.
    """
    config = Wav2Vec2Config.from_pretrained(folder, local_files_only=True)
    blocks = config.num_hidden_layers
    at = layer if layer >= 0 else blocks + 1 + layer
    if not 0 <= at <= blocks:
        raise ValueError(
            f"`layer` must be from {-blocks - 1} to {blocks} for {str(folder)!r}, but is {layer}."
        )
    found: Any = Wav2Vec2Model.from_pretrained(
        folder, config=config, local_files_only=True, output_loading_info=True
    )
    network, report = found
    lost = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if lost:
        raise ValueError(f"the checkpoint {str(folder)!r} must hold {lost[0]!r}, but does not.")
    if at < blocks:  # the last states are normalised once more, others are not
        network.encoder.layers = network.encoder.layers[: at + 1]
    return States(network, at)
