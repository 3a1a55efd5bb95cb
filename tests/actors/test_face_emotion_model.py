"""Emotions of faces: against DeepFace on random weights, and on labelled pictures."""

import csv
from collections.abc import Sequence
from dataclasses import replace
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
from mien.actors.crops import decoded, framed  # noqa: E402
from mien.actors.deep_faces import ENGINES, environment  # noqa: E402
from mien.actors.face_emotion import VIEW, DeepFaceEmotion, FaceEmotion, MiniXception  # noqa: E402
from mien.actors.faces import FaceFinder  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.schema import FACE, FACE_EMOTIONS, LABELS, rows  # noqa: E402

STEM = "facial_expression_model_weights"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    tiny_faces.build_network(models / tiny_faces.REPOSITORY, STEM, onnx=True)
    return models


def emotion(folder: Path, engine: str = "pytorch", **parameters: Any) -> DeepFaceEmotion:  # noqa: ANN401
    weights = Weights(name=tiny_faces.REPOSITORY, licence="MIT", dir=str(folder))
    actor = DeepFaceEmotion(engine=engine, checkpoint=weights, **parameters)
    assert actor.missing() is None
    actor.setup()
    return actor


def colourful(seed: int, size: int = 160) -> bytes:
    """A crop whose colours differ a lot."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (300, 300), interpolation=cv2.INTER_CUBIC), np.uint8)
    return signals.crop(image, np.array([60.0, 60, 160, 160]), size)


def table(faces: Sequence[Sequence[bytes | None] | None]) -> pa.Table:
    records = [None if row is None else [{"crop": crop} for crop in row] for row in faces]
    return pa.table({"faces": pa.array(records, type=rows(*FACE))})


def analyzed(folder: Path, engine: str, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """DeepFace's own answers `(n, 7)`, 0-1, one picture (BGR) at a time."""
    with tiny_faces.deepface(folder, engine):
        from deepface import DeepFace

        found = []
        for picture in pictures:
            one: Any = DeepFace.analyze(
                np.ascontiguousarray(picture),
                actions=["emotion"],
                enforce_detection=False,
                detector_backend="skip",
                silent=True,
            )
            found.append([one[0]["emotion"][label] / 100 for label in LABELS])
    return np.array(found)


def inner(crop: bytes) -> np.ndarray:
    return framed(decoded(crop), VIEW, VIEW)


@pytest.mark.parametrize("engine", ["pytorch", "onnx", "tensorflow"])
def test_batches_equal_deepface_one_by_one(folder: Path, engine: str) -> None:
    pytest.importorskip(ENGINES[engine])
    crops = [colourful(i, size) for i, size in enumerate([160, 160, 97, 160, 240, 160, 160])]
    faces = table([crops[:3], None, [], [None], [*crops[3:], None]])
    found = emotion(folder, engine, micro_batch=3).process(faces)
    assert found.schema == FACE_EMOTIONS
    lists = found["face_emotions"].to_pylist()
    assert [None if row is None else len(row) for row in lists] == [3, None, 0, 1, 5]
    assert lists[3] == [None]
    assert lists[4][-1] is None
    ours = np.array([one for row in lists if row for one in row if one is not None])
    expected = analyzed(folder, engine, [inner(crop)[:, :, ::-1] for crop in crops])
    np.testing.assert_allclose(ours, expected, atol=2e-6)
    assert np.ptp(expected, axis=0).max() > 0.01  # the answers differ from face to face


def test_rgb_taken_for_bgr_would_be_seen(folder: Path) -> None:
    crop = colourful(1)
    [[ours]] = emotion(folder).process(table([[crop]]))["face_emotions"].to_pylist()
    right, wrong = analyzed(folder, "pytorch", [inner(crop)[:, :, ::-1], inner(crop)])
    assert np.abs(np.array(ours) - right).max() < 2e-6
    assert np.abs(np.array(ours) - wrong).max() > 1e-3


def test_scores_are_probabilities_not_percents(folder: Path) -> None:
    [[ours]] = emotion(folder).process(table([[colourful(2)]]))["face_emotions"].to_pylist()
    assert sum(ours) == pytest.approx(1, abs=1e-5)
    assert max(ours) < 1


