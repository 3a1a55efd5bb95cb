"""An exported classifier as an actor: what it refuses, and what it makes of answers."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest

from mien.actors import sidecar, signals
from mien.actors.classifier import Classifier
from mien.actors.sidecar import MODEL, SIDECAR, Sidecar
from mien.datasets.frames import picture
from mien.datasets.schema import FACE, FACE_EMOTIONS, LABELS, rows

CONTENT = b"not looked into here"


def exported(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    """A folder as the export leaves it, but for the network in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(CONTENT)
    known: dict[str, Any] = {
        "network": "tiny_vit",
        "inputs": "frames",
        "labels": ("joy", "sadness", "neutral"),
        "size_px": 16,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "origin": "random",
        "licence": "CC0-1.0",
        "config_hash": "0123abcd",
        "calibrated": False,
        "sha256": sidecar.sha256(folder / MODEL),
    }
    Sidecar(**known | changes).write(folder)
    return folder


def actor(folder: Path, **parameters: Any) -> Classifier:  # noqa: ANN401
    return Classifier(model_dir=str(folder), **parameters)


class Session:
    """Answers with the mean of red, green and blue, as shares, and keeps what it was sent."""

    def __init__(self, path: str, options: object) -> None:
        self.sent: list[np.ndarray] = []

    def get_outputs(self) -> list[Any]:
        return [type("Output", (), {"shape": ["rows", 3]})]

    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.sent.append(inputs["frames"])
        means = inputs["frames"].mean(axis=(2, 3))
        return [(means / means.sum(axis=1, keepdims=True)).astype(np.float32)]


def crop(seed: int, size: int = 48) -> bytes:
    image = np.random.default_rng(seed).integers(1, 255, (100, 100, 3), np.uint8)
    return signals.crop(image, np.array([20.0, 20, 60, 60]), size)


def table(faces: Sequence[Sequence[bytes | None] | None]) -> pa.Table:
    records = [None if row is None else [{"crop": one} for one in row] for row in faces]
    return pa.table({"faces": pa.array(records, type=rows(*FACE))})


def test_classes_stand_in_their_places_among_the_seven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    one = actor(exported(tmp_path), micro_batch=2)
    assert one.missing() is None
    one.setup()
    crops = [crop(i) for i in range(4)]
    found = one.process(table([crops[:1], None, [], [None, *crops[1:]]]))
    assert found.schema == FACE_EMOTIONS
    lists = found["face_emotions"].to_pylist()
    assert [None if row is None else len(row) for row in lists] == [1, None, 0, 4]
    assert lists[3][0] is None
    ours = np.array([lists[0][0], *lists[3][1:]])
    means = np.array([picture(c, 16).mean(axis=(0, 1)) for c in crops])
    expected = np.zeros((4, 7))
    places = [LABELS.index(name) for name in ("happy", "sad", "neutral")]
    expected[:, places] = means / means.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    sent = one._session.sent  # pyright: ignore[reportPrivateUsage]
    assert [len(some) for some in sent] == [2, 2]
    assert sent[0].shape[1:] == (3, 16, 16)
    assert sent[0].dtype == np.uint8
    assert (sent[0][0] == picture(crops[0], 16).transpose(2, 0, 1)).all()


def test_names_say_what_classes_stand_for(tmp_path: Path) -> None:
    folder = exported(tmp_path, labels=("smile", "none"))
    reason = str(actor(folder).missing())
    assert "are smile, none: say what they stand for (`models.actors.classifier.names=" in reason
    assert actor(folder, names={"smile": "happy", "none": "neutral"}).missing() is None
    twice = str(actor(folder, names={"smile": "happy", "none": "happy"}).missing())
    assert "each once" in twice
    with pytest.raises(ValueError, match=r"`names` must lead to angry, .*, but leads to glad"):
        Classifier(names={"smile": "glad"})


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert "needs a classifier: `models.actors.classifier.model_dir=" in str(Classifier().missing())
    assert f"must hold {MODEL}, but" in str(actor(tmp_path / "none").missing())
    folder = exported(tmp_path / "a")
    (folder / SIDECAR).unlink()
    assert "must say what the classifier beside it is" in str(actor(folder).missing())
    clips = exported(tmp_path / "b", inputs="clip", network="temporal_vit")
    assert "must see single frames, but temporal_vit" in str(actor(clips).missing())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["joy"]}, "`labels` must be two or more, each once, but are joy"),
        ({"labels": ["joy", "joy"]}, "`labels` must be two or more, each once, but are joy, joy"),
        ({"version": 9}, "`version` must be 1, but is 9"),
        ({"extra": 1}, "its keys must be calibrated, config_hash"),
    ],
)
def test_a_wrong_sidecar_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    folder = exported(tmp_path)
    known = asdict(sidecar.read(folder))
    (folder / SIDECAR).write_text(json.dumps(known | change))
    assert message in str(actor(folder).missing())


def test_another_network_than_described_is_refused(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    (folder / MODEL).write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match=r"but its content is another \(`sha256`\)"):
        actor(folder).setup()


def test_a_network_with_other_classes_than_described_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    folder = exported(tmp_path, labels=("happy", "sad"))
    with pytest.raises(ValueError, match=r"a probability for each of the 2 `labels` of .* has 3"):
        actor(folder).setup()


def test_the_sidecar_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = exported(tmp_path, trained={"data": "générée", "accuracy": 0.5})
    known = sidecar.read(folder)
    assert known.labels == ("joy", "sadness", "neutral")
    assert known.trained == {"data": "générée", "accuracy": 0.5}
    assert known == Sidecar(**asdict(known))


def test_the_identity_is_the_content_and_the_provenance_the_sidecars(tmp_path: Path) -> None:
    one, same = (actor(exported(tmp_path / name)) for name in "ab")
    other = actor(exported(tmp_path / "c", config_hash="ffff"))
    assert one.identity() == same.identity()
    assert one.identity() != other.identity()
    assert one.identity() != actor(tmp_path / "a", names={"neutral": "fear"}).identity()
    known = one.provenance()
    assert known["model"] == "tiny_vit (config 0123abcd)"
    assert known["licence"] == "CC0-1.0"
    forbidden = actor(exported(tmp_path / "d", licence="CC-BY-NC-4.0"))
    assert [weights.commercial for weights in forbidden.weights()] == [False]
