"""Training of the dual-stream network: what it learns, how clips vary, what it shows."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from mien.actors.clip_flow import ClipFlow, unpacked  # noqa: E402
from mien.cluster import tasks  # noqa: E402
from mien.cluster.session import Cluster  # noqa: E402
from mien.datasets.micro_sets import Smic  # noqa: E402
from mien.jobs.benchmark.micro import Micro  # noqa: E402
from mien.jobs.benchmark.micro_dual import DualStream  # noqa: E402
from mien.jobs.benchmark.micro_pictures import FRAME_PX, RIGHT, WRONG  # noqa: E402
from mien.jobs.benchmark.micro_samples import Samples  # noqa: E402
from mien.jobs.benchmark.micro_training import Training, batches  # noqa: E402
from mien.jobs.evaluation.figures import Pictures  # noqa: E402

pytestmark = pytest.mark.models
SIDE = 32
STILL = {"flip": 0.0, "erase": 0.0, "exchange": 0.0, "weights": "random"}


def clips(people: int = 4, each: int = 2) -> Samples:
    """Eyes bright, mouth bright, or neither: three classes that a network can tell apart."""
    rng, count = np.random.default_rng(0), people * each * 3
    truth = np.arange(count) % 3
    pictures = rng.integers(0, 60, (count, SIDE, SIDE, 3), np.uint8)
    pictures[truth == 1, : SIDE // 2] += 180
    pictures[truth == 2, SIDE // 2 :] += 180
    units = np.zeros((count, 100), bool)
    units[np.arange(count), truth + 1] = True  # of the upper half
    units[np.arange(count), truth + 12] = True  # of the lower one
    return Samples(
        labels=("negative", "positive", "surprise"),
        ids=np.array([f"c{i:03d}" for i in range(count)]),
        subjects=np.array([f"s{i // (3 * each)}" for i in range(count)]),
        parts=np.array(["smic"] * count),
        truth=truth,
        pictures=pictures,
        strain=np.zeros((count, 8, 8), np.uint8),
        directions=np.zeros((count, 8, 8, 8), np.float32),
        peaks=np.zeros(count, np.float32),
        units=units,
    )


def recipe(**changed: Any) -> DualStream:  # noqa: ANN401
    return DualStream(**{"epochs": 1, "batch_size": 8, **STILL, **changed})


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)


def test_it_learns_what_can_be_learnt() -> None:
    learn, judge = clips(3).split(["s2"])
    steps = list(recipe(epochs=8, batch_size=4, learning_rate=1e-3).steps(learn, judge, 0))
    assert len(steps) == 8
    np.testing.assert_allclose(steps[-1].scores.sum(axis=1), 1.0, rtol=1e-5)
    assert (steps[-1].scores.argmax(axis=1) == judge.truth).mean() >= 5 / 6


def test_the_same_seed_gives_the_same_numbers_whatever_runs_beside_it() -> None:
    learn, judge = clips(2, 1).split(["s1"])
    varied = recipe(epochs=2, flip=0.5, erase=0.5, exchange=0.5)
    alone = [step.scores for step in varied.steps(learn, judge, 7)]
    pair = list(zip(varied.steps(learn, judge, 7), varied.steps(learn, judge, 8), strict=True))
    for before, (same, other) in zip(alone, pair, strict=True):
        np.testing.assert_array_equal(before, same.scores)
        assert not np.array_equal(before, other.scores)


def test_without_variation_pictures_stay() -> None:
    samples = clips(2, 1)
    training = Training(recipe(), samples, 0)
    pictures, units = training.augmented(torch.arange(len(samples)))
    wanted = torch.from_numpy(samples.pictures).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(pictures, wanted)
    assert torch.equal(units, torch.from_numpy(samples.units))


def test_a_mouth_comes_from_a_clip_of_the_class_with_its_units() -> None:
    samples = clips(2, 2)
    samples.units[:, 20] = np.arange(len(samples)) % 2 == 0  # of the mouth
    samples.units[:, 5] = np.arange(len(samples)) % 4 < 2  # of the eyes
    training = Training(recipe(exchange=1.0), samples, 0)
    pictures, units = training.augmented(torch.arange(len(samples)))
    own = torch.from_numpy(samples.pictures).permute(0, 3, 1, 2) / 255
    middle = SIDE // 2
    torch.testing.assert_close(pictures[:, :, :middle], own[:, :, :middle])
    for i, mouth in enumerate(pictures[:, :, middle:]):
        (donor,) = (
            j for j in range(len(samples)) if torch.allclose(mouth, own[j, :, middle:], atol=1e-6)
        )
        assert donor != i
        assert samples.truth[donor] == samples.truth[i]
        assert units[i, 5] == bool(samples.units[i, 5])
        assert units[i, 20] == bool(samples.units[donor, 20])


def test_a_class_of_one_clip_keeps_its_mouth() -> None:
    samples = clips(1, 1)
    pictures, _ = Training(recipe(exchange=1.0), samples, 0).augmented(torch.arange(3))
    wanted = torch.from_numpy(samples.pictures).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(pictures, wanted)


def test_the_loss_is_that_of_the_description() -> None:
    """0.7 of both heads' cross-entropy, 0.3 of the contrast, by units or by labels."""
    samples = clips(2, 1)
    samples.units[:] = False
    rows = torch.arange(len(samples))

    def loss(**changed: Any) -> float:  # noqa: ANN401
        training = Training(recipe(**changed), samples, 0)
        training.network.eval()
        pictures, units = training.augmented(rows)
        return training.loss(pictures, torch.from_numpy(samples.truth), units).item()

    heads, contrast = loss(contrast=0.0, alike="labels"), loss(contrast=1.0, alike="labels")
    assert contrast > 0
    assert loss(contrast=0.3, alike="labels") == pytest.approx(0.7 * heads + 0.3 * contrast)
    assert loss(contrast=0.3, alike="units") == pytest.approx(0.7 * heads)  # no units, no NaN


