import os
import socket
import wave
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("pyannote.audio")

from pyannote.audio import Model, Pipeline  # noqa: E402
from pyannote.audio.pipelines import SpeakerDiarization  # noqa: E402
from pyannote.core import Annotation, Segment  # noqa: E402

import tiny_sound  # noqa: E402
from mien.actors import diarize, diarize_net  # noqa: E402
from mien.actors.diarize import COMMUNITY, Pyannote, columns  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets import audio  # noqa: E402

SECONDS = 9


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_sound.build_pyannote(folder / COMMUNITY.name)
    tiny_sound.build_pyannote_3(folder)
    return folder


@pytest.fixture(scope="module")
def actor(models: Path) -> Pyannote:
    made = Pyannote(pipeline=replace(COMMUNITY, dir=str(models)))
    made.setup()
    return made


def older(models: Path) -> Pyannote:
    def weights(name: str, file: str) -> Weights:
        return Weights(name=name, licence="MIT", files=(file,), dir=str(models))

    return Pyannote(
        pipeline=weights(tiny_sound.OLDER, "config.yaml"),
        segmentation=weights(tiny_sound.SEGMENTATION, "pytorch_model.bin"),
        embedding=weights(tiny_sound.EMBEDDING, "pytorch_model.bin"),
    )


