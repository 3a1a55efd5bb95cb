from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("demucs")

from demucs import apply, states  # noqa: E402

import tiny_sound  # noqa: E402
from mien.actors import demucs_net  # noqa: E402
from mien.actors.enhance import Demucs  # noqa: E402
from mien.actors.overlap import overlapped  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets import audio  # noqa: E402


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sound.build_demucs(tmp_path_factory.mktemp("demucs") / "htdemucs.th")


@pytest.fixture(scope="module")
def actor(pickled: Path) -> Demucs:
    made = Demucs(network=Weights(name="htdemucs", licence="MIT", path=str(pickled)))
    made.setup()
    return made


@pytest.fixture(scope="module")
def reference(pickled: Path) -> Any:  # noqa: ANN401
    return states.load_model(pickled).eval()


def applied(network: Any, sound: audio.Sound) -> audio.Sound:  # noqa: ANN401
    """demucs' own answer, one window at a time."""
    mix = torch.from_numpy(sound)[None, None].expand(1, 2, -1)
    return apply.apply_model(network, mix, shifts=0, overlap=0.25)[0, 3].mean(0).numpy()


@pytest.mark.parametrize("count", [100, 20_000, 44_099, 44_100, 44_101, 66_150, 77_176, 200_001])
@pytest.mark.parametrize("batch", [1, 3])
def test_windows_in_batches_answer_as_demucs_one_by_one(
    actor: Demucs,
    reference: Any,  # noqa: ANN401
    count: int,
    batch: int,
) -> None:
    sound = np.random.default_rng(count).normal(0, 0.3, count).astype(np.float32)
    windows, _ = actor.windows()
    pieces = overlapped(np.array_split(sound, 5), actor.clean, windows, batch)
    made, wanted = np.concatenate([*pieces]), applied(reference, sound)
    assert np.abs(wanted).max() > 1e-3
    assert np.abs(made - wanted).max() < 1e-6


def test_a_file_answers_as_the_separator_of_demucs(
    actor: Demucs,
    pickled: Path,
    reference: Any,  # noqa: ANN401
    data: Path,
) -> None:
    uri = str(data / "diarization" / "ami" / "trn00.wav")
    sound = np.concatenate([*audio.pieces(uri, 44_100)])[: 3 * 44_100] + np.float32(0.05)

    class Short(Demucs):
        def pieces(self, uri: str) -> Any:  # noqa: ANN401
            yield from np.array_split(sound, 4)

    short = Short(network=actor.network)
    short.setup()
    made = np.concatenate([*short.enhanced(uri)])
    mix = torch.from_numpy(sound).expand(2, -1)  # as `api.Separator.separate_tensor` scales it
    reference_of = mix.mean(0)
    mean, deviation = reference_of.mean(), reference_of.std() + 1e-8
    parts = apply.apply_model(reference, ((mix - mean) / deviation)[None], shifts=0, overlap=0.25)
    wanted = (parts[0, 3] * deviation + mean).mean(0).numpy()
    assert np.abs(wanted).max() > 0.03
    assert np.abs(made - wanted).max() < 1e-6


def test_the_copy_of_a_video_is_its_voices(
    actor: Demucs,
    reference: Any,  # noqa: ANN401
    data: Path,
    tmp_path: Path,
) -> None:
    uri = str(next((data / "video" / "grid").glob("*.m*")))
    actor.folder = str(tmp_path)
    rows = pa.table({"uri": [uri], "has_audio": [True]})
    (copy,) = actor.process(rows)["sound_uri"].to_pylist()
    made, source = audio.read(copy), audio.read(uri)
    assert made is not None
    assert source is not None
    assert abs(len(made) - len(source)) <= 1
    sound = np.concatenate([*audio.pieces(uri, 44_100)])
    mean, deviation = sound.mean(), sound.std(ddof=1)
    wanted = applied(reference, (sound - mean) / deviation) * deviation + mean
    wanted = np.concatenate([*audio.resampled([wanted], 44_100)])
    assert np.abs(made - wanted[: len(made)]).max() < 2 / 32767


def test_the_three_ways_to_read_a_network_agree(pickled: Path, tmp_path: Path) -> None:
    tensors = tiny_sound.build_demucs(tmp_path / "955717e8.safetensors")
    states_of = [
        network.state_dict()
        for network in (
            demucs_net.load(pickled),
            demucs_net.load(tensors),
            demucs_net.load(tmp_path, ("*.safetensors",)),
            states.load_model(pickled),
        )
    ]
    for other in states_of[1:]:
        assert all(torch.equal(value, other[key]) for key, value in states_of[0].items())


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_file_that_would_run_code_is_refused_though_demucs_runs_it(
    pickled: Path, tmp_path: Path
) -> None:
    package = torch.load(pickled, weights_only=False)
    bad, marker = tmp_path / "bad.th", tmp_path / "ran"
    torch.save({**package, "more": Attack(marker)}, bad)
    with pytest.raises(ValueError, match="no network that can be loaded safely"):
        demucs_net.load(bad)
    assert not marker.exists()
    states.load_model(bad)
    assert marker.exists()


def test_safetensors_that_name_another_class_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    facts = {"klass": "subprocess.Popen", "args": '["true"]', "kwargs": "{}"}
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata=facts)
    with pytest.raises(ValueError, match=r"must be a plain demucs\.htdemucs\.HTDemucs"):
        demucs_net.load(tmp_path / "a.safetensors")


def test_numbers_of_numpy_among_the_arguments_are_read(pickled: Path, tmp_path: Path) -> None:
    package = torch.load(pickled, weights_only=False)
    package["training_args"] = {"a": np.float64(0.5), "b": np.int64(3)}
    torch.save(package, tmp_path / "a.th")
    assert demucs_net.load(tmp_path / "a.th").samplerate == 44_100


def test_a_source_that_the_network_does_not_know_is_refused(pickled: Path) -> None:
    weights = Weights(name="htdemucs", licence="MIT", path=str(pickled))
    with pytest.raises(ValueError, match="`source` must be one of drums, bass, other, vocals"):
        Demucs(network=weights, source="voice").setup()


def test_windows_are_halved_where_memory_runs_out(pickled: Path) -> None:
    weights = Weights(name="htdemucs", licence="MIT", path=str(pickled))
    actor = Demucs(network=weights, micro_batch=4)
    actor.setup()
    sound = np.random.default_rng(0).normal(0, 0.3, (4, 44_100)).astype(np.float32)
    whole, net = actor.clean([*sound]), actor.net

    def limited(batch: Any) -> Any:  # noqa: ANN401
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return net(batch)

    actor.net = limited
    for one, other in zip(actor.clean([*sound]), whole, strict=True):
        assert np.allclose(one, other, atol=1e-6)
    assert actor.micro_batch == 1
