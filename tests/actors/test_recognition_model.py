"""Deep identity: against DeepFace on random weights, and a gallery of real pictures."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
pytest.importorskip("torch")
pytest.importorskip("deepface")

import tiny_faces  # noqa: E402
from mien.actors import signals  # noqa: E402
from mien.actors.faces import FaceFinder  # noqa: E402
from mien.actors.recognition import KINDS, Recognition  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.schema import FACE, IDENTITY, MATCHES, rows  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    home = models / tiny_faces.REPOSITORY
    tiny_faces.build_network(home, "facenet512_weights", onnx=True)
    tiny_faces.build_network(home, "arcface_weights")
    return models


def recognition(folder: Path, kind: str = "Facenet512", **parameters: Any) -> Recognition:  # noqa: ANN401
    weights = Weights(name=tiny_faces.REPOSITORY, licence="MIT", dir=str(folder))
    actor = Recognition(kind=kind, checkpoint=weights, **parameters)
    assert actor.missing() is None
    actor.setup()
    return actor


def colourful(seed: int, size: int = 160) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (300, 300), interpolation=cv2.INTER_CUBIC), np.uint8)
    return signals.crop(image, np.array([60.0, 60, 160, 160]), size)


def table(faces: Sequence[Sequence[bytes | None] | None]) -> pa.Table:
    records = [None if row is None else [{"crop": crop} for crop in row] for row in faces]
    return pa.table({"faces": pa.array(records, type=rows(*FACE))})


def represented(
    folder: Path, kind: str, engine: str, pictures: Sequence[np.ndarray], normalization: str
) -> np.ndarray:
    """DeepFace's own embeddings, one picture (BGR) at a time."""
    with tiny_faces.deepface(folder, engine):
        from deepface import DeepFace

        found = []
        for picture in pictures:
            one: Any = DeepFace.represent(
                np.ascontiguousarray(picture),
                model_name=kind,
                enforce_detection=False,
                detector_backend="skip",
                normalization=normalization,
                l2_normalize=True,
            )
            found.append(one[0]["embedding"])
    return np.array(found)


@pytest.mark.parametrize(
    ("kind", "engine", "normalization"),
    [
        ("Facenet512", "pytorch", "base"),
        ("Facenet512", "onnx", "Facenet2018"),
        ("ArcFace", "pytorch", "base"),
        ("ArcFace", "pytorch", "ArcFace"),
    ],
)
def test_batches_equal_deepface_one_by_one(
    folder: Path, kind: str, engine: str, normalization: str
) -> None:
    crops = [colourful(i, size) for i, size in enumerate([160, 160, 97, 160, 240])]
    actor = recognition(folder, kind, engine=engine, normalization=normalization, micro_batch=2)
    found = actor.process(table([crops[:3], None, [], [None], [*crops[3:], None]]))
    assert found.schema == pa.schema([*IDENTITY, *MATCHES])
    assert found["face_matches"].to_pylist() == [None] * 5  # without a gallery
    lists = found["face_embeddings"].to_pylist()
    assert [None if row is None else len(row) for row in lists] == [3, None, 0, 1, 3]
    assert lists[3] == [None]
    assert lists[4][-1] is None
    ours = np.array([one for row in lists if row for one in row if one is not None])
    assert ours.shape == (5, 512)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    pictures = [actor.portrait(crop)[:, :, ::-1] for crop in crops]
    expected = represented(folder, kind, engine, pictures, normalization)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    swapped = represented(folder, kind, engine, [p[:, :, ::-1] for p in pictures], normalization)
    assert np.abs(ours - swapped).max() > 1e-3  # RGB taken for BGR would be seen
    actor.close()


def test_thresholds_are_those_of_deepface() -> None:
    from deepface.config.threshold import thresholds

    for name, kind in KINDS.items():
        assert kind.threshold == thresholds[name]["cosine"]


def real(data: Path) -> dict[str, np.ndarray]:
    """RGB pictures of the gallery's people, by path."""
    found = {}
    for path in sorted((data / "faces/identity_gallery").rglob("*.*")):
        bgr = cv2.imread(str(path))
        assert bgr is not None
        found[f"{path.parent.name}/{path.name}"] = np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)
    return found


