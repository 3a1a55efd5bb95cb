"""What is seen and what is heard, fused by attention."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.audio import RATE_HZ
from .catalogue import FRAMES
from .layers import classifier, divisible, positions, waves
from .network import Inputs, checked
from .temporal_vit import NO_PARAMETERS, ClipNetwork, mean_of

STRIDE = 160
"""Samples at `RATE_HZ` that the first convolution makes one step of: 10 ms."""
POOL = 10
"""Steps that one token of sound stands for: 100 ms."""


class Sound(nn.Module):
    """Gated, dilated, causal convolutions, as WaveNet's (van den Oord et al., 2016).

    WaveNet works on single samples; here a first convolution of 25 ms makes steps of 10 ms, so
    that ten layers reach back ten seconds. Its inputs are left to it: a step depends on no sample
    after its own 10 ms.

    Args:
        width: Of the tokens that come out.
        channels: Between the layers.
        layers: Each reaches twice as far back as the one before.
    """

    def __init__(self, *, width: int, channels: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, channels, 5 * STRIDE // 2, STRIDE)
        self.layers = nn.ModuleList(Gated(channels, 2**i) for i in range(layers))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(channels, width, 1))

    def forward(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of 100 ms.

        Args:
            audio: `(n, sample)`.
            mask: `(n, sample)` bool, the samples that are real.

        Returns:
            `(n, token, width)`, and `(n, token)` bool: tokens that hold any real sample.
        """
        token = STRIDE * POOL
        short = -audio.shape[1] % token
        real = functional.pad(mask, (0, short)).unflatten(1, (-1, token)).any(dim=2)
        samples = functional.pad(audio * mask, (self.first.kernel_size[0] - STRIDE, short))
        step = self.first(samples.unsqueeze(1))
        skips = torch.zeros_like(step)
        for layer in self.layers:
            step, skip = layer(step)
            skips = skips + skip
        tokens = functional.avg_pool1d(self.last(skips), POOL).transpose(1, 2)
        return tokens + waves(*tokens.shape[1:]).to(tokens), real


class Gated(nn.Module):
    """One layer: `tanh` times a gate, added to what came in and to the sum of all layers."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.both = nn.Conv1d(channels, 2 * channels, 2, dilation=dilation)
        self.mix = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """What goes to the next layer, and what goes to the sum."""
        value, gate = self.both(functional.pad(step, (self.dilation, 0))).chunk(2, dim=1)
        residual, skip = self.mix(value.tanh() * gate.sigmoid()).chunk(2, dim=1)
        return step + residual, skip


class Multimodal(ClipNetwork):
    """Each frame asks the sound of its clip; the mean over the real frames is judged.

    Beside the tokens of sound there is one for silence, so that a frame has something to attend to
    where the sound is missing.

    Args:
        frames: Of a clip, at most.
        spatial: Name of the network whose trunk sees the frames.
        spatial_parameters: Of that network.
        channels: Of the sound's convolutions.
        layers: Of the sound's convolutions.
        heads: Of the attention; divides the trunk's width.
        hidden: Width of the head's first layer.
        dropout: Before each layer of the head.
    """

    inputs: ClassVar[Inputs] = "clip+audio"

    def __init__(
        self,
        *,
        classes: int,
        size_px: int,
        frames: int = FRAMES,
        spatial: str = "vit_b16",
        spatial_parameters: Mapping[str, Any] = NO_PARAMETERS,
        channels: int = 64,
        layers: int = 10,
        heads: int = 8,
        hidden: int = 256,
        dropout: tuple[float, float] = (0.3, 0.2),
    ) -> None:
        super().__init__(
            classes=classes,
            size_px=size_px,
            frames=frames,
            spatial=spatial,
            spatial_parameters=spatial_parameters,
        )
        width = self.trunk.width
        checked("layers", layers, 1, 16)
        divisible(width, heads)
        self.positions = positions(frames, width)
        self.sound = Sound(width=width, channels=channels, layers=layers)
        self.silence = positions(1, width)
        self.norm_seen, self.norm_heard = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fusion = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.classifier = classifier(width, hidden, self.outputs, dropout)

    def example(self, rows: int) -> dict[str, Tensor]:
        """A black and silent batch, with a second of sound."""
        sound = {
            "audio": torch.zeros(rows, RATE_HZ),
            "audio_mask": torch.ones(rows, RATE_HZ, dtype=torch.bool),
        }
        return super().example(rows) | sound

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of clips with sound."""
        clip, mask = batch["clip"], batch["mask"]
        seen = self.seen(clip) + self.positions[:, : clip.shape[1]]
        tokens, real = self.sound(batch["audio"], batch["audio_mask"])
        silence = self.silence.expand(clip.shape[0], -1, -1)
        heard = self.norm_heard(torch.cat([silence.to(tokens.dtype), tokens], dim=1))
        absent = functional.pad(~real, (1, 0), value=False)
        fused, _ = self.fusion(
            self.norm_seen(seen), heard, heard, key_padding_mask=absent, need_weights=False
        )
        return self.classifier(mean_of(self.norm(seen + fused), mask))
