"""The face actors as configured, with nothing but a folder of models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
pytest.importorskip("torch")
pytest.importorskip("deepface")
pytest.importorskip("h5py")

import tiny_faces  # noqa: E402
from mien.actors import signals  # noqa: E402
from mien.actors.deep_faces import environment  # noqa: E402
from mien.actors.landmarker import bridge  # noqa: E402
from mien.datasets.schema import FACE, rows  # noqa: E402

bridge()  # before any other graph of MediaPipe's
WATCHES = ("watch_yunet", "watch_retinaface", "watch_landmarker")
HEADS = ("deepface_emotion", "mini_xception", "facenet512", "arcface")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("models")
    tiny_faces.build_all(folder)
    empty = str(tmp_path_factory.mktemp("home"))
    with environment(HOME=empty, HF_HOME=empty, DEEPFACE_HOME=empty):
        yield folder
    assert not any(Path(empty).rglob("*.pth"))


def configured(name: str, models: Path) -> Any:  # noqa: ANN401
    with initialize_config_module("mien.conf", version_base="1.3"):
        cfg = compose("mien", overrides=[f"+actor@probed={name}", f"models.dir={models}"])
    return instantiate(cfg.probed, _convert_="object")


@pytest.mark.parametrize("name", HEADS)
def test_a_head_works_from_a_folder_of_models(models: Path, name: str) -> None:
    actor = configured(name, models)
    assert actor.missing() is None
    image = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    crop = signals.crop(image, np.array([50.0, 50, 100, 100]))
    actor.setup()
    faces = pa.array([[{"crop": crop}, {"crop": None}]], type=rows(*FACE))
    found = actor.process(pa.table({"faces": faces}))
    actor.close()
    assert found.schema == actor.adds
    [[one, none]] = found[0].to_pylist()
    assert len(one) in (7, 512)
    assert none is None
    revision = actor.provenance()["revision"]
    assert len(revision) == 12  # a digest of what was found in the folder


@pytest.mark.parametrize("name", WATCHES)
def test_a_finder_works_from_a_folder_of_models(models: Path, name: str) -> None:
    actor = configured(name, models)
    assert actor.missing() is None
    assert len(actor.weights()) == (2 if name == "watch_landmarker" else 1)
    image = np.zeros((320, 320, 3), np.uint8)
    cv2.circle(image, (100, 204), 12, (255, 0, 0), -1)
    actor.setup()
    boxes = actor.faces.detect(image)
    meshes = actor.faces.mesh(image, boxes[:, :4])
    actor.close()
    assert meshes.shape == (len(boxes), 478, 3)
    if name != "watch_retinaface":
        [x, y, w, h, _] = boxes[0]
        assert (x + w / 2, y + h / 2) == pytest.approx((100, 204), abs=12)


@pytest.mark.parametrize("name", [*WATCHES, *HEADS])
def test_without_the_folder_it_is_said_what_is_missing(tmp_path: Path, name: str) -> None:
    with environment(HOME=str(tmp_path), HF_HOME=str(tmp_path)):
        assert "`mien fetch` brings" in str(configured(name, tmp_path).missing())


@pytest.mark.parametrize("name", [*WATCHES, *HEADS])
def test_nothing_of_the_machine_is_in_the_identity(models: Path, name: str) -> None:
    assert str(models) not in str(configured(name, models).identity())


def test_a_random_keras_file_is_read_back(tmp_path: Path) -> None:
    import torch

    from mien.actors.xception_net import load

    network = load(tiny_faces.build_mini_xception(tmp_path))
    pictures = torch.rand(3, 1, 64, 64) * 2 - 1
    with torch.inference_mode():
        found = network(pictures)
    assert found.sum(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3
