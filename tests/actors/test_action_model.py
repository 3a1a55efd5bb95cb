"""Action with the true network, tiny and random, loaded as the real one is."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_affect  # noqa: E402
from mien.actors.action import Action  # noqa: E402
from mien.actors.crops import decoded  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.schema import WATCH  # noqa: E402

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_affect.build_timesformer(tmp_path_factory.mktemp("timesformer"))


def made(folder: Path, **values: Any) -> Action:  # noqa: ANN401
    checkpoint = Weights(name="tiny", licence="MIT", path=str(folder))
    actor = Action(checkpoint=checkpoint, device="cpu", **values)
    actor.setup()
    return actor


@pytest.fixture(scope="module")
def actor(folder: Path) -> Action:
    return made(folder, micro_batch=3, top_k=400)


def picture(seed: int, size: tuple[int, int] = (180, 320)) -> bytes:
    """A JPEG with large coloured shapes."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (4, 6, 3), np.uint8), size[::-1])
    return cv2.imencode(".jpg", image)[1].tobytes()


def rows(*spans: dict[str, Any]) -> pa.Table:
    """Watched spans: each with its length, the times of its frames, its cuts and picture size."""

    def watched(number: int, span: dict[str, Any]) -> dict[str, Any]:
        times = span["times"]
        frames = times and [
            {"time_s": t, "thumbnail": picture(100 * number + i, span.get("size", (180, 320)))}
            for i, t in enumerate(times)
        ]
        cuts = [{"time_s": t} for t in span.get("cuts", [])]
        return {"start_s": 0.0, "stop_s": span["stop_s"], "frames": frames, "cuts": cuts}

    schema = pa.schema([("start_s", pa.float64()), ("stop_s", pa.float64())])
    schema = pa.schema([*schema, WATCH.field("frames"), WATCH.field("cuts")])
    return pa.Table.from_pylist([watched(*one) for one in enumerate(spans)], schema=schema)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return rows(
        {"stop_s": 24.0, "times": np.arange(0, 24, 0.7).tolist(), "cuts": [5.0]},
        {"stop_s": 8.0, "times": None},
        {"stop_s": 8.0, "times": [0.5, 2.0, 3.0, 4.5, 7.0], "size": (320, 200)},
        {"stop_s": 8.0, "times": [1.0]},
    )


def reference(folder: Path, table: pa.Table, actor: Action) -> list[dict[str, float]]:
    """Each clip alone, as the model's card does it."""
    from transformers import AutoImageProcessor, TimesformerForVideoClassification

    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    network: Any = TimesformerForVideoClassification.from_pretrained(folder, local_files_only=True)
    found = []
    for number, row in enumerate(table.to_pylist()):
        for look in actor.looks(number, row):
            inputs = processor([decoded(one).copy() for one in look.pictures], return_tensors="pt")
            with torch.inference_mode():
                shares = network.eval()(**inputs).logits.softmax(-1)[0].tolist()
            found.append({network.config.id2label[i]: share for i, share in enumerate(shares)})
    return found


def labelled(found: pa.Table) -> list[dict[str, float]]:
    clips = [clip for row in found["actions"].to_pylist() for clip in row or []]
    return [{one["label"]: one["score"] for one in clip["labels"]} for clip in clips]


def test_flattened_and_batched_equals_the_reference_clip_by_clip(
    folder: Path, actor: Action, table: pa.Table
) -> None:
    found, expected = labelled(actor.process(table)), reference(folder, table, actor)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=TOLERANCE)
    first = [list(one.values()) for one in expected]
    assert np.ptp(first, axis=0).max() > 100 * TOLERANCE  # otherwise this shows nothing


def test_clips_come_back_to_their_rows(actor: Action, table: pa.Table) -> None:
    found = actor.process(table)
    assert found.schema == Action.adds
    spans = [
        clips and [(clip["start_s"], clip["stop_s"]) for clip in clips]
        for clips in found["actions"].to_pylist()
    ]
    assert spans == [[(0, 5), (5, 14.5), (14.5, 24)], None, [(0, 8)], []]


