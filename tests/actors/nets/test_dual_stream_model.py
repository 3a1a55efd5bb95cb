"""The dual-stream network: shapes, what is detached, and maps that come from its layers."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from torch.nn import functional  # noqa: E402
from torchvision.models import resnet18  # noqa: E402

from mien.actors.nets.dual_stream import DualStream, attention, halves  # noqa: E402

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def network() -> DualStream:
    torch.manual_seed(0)
    return DualStream(3)


@pytest.mark.parametrize("side", [32, 64, 224])
def test_shapes(network: DualStream, side: int) -> None:
    network.eval()
    with torch.no_grad():
        answer = network(torch.randn(2, 3, side, side))
    assert answer.eyes.shape == answer.mouth.shape == (2, 3)
    assert torch.equal(answer.logits, answer.eyes + answer.mouth)
    assert answer.weights.shape == answer.units.shape == (2, 1024)
    assert ((answer.weights > 0) & (answer.weights < 1)).all()
    torch.testing.assert_close(answer.units.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(answer.areas[:, 1], answer.weights[:, 512:].mean(dim=1))


def test_the_regions_have_branches_of_their_own(network: DualStream) -> None:
    """What is below the middle changes the mouth's logits, and never the eyes'."""
    network.eval()
    pictures = torch.randn(1, 3, 64, 64)
    other = pictures.clone()
    other[:, :, 32:] += 1.0
    with torch.no_grad():
        before, after = network(pictures), network(other)
    assert torch.equal(before.eyes, after.eyes)
    assert not torch.allclose(before.mouth, after.mouth)
    own = [p.data_ptr() for p in network.eyes.parameters()]
    assert not set(own) & {p.data_ptr() for p in network.mouth.parameters()}


def test_no_gradient_reaches_the_branches_through_the_area_weights(network: DualStream) -> None:
    network.eval()
    network.zero_grad()
    network(torch.randn(2, 3, 32, 32)).weights.sum().backward()
    assert all(p.grad is None for p in network.stem.parameters())
    assert all(p.grad is None for p in [*network.eyes.parameters(), *network.mouth.parameters()])
    assert any(p.grad.abs().sum() > 0 for p in network.area.parameters() if p.grad is not None)
    network.zero_grad()
    network(torch.randn(2, 3, 32, 32)).units[:, :600].sum().backward()  # but past them it does
    assert all(
        any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
        for part in (network.stem, network.eyes, network.mouth)
    )


def test_attention_is_that_of_the_last_layers(network: DualStream) -> None:
    """Against Grad-CAM written out by hand, without hooks."""
    network.eval()
    pictures, classes = torch.randn(2, 3, 64, 64), torch.tensor([2, 0])
    parts = []
    upper, lower = halves(pictures)
    layers = network.eyes[:3](network.stem(upper)), network.mouth[:3](network.stem(lower))
    means = [functional.normalize(layer.mean(dim=(2, 3))) for layer in layers]
    logits = network.eyes_head(means[0]) + network.mouth_head(means[1])
    for layer in layers:
        (slope,) = torch.autograd.grad(
            logits[torch.arange(2), classes].sum(), layer, retain_graph=True
        )
        found = (slope.mean(dim=(2, 3))[:, :, None, None] * layer).sum(dim=1).clamp(min=0)
        parts.append(functional.interpolate(found[:, None], (32, 64), mode="bilinear")[:, 0])
    whole = torch.cat(parts, dim=1)
    wanted = whole / whole.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(attention(network, pictures, classes), wanted)


def test_attention_leaves_the_network_as_it_was(network: DualStream) -> None:
    network.train()
    found = attention(network, torch.randn(1, 3, 32, 32), torch.tensor([0]))
    assert network.training
    assert not network.eyes[2]._forward_hooks  # pyright: ignore[reportPrivateUsage]
    assert found.shape == (1, 32, 32)
    assert not found.requires_grad


def test_a_backbone_is_read_into_both_branches(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.manual_seed(1)
    state = resnet18(weights=None).state_dict()
    torch.save(state, path)
    network = DualStream(4, str(path))
    assert network.origin == "resnet18.pth"
    found = network.state_dict()
    assert torch.equal(found["eyes.2.0.conv1.weight"], state["layer4.0.conv1.weight"])
    assert torch.equal(found["mouth.2.0.conv1.weight"], state["layer4.0.conv1.weight"])
    assert torch.equal(found["stem.0.weight"], state["conv1.weight"])


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"must hold torchvision's ResNet-18"):
        DualStream(4, str(path))
