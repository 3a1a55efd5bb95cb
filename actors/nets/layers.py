"""Layers that several networks have."""

import torch
from torch import Tensor, nn


def classifier(
    width: int, hidden: int, outputs: int, dropout: tuple[float, float] = (0.3, 0.2)
) -> nn.Sequential:
    """Two layers, with dropout before each."""
    return nn.Sequential(
        nn.Dropout(dropout[0]),
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Dropout(dropout[1]),
        nn.Linear(hidden, outputs),
    )


def positions(count: int, width: int) -> nn.Parameter:
    """Learned positions `(1, count, width)`."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, width), std=0.02))


def transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    """Layers that norm what enters them, and a norm of what leaves the last.

    Raises:
        ValueError: The heads do not share the width evenly.
    """
    divisible(width, heads)
    layer = nn.TransformerEncoderLayer(
        *(width, heads, 4 * width, dropout), activation="gelu", batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(
        layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
    )
    for parameter in encoder.parameters():  # torch copies one layer: all would start alike
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return encoder


def waves(count: int, width: int) -> Tensor:
    """Positions `(count, width)` of sines and cosines (Vaswani et al., 2017), for any length."""
    place = torch.arange(count, dtype=torch.float32)[:, None]
    rate = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    return torch.stack([(place * rate).sin(), (place * rate).cos()], dim=2).flatten(1)[:, :width]


def divisible(width: int, heads: int) -> None:
    """Refuse heads that do not share a width evenly.

    Raises:
        ValueError: They do not.
    """
    if heads < 1 or width % heads:
        raise ValueError(f"`heads` must divide the width ({width}), but is {heads}.")
