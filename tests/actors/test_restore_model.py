"""Restoration with the true GFPGAN: of full size, with random weights, loaded as the real one."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("spandrel")

import tiny_affect  # noqa: E402
from mien.actors import gfpgan  # noqa: E402
from mien.actors.restore import Restore  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.schema import WATCH  # noqa: E402

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_affect.build_gfpgan(tmp_path_factory.mktemp("gfpgan"))


@pytest.fixture(scope="module")
def actor(path: Path) -> Restore:
    checkpoint = Weights(name="tiny", licence="MIT", path=str(path))
    made = Restore(mode="gfpgan", checkpoint=checkpoint, device="cpu", align=False, micro_batch=2)
    made.setup()
    return made


def image(seed: int) -> Any:  # noqa: ANN401
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (160, 160))


def faces(*qualities: float) -> pa.Table:
    def face(i: int, quality: float) -> dict[str, Any]:
        crop = cv2.imencode(".png", image(i)[:, :, ::-1])[1].tobytes()  # loses nothing
        return {"w": 120.0, "h": 120.0, "quality": quality, "crop": crop}

    rows = [[face(i, quality)] for i, quality in enumerate(qualities)]
    return pa.table({"faces": pa.array(rows, WATCH.field("faces").type)})


def test_batched_equals_spandrels_own_call_one_by_one(path: Path, actor: Restore) -> None:
    """The noise of this checkpoint weighs nothing, so the reference is not random."""
    from spandrel import ModelLoader, canonicalize_state_dict

    state = torch.load(path, weights_only=True)
    model = ModelLoader("cpu").load_from_state_dict(canonicalize_state_dict(state))
    matrix = gfpgan.placement(160)
    pictures = gfpgan.stacked([gfpgan.laid(image(i), matrix) for i in range(2)])
    with torch.inference_mode():
        network: Any = actor._network  # pyright: ignore[reportPrivateUsage]
        together = gfpgan.drawn(network, pictures)
        alone = torch.cat([model.model(pictures[i : i + 1])[0] for i in range(2)])
    assert (together - alone).abs().max() < TOLERANCE
    assert (together[0] - together[1]).abs().max() > 100 * TOLERANCE

    found = actor.process(faces(0.2, 0.9, 0.3))  # the second is good enough
    assert found["restored"].to_pylist() == [[True], [False], [True]]
    crops = [row[0]["crop"] for row in found["faces"].to_pylist()]
    assert crops[1] == faces(0.2, 0.9, 0.3)["faces"].to_pylist()[1][0]["crop"]
    made = np.asarray(cv2.imdecode(np.frombuffer(crops[0], np.uint8), cv2.IMREAD_COLOR))
    made = made[:, :, ::-1]
    expected = gfpgan.returned(image(0), alone[0].numpy(), matrix, 2)
    assert made.shape == expected.shape == (320, 320, 3)
    assert np.abs(made.astype(int) - expected).mean() < 3  # JPEG
    quality = found["face_quality"].to_pylist()
    assert quality[1] == [pytest.approx(0.9)]
    assert 0 <= quality[0][0] <= 1


def test_the_same_face_gets_the_same_answer_although_stylegan_adds_noise(actor: Restore) -> None:
    network: Any = actor._network  # pyright: ignore[reportPrivateUsage]
    weights = [w for name, w in network.named_parameters() if w.numel() == 1 and "conv" in name]
    assert len(weights) == 15
    picture = gfpgan.stacked([gfpgan.laid(image(0), gfpgan.placement(160))])
    try:
        for weight in weights:
            weight.fill_(1.0)
        with torch.inference_mode():
            once, again = (gfpgan.drawn(network, picture) for _ in range(2))
            random = network(picture)[0]
    finally:
        for weight in weights:
            weight.zero_()
    assert torch.equal(once, again)
    assert (random - once).abs().max() > 100 * TOLERANCE


def test_another_network_is_refused(tmp_path: Path) -> None:
    from spandrel.architectures.ESRGAN import ESRGAN

    path = tmp_path / "GFPGANv1.4.pth"
    torch.save(ESRGAN(num_filters=8, num_blocks=1).state_dict(), path)
    with pytest.raises(ValueError, match="must be of GFPGAN, but is of ESRGAN"):
        gfpgan.load(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "GFPGANv1.4.pth"
    torch.save({"params_ema": Path}, path)
    with pytest.raises(Exception, match=r"(?i)weights.only|unsupported"):
        gfpgan.load(path)


def test_the_mesh_of_a_real_face_places_the_frame(data: Path, path: Path) -> None:
    pytest.importorskip("mediapipe")
    from mien.actors import signals
    from mien.actors.faces import FaceFinder

    picture = cv2.imread(str(data / "faces" / "expression_stills" / "neutral.jpg"))
    assert picture is not None
    rgb: Any = np.ascontiguousarray(picture[:, :, ::-1])
    finder = FaceFinder()
    finder.setup()
    box = finder.detect(rgb)[0, :4]
    crop = np.ascontiguousarray(signals.square(rgb, box.astype(float), 160, margin=1.5))
    actor = Restore(mode="gfpgan", checkpoint=Weights(name="x", licence="MIT", path=str(path)))
    by_box = actor.matrix(crop)
    actor._finder = finder  # pyright: ignore[reportPrivateUsage]
    by_mesh = actor.matrix(crop)
    finder.close()
    assert not np.array_equal(by_box, by_mesh)
    assert np.abs(by_box[:, 2] - by_mesh[:, 2]).max() < 80  # the same face, more or less
    assert by_mesh[0, 0] == pytest.approx(by_box[0, 0], rel=0.2)
