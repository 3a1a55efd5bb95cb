"""The network behind forced alignment: wav2vec 2.0 with a CTC head, on clips of several lengths."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

SHORTEST = 400
"""Samples that the convolutions need to make one frame."""


class RaggedNorm(nn.Module):
    """A group norm of one channel per group that leaves out what pads each clip.

    The norm of wav2vec 2.0's first layer goes over time, so that padding would change every frame.

    Attributes:
        frames: Of each clip, set before every pass; `(batch,)`.
    """

    frames: Tensor

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:  # (batch, channel, frame)
        """Normalise each channel of each clip over its own frames."""
        count = self.frames[:, None, None]
        inside = torch.arange(x.shape[-1], device=x.device) < count
        wide = x.float().masked_fill(~inside, 0)
        mean = wide.sum(-1, keepdim=True) / count
        apart = (wide - mean).masked_fill(~inside, 0)
        variance = apart.square().sum(-1, keepdim=True) / count
        scaled = (apart * torch.rsqrt(variance + self.eps)).to(x.dtype)
        return scaled * self.weight[:, None] + self.bias[:, None]


class Ears(nn.Module):
    """Log probabilities of characters, for clips padded to one length as if each were alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.network: Any = Wav2Vec2ForCTC.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
        config = self.network.config
        self.blank: int = config.pad_token_id
        self.steps = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.norm = None
        if config.feat_extract_norm == "group":
            layer = self.network.wav2vec2.feature_extractor.conv_layers[0]
            layer.layer_norm = self.norm = RaggedNorm(layer.layer_norm)

    def forward(self, samples: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Listen to clips.

        Args:
            samples: `(batch, samples)`.
            mask: `(batch, samples)`, 1 where there is sound and 0 where it is padding.

        Returns:
            Log probabilities `(batch, frames, symbols)` in float32, and the frames of each clip.
        """
        lengths = mask.sum(-1)
        frames = lengths
        for i, (kernel, stride) in enumerate(self.steps):
            frames = (frames - kernel) // stride + 1
            if i == 0 and self.norm is not None:
                self.norm.frames = frames
        logits = self.network(samples, attention_mask=mask).logits
        return logits.float().log_softmax(-1), frames


def vocabulary(folder: Path) -> dict[str, int]:
    """Columns of the emission by lower-case character, as `vocab.json` has them."""
    known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    return {symbol.lower(): column for symbol, column in known.items()}


def extractor(folder: Path) -> Wav2Vec2FeatureExtractor:
    """What brings sound to the level that the checkpoint was trained on."""
    return Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
