"""Pooled hidden states of the true network, tiny and random, against transformers' own answer."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_affect  # noqa: E402
from mien.actors.voice_states import VoiceStates  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.audio import RATE_HZ  # noqa: E402

TOLERANCE = 1e-4
LENGTHS_S = (1.0, 0.37, 2.5, 0.1, 1.31)


@pytest.fixture(scope="module", params=["layer", "group"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of both kinds: the large models' and the base models'."""
    where = tmp_path_factory.mktemp("states")
    return tiny_affect.build_states(where, norm=request.param)


def actor(folder: Path, **given: Any) -> VoiceStates:  # noqa: ANN401
    weights = Weights(name="tiny", licence="MIT", path=str(folder))
    made = VoiceStates(checkpoint=weights, device="cpu", **given)
    made.setup()
    return made


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        (random.standard_normal(round(s * RATE_HZ)) * 0.1).astype(np.float32) for s in LENGTHS_S
    ]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, sounds: list[np.ndarray]) -> pa.Table:
    """Utterances of one file, and one that is silent."""
    uri = tmp_path_factory.mktemp("sound") / "all.wav"
    every = [*sounds, np.zeros(RATE_HZ, np.float32)]
    with wave.open(str(uri), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(np.concatenate(every) * 32767).astype("<i2").tobytes())
    stops = np.cumsum([len(s) for s in every]) / RATE_HZ
    starts = [0.0, *stops[:-1]]
    return pa.table({"uri": [str(uri)] * len(every), "start_s": starts, "stop_s": stops})


def reference(folder: Path, samples: np.ndarray, layer: int) -> np.ndarray:
    """One utterance, by transformers alone: the extractor, the whole network, no padding."""
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    network = Wav2Vec2Model.from_pretrained(folder, local_files_only=True).eval()
    values = extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt").input_values
    with torch.inference_mode():
        states = network(values, output_hidden_states=True).hidden_states[layer][0]
    return np.concatenate([states.mean(0).numpy(), states.std(0, correction=0).numpy()])


@pytest.mark.parametrize("layer", [0, 1, 2, -1])
def test_states_are_those_of_transformers(
    folder: Path, rows: pa.Table, sounds: list[np.ndarray], layer: int
) -> None:
    found = actor(folder, layer=layer).process(rows)["voice_states"].to_pylist()
    assert found.pop() is None  # silence
    for mine, samples in zip(found, sounds, strict=True):
        heard = np.rint(samples * 32767).astype(np.int16).astype(np.float32) / 32768
        np.testing.assert_allclose(mine, reference(folder, heard, layer), atol=TOLERANCE)


def test_layers_differ(folder: Path, rows: pa.Table) -> None:
    first, second = (
        np.array(actor(folder, layer=layer).process(rows.slice(0, 1))["voice_states"].to_pylist())
        for layer in (1, 2)
    )
    assert np.abs(first - second).max() > 100 * TOLERANCE


def test_pieces_of_a_long_utterance_are_put_together(folder: Path, rows: pa.Table) -> None:
    whole = (
        actor(folder, layer=1, chunk_s=60.0).process(rows.slice(2, 1))["voice_states"][0].as_py()
    )
    parts = actor(folder, layer=1, chunk_s=1.0).process(rows.slice(2, 1))["voice_states"][0].as_py()
    assert len(whole) == len(parts)
    assert np.corrcoef(whole, parts)[0, 1] > 0.9
    assert np.abs(np.subtract(whole, parts)).max() > 0


def test_a_block_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"`layer` must be from -3 to 2.*but is 3"):
        actor(folder, layer=3)
