import pytest

from mien.actors.face_emotion import DeepFaceEmotion, MiniXception
from mien.actors.weights import Weights


@pytest.mark.parametrize(
    ("engine", "file"),
    [
        ("pytorch", "facial_expression_model_weights.pth"),
        ("onnx", "facial_expression_model_weights.onnx"),
        ("tensorflow", "facial_expression_model_weights.h5"),
    ],
)
def test_the_engine_decides_which_file_is_loaded(engine: str, file: str) -> None:
    other = Weights(name="serengil/deepface", licence="MIT", files=("something.pth",))
    assert DeepFaceEmotion(engine=engine).checkpoint.files == (file,)
    assert DeepFaceEmotion(engine=engine, checkpoint=other).checkpoint.files == (file,)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`engine` must be one of pytorch, onnx, tensorflow, but"):
        DeepFaceEmotion(engine="torch")
    with pytest.raises(ValueError, match=r"`view` must be between 0\.5 and 1\.5, but is 2"):
        DeepFaceEmotion(view=2.0)
    with pytest.raises(ValueError, match=r"`view` must be between 0\.5 and 1\.5, but is 0\.1"):
        MiniXception(view=0.1)
    with pytest.raises(ValueError, match="`precision` must be float32 with `engine` onnx, but is"):
        DeepFaceEmotion(engine="onnx", precision="float16")


def test_an_engine_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.actors.deep_faces.find_spec", lambda _: None)
    reason = str(DeepFaceEmotion(engine="tensorflow").missing())
    assert "`engine` tensorflow needs the package tensorflow" in reason
    elsewhere = str(DeepFaceEmotion(engine="tensorflow", environment="tf").missing())
    assert "needs the package tensorflow" not in elsewhere


def test_provenance_names_the_network_in_the_repository() -> None:
    known = DeepFaceEmotion().provenance()
    assert known["model"] == "serengil/deepface Emotion"
    assert known["licence"] == "MIT"


def test_the_engine_and_the_view_are_part_of_the_identity() -> None:
    seen = [DeepFaceEmotion().identity(), DeepFaceEmotion(view=1.1).identity()]
    seen.append(DeepFaceEmotion(engine="onnx").identity())
    assert seen[0] != seen[1] != seen[2] != seen[0]
    assert DeepFaceEmotion(micro_batch=3).identity() == seen[0]
