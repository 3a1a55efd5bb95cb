"""What the dual-stream network is trained to: classes of both regions, and shared action units.

From the description of "Mimicking the Annotation Process" (ACM MM 2022); three things differ from
the code its authors published, each of which could make a loss of NaN there or a trivial one:
a picture is not compared with itself; two pictures without any action unit have nothing in common
(0, not 0/0); and the largest exponent is taken out of the softmax, which changes no value.
"""

import torch
from torch import Tensor
from torch.nn import functional


def units_in_common(units: Tensor) -> Tensor:
    """The Jaccard index of each pair of sets of action units; 0 where both are empty.

    Args:
        units: `(n, units)` bool.

    Returns:
        `(n, n)` float32, 0-1.

    Example:
        >>> units_in_common(torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool))
        tensor([[1.0000, 0.3333, 0.0000],
                [0.3333, 1.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    sets = units.float()
    shared = sets @ sets.T
    sizes = sets.sum(dim=1)
    return shared / (sizes[:, None] + sizes[None, :] - shared).clamp(min=1.0)


def same_label(labels: Tensor) -> Tensor:
    """1 for each pair of one class, else 0: `(n,)` to `(n, n)` float32."""
    return (labels[:, None] == labels[None, :]).float()


def contrastive(features: Tensor, alike: Tensor, temperature: float) -> Tensor:
    """Supervised contrast (Khosla et al. 2020, `L_out`), each pair as far as it is alike.

    For each row `i`, over all others: the mean of `-log softmax(features @ features.T / T)`,
    weighted by `alike[i]`. Rows that are like no other do not count; where no two are, it is 0.

    Args:
        features: `(n, width)`, each of length 1.
        alike: `(n, n)`, 0-1; the diagonal is not looked at.
        temperature: `T`, greater than 0.

    Returns:
        The mean over rows, a scalar.
    """
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    near = (features @ features.T / temperature).masked_fill(itself, -torch.inf)
    log_p = near.log_softmax(dim=1).masked_fill(itself, 0.0)
    weights = alike.masked_fill(itself, 0.0)
    total = weights.sum(dim=1)
    counts = total > 0
    if not counts.any():
        return features.sum() * 0.0
    return -((weights * log_p).sum(dim=1)[counts] / total[counts]).mean()


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """How much each class counts: the count of the largest over its own, `(classes,)` float32.

    A class that does not occur counts 0.

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1]), 3)
        tensor([1., 3., 0.])
    """
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, counts.max() / counts.clamp(min=1.0), 0.0)


def crossed(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Weighted cross-entropy with smoothed labels, a scalar.

    Args:
        logits: `(n, classes)`.
        labels: `(n,)` int64.
        weights: Of the classes.
        smoothing: Share of a label that is spread over all classes, 0-1.
    """
    return functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
