"""The networks of `mien train`: what goes in, what comes out, what is trained."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from mien.actors.nets.catalogue import NETWORKS, build  # noqa: E402
from mien.actors.nets.multimodal import STRIDE, Sound  # noqa: E402
from mien.actors.nets.network import loss, probabilities  # noqa: E402
from mien.actors.nets.temporal_vit import mean_of  # noqa: E402

SIDE = 32
TINY: dict[str, Any] = {"patch_px": 8, "width": 24, "layers": 2}
SPATIAL: dict[str, Any] = {"frames": 4, "spatial": "tiny_vit", "spatial_parameters": TINY}
SMALL: dict[str, dict[str, Any]] = {
    "improved_cnn": {},
    "tiny_vit": TINY,
    "resnet50": {"weights": "random"},
    "vit_b16": {**TINY, "heads": 2, "mlp": 48, "weights": "random"},
    "temporal_vit": SPATIAL,
    "multimodal": {**SPATIAL, "layers": 4, "channels": 16},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(name: str, classes: int = 3, **parameters: Any) -> Any:  # noqa: ANN401
    return build(name, classes=classes, size_px=SIDE, **{**SMALL[name], **parameters}).eval()


def batch(rows: int = 3, seed: int = 0, samples: int = 4000) -> dict[str, Any]:
    """Everything that any network reads; the second clip is short, the third has no sound."""
    random = torch.Generator().manual_seed(seed)

    def pictures(*shape: int) -> Any:  # noqa: ANN401
        return torch.randint(0, 256, (*shape, 3, SIDE, SIDE), generator=random, dtype=torch.uint8)

    found = {
        "frames": pictures(rows),
        "clip": pictures(rows, 4),
        "mask": torch.ones(rows, 4, dtype=torch.bool),
        "audio": torch.randn(rows, samples, generator=random).clamp(-1, 1),
        "audio_mask": torch.ones(rows, samples, dtype=torch.bool),
    }
    found["mask"][1, 2:] = False
    found["audio_mask"][2] = False
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_alone_as_among_others_and_learns_in_all_its_parts(name: str) -> None:
    network = small(name)
    together = batch()
    logits = network(together)
    assert logits.shape == (3, 3)
    alone = [network({k: v[i : i + 1] for k, v in together.items()}) for i in range(3)]
    torch.testing.assert_close(logits, torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert network.inputs == NETWORKS[name][1]
    assert set(network.example(2)) <= set(together)
    loss(logits, torch.tensor([0, 1, 2])).backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize("name", NETWORKS)
def test_two_classes_have_one_logit_and_bfloat16_is_close(name: str) -> None:
    network = small(name, classes=2)
    with torch.no_grad():
        exact = probabilities(network(batch()))
        with torch.amp.autocast("cpu", dtype=torch.bfloat16):
            logits = network(batch())
    assert logits.shape == (3, 1)
    assert logits.dtype == torch.bfloat16
    assert exact.shape == (3, 2)
    torch.testing.assert_close(exact.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(probabilities(logits), exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_frozen_trunk_stays_as_it_is_while_the_head_learns(name: str) -> None:
    network = small(name)
    network.freeze()
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    loss(network(batch()), torch.tensor([0, 1, 2])).backward()
    optimiser.step()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not any(key.startswith("trunk.") for key in changed)  # the norms' statistics neither
    assert not network.trunk.training
    assert network.classifier.training
    both = {id(p) for p in network.head()} | {id(p) for p in network.backbone()}
    assert both == {id(p) for p in network.parameters()}
    assert not {id(p) for p in network.head()} & {id(p) for p in network.backbone()}
    network.freeze(False)
    assert network.trunk.training
    assert all(p.requires_grad for p in network.parameters())


def test_the_seed_alone_decides_the_weights() -> None:
    one, same, other = (small("tiny_vit", seed=seed) for seed in (1, 1, 2))
    values = [torch.cat([p.flatten() for p in n.parameters()]) for n in (one, same, other)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    layers = one.trunk.encoder.layers
    assert not torch.equal(layers[0].linear1.weight, layers[1].linear1.weight)


def test_floats_from_0_to_1_are_the_same_pictures() -> None:
    network, frames = small("improved_cnn"), batch()["frames"]
    torch.testing.assert_close(network({"frames": frames}), network({"frames": frames / 255}))
    white = network.normalised(torch.ones(1, 3, 1, 1))
    torch.testing.assert_close(
        white.flatten(), (1 - torch.tensor([0.485, 0.456, 0.406])) / network.std.flatten()
    )


def test_the_class_token_carries_the_answer_and_the_positions_matter() -> None:
    network, frames = small("tiny_vit"), batch()["frames"]
    before = network({"frames": frames})
    flipped = network({"frames": frames.flip(3)})
    assert (before - flipped).abs().max() > 1e-4
    with torch.no_grad():
        network.trunk.positions.zero_()
    turned = frames.unflatten(3, (4, 8)).flip(3).flatten(3, 4)  # patches change places, whole
    torch.testing.assert_close(
        network({"frames": frames}), network({"frames": turned}), atol=1e-5, rtol=1e-4
    )
    with torch.no_grad():
        network.trunk.token += 1
    assert (network({"frames": frames}) - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["temporal_vit", "multimodal"])
def test_what_is_masked_changes_nothing_and_what_is_not_does(name: str) -> None:
    network, one = small(name), batch()
    before = network(one)
    hidden = {key: value.clone() for key, value in one.items()}
    hidden["clip"][1, 2:] = 7
    hidden["audio"][2] = 1.0
    torch.testing.assert_close(network(hidden), before, atol=1e-5, rtol=1e-4)
    hidden["clip"][1, 1] = 7
    assert (network(hidden) - before)[1].abs().max() > 1e-4


def test_the_order_of_the_frames_matters() -> None:
    network, one = small("temporal_vit"), batch()
    backwards = one | {"clip": one["clip"].flip(1), "mask": torch.ones(3, 4, dtype=torch.bool)}
    forwards = one | {"mask": torch.ones(3, 4, dtype=torch.bool)}
    assert (network(forwards) - network(backwards)).abs().max() > 1e-4


def test_the_mean_is_over_the_real_frames() -> None:
    features = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [6.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert mean_of(features, mask).tolist() == [[2.0], [4.0]]


def test_the_sound_is_heard_and_a_missing_one_is_no_zero() -> None:
    network, one = small("multimodal"), batch()
    louder = one | {"audio": one["audio"] * 0.1}
    apart = (network(louder) - network(one)).abs().amax(dim=1)
    assert apart[0] > 1e-6
    assert apart[2] < 1e-6  # has no sound
    silent = one | {"audio_mask": torch.zeros_like(one["audio_mask"])}
    assert torch.isfinite(network(silent)).all()


def test_sound_depends_on_no_later_sample_and_reaches_far_back() -> None:
    torch.manual_seed(0)
    sound = Sound(width=8, channels=8, layers=6)
    audio, mask = torch.randn(1, 16_000), torch.ones(1, 16_000, dtype=torch.bool)
    before, real = sound(audio, mask)
    assert before.shape == (1, 10, 8)
    assert real.all()
    changed = audio.clone()
    changed[0, 9_600:] += 1.0  # from the seventh token of 100 ms on
    after, _ = sound(changed, mask)
    torch.testing.assert_close(after[:, :6], before[:, :6])
    assert (after - before)[:, 6].abs().max() > 1e-4
    changed = audio.clone()
    changed[0, :STRIDE] += 1.0
    after, _ = sound(changed, mask)
    assert (after - before)[:, 5].abs().max() > 1e-6  # 2 ** 6 steps of 10 ms back
    short, real = sound(audio[:, :1700], mask[:, :1700])
    assert short.shape[1] == 2
    torch.testing.assert_close(short[:, 0], before[:, 0])


def test_a_loss_is_the_closed_form() -> None:
    logits, truth = torch.tensor([[0.3], [-1.2], [2.0]]), torch.tensor([1, 0, 0])
    positive = torch.sigmoid(logits[:, 0])
    each = -torch.log(torch.where(truth == 1, positive, 1 - positive))
    torch.testing.assert_close(loss(logits, truth), each.mean())
    weight = torch.tensor([1.0, 5.0])
    torch.testing.assert_close(
        loss(logits, truth, weight=weight), (each * weight[truth]).sum() / weight[truth].sum()
    )
    wide = torch.stack([torch.zeros(3), logits[:, 0]], dim=1)  # two logits say the same
    settings: list[dict[str, Any]] = [{}, {"weight": weight}, {"smoothing": 0.2}]
    for options in settings:
        torch.testing.assert_close(
            loss(logits, truth, **options),
            torch.nn.functional.cross_entropy(
                wide, truth, options.get("weight"), label_smoothing=options.get("smoothing", 0.0)
            ),
        )
    torch.testing.assert_close(probabilities(logits), wide.softmax(dim=1))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("tiny_vit", {"patch_px": 5}, r"`size_px` must be a multiple of `patch_px` \(5\), but is"),
        ("tiny_vit", {"heads": 5}, r"`heads` must divide the width \(24\), but is 5"),
        (
            "tiny_vit",
            {"depth": 5},
            r"`parameters` of tiny_vit are patch_px, .* but 'depth' is none",
        ),
        (
            "temporal_vit",
            {"spatial": "multimodal"},
            "`spatial` must be one of tiny_vit, resnet50, vit_b16",
        ),
        ("temporal_vit", {"frames": 0}, "`frames` must be between 1 and 4096, but is 0"),
        ("multimodal", {"heads": 7}, r"`heads` must divide the width \(24\), but is 7"),
        ("resnet50", {"weights": "nowhere.pth"}, "'nowhere.pth' does not exist"),
        ("improved_cnn", {"classes": 1}, "`classes` must be at least 2, but is 1"),
    ],
)
def test_wrong_parameters_are_refused(name: str, parameters: dict, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        small(name, **parameters)


def test_a_clip_that_is_too_long_is_refused() -> None:
    long = batch() | {"clip": torch.zeros(1, 5, 3, SIDE, SIDE)}
    with pytest.raises(ValueError, match="must have at most 4 frames, but has 5"):
        small("temporal_vit")(long)


def test_weights_come_from_a_path_or_torchs_cache_and_are_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import VisionTransformer

    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("something was downloaded")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetch)
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert small("vit_b16", weights="auto").trunk.origin == "random"
    with pytest.raises(FileNotFoundError, match=r"imagenet.*copy https://download\.pytorch\.org/"):
        small("vit_b16", weights="imagenet")
    theirs = VisionTransformer(2 * SIDE, 8, 2, 2, 24, 48)  # made for pictures twice as large
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(theirs.state_dict(), cache / "vit_b_16-c867db91.pth")
    for weights in ("auto", "imagenet", str(cache / "vit_b_16-c867db91.pth")):
        network = small("vit_b16", weights=weights)
        assert network.trunk.origin == "vit_b_16-c867db91.pth"
        ours = network.trunk.layers
        assert torch.equal(ours.conv_proj.weight, theirs.conv_proj.weight)
        assert ours.encoder.pos_embedding.shape == (1, 17, 24)
    assert small("vit_b16", weights="random").trunk.origin == "random"
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="holds the weights of another network"):
        small("resnet50", weights=str(tmp_path / "other.pth"))


def test_nothing_of_this_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("tiny_vit", "temporal_vit", "multimodal"):
            small(name)(batch())
