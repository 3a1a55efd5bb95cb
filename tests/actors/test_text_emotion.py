"""Text emotion: the map of classes and the polarity, without the network."""

import numpy as np
import pytest

from mien.actors.text_emotion import TextEmotion, order, polarity
from mien.datasets.schema import LABELS

CARD = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")


def scores(**known: float) -> np.ndarray:
    return np.array([known.get(label, 0.0) for label in LABELS], np.float32)


def test_the_classes_are_the_canonical_seven() -> None:
    names = [CARD[i] for i in order(dict(enumerate(CARD)))]
    assert dict(zip(LABELS, names, strict=True)) == {
        "angry": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "joy",
        "sad": "sadness",
        "surprise": "surprise",
        "neutral": "neutral",
    }


def test_the_order_is_read_from_the_checkpoint() -> None:
    assert order(dict(enumerate(LABELS))) == list(range(7))
    assert order(dict(enumerate(reversed(LABELS)))) == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    "names",
    [("love", *CARD[1:]), CARD[:6], (*CARD, "love"), ("LABEL_0", "LABEL_1"), ("joy", *CARD[1:])],
)
def test_an_unknown_or_absent_class_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="the classes of the checkpoint must be angry, disgust"):
        order(dict(enumerate(names)))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"happy": 1.0}, 1.0),
        ({"angry": 0.4, "disgust": 0.3, "fear": 0.2, "sad": 0.1}, -1.0),
        ({"neutral": 0.7, "surprise": 0.3}, 0.0),
        ({"happy": 0.6, "sad": 0.1, "neutral": 0.3}, 0.5),
    ],
)
def test_polarity_is_positive_less_negative(known: dict[str, float], expected: float) -> None:
    assert polarity(scores(**known)) == pytest.approx(expected)


@pytest.mark.parametrize("tokens", [7, 513])
def test_more_tokens_than_the_model_takes_are_refused(tokens: int) -> None:
    with pytest.raises(ValueError, match=f"between 8 and 512, but is {tokens}"):
        TextEmotion(max_tokens=tokens)


def test_its_licence_says_that_none_is_stated() -> None:
    assert TextEmotion().provenance()["licence"] == "LicenseRef-not-stated"
