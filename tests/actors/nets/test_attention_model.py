"""Where a network looked: attention of its own layers, and Grad-CAM."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from mien.actors.nets import attention, catalogue  # noqa: E402
from mien.actors.nets.network import loss  # noqa: E402
from mien.actors.nets.overlay import overlay  # noqa: E402

SIDE, CELL = 32, 8
GRID = SIDE // CELL
TINY: dict[str, Any] = {"patch_px": CELL, "width": 24, "layers": 1, "dropout": 0.0}
VISION: dict[str, Any] = {
    **{key: TINY[key] for key in ("patch_px", "width", "layers")},
    "heads": 2,
    "mlp": 48,
    "weights": "random",
}
VITS = {"tiny_vit": TINY, "vit_b16": VISION}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str, **parameters: Any) -> Any:  # noqa: ANN401
    return catalogue.build(name, **parameters)


def planted(count: int, random: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """Noise with one cell, anywhere, that is red or blue: its colour is the label."""
    frames = torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=random, dtype=torch.uint8)
    truth = torch.randint(0, 2, (count,), generator=random)
    places = torch.randint(0, GRID, (count, 2), generator=random)
    for frame, label, (row, column) in zip(frames, truth, (places * CELL).tolist(), strict=True):
        cell = frame[:, row : row + CELL, column : column + CELL]
        cell[:] = 0
        cell[2 * label] = 255
    return frames, truth, places


def trained(name: str, steps: int, rate: float, **parameters: Any) -> Any:  # noqa: ANN401
    network = build(name, classes=2, size_px=SIDE, **parameters).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        frames, truth, _ = planted(32, random)
        optimiser.zero_grad()
        loss(network({"frames": frames}), truth).backward()
        optimiser.step()
    return network


def on_the_cell(maps: Any, places: Any) -> tuple[float, float]:  # noqa: ANN401
    """Mean share of the maps on the planted cells; share of maps that are largest there."""
    cells = torch.nn.functional.adaptive_avg_pool2d(maps, GRID).flatten(1)
    cells = cells / cells.sum(dim=1, keepdim=True)
    wanted = places[:, 0] * GRID + places[:, 1]
    share = cells.gather(1, wanted[:, None]).mean().item()
    return share, (cells.argmax(dim=1) == wanted).float().mean().item()


@pytest.mark.parametrize("name", VITS)
def test_a_cell_that_alone_decides_gets_the_attention(name: str) -> None:
    frames, truth, places = planted(64, torch.Generator().manual_seed(1))
    fresh = build(name, classes=2, size_px=SIDE, **VITS[name])
    share, _ = on_the_cell(attention.looked(fresh, {"frames": frames}, 1), places)
    assert share < 0.1  # of sixteen cells
    network = trained(name, 100, 3e-3, **VITS[name])
    found = attention.looked(network, {"frames": frames}, 1)
    torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(64))
    share, largest = on_the_cell(found, places)
    assert share > 0.2
    assert largest > 0.8
    assert ((network.eval()({"frames": frames})[:, 0] > 0) == truth).float().mean() > 0.95


def test_a_cell_that_alone_decides_gets_the_cam() -> None:
    quick = {"dropout": (0.0, 0.0), "head_dropout": (0.0, 0.0), "hidden": 16}
    network = trained("improved_cnn", 30, 1e-3, **quick)
    frames, truth, places = planted(32, torch.Generator().manual_seed(1))
    shares = []
    for target in (0, 1):
        rows = truth == target
        found = attention.looked(network, {"frames": frames[rows]}, target)
        shares.append(on_the_cell(found, places[rows]))
    assert min(share for share, _ in shares) > 0.3
    assert min(largest for _, largest in shares) > 0.8


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize("grad", [True, False])
def test_the_weights_are_those_of_the_layers(name: str, grad: bool) -> None:
    """Against softmax(QK') of each layer's own projections, computed by hand."""
    network = build(name, classes=3, size_px=SIDE, **VITS[name] | {"layers": 3}).train()
    frames = planted(2, torch.Generator().manual_seed(0))[0]
    layers: list[Any] = [
        part for part in network.modules() if isinstance(part, torch.nn.MultiheadAttention)
    ]
    entered: list[Any] = []
    hooks = [
        layer.register_forward_hook(lambda _, inputs, __: entered.append(inputs[0].detach()))
        for layer in layers
    ]
    with torch.set_grad_enabled(grad):
        found = attention.attention(network, {"frames": frames})
    for hook in hooks:
        hook.remove()
    assert len(found) == len(entered) == 3
    assert network.training
    assert torch.backends.mha.get_fastpath_enabled()
    for layer, tokens, weights in zip(layers, entered, found, strict=True):
        heads, tokens_count = layer.num_heads, GRID * GRID + 1
        assert weights.shape == (2, heads, tokens_count, tokens_count)
        torch.testing.assert_close(weights.sum(dim=3), torch.ones(2, heads, tokens_count))
        both = tokens @ layer.in_proj_weight[:48].T + layer.in_proj_bias[:48]
        query, key = (
            part.unflatten(2, (heads, -1)).transpose(1, 2) for part in both.split(24, dim=2)
        )
        by_hand = (query @ key.transpose(2, 3) / (24 / heads) ** 0.5).softmax(dim=3)
        torch.testing.assert_close(weights, by_hand.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", VITS)
def test_listening_changes_no_answer_and_leaves_nothing_behind(name: str) -> None:
    network = build(name, classes=3, size_px=SIDE, **VITS[name]).eval()
    batch = {"frames": planted(2, torch.Generator().manual_seed(0))[0]}
    with torch.no_grad():
        before = network(batch)
        attention.attention(network, batch)
        assert torch.equal(network(batch), before)
    assert not any(vars(part)["_forward_hooks"] for part in network.modules())
    assert not any(vars(part)["_forward_pre_hooks"] for part in network.modules())


def test_rollout_multiplies_the_layers() -> None:
    first = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    second = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    half = torch.eye(2) / 2
    expected = (second[0] / 2 + half) @ (first[0] / 2 + half)
    torch.testing.assert_close(attention.rollout([first, second])[0], expected)
    torch.testing.assert_close(expected.sum(dim=1), torch.ones(2))


def test_the_cam_is_the_closed_form_where_the_head_is_linear() -> None:
    """With a mean over the map and one layer, Grad-CAM is the class's weights times the map."""
    network = build("resnet50", classes=3, size_px=64, weights="random").eval()
    network.freeze()
    network.classifier = torch.nn.Linear(network.trunk.width, 3)
    frames = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    maps: list[Any] = []
    hook = network.trunk.layers.layer4.register_forward_hook(lambda _, __, out: maps.append(out))
    found = attention.cam(network, {"frames": frames}, 2)
    hook.remove()
    weights = network.classifier.weight[2] / 4  # the map is 2 x 2
    expected = (maps[0] * weights[None, :, None, None]).sum(dim=1).relu().detach()
    torch.testing.assert_close(found, expected)
    assert all(p.grad is None for p in network.parameters())


def test_clips_have_a_map_for_each_frame() -> None:
    parameters = {"frames": 3, "spatial": "tiny_vit", "spatial_parameters": TINY}
    network = build("temporal_vit", classes=3, size_px=SIDE, **parameters)
    clip = planted(6, torch.Generator().manual_seed(0))[0].unflatten(0, (2, 3))
    found = attention.looked(network, {"clip": clip, "mask": torch.ones(2, 3).bool()}, 0)
    assert found.shape == (2, 3, GRID, GRID)
    parameters |= {"spatial": "resnet50", "spatial_parameters": {"weights": "random"}}
    network = build("multimodal", classes=3, size_px=SIDE, **parameters, layers=1, channels=4)
    batch = network.example(2) | {"clip": clip}
    assert attention.looked(network, batch, 0).shape == (2, 3, 1, 1)


def test_the_wrong_kind_of_network_is_refused() -> None:
    frames = {"frames": planted(1, torch.Generator().manual_seed(0))[0]}
    network = build("improved_cnn", classes=3, size_px=SIDE)
    with pytest.raises(ValueError, match="must have attention, but is made of convolutions"):
        attention.attention(network, frames)
    with pytest.raises(ValueError, match="`target` must be from 0 to 2, but is 3"):
        attention.cam(network, frames, 3)
    with pytest.raises(ValueError, match="Grad-CAM needs a trunk of convolutions"):
        attention.cam(build("tiny_vit", classes=3, size_px=SIDE, **TINY), frames, 0)


def test_an_overlay_is_red_where_the_map_is_large_and_untouched_where_it_is_none() -> None:
    picture = np.full((64, 64, 3), 90, np.uint8)
    weights = np.zeros((4, 4))
    weights[0, 3] = 0.2
    png = overlay(picture, weights)
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    assert bgr.shape == (64, 64, 3)
    assert int(bgr[4, 60, 2]) - int(bgr[4, 60, 0]) > 40  # redder than blue
    assert (bgr[40:, :20] == 90).all()
    flat = cv2.imdecode(np.frombuffer(overlay(picture, weights * 0), np.uint8), cv2.IMREAD_COLOR)
    assert flat is not None
    assert (flat == 90).all()
