"""Costs of networks, against known numbers."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from hydra.utils import instantiate  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from mien.actors.nets.catalogue import NETWORKS, build  # noqa: E402
from mien.actors.nets.complexity import Held, complexity, flops, training_gb  # noqa: E402
from mien.actors.nets.network import Network  # noqa: E402

ROOT = Path(__file__).parents[3]


def hollow(name: str, **parameters: Any) -> Network:  # noqa: ANN401
    """At its full size, without values."""
    with torch.device("meta"):
        return build(name, classes=1000, size_px=224, weights="random", **parameters)


@pytest.mark.parametrize(
    ("name", "last", "parameters", "multiply_adds"),
    [
        ("resnet50", 2048, 25_557_032, 4.09e9),  # as torchvision publishes them
        ("vit_b16", 768, 86_567_656, 17.56e9),
    ],
)
def test_parameters_and_operations_are_the_published_ones(
    name: str, last: int, parameters: int, multiply_adds: float
) -> None:
    network = hollow(name)
    network.classifier = torch.nn.Linear(last, 1000, device="meta")  # the original's head
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert flops(network) == pytest.approx(2 * multiply_adds, rel=0.005)


def test_the_seed_documents_sizes_hold() -> None:
    """24.7 and 86.3 million with heads for two classes, and two million from scratch."""
    for name, millions, most in (("resnet50", 24.6, 0.1), ("vit_b16", 86.0, 0.1)):
        with torch.device("meta"):
            network = build(name, classes=2, size_px=224, weights="random")
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(
            millions, abs=most
        )
    for name, millions in (("improved_cnn", 1.70), ("tiny_vit", 1.97)):
        network = build(name, classes=2, size_px=224)
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(
            millions, abs=0.01
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_the_configuration_builds_the_network_that_the_guide_describes(name: str) -> None:
    model = instantiate(OmegaConf.load(ROOT / f"conf/model/{name}.yaml"), _convert_="object")
    with torch.device("meta"):
        network = model.build(2)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    row = f"| `{name}` | {millions:.1f} | {flops(network) / 1e9:.1f} |"
    assert row in (ROOT / "docs" / "networks.md").read_text()


def test_memory_needs_no_computing() -> None:
    """What is counted on a device without values is what a CPU holds."""
    network = build("tiny_vit", classes=3, size_px=32, patch_px=8, width=24, layers=2)
    counted = training_gb(network, rows=4, device="meta")
    assert counted == training_gb(network, rows=4)


def test_operations_are_the_closed_form() -> None:
    network = build("tiny_vit", classes=3, size_px=32, patch_px=8, width=24, layers=2)
    tokens, width = 17, 24
    layer = 2 * tokens * width * (4 * width + 8 * width) + 2 * 2 * tokens * tokens * width
    expected = 2 * layer + 2 * 16 * 3 * 64 * width + 2 * width * 3
    assert flops(network) == expected


def test_frozen_parameters_are_counted_and_nothing_is_changed() -> None:
    network = build("improved_cnn", classes=3, size_px=32)
    network.freeze()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = complexity(network, rows=2)
    trunk = sum(p.numel() for p in network.backbone())
    assert found.frozen == trunk
    assert found.trainable == sum(p.numel() for p in network.head())
    assert found.parameters == found.trainable + found.frozen
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert (found.rows, found.device) == (2, "cpu")


def test_memory_is_weights_gradients_two_moments_and_what_a_batch_adds() -> None:
    network = build("improved_cnn", classes=3, size_px=32)
    weights_gb = 4 * sum(p.numel() for p in network.parameters()) / 1e9
    few, many = (training_gb(network, rows=rows) for rows in (2, 64))
    assert few > 4 * weights_gb
    maps_gb = 4 * 62 * 32 * 32 * 32 / 1e9  # the first block's map of the other 62 rows
    assert many - few > 2 * maps_gb  # it is kept before and behind the norm
    network.freeze()
    assert training_gb(network, rows=2) < few


def test_what_is_let_go_is_not_held() -> None:
    layer = torch.nn.Linear(100, 100)
    with Held(list(layer.parameters())) as held:
        assert held.now == 4 * (100 * 100 + 100)
        made = torch.ones(10, 100)
        view = made[:5]
        assert held.now == 4 * (100 * 100 + 100 + 1000)
        del made
        assert held.now == 4 * (100 * 100 + 100 + 1000)  # the view needs all of it
        del view
        assert held.now == 4 * (100 * 100 + 100)
        assert held.most == 4 * (100 * 100 + 100 + 1000)