def test_a_last_batch_of_one_is_not_lost() -> None:
    parts = batches(torch.arange(9), 4)
    assert [len(part) for part in parts] == [4, 5]
    assert sorted(torch.cat(parts).tolist()) == list(range(9))
    assert [len(part) for part in batches(torch.arange(8), 4)] == [4, 4]


def test_a_loss_that_is_not_finite_ends_the_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    learn, judge = clips(2, 1).split(["s1"])
    monkeypatch.setattr(Training, "epoch", lambda self: float("nan"))
    with pytest.raises(RuntimeError, match=r"not finite after epoch 1: lower `learning_rate`"):
        next(recipe().steps(learn, judge, 0))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
        ({"batch_size": 1}, "`batch_size` must be at least 2, but is 1"),
        ({"learning_rate": 0.0}, "`learning_rate` must be greater than 0, but is 0"),
        ({"contrast": 1.5}, "`contrast` must be between 0 and 1, but is 1.5"),
        ({"alike": "faces"}, "`alike` must be units or labels, but is 'faces'"),
    ],
)
def test_a_bad_recipe_is_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DualStream(**parameters)


def test_the_page_shows_what_the_layers_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle rows are marked; each picture is framed by right or wrong."""

    def here(
        function: Callable, todo: dict, common: object, *_: object
    ) -> Iterator[tuple[str, pa.Table, float]]:
        for name, item in todo.items():
            yield name, function(item, common), 0.1

    monkeypatch.setattr(tasks, "_answers", here)
    monkeypatch.setattr(tasks, "session", lambda cluster: nullcontext())
    made = Micro(
        data="smic",
        title="SMIC-HS",
        path=str(tmp_path),
        source=Smic(folder=str(tmp_path)),
        flow=ClipFlow(size_px=SIDE),
        systems={"dual_stream": recipe(epochs=2)},
        tuned="dual_stream",
        synthetic=True,
        pictures=4,
    )
    made.samples = clips(2, 1)
    outcome = made.run(Cluster(), tmp_path, None)  # type: ignore[arg-type]
    rows = {row["system"]: row for row in outcome.results.to_pylist()}
    assert rows["dual_stream"]["kind"] == "synthetic"
    assert rows["dual_stream"]["note"] == "after epoch 2; backbone: random weights"
    assert rows["dual_stream (oracle epoch)"]["kind"] == "oracle"
    scores = outcome.predictions.slice(0, 6)["scores"].to_pylist()
    np.testing.assert_allclose(np.sum(scores, axis=1), 1.0, rtol=1e-5)
    (figure,) = (one for one in outcome.figures if isinstance(one, Pictures))
    assert len(figure.pictures) == 4
    for one in figure.pictures:
        image = unpacked(one.png)
        assert tuple(image[0, 0]) == (RIGHT if "(right)" in one.title else WRONG)
        assert image[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX].std() > 0
        assert "eyes 0." in one.caption
