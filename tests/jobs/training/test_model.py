"""What is trained, as the configuration says it: known without torch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mien.actors.nets import catalogue
from mien.actors.nets.catalogue import NETWORKS
from mien.jobs.training.model import Model, TrainPhase

CONF = Path(__file__).parents[3] / "conf" / "model"


def configured(name: str) -> Model:
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="object")


def test_every_network_has_a_configuration() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_configuration_builds(name: str) -> None:
    model = configured(name)
    assert model.network == name
    assert model.inputs == NETWORKS[name][1]
    assert model.frames == (1 if model.inputs == "frames" else 10)
    assert model.size_px == 224


@pytest.mark.parametrize("name", ["resnet50", "vit_b16", "temporal_vit", "multimodal"])
def test_what_may_be_pretrained_learns_in_two_phases(name: str) -> None:
    first, second = configured(name).phases.values()
    assert first.frozen
    assert not second.frozen
    assert (first.head_rate, second.head_rate, second.backbone_rate) == (1e-4, 1e-4, 1e-5)


@pytest.mark.parametrize("name", ["improved_cnn", "tiny_vit"])
def test_what_starts_from_scratch_learns_in_one(name: str) -> None:
    [only] = configured(name).phases.values()
    assert only.head_rate == only.backbone_rate


def test_the_configuration_is_read_without_torch() -> None:
    code = (
        "import sys; import mien.jobs.training.model; import mien.actors.classifier; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "absent", lambda names: list(names))
    with pytest.raises(ModuleNotFoundError, match=r"needs torch, torchvision: `make setup`\."):
        configured("tiny_vit").build(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "vgg"}, "`network` must be one of improved_cnn, .*, but is 'vgg'"),
        ({"size_px": 0}, "`size_px` must be at least 1, but is 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, but is 0"),
        ({"phases": {}}, "`phases` must name at least one phase"),
    ],
)
def test_a_wrong_model_is_refused(change: dict[str, Any], message: str) -> None:
    right = {
        "network": "tiny_vit",
        "size_px": 32,
        "batch_size": 4,
        "phases": {"all": TrainPhase(epochs=1, head_rate=1e-3, backbone_rate=0)},
    }
    with pytest.raises(ValueError, match=message):
        Model(**right | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
        ({"head_rate": 0.0}, "`head_rate` must be greater than 0, but is 0"),
        ({"backbone_rate": -1.0}, r"`backbone_rate` must be at least 0 \(0: frozen\), but is -1"),
    ],
)
def test_a_wrong_phase_is_refused(change: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"epochs": 1, "head_rate": 1e-3, "backbone_rate": 0.0}
    with pytest.raises(ValueError, match=message):
        TrainPhase(**right | change)
