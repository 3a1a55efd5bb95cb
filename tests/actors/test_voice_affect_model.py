"""Voice affect with the true network, tiny and random, loaded as the real one is."""

import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_affect  # noqa: E402
from mien.actors.voice_affect import Audeering, cut, padded  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.audio import RATE_HZ  # noqa: E402

TOLERANCE = 1e-4
LENGTHS_S = (1.0, 0.37, 2.5, 0.1, 1.31, 3.2)


def checkpoint(folder: Path) -> Weights:
    return Weights(name="tiny", licence="MIT", path=str(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_affect.build_audeering(tmp_path_factory.mktemp("audeering"))


@pytest.fixture(scope="module")
def actor(folder: Path) -> Audeering:
    made = Audeering(checkpoint=checkpoint(folder), device="cpu", chunk_s=2.0)
    made.setup()
    return made


def voice(seconds: float, seed: int) -> np.ndarray:
    """A tone that wanders in pitch and loudness, unlike any other."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * (rng.uniform(80, 900) * time + rng.uniform(1, 9) * time**2))
    noise = rng.standard_normal(len(time)) * rng.uniform(0.02, 0.5)
    return ((tone + noise) * rng.uniform(0.02, 0.3)).astype(np.float32)


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    return [voice(seconds, seed) for seed, seconds in enumerate(LENGTHS_S)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, sounds: list[np.ndarray]) -> pa.Table:
    """The sounds one after the other in a file, with a silence, a scrap and a bad file between."""
    uri = tmp_path_factory.mktemp("sound") / "all.wav"
    silence = np.zeros(RATE_HZ, np.float32)
    whole = np.concatenate([*sounds, silence])
    with wave.open(str(uri), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(whole * 32767).astype("<i2").tobytes())
    ends = np.cumsum([len(s) for s in [*sounds, silence]]) / RATE_HZ
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    spans.append((0.0, 0.05))
    starts, stops = zip(*spans, strict=True)
    return pa.table({"uri": [str(uri)] * len(spans), "start_s": starts, "stop_s": stops})


def reference(folder: Path, samples: np.ndarray) -> list[float]:
    """One utterance as the model's card does it: the extractor, a plain mean, no padding."""
    from transformers import Wav2Vec2FeatureExtractor

    from mien.actors.voice_affect_net import AffectModel

    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    network = AffectModel.from_pretrained(folder, local_files_only=True).eval()
    values = extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt").input_values
    with torch.inference_mode():
        states = network.wav2vec2(values)[0].mean(dim=1)
        return network.classifier(states)[0].tolist()


def judged(actor: Audeering, sounds: list[np.ndarray]) -> np.ndarray:
    pieces = [piece for i, s in enumerate(sounds) for piece in cut(i, s, 60.0)]
    return np.array(actor.through(pieces, padded, actor.judged))


def test_padded_equals_unpadded(actor: Audeering, sounds: list[np.ndarray]) -> None:
    together = judged(actor, sounds)
    alone = np.concatenate([judged(actor, [one]) for one in sounds])
    assert np.abs(together - alone).max() < TOLERANCE
    assert np.ptp(alone, axis=0).min() > 100 * TOLERANCE  # otherwise this shows nothing


def test_answers_are_those_of_the_models_card_one_by_one(
    folder: Path, actor: Audeering, sounds: list[np.ndarray]
) -> None:
    expected = [reference(folder, one) for one in sounds]
    assert np.abs(judged(actor, sounds) - expected).max() < TOLERANCE


def test_a_plain_mean_over_padding_would_be_another_answer(
    actor: Audeering, sounds: list[np.ndarray]
) -> None:
    pieces = [cut(0, sounds[3], 60.0)[0], cut(1, sounds[5], 60.0)[0]]
    sound, mask = (torch.from_numpy(array) for array in padded(pieces))
    network: Any = actor._network  # pyright: ignore[reportPrivateUsage]
    with torch.inference_mode():
        states = network.wav2vec2(sound, attention_mask=mask)[0].mean(dim=1)
        plain = network.classifier(states)[0].numpy()
    assert np.abs(plain - judged(actor, [sounds[3]])[0]).max() > 10 * TOLERANCE


def test_rows_are_answered_in_order_and_null_where_there_is_nothing(
    folder: Path, actor: Audeering, rows: pa.Table, sounds: list[np.ndarray]
) -> None:
    found = actor.process(rows)
    assert found.schema == Audeering.adds
    values = np.array([list(row.values()) for row in found.to_pylist()[: len(sounds)]])
    short = [i for i, seconds in enumerate(LENGTHS_S) if seconds <= 2]
    expected = np.clip([reference(folder, sounds[i]) for i in short], 0, 1)
    assert np.abs(values[short] - expected).max() < 2e-3  # the file has 16 bits
    for column in found.columns:
        assert [v is None for v in column.to_pylist()] == [False] * len(sounds) + [True] * 2


def test_a_long_utterance_is_the_mean_of_its_pieces(actor: Audeering, rows: pa.Table) -> None:
    row = rows.slice(5, 1)  # 3.2 s, and pieces have at most 2
    whole = replace(actor, chunk_s=10.0)
    whole.setup()
    pieced, at_once = (list(a.process(row).to_pylist()[0].values()) for a in (actor, whole))
    assert not np.allclose(pieced, at_once, atol=TOLERANCE)
    samples = np.concatenate([voice(LENGTHS_S[5], 5)])
    parts = cut(0, samples, 2.0)
    scores = np.array(actor.through(parts, padded, actor.judged))
    lengths = [len(part.samples) for part in parts]
    expected = np.clip(np.average(scores, axis=0, weights=lengths), 0, 1)
    assert pieced == pytest.approx(expected, abs=2e-3)


def test_no_rows_are_no_answers(actor: Audeering, rows: pa.Table) -> None:
    assert actor.process(rows.slice(0, 0)).num_rows == 0


def test_a_file_without_sound_is_null(actor: Audeering, data: Path) -> None:
    uri = data / "robustness" / "torchcodec_h264_10bits.mp4"
    row = pa.table({"uri": [str(uri)], "start_s": [0.0], "stop_s": [1.0]})
    assert actor.process(row).to_pylist() == [dict.fromkeys(Audeering.adds.names)]


def test_real_voices_are_judged_alike_alone_and_together(actor: Audeering, data: Path) -> None:
    files = sorted((data / "speech_emotion" / "emodb").glob("**/*.wav"))[:6]
    if not files:
        pytest.skip("no recordings among the media")
    rows = pa.table(
        {
            "uri": [str(file) for file in files],
            "start_s": pa.nulls(len(files), pa.float64()),
            "stop_s": pa.nulls(len(files), pa.float64()),
        }
    )
    together = actor.process(rows).to_pylist()
    alone = [actor.process(rows.slice(i, 1)).to_pylist()[0] for i in range(len(files))]
    for one, other in zip(together, alone, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), abs=TOLERANCE)


def test_memory_that_runs_out_halves_the_batch(
    folder: Path, sounds: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Audeering(checkpoint=checkpoint(folder), device="cpu", micro_batch=8)
    actor.setup()
    expected = judged(actor, sounds)
    network: Any = actor._network  # pyright: ignore[reportPrivateUsage]
    sizes: list[int] = []

    def small(sound: Any, mask: Any) -> Any:  # noqa: ANN401
        sizes.append(len(sound))
        if len(sound) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return network(sound, mask)

    monkeypatch.setattr(actor, "_network", small)
    assert np.abs(judged(actor, sounds) - expected).max() < TOLERANCE
    assert sizes[0] == 6
    assert max(sizes[2:]) <= 2


def test_utterances_of_like_length_share_a_batch(
    folder: Path, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Audeering(checkpoint=checkpoint(folder), device="cpu", micro_batch=2)
    actor.setup()
    network: Any = actor._network  # pyright: ignore[reportPrivateUsage]
    widths: list[int] = []

    def noted(sound: Any, mask: Any) -> Any:  # noqa: ANN401
        widths.append(sound.shape[1])
        return network(sound, mask)

    monkeypatch.setattr(actor, "_network", noted)
    actor.process(rows)
    lengths = sorted(round(seconds * RATE_HZ) for seconds in LENGTHS_S)
    assert widths == lengths[1::2]


def test_an_old_checkpoint_gives_the_same_answers(
    tmp_path: Path, actor: Audeering, sounds: list[np.ndarray]
) -> None:
    folder = tiny_affect.build_audeering(tmp_path, old=True)
    names = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert any(name.endswith("conv.weight_g") for name in names)
    old = Audeering(checkpoint=checkpoint(folder), device="cpu")
    old.setup()
    assert np.abs(judged(old, sounds) - judged(actor, sounds)).max() < 1e-6


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_is_near(
    folder: Path, actor: Audeering, sounds: list[np.ndarray], precision: str, tolerance: float
) -> None:
    half = Audeering(checkpoint=checkpoint(folder), device="cpu", precision=precision)
    half.setup()
    difference = np.abs(judged(half, sounds) - judged(actor, sounds)).max()
    assert 0 < difference < tolerance


def edited(folder: Path, **values: object) -> Path:
    made = tiny_affect.build_audeering(folder)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | values))
    return made


def test_another_order_of_the_labels_is_refused(tmp_path: Path) -> None:
    labels = {"0": "arousal", "1": "valence", "2": "dominance"}
    folder = edited(tmp_path, id2label=labels)
    with pytest.raises(ValueError, match="must be arousal, dominance, valence, in this order"):
        Audeering(checkpoint=checkpoint(folder)).setup()


def test_a_network_that_padding_would_change_is_refused(tmp_path: Path) -> None:
    folder = edited(tmp_path, feat_extract_norm="group")
    with pytest.raises(ValueError, match=r"`feat_extract_norm` of .* must be 'layer'"):
        Audeering(checkpoint=checkpoint(folder)).setup()


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = tiny_affect.build_audeering(tmp_path, old=True)
    path = folder / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save({name: t for name, t in state.items() if not name.startswith("class")}, path)
    with pytest.raises(ValueError, match=r"must hold 'classifier\.dense\.bias'"):
        Audeering(checkpoint=checkpoint(folder)).setup()