def test_the_likeliest_come_first_and_only_as_many_as_asked(
    folder: Path, table: pa.Table, actor: Action
) -> None:
    few, all_ = (a.process(table)["actions"].to_pylist() for a in (made(folder), actor))
    names = [[one["label"] for one in found[0][0]["labels"]] for found in (few, all_)]
    assert names[0] == names[1][:5]
    scores = [one["score"] for one in all_[0][0]["labels"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-4)


def test_pictures_are_read_as_rgb(folder: Path, actor: Action) -> None:
    red = np.zeros((240, 240, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    jpeg = cv2.imencode(".jpg", red)[1].tobytes()
    table = rows({"stop_s": 8.0, "times": [float(t) for t in range(8)]})
    (look,) = actor.looks(0, table.to_pylist()[0])
    pixels = actor.prepared([look._replace(pictures=(jpeg,) * 8)])
    assert pixels.shape == (1, 8, 3, 224, 224)
    means = pixels.mean(dim=(0, 1, 3, 4)).tolist()
    assert means == pytest.approx([(1 - 0.45) / 0.225, -2.0, -2.0], abs=0.05)


@pytest.mark.parametrize("frames", [4, 7, 16])
def test_another_number_of_frames_is_refused_although_the_network_takes_it(
    actor: Action, frames: int
) -> None:
    pixels = torch.zeros(1, frames, 3, 224, 224)
    if frames == 4:  # time embeddings are interpolated in silence
        network: Any = actor._network  # pyright: ignore[reportPrivateUsage]
        with torch.inference_mode():
            assert network(pixel_values=pixels).logits.shape == (1, 400)
    with pytest.raises(ValueError, match=f"a clip must have 8 frames, but has {frames}"):
        actor.judged(pixels)


def test_the_order_of_the_frames_matters(actor: Action, table: pa.Table) -> None:
    (look, *_) = actor.looks(0, table.to_pylist()[0])
    with torch.inference_mode():
        forth, back = (
            {one["label"]: one["score"] for one in actor.judged(actor.prepared([clip]))[0]}
            for clip in (look, look._replace(pictures=look.pictures[::-1]))
        )
    assert max(abs(forth[label] - back[label]) for label in forth) > TOLERANCE


def test_a_processor_with_other_numbers_is_warned_of_and_overruled(
    tmp_path: Path, actor: Action, table: pa.Table
) -> None:
    folder = tiny_affect.build_timesformer(tmp_path, mean=0.5, std=0.5)
    with pytest.warns(UserWarning, match=r"has the mean \[0.5, 0.5, 0.5\], but `mean` is 0.45"):
        old = made(folder, top_k=400)
    for one, other in zip(
        labelled(old.process(table)), labelled(actor.process(table)), strict=True
    ):
        assert one == pytest.approx(other, abs=TOLERANCE)


def test_a_processor_with_the_same_numbers_is_not_warned_of(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the processor of")
        made(folder)


def test_memory_that_runs_out_halves_the_batch(
    folder: Path, table: pa.Table, actor: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = made(folder, micro_batch=4, top_k=400)
    network: Any = tight._network  # pyright: ignore[reportPrivateUsage]
    sizes: list[int] = []

    def small(pixel_values: Any) -> Any:  # noqa: ANN401
        sizes.append(len(pixel_values))
        if len(pixel_values) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return network(pixel_values=pixel_values)

    monkeypatch.setattr(tight, "_network", small)
    for one, other in zip(
        labelled(tight.process(table)), labelled(actor.process(table)), strict=True
    ):
        assert one == pytest.approx(other, abs=TOLERANCE)
    assert sizes[:3] == [4, 2, 1]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near(
    folder: Path, table: pa.Table, actor: Action, precision: str
) -> None:
    half = labelled(made(folder, precision=precision, top_k=400).process(table))
    whole = labelled(actor.process(table))
    pairs = zip(half, whole, strict=True)
    worst = max(abs(a[label] - b[label]) / max(b.values()) for a, b in pairs for label in b)
    assert 0 < worst < 0.1


def test_no_rows_are_no_answers(actor: Action, table: pa.Table) -> None:
    assert actor.process(table.slice(0, 0)).num_rows == 0
