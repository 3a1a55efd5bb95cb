"""Sentence embeddings against sentence-transformers' own, one text at a time."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
pytest.importorskip("torch")
pytest.importorskip("transformers")

from mien.actors.sentence import Sentence  # noqa: E402
from mien.actors.weights import Weights  # noqa: E402

TEXTS = [
    "You must've had your hands full.",
    "No.",
    "  That I did.   That I did. ",
    "?!",
    "Ümlaute, 数字 and \U0001f600",
    "so " * 400,
]


@pytest.fixture(scope="module")
def actor() -> Sentence:
    """The published network, where its package is installed."""
    made = Sentence(device="cpu", micro_batch=4)
    if reason := made.missing():
        pytest.skip(reason)
    made.setup()
    return made


def embeddings(actor: Sentence, texts: list[str | None]) -> list:
    return actor.process(pa.table({"text": pa.array(texts, pa.string())}))["embedding"].to_pylist()


def test_batched_and_padded_equals_the_library_one_by_one(actor: Sentence) -> None:
    library = pytest.importorskip("sentence_transformers")
    reference = library.SentenceTransformer(str(actor.checkpoint.resolved()), device="cpu")
    expected = np.stack([reference.encode(text.strip()) for text in TEXTS])
    found = np.array(embeddings(actor, [*TEXTS]))
    assert found.shape == (6, 384)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.abs(found[0] - found[1]).max() > 0.01  # otherwise this shows nothing


def test_what_is_alike_is_near(actor: Sentence) -> None:
    one, other, far = np.array(
        embeddings(actor, ["I am so happy!", "This makes me very glad.", "The bus is late."])
    )
    assert one @ other > one @ far + 0.2
    np.testing.assert_allclose([one @ one, far @ far], 1, atol=1e-6)


def test_layers_are_the_networks_own_means(actor: Sentence) -> None:
    torch = pytest.importorskip("torch")
    lower = Sentence(device="cpu", layers=[2, 6], checkpoint=actor.checkpoint, micro_batch=4)
    lower.setup()
    found = np.array(embeddings(lower, [*TEXTS]))
    assert found.shape == (6, 768)
    tokens = lower._tokenizer(TEXTS[0], return_tensors="pt")  # pyright: ignore[reportPrivateUsage]
    with torch.inference_mode():
        states = lower._network(**tokens, output_hidden_states=True)  # pyright: ignore[reportPrivateUsage]
    np.testing.assert_allclose(found[0, :384], states.hidden_states[2][0].mean(0), atol=1e-5)
    last = found[:, 384:] / np.linalg.norm(found[:, 384:], axis=1, keepdims=True)
    np.testing.assert_allclose(last, embeddings(actor, [*TEXTS]), atol=2e-6)


@pytest.mark.parametrize("layers", [[7], [-1]])
def test_layers_that_are_not_there_are_refused(layers: list[int]) -> None:
    with pytest.raises(ValueError, match="`layers` must be between 0 and 6"):
        Sentence(layers=layers)


def test_no_text_is_null_and_the_order_stays(actor: Sentence) -> None:
    found = embeddings(actor, ["a longer line of text", None, "  ", "short"])
    assert [one is None for one in found] == [False, True, True, False]
    np.testing.assert_allclose(found[3], embeddings(actor, ["short"])[0], atol=2e-6)


def test_absent_weights_are_named(tmp_path: Path) -> None:
    checkpoint = Weights(name="x/y", licence="MIT", path=str(tmp_path / "no"), files=("a.json",))
    assert "a.json of x/y" in str(Sentence(checkpoint=checkpoint).missing())
