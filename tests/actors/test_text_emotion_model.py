"""Text emotion with the true network, tiny and random, loaded as the real one is."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_affect  # noqa: E402
from mien.actors.text_emotion import TextEmotion  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402
from mien.datasets.schema import LABELS  # noqa: E402

TOLERANCE = 1e-5
TEXTS = [
    "I am so happy that you came!",
    "No.",
    "That is a terrible, sad and disgusting thing to say, and I will not have it said to me here.",
    "Ümlaute, 数字 and \U0001f600",
    "so " * 900,
]
CANONICAL = {"joy": "happy", "anger": "angry", "sadness": "sad"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_affect.build_distilroberta(tmp_path_factory.mktemp("distilroberta"))


def made(folder: Path, **values: object) -> TextEmotion:
    checkpoint = Weights(name="tiny", licence="MIT", path=str(folder))
    actor = TextEmotion(checkpoint=checkpoint, device="cpu", **values)  # type: ignore[arg-type]
    actor.setup()
    return actor


@pytest.fixture(scope="module")
def actor(folder: Path) -> TextEmotion:
    return made(folder, micro_batch=3)


def reference(folder: Path) -> list[dict[Any, float]]:
    """Each text alone, through the pipeline of transformers, with its own labels."""
    from transformers import pipeline

    judge: Any = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    found = [judge([text.strip()], truncation=True, max_length=512)[0] for text in TEXTS]
    return [{CANONICAL.get(c["label"], c["label"]): c["score"] for c in one} for one in found]


def scores(table: pa.Table) -> list[dict[str, float]]:
    return [{c["label"]: c["score"] for c in row} for row in table["text_scores"].to_pylist()]


def test_batched_and_padded_equals_the_pipeline_one_by_one(
    folder: Path, actor: TextEmotion
) -> None:
    found, expected = scores(actor.process(pa.table({"text": TEXTS}))), reference(folder)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(LABELS)
        assert one == pytest.approx(other, abs=TOLERANCE)
    spread = np.ptp([list(one.values()) for one in found], axis=0).max()
    assert spread > 100 * TOLERANCE  # otherwise this shows nothing


def test_polarity_goes_with_the_scores(actor: TextEmotion) -> None:
    table = actor.process(pa.table({"text": TEXTS}))
    assert table.schema == TextEmotion.adds
    for row, value in zip(scores(table), table["text_polarity"].to_pylist(), strict=True):
        negative = row["angry"] + row["disgust"] + row["fear"] + row["sad"]
        assert value == pytest.approx(row["happy"] - negative, abs=1e-6)
        assert sum(row.values()) == pytest.approx(1, abs=1e-5)


def test_what_has_no_text_is_null(actor: TextEmotion) -> None:
    texts = pa.array([None, "", TEXTS[0], "  \n"], pa.string())
    found = actor.process(pa.table({"text": texts})).to_pylist()
    assert [row["text_scores"] is None for row in found] == [True, True, False, True]
    assert [row["text_polarity"] is None for row in found] == [True, True, False, True]
    assert found[2] == actor.process(pa.table({"text": [TEXTS[0]]})).to_pylist()[0]


def test_only_empty_texts_and_no_texts_are_no_errors(actor: TextEmotion) -> None:
    empty = pa.table({"text": pa.array([None], pa.string())})
    assert actor.process(empty)["text_scores"].to_pylist() == [None]
    assert actor.process(empty.slice(0, 0)).num_rows == 0


def test_a_long_text_is_cut_at_512_tokens(actor: TextEmotion) -> None:
    assert actor.prepared([TEXTS[4]])["input_ids"].shape == (1, 512)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near(folder: Path, actor: TextEmotion, precision: str) -> None:
    rows = pa.table({"text": TEXTS})
    pairs = zip(
        scores(made(folder, precision=precision).process(rows)),
        scores(actor.process(rows)),
        strict=True,
    )
    worst = max(abs(a[label] - b[label]) for a, b in pairs for label in LABELS)
    assert 0 < worst < 0.03


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    labels = ("love", *tiny_affect.EMOTIONS[1:])
    folder = tiny_affect.build_distilroberta(tmp_path, labels=labels)
    with pytest.raises(ValueError, match="but are love, disgust"):
        made(folder)