@pytest.mark.data
def test_everybody_of_the_gallery_is_recognised_on_the_same_picture(
    folder: Path, data: Path
) -> None:
    finder = FaceFinder()
    finder.setup()
    images = real(data)
    crops = []
    for image in images.values():
        boxes = finder.detect(image)
        crops.append(signals.crop(image, boxes[boxes[:, 2].argmax(), :4]))
    finder.close()
    gallery = data / "faces/identity_gallery"
    actor = recognition(folder, gallery=str(gallery), threshold=1e-4)
    [matches] = actor.process(table([[*crops, None]]))["face_matches"].to_pylist()
    assert [m and m["name"] for m in matches] == [p.split("/")[0] for p in images] + [None]
    assert max(m["distance"] for m in matches[:-1]) < 1e-5
    actor.close()
    strangers = recognition(folder, gallery=str(gallery / "biden"), threshold=1e-4)
    [matches] = strangers.process(table([crops]))["face_matches"].to_pylist()
    assert [m and m["name"] for m in matches].count(None) == len(images) - 2
    assert {m["name"] for m in matches if m} == {"biden", "biden2"}


@pytest.mark.data
def test_a_tilted_head_is_turned_upright_first(folder: Path, data: Path) -> None:
    image = real(data)["obama/obama.jpg"]
    finder = FaceFinder()
    finder.setup()
    box = finder.detect(image)[0, :4]
    finder.close()
    centre = (box[:2] + box[2:4] / 2).tolist()
    turn = cv2.getRotationMatrix2D(centre, 25.0, 1.0)
    tilted = np.asarray(cv2.warpAffine(image, turn, image.shape[1::-1]), np.uint8)
    faces = table([[signals.crop(image, box), signals.crop(tilted, box)]])
    likeness = {}
    for align in (True, False):
        actor = recognition(folder, align=align)
        [[one, other]] = actor.process(faces)["face_embeddings"].to_pylist()
        likeness[align] = float(np.dot(one, other))
        actor.close()
    assert likeness[True] > likeness[False] + 0.01
    assert likeness[True] > 0.98


@pytest.mark.data
def test_pictures_without_a_face_are_named_and_left_out(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    faces = data / "faces"
    (tmp_path / "obama").mkdir()
    shutil.copy(faces / "identity_gallery/obama/obama.jpg", tmp_path / "obama/right.jpg")
    shutil.copy(faces / "detection/pyfeat_no_face_drawing.jpg", tmp_path / "obama/hills.jpg")
    (tmp_path / "obama/broken.jpg").write_bytes(b"no picture")
    (tmp_path / "obama/empty.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="gallery: ") as seen:
        actor = recognition(folder, gallery=str(tmp_path))
    actor.close()
    text = "\n".join(str(one.message) for one in seen)
    for name, why in (("hills", "shows no face"), ("broken", "read"), ("empty", "read")):
        assert any(f"{name}.jpg" in line and why in line for line in text.splitlines()), text
    assert "right.jpg" not in text


@pytest.mark.data
def test_somebody_without_any_usable_picture_is_an_error(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    faces = data / "faces"
    shutil.copy(faces / "identity_gallery/obama/obama.jpg", tmp_path / "obama.jpg")
    shutil.copy(faces / "detection/pyfeat_no_face_drawing.jpg", tmp_path / "hills.jpg")
    with (
        pytest.warns(UserWarning, match=r"hills\.jpg shows no face"),
        pytest.raises(ValueError, match="no picture of hills shows one"),
    ):
        recognition(folder, gallery=str(tmp_path))
    (tmp_path / "empty").mkdir()
    actor = Recognition(
        gallery=str(tmp_path / "empty"),
        checkpoint=Weights(name=tiny_faces.REPOSITORY, licence="MIT", dir=str(folder)),
    )
    with pytest.raises(ValueError, match="`gallery` must hold pictures"):
        actor.setup()