@pytest.fixture(scope="module")
def meeting(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first seconds of a real meeting."""
    samples = audio.read(str(data / "diarization" / "ami" / "trn00.wav"), 0, SECONDS)
    assert samples is not None
    return written(tmp_path_factory.mktemp("sound") / "meeting.wav", samples)


def written(path: Path, samples: audio.Sound) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return str(path)


def found(actor: Pyannote, *uris: str, speech: Any = ({"start_s": 0.0, "stop_s": 1.0},)) -> Any:  # noqa: ANN401
    rows = pa.table({"uri": list(uris), "speech": pa.array([speech] * len(uris))})
    return actor.process(rows).to_pylist()


def by_hand(pipeline: Any, uri: str) -> Any:  # noqa: ANN401
    samples = audio.read(uri)
    assert samples is not None
    file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": audio.RATE_HZ}
    return pipeline(file, min_speakers=2, max_speakers=5)


def tracks(annotation: Annotation) -> list[tuple[float, float, Any]]:
    return sorted((s.start, s.end, who) for s, who in annotation)


def renamed(annotation: Annotation, like: Annotation) -> list[dict[str, Any]]:
    """Turns with speakers by first appearance, cut at the end of the sound."""
    labels = list(dict.fromkeys(label for *_, label in tracks(like)))
    own = sorted((start, stop, labels.index(label)) for start, stop, label in tracks(annotation))
    return [
        {"start_s": a, "stop_s": min(b, SECONDS), "speaker": f"SPEAKER_{k:02d}"}
        for a, b, k in own
        if a < SECONDS
    ]


def same(row: dict[str, Any], output: Any) -> None:  # noqa: ANN401
    annotation = output.speaker_diarization
    assert len(row["turns"]) > 20
    assert row["turns"] == renamed(annotation, annotation)
    assert row["exclusive_turns"] == renamed(output.exclusive_speaker_diarization, annotation)
    assert len(row["speakers"]) == len(annotation.labels()) >= 2
    ordered = sorted(
        annotation.labels(),
        key=lambda label: min(s.start for s in annotation.label_timeline(label)),
    )
    for one, label in zip(row["speakers"], ordered, strict=True):
        wanted = output.speaker_embeddings[annotation.labels().index(label)]
        assert np.allclose(one["embedding"], wanted, atol=1e-4)
        spoken = sum(
            min(stop, SECONDS) - start
            for start, stop, who in tracks(annotation)
            if who == label and start < SECONDS
        )
        assert one["speech_s"] == pytest.approx(spoken)


def test_it_answers_as_pyannote_by_hand_one_window_at_a_time(
    actor: Pyannote, models: Path, meeting: str
) -> None:
    pipeline = Pipeline.from_pretrained(models / COMMUNITY.name)
    assert pipeline is not None
    pipeline.segmentation_batch_size = pipeline.embedding_batch_size = 1
    same(found(actor, meeting)[0], by_hand(pipeline, meeting))


def test_a_pipeline_of_version_3_answers_as_its_parts_by_hand(models: Path, meeting: str) -> None:
    actor = older(models)
    actor.setup()
    parts: dict[str, Any] = {
        "segmentation": Model.from_pretrained(models / tiny_sound.SEGMENTATION),
        "embedding": Model.from_pretrained(models / tiny_sound.EMBEDDING),
    }
    pipeline = SpeakerDiarization(
        **parts,
        plda=str(models / COMMUNITY.name / "plda"),  # not used
        clustering="AgglomerativeClustering",
        embedding_exclude_overlap=True,
        segmentation_batch_size=32,
        embedding_batch_size=32,
    )
    pipeline.instantiate(
        {
            "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7},
            "segmentation": {"min_duration_off": 0.0},
        }
    )
    same(found(actor, meeting)[0], by_hand(pipeline, meeting))
    assert actor.provenance()["licence"] == "MIT"
    assert actor.provenance()["model"].split(" + ")[1] == tiny_sound.SEGMENTATION


def test_exclusive_turns_do_not_overlap_and_the_others_do(actor: Pyannote, meeting: str) -> None:
    row = found(actor, meeting)[0]

    def overlaps(turns: list[dict[str, Any]]) -> int:
        return sum(b["start_s"] < a["stop_s"] for a, b in pairwise(turns))

    assert overlaps(row["exclusive_turns"]) == 0
    assert overlaps(row["turns"]) > 0
    assert row["turns"][0]["speaker"] == "SPEAKER_00"


def test_nothing_is_asked_of_the_network(
    models: Path, meeting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "1")
    for actor in (Pyannote(pipeline=replace(COMMUNITY, dir=str(models))), older(models)):
        actor.setup()
        assert found(actor, meeting)[0]["turns"]
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_model_that_would_run_code_is_refused_though_pyannote_runs_it(
    models: Path, tmp_path: Path
) -> None:
    own = torch.load(models / tiny_sound.SEGMENTATION / "pytorch_model.bin", weights_only=False)
    bad, marker = tmp_path / "pytorch_model.bin", tmp_path / "ran"
    torch.save({**own, "more": Attack(marker)}, bad)
    with pytest.raises(ValueError, match="no model that can be loaded safely"):
        diarize_net.network(bad)
    assert not marker.exists()
    Model.from_pretrained(bad)
    assert marker.exists()


def test_a_model_of_another_package_is_refused(models: Path, tmp_path: Path) -> None:
    own = torch.load(models / tiny_sound.SEGMENTATION / "pytorch_model.bin", weights_only=False)
    own["pyannote.audio"]["architecture"] = {"module": "subprocess", "class": "Popen"}
    torch.save(own, tmp_path / "m.bin")
    with pytest.raises(ValueError, match=r"must be one of pyannote\.audio\.models"):
        diarize_net.network(tmp_path / "m.bin")


def test_a_pipeline_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pipeline: {name: subprocess.Popen, params: {}}")
    with pytest.raises(ValueError, match="must be a SpeakerDiarization"):
        diarize_net.load(tmp_path, {})


def test_a_model_that_is_named_but_not_given_is_one_clear_error(models: Path) -> None:
    actor = Pyannote(pipeline=older(models).pipeline)
    with pytest.raises(FileNotFoundError, match=r"names the model 'pyannote/segmentation-3\.0'"):
        actor.setup()


def test_no_sound_is_null_and_no_speech_is_empty(actor: Pyannote) -> None:
    assert set(found(actor, "absent.mp4", speech=None)[0].values()) == {None}
    rows = pa.table(
        {"uri": ["absent.mp4"], "speech": pa.array([[]], pa.list_(pa.struct([("start_s", "f8")])))}
    )
    row = actor.process(rows).to_pylist()[0]
    assert row == {"turns": [], "exclusive_turns": [], "speakers": []}


def test_silence_has_no_turns(actor: Pyannote, tmp_path: Path) -> None:
    uri = written(tmp_path / "silence.wav", np.zeros(7 * audio.RATE_HZ, np.float32))
    assert found(actor, uri)[0] == {"turns": [], "exclusive_turns": [], "speakers": []}


@pytest.mark.parametrize("samples", [400, 1600, audio.RATE_HZ])
def test_sound_shorter_than_a_window_is_heard_and_turns_end_with_it(
    actor: Pyannote, tmp_path: Path, samples: int
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    row = found(actor, written(tmp_path / "short.wav", noise))[0]
    assert all(turn["stop_s"] <= samples / audio.RATE_HZ for turn in row["turns"])
    if samples == audio.RATE_HZ:
        assert row["turns"]


@pytest.fixture(scope="module")
def monologue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that hears one speaker all the time."""
    return tiny_sound.build_pyannote(tmp_path_factory.mktemp("alone"), alone=True)


def test_where_more_speakers_are_asked_than_windows_are_heard_fewer_are_given(
    monologue: Path, tmp_path: Path
) -> None:
    actor = Pyannote(pipeline=replace(COMMUNITY, path=str(monologue)), min_speakers=5)
    actor.setup()
    noise = np.random.default_rng(0).normal(0, 0.1, 6 * audio.RATE_HZ).astype(np.float32)
    pipeline = Pipeline.from_pretrained(monologue)
    assert pipeline is not None
    with pytest.raises(ValueError, match="n_samples=3"):  # what pyannote does
        pipeline({"waveform": torch.from_numpy(noise)[None], "sample_rate": 16_000}, min_speakers=5)
    row = found(actor, written(tmp_path / "noise.wav", noise))[0]
    assert row["turns"]
    assert 1 <= len(row["speakers"]) <= 3


def test_one_speaker_is_given_where_two_are_asked_and_cannot_be_had(
    monologue: Path, tmp_path: Path
) -> None:
    actor = Pyannote(pipeline=replace(COMMUNITY, path=str(monologue)))
    actor.setup()
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * audio.RATE_HZ).astype(np.float32)
    row = found(actor, written(tmp_path / "one.wav", noise))[0]
    assert [one["speaker"] for one in row["speakers"]] == ["SPEAKER_00"]
    assert row["speakers"][0]["speech_s"] == pytest.approx(3.0, abs=0.05)
    assert len(row["speakers"][0]["embedding"]) == 256


