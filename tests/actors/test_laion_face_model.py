"""Fine-grained emotions of faces, on a tiny SigLIP and tiny heads, against one at a time."""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

import tiny_laion  # noqa: E402
from mien.actors.laion_face import ENCODER, HEADS, CalibrationWarning, LaionFace  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.laion import LAION_FACE_NAMES, file_of  # noqa: E402
from mien.datasets.schema import LAION_FACE, WATCH  # noqa: E402

FACES = WATCH.field("faces").type
LARGE = replace(HEADS, name=tiny_laion.FACE_LARGE)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_laion.build_siglip(folder / ENCODER.name)
    tiny_laion.build_face_heads(folder / HEADS.name, "small")
    tiny_laion.build_face_heads(folder / LARGE.name, "large")
    return folder


def pictures(*sides: int, seed: int = 0) -> list[np.ndarray]:
    """RGB pictures, each of another mean colour."""
    random = np.random.default_rng(seed)
    return [
        (random.integers(0, 200, (s, s, 3)) + random.integers(0, 56, 3)).astype(np.uint8)
        for s in sides
    ]


def crop(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def rows(*lists: Sequence[np.ndarray | None] | None) -> pa.Table:
    faces = [
        None
        if images is None
        else [{"x": -5.0, "crop": None if one is None else crop(one)} for one in images]
        for images in lists
    ]
    return pa.table({"faces": pa.array(faces, FACES)})


def actor(models: Path, **parameters: Any) -> LaionFace:  # noqa: ANN401
    where = {
        name: replace(parameters.pop(name, usual), dir=str(models))
        for name, usual in (("encoder", ENCODER), ("heads", HEADS))
    }
    made = LaionFace(**where, device="cpu", **parameters)
    made.setup()
    return made


def reference(models: Path, name: str, size: str, *, l2: bool = True) -> Callable[..., np.ndarray]:
    """The whole SigLIP and one head after the other, one picture at a time."""
    sizes = (tiny_laion.WIDTH, *(hidden // 8 for hidden in tiny_laion.SIZES[size]))
    return tiny_laion.face_reference(models / ENCODER.name, models / name, sizes, l2=l2)


@pytest.mark.parametrize(("weights", "size"), [(HEADS, "small"), (LARGE, "large")])
def test_batched_and_ragged_scores_are_those_of_one_face_at_a_time(
    models: Path, weights: Weights, size: str
) -> None:
    """Large heads have other layers than Small ones; some checkpoints come from compiled heads."""
    images = pictures(160, 160, 96, 200, 64, 160, 31)
    table = rows(images[:3], None, [], [images[3], None, images[4]], images[5:])
    found = actor(models, heads=weights, micro_batch=3).process(table)
    assert found.schema == LAION_FACE
    scores = found["laion_face"].to_pylist()
    assert [None if one is None else len(one) for one in scores] == [3, None, 0, 3, 2]
    assert scores[3][1] is None  # a missing crop has no score, least of all 0
    flat = [one for row in scores for one in row or [] if one is not None]
    ask = reference(models, weights.name, size)
    np.testing.assert_allclose(flat, [ask(image) for image in images], atol=TOLERANCE)
    assert len({round(value, 6) for value in flat[0]}) == 40  # and not one head 40 times
    assert np.std(flat, axis=0).min() > 1000 * TOLERANCE  # each of which sees the difference
    assert found["laion_face_warning"].to_pylist() == [None] * 5


def test_colours_are_not_swapped(models: Path) -> None:
    image = pictures(160)[0]
    image[..., 0] //= 8
    judged = actor(models).process(rows([image, image[..., ::-1].copy()]))
    right, swapped = (np.array(one) for one in judged["laion_face"].to_pylist()[0])
    expected = reference(models, HEADS.name, "small")(image)
    np.testing.assert_allclose(right, expected, atol=TOLERANCE)
    assert np.abs(swapped - expected).max() > 100 * TOLERANCE


@pytest.mark.parametrize("l2", [True, False])
def test_embeddings_have_length_one_unless_switched_off(models: Path, l2: bool) -> None:
    net = actor(models, l2_normalize=l2)
    image = pictures(160)[0]
    with torch.inference_mode():
        length = net.embedded(net.prepared([crop(image)])).norm(dim=-1)
    assert (abs(float(length) - 1) < 1e-6) == l2
    expected = reference(models, HEADS.name, "small", l2=l2)(image)
    found = net.process(rows([image]))["laion_face"].to_pylist()[0][0]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_embedding_is_the_pooled_one_and_no_first_token(models: Path) -> None:
    """SigLIP has no class token: what stands first is a corner of the picture."""
    from transformers import SiglipModel

    net = actor(models, l2_normalize=False)
    pixels = net.prepared([crop(pictures(160)[0])])
    whole = SiglipModel.from_pretrained(models / ENCODER.name).eval()
    with torch.inference_mode():
        given = whole.vision_model(pixel_values=pixels)
        found = net.embedded(pixels)
    torch.testing.assert_close(found, given.pooler_output, atol=1e-6, rtol=0)
    assert (found - given.last_hidden_state[:, 0]).abs().max() > 0.1


def test_only_the_picture_half_is_loaded(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformers import SiglipModel

    whole = SiglipModel.from_pretrained(models / ENCODER.name)
    net = actor(models)
    count = sum(p.numel() for p in net._network.parameters())  # pyright: ignore[reportPrivateUsage]
    assert count == sum(p.numel() for p in whole.vision_model.parameters())
    assert "UNEXPECTED" not in caplog.text


def test_a_batch_is_one_call_of_the_encoder_and_one_product_per_layer(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VideoAnnotator calls the encoder for each face, and each head for each face."""
    net = actor(models, micro_batch=16)
    calls, products = [], []
    forward, baddbmm = net._network.forward, torch.baddbmm  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(
        net._network,  # pyright: ignore[reportPrivateUsage]
        "forward",
        lambda **given: (calls.append(len(given["pixel_values"])), forward(**given))[1],
    )
    monkeypatch.setattr(torch, "baddbmm", lambda *a: (products.append(1), baddbmm(*a))[1])
    net.process(rows(pictures(*[64] * 5), pictures(*[64] * 11)))
    assert calls == [16]
    assert len(products) == 2


def test_a_face_at_the_border_is_judged_like_any_other(models: Path) -> None:
    """Its box begins left of the picture; the crop repeats the border there."""
    found = actor(models).process(rows(pictures(160)))
    assert rows(pictures(160))["faces"][0][0]["x"].as_py() < 0
    assert len(found["laion_face"].to_pylist()[0][0]) == 40


def test_neutral_statistics_are_taken_off_where_there_are_any(models: Path, tmp_path: Path) -> None:
    image = pictures(160)
    plain = actor(models).process(rows(image, [None], None))
    assert plain["laion_face_adjusted"].to_pylist() == [[None], [None], None]
    folder = copytree(models / HEADS.name, tmp_path / "heads")
    weights = replace(HEADS, path=str(folder))
    mean = 0.01 * np.arange(40)
    for std, scaled in ((True, False), (False, False), (True, True)):
        tiny_laion.build_neutral(folder, std=std)
        found = actor(models, heads=weights, neutral_std=scaled).process(rows(image))
        raw = np.array(found["laion_face"].to_pylist()[0][0])
        np.testing.assert_allclose(raw, plain["laion_face"].to_pylist()[0][0], atol=1e-6)
        expected = (raw - mean) / (0.5 + mean if scaled else 1)
        adjusted = found["laion_face_adjusted"].to_pylist()[0][0]
        np.testing.assert_allclose(adjusted, expected, atol=1e-6)
    off = actor(models, heads=weights, neutral=False).process(rows(image))
    assert off["laion_face_adjusted"].to_pylist() == [[None]]
    tiny_laion.build_neutral(folder, std=False)
    with pytest.raises(ValueError, match=r"`neutral_std` needs neutral_stats\*.json with standard"):
        actor(models, heads=weights, neutral_std=True)


def scaled_heads(models: Path, folder: Path, factor: float) -> Weights:
    """Heads whose scores are `factor` times as large."""
    copytree(models / HEADS.name, folder)
    for label in LAION_FACE_NAMES:
        state = torch.load(folder / file_of(label), weights_only=True)
        last = [key for key in state if "layers.6" in key]
        torch.save(
            {k: v * factor if k in last else v for k, v in state.items()}, folder / file_of(label)
        )
    return replace(HEADS, path=str(folder))


def test_scores_far_outside_raise_a_calibration_warning(models: Path, tmp_path: Path) -> None:
    wild = actor(models, heads=scaled_heads(models, tmp_path / "heads", 1000))
    with pytest.warns(CalibrationWarning, match="beyond 10.*try `l2_normalize` false"):
        found = wild.process(rows(pictures(64, 64), [None], None))
    texts = found["laion_face_warning"].to_pylist()
    assert texts[0] is not None
    assert texts[1:] == [None, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        actor(models).process(rows(pictures(64, 64)))


def test_a_warning_does_not_depend_on_the_batch(models: Path) -> None:
    """A row is judged by its own faces, so that a resumed run says the same."""
    net = actor(models)
    quiet, loud = np.zeros(40, np.float32), np.zeros(40, np.float32)
    doubt = net._doubt  # pyright: ignore[reportPrivateUsage]
    assert doubt([quiet, quiet]) is None
    loud[0] = 10.5
    assert doubt([loud, quiet]) is not None  # 1 of 80
    assert doubt([loud, quiet, quiet, None]) is None  # 1 of 120 is less than one in a hundred
    assert doubt([None]) is doubt([]) is None


def test_what_overflows_is_unknown_and_said_so(models: Path) -> None:
    net = actor(models)
    judged = net.judged
    net.judged = lambda pictures: [judged(pictures)[0], np.full(40, np.inf, np.float32)]
    with pytest.warns(CalibrationWarning, match="`precision` float32 is too small"):
        found = net.process(rows(pictures(64, 64)))
    assert found["laion_face"].to_pylist()[0][1] is None
    assert found["laion_face"].to_pylist()[0][0] is not None


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.02), ("float16", 0.003)])
def test_half_precision_is_near(models: Path, precision: str, tolerance: float) -> None:
    table = rows(pictures(160, 96, 64))
    scores = [
        np.array(actor(models, precision=one).process(table)["laion_face"].to_pylist()[0])
        for one in ("float32", precision)
    ]
    assert 0 < np.abs(scores[0] - scores[1]).max() < tolerance


def test_the_view_cuts_out_the_middle(models: Path) -> None:
    image = pictures(150)[0]
    inner = actor(models, view=1.0).process(rows([image]))["laion_face"].to_pylist()[0][0]
    expected = reference(models, HEADS.name, "small")(image[25:125, 25:125])
    np.testing.assert_allclose(inner, expected, atol=TOLERANCE)


def test_a_crop_that_is_no_picture_is_an_error(models: Path) -> None:
    table = pa.table({"faces": pa.array([[{"crop": b"torn"}]], FACES)})
    with pytest.raises(ValueError, match="must be a JPEG"):
        actor(models).process(table)


def test_missing_heads_are_one_error_that_names_them(models: Path, tmp_path: Path) -> None:
    """A head that is skipped, with 0 for its score, would be a score like any other."""
    folder = copytree(models / HEADS.name, tmp_path / "heads")
    (folder / file_of("anger")).unlink()
    (folder / file_of("jealousy_&_envy")).unlink()
    message = "2 of 40 heads are missing: model_anger_best.pth, model_jealousy_&_envy_best.pth"
    with pytest.raises(FileNotFoundError, match=message):
        actor(models, heads=replace(HEADS, path=str(folder)))


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("fault", ["torn", "empty", "foreign", "unchained", "other", "evil"])
def test_broken_heads_are_one_error_that_names_them(
    models: Path, tmp_path: Path, fault: str
) -> None:
    folder = copytree(models / HEADS.name, tmp_path / "heads")
    file, marker = folder / file_of("pride"), tmp_path / "executed"
    state = torch.load(file, weights_only=True)
    if fault == "torn":
        file.write_bytes(file.read_bytes()[:700])
    elif fault == "empty":
        file.write_bytes(b"")
    elif fault == "foreign":
        torch.save({**state, "bn.weight": torch.zeros(3)}, file)
    elif fault == "unchained":
        torch.save({k: v for k, v in state.items() if "layers.3" not in k}, file)
    elif fault == "other":
        torch.save(tiny_laion.face_head((48, 16, 4)).state_dict(), file)
    else:
        torch.save(Evil(marker), file)
    with pytest.raises(ValueError, match=r"heads cannot be used: model_pride_best\.pth"):
        actor(models, heads=replace(HEADS, path=str(folder)))
    assert not marker.exists()
