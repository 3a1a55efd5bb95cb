"""The losses against their formulas, written out as loops."""

import math

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from mien.jobs.benchmark.micro_losses import (  # noqa: E402
    class_weights,
    contrastive,
    crossed,
    same_label,
    units_in_common,
)

pytestmark = pytest.mark.models


def looped(features: Tensor, alike: Tensor, temperature: float) -> float:
    """Khosla et al. (2020), equation 2, with weights; double precision."""
    rows, losses = features.double().tolist(), []
    for i, anchor in enumerate(rows):
        near = {
            j: math.exp(sum(a * b for a, b in zip(anchor, other, strict=True)) / temperature)
            for j, other in enumerate(rows)
            if j != i
        }
        total = sum(float(alike[i, j]) for j in near)
        if total:
            whole = sum(near.values())
            losses.append(
                -sum(float(alike[i, j]) * math.log(near[j] / whole) for j in near) / total
            )
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_contrast_is_the_formula(seed: int) -> None:
    torch.manual_seed(seed)
    features = functional.normalize(torch.randn(9, 6))
    alike = units_in_common(torch.rand(9, 12) < 0.2)
    found = contrastive(features, alike, 0.1)
    assert float(found) == pytest.approx(looped(features, alike, 0.1), rel=1e-5)


def test_the_diagonal_does_not_count() -> None:
    torch.manual_seed(0)
    features, alike = functional.normalize(torch.randn(5, 4)), torch.rand(5, 5)
    assert torch.equal(
        contrastive(features, alike, 0.1), contrastive(features, alike.fill_diagonal_(9.0), 0.1)
    )


def test_without_units_the_contrast_is_0_and_so_is_its_slope() -> None:
    features = functional.normalize(torch.randn(4, 8)).requires_grad_()
    loss = contrastive(features, units_in_common(torch.zeros(4, 100, dtype=torch.bool)), 0.1)
    loss.backward()
    assert loss == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_some_without_units_are_no_nan() -> None:
    units = torch.zeros(4, 100, dtype=torch.bool)
    units[0, 4] = units[1, 4] = units[1, 12] = True
    features = functional.normalize(torch.randn(4, 8)).requires_grad_()
    loss = contrastive(features, units_in_common(units), 0.1)
    loss.backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert loss.item() == pytest.approx(looped(features.detach(), units_in_common(units), 0.1))


def test_a_batch_of_one_has_no_contrast() -> None:
    features = functional.normalize(torch.randn(1, 8)).requires_grad_()
    assert contrastive(features, torch.ones(1, 1), 0.1) == 0


def test_jaccard() -> None:
    sets = [{4, 7}, {4, 7}, {4, 12}, {12}, set(), set()]
    units = torch.zeros(6, 100, dtype=torch.bool)
    for row, one in enumerate(sets):
        units[row, list(one)] = True
    found = units_in_common(units)
    for i, a in enumerate(sets):
        for j, b in enumerate(sets):
            assert float(found[i, j]) == pytest.approx(len(a & b) / len(a | b) if a | b else 0.0)


def test_label_equality_is_plain_supervised_contrast() -> None:
    labels = torch.tensor([0, 1, 0, 2])
    assert same_label(labels).tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_cross_entropy_with_weights_and_smoothing() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 0, 0, 1, 1, 2])
    weights = class_weights(labels, 3)
    assert weights.tolist() == [1.0, 1.5, 3.0]
    log_p, losses = logits.double().log_softmax(1), 0.0
    for row, label in enumerate(labels.tolist()):
        losses -= 0.9 * float(weights[label] * log_p[row, label])
        losses -= 0.1 / 3 * float((weights * log_p[row]).sum())
    found = float(crossed(logits, labels, weights, 0.1))
    assert found == pytest.approx(losses / float(weights[labels].sum()), rel=1e-5)