def test_the_batch_is_halved_where_memory_runs_out(
    actor: Pyannote, meeting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes = found(actor, meeting)[0], list[int]()
    inference: Any = vars(actor.diarize)["_inferences"]["_segmentation"]
    infer = inference.infer

    def limited(chunks: Any) -> Any:  # noqa: ANN401
        sizes.append(len(chunks))
        if len(chunks) > 4:
            raise RuntimeError("CUDA out of memory.")
        return infer(chunks)

    monkeypatch.setattr(inference, "infer", limited)
    row = found(actor, meeting)[0]
    assert row["turns"] == whole["turns"]
    for one, other in zip(row["speakers"], whole["speakers"], strict=True):
        assert np.allclose(one["embedding"], other["embedding"], atol=1e-4)
    assert max(sizes) > 4
    assert actor.micro_batch == 4
    actor.micro_batch = 32


def test_other_errors_are_not_hidden(
    actor: Pyannote, meeting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("something else")

    monkeypatch.setattr(actor.diarize, "apply", fails)
    with pytest.raises(ValueError, match="something else"):
        found(actor, meeting)


def annotated(*given: tuple[float, float, str]) -> Annotation:
    made = Annotation()
    for i, (start, stop, label) in enumerate(given):
        made[Segment(start, stop), i] = label
    return made


def test_an_annotation_of_version_3_gives_turns_exclusive_turns_and_no_embedding() -> None:
    row = columns(annotated((2.0, 3.0, "SPEAKER_00"), (0.0, 4.0, "SPEAKER_01")))
    assert [(t["start_s"], t["speaker"]) for t in row["turns"]] == [
        (0.0, "SPEAKER_00"),
        (2.0, "SPEAKER_01"),
    ]
    assert [(t["start_s"], t["stop_s"], t["speaker"][-1]) for t in row["exclusive_turns"]] == [
        (0.0, 2.0, "0"),
        (2.0, 3.0, "1"),
        (3.0, 4.0, "0"),
    ]
    assert [one["embedding"] for one in row["speakers"]] == [None, None]


def test_embeddings_follow_their_speaker_when_speakers_are_renamed() -> None:
    annotation = annotated((2.0, 3.0, "SPEAKER_00"), (0.0, 1.0, "SPEAKER_01"))
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0]])  # in the order of `labels()`
    speakers = columns((annotation, embeddings))["speakers"]
    assert [one["speaker"] for one in speakers] == ["SPEAKER_00", "SPEAKER_01"]
    assert [one["embedding"].tolist() for one in speakers] == [[0.0, 1.0], [1.0, 0.0]]


