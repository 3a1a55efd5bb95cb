"""Exported networks say what torch says, and work as actors."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("onnxscript")

from mien.actors import sidecar, signals  # noqa: E402
from mien.actors.classifier import Classifier  # noqa: E402
from mien.actors.nets.catalogue import build  # noqa: E402
from mien.actors.nets.network import Network, probabilities  # noqa: E402
from mien.datasets.frames import picture  # noqa: E402
from mien.datasets.schema import FACE, LABELS, rows  # noqa: E402
from mien.jobs.training import export as exporting  # noqa: E402

SIDE = 16
TINY: dict[str, Any] = {"patch_px": 8, "width": 16, "layers": 1, "heads": 2}
CLIP: dict[str, Any] = {"frames": 3, "spatial": "tiny_vit", "spatial_parameters": TINY}


def export(network: Network, folder: Path, name: str, labels: tuple[str, ...]) -> Path:
    batch = {key: rows.clone() for key, rows in network.example(3).items()}
    random = torch.Generator().manual_seed(0)
    for key, tensor in batch.items():
        if tensor.dtype == torch.uint8:
            tensor.random_(0, 256, generator=random)
        elif tensor.dtype == torch.float32:
            tensor.normal_(generator=random)
        else:
            tensor[1, 1:] = False
            tensor[2] = key != "audio_mask"
    return exporting.export(
        network,
        folder,
        name=name,
        labels=labels,
        batch=batch,
        licence="CC0-1.0",
        config_hash="0123abcd",
        trained={"data": "none"},
    )


def test_an_exported_network_works_as_an_actor(tmp_path: Path) -> None:
    network = build("tiny_vit", classes=7, size_px=SIDE, **TINY)
    labels = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    export(network, tmp_path, "tiny_vit", labels)
    assert network.training  # left as it was
    actor = Classifier(model_dir=str(tmp_path), micro_batch=4)
    assert actor.missing() is None
    actor.setup()
    image = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    boxes = np.random.default_rng(1).uniform(10, 40, (9, 4))
    crops = [signals.crop(image, np.array([x, y, 30 + w, 30 + w])) for x, y, w, _ in boxes]
    faces = pa.array([[{"crop": crop} for crop in crops]], type=rows(*FACE))
    [found] = actor.process(pa.table({"faces": faces}))["face_emotions"].to_pylist()
    pictures = np.stack([picture(crop, SIDE) for crop in crops]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = probabilities(network.eval()({"frames": torch.from_numpy(pictures.copy())}))
    ours = np.array(found)
    theirs = {"anger": "angry", "joy": "happy", "sadness": "sad"}
    order = [LABELS.index(theirs.get(label, label)) for label in labels]
    np.testing.assert_allclose(ours[:, order], expected.numpy(), atol=1e-4)
    assert np.ptp(ours, axis=0).max() > 1e-3  # the answers differ from face to face


def test_clips_with_sound_are_exported_too_but_are_no_classifier_of_faces(tmp_path: Path) -> None:
    network = build("multimodal", classes=2, size_px=SIDE, **CLIP, layers=1, channels=4)
    path = export(network, tmp_path, "multimodal", ("calm", "stressed"))
    found = exporting.ran(path, network.example(5))
    assert found.shape == (5, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    known = sidecar.read(tmp_path)
    assert (known.network, known.inputs, known.labels) == (
        "multimodal",
        "clip+audio",
        ("calm", "stressed"),
    )
    assert known.sha256 == sidecar.sha256(path)
    assert "must see single frames" in str(Classifier(model_dir=str(tmp_path)).missing())


def test_an_export_that_says_something_else_is_no_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build("tiny_vit", classes=2, size_px=SIDE, **TINY)
    with pytest.raises(ValueError, match=r"`labels` must be 2 as the classes, but are 3"):
        export(network, tmp_path, "tiny_vit", ("a", "b", "c"))
    monkeypatch.setattr(
        exporting, "_written", lambda network, inputs, path: np.full((3, 2), 0.5, np.float32)
    )
    monkeypatch.setattr(
        exporting,
        "ran",
        lambda path, inputs: np.full((len(inputs["frames"]), 2), 1.0, np.float32),
    )
    with pytest.raises(ArithmeticError, match=r"\(to 0\.0001\), but is 0\.5 apart"):
        export(network, tmp_path, "tiny_vit", ("a", "b"))
    assert not (tmp_path / "model.json").exists()