def test_the_network_sees_the_face_and_not_the_whole_crop(folder: Path) -> None:
    crop = colourful(3)
    image = decoded(crop)
    edge = round(160 * (1.5 - VIEW) / 1.5 / 2) - 1
    image[:edge] = image[-edge:] = image[:, :edge] = image[:, -edge:] = 0
    done, data = cv2.imencode(".png", image[:, :, ::-1])
    assert done
    actor = emotion(folder)
    ours, same = actor.process(table([[crop, data.tobytes()]]))["face_emotions"].to_pylist()[0]
    np.testing.assert_allclose(ours, same, atol=1e-5)
    wide = emotion(folder, view=1.5).process(table([[crop, data.tobytes()]]))
    ours, other = wide["face_emotions"].to_pylist()[0]
    assert np.abs(np.array(ours) - other).max() > 1e-3


def test_a_black_crop_is_judged_as_deepface_judges_it(folder: Path) -> None:
    black = np.zeros((200, 200, 3), np.uint8)
    crop = signals.crop(black, np.array([50.0, 50, 100, 100]))
    [[ours]] = emotion(folder).process(table([[crop]]))["face_emotions"].to_pylist()
    np.testing.assert_allclose([ours], analyzed(folder, "pytorch", [black]), atol=2e-6)


def test_half_precision_is_close(folder: Path) -> None:
    faces = table([[colourful(i) for i in range(4)]])
    exact = np.array(emotion(folder).process(faces)["face_emotions"].to_pylist()[0])
    half = emotion(folder, precision="bfloat16").process(faces)["face_emotions"].to_pylist()[0]
    assert np.abs(np.array(half) - exact).max() < 0.03


def test_two_actors_of_one_process_keep_their_own_weights(folder: Path, tmp_path: Path) -> None:
    tiny_faces.build_network(tmp_path / tiny_faces.REPOSITORY, STEM, seed=1)
    faces = table([[colourful(0)]])
    one, other = emotion(folder), emotion(tmp_path)
    assert one.identity() != other.identity()
    before = one.process(faces)
    assert not other.process(faces).equals(before)
    assert one.process(faces).equals(before)


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdown.download", None)
    with environment(HOME=str(tmp_path), HF_HOME=str(tmp_path)):
        actor = DeepFaceEmotion(checkpoint=Weights(name="serengil/deepface", licence="MIT"))
        assert "needs the weights serengil/deepface" in str(actor.missing())
        with pytest.raises(FileNotFoundError, match="`mien fetch` brings"):
            actor.setup()
    assert not (tmp_path / ".deepface").exists()


def mini(data: Path, file: str = "fer2013_mini_XCEPTION.102-0.66.hdf5") -> MiniXception:
    pytest.importorskip("h5py")
    path = data / "models/fer_mini_xception" / file
    actor = MiniXception(checkpoint=replace(MiniXception().checkpoint, path=str(path)))
    actor.setup()
    return actor


def labelled(data: Path) -> tuple[list[bytes], list[str]]:
    """Crops of the expression stills as `Watch` cuts them, and their labels in our words."""
    words = {"happiness": "happy", "sadness": "sad", "neutral": "neutral", "anger": "angry"}
    folder = data / "faces/expression_stills"
    finder = FaceFinder()
    finder.setup()
    crops, labels = [], []
    for row in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
        bgr = cv2.imread(str(folder / row["file"]))
        assert bgr is not None
        image = np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)
        crops.append(signals.crop(image, finder.detect(image)[0, :4]))
        labels.append(words[row["label"]])
    finder.close()
    return crops, labels


def right(actor: FaceEmotion, crops: list[bytes], labels: list[str]) -> list[float]:
    """Probability of the right label of each picture."""
    [found] = actor.process(table([crops]))["face_emotions"].to_pylist()
    names = [LABELS[int(np.argmax(one))] for one in found]
    sure = [one[LABELS.index(label)] for one, label in zip(found, labels, strict=True)]
    return [p if a == b else 0.0 for a, b, p in zip(names, labels, sure, strict=True)]


@pytest.mark.data
def test_the_mini_xception_names_the_labelled_expressions(data: Path) -> None:
    crops, labels = labelled(data)
    assert len(labels) == 4
    assert min(right(mini(data), crops, labels)) > 0.4


@pytest.mark.data
def test_the_mini_xception_answers_alike_alone_and_in_batches(data: Path) -> None:
    actor = mini(data)
    crops, _ = labelled(data)
    [together] = actor.process(table([crops]))["face_emotions"].to_pylist()
    alone = [actor.process(table([[c]]))["face_emotions"].to_pylist()[0][0] for c in crops]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.data
def test_another_keras_model_is_refused(data: Path) -> None:
    with pytest.raises(ValueError, match=r"gender_mini_XCEPTION.*must be a mini-Xception"):
        mini(data, "gender_mini_XCEPTION.21-0.95.hdf5")