def test_an_embedding_that_is_not_a_number_or_padding_is_null() -> None:
    annotation = annotated((0.0, 1.0, "a"), (2.0, 3.0, "b"))
    for bad in (np.nan, 0.0):
        speakers = columns((annotation, np.array([[1.0, 2.0], [bad, bad]])))["speakers"]
        assert speakers[1]["embedding"] is None


def test_turns_past_the_end_of_the_sound_are_cut() -> None:
    row = columns(annotated((0.0, 5.2, "a"), (5.1, 5.4, "b")), 5.0)
    assert row["turns"] == [{"start_s": 0.0, "stop_s": 5.0, "speaker": "SPEAKER_00"}]
    assert len(row["speakers"]) == 1


def test_the_module_imports_without_pyannote() -> None:
    assert "pyannote" not in vars(diarize)


def test_a_published_checkpoint_with_what_training_left_in_it_answers_as_pyannotes_own() -> None:
    package = find_spec("whisperx")
    if package is None:
        pytest.skip("whisperx, which carries a model of pyannote's, is not installed")
    path = Path(str(package.origin)).parent / "assets" / "pytorch_model.bin"
    sound = torch.randn(2, 1, 5 * audio.RATE_HZ)
    reference = Model.from_pretrained(path)
    assert reference is not None
    with torch.inference_mode():
        assert torch.equal(diarize_net.network(path)(sound), reference.eval()(sound))


def test_a_window_goes_through_the_embedding_network_once_whoever_speaks_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_sound.build_embedding(tmp_path, full=True)
    network: Any = diarize_net.network(tmp_path / "pytorch_model.bin")
    sound = torch.randn(4, 1, audio.RATE_HZ).repeat_interleave(torch.tensor([3, 1, 3, 2]), 0)
    masks = (torch.rand(9, 60) > 0.5).float()
    with torch.inference_mode():
        wanted = torch.cat([network(sound[i : i + 1], weights=masks[i : i + 1]) for i in range(9)])
        diarize_net.share_windows(network)
        frames, seen = network.forward_frames, list[int]()
        monkeypatch.setattr(
            network, "forward_frames", lambda some: (seen.append(len(some)), frames(some))[1]
        )
        made = network(sound, weights=masks)
        whole = network(sound)
    assert seen == [4]
    assert (wanted[0] - wanted[1]).abs().max() > 0.01
    assert torch.allclose(made, wanted, atol=1e-5)
    assert whole.shape == made.shape
