"""Parity of voice affect, text emotion, action and restoration with their libraries."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tiny_affect
from mien.actors import gfpgan
from mien.actors.action import Action, Look
from mien.actors.text_emotion import SYNONYMS, TextEmotion
from mien.actors.voice_affect import Audeering, cut, padded
from mien.actors.weights import Weights
from mien.datasets.audio import RATE_HZ
from mien.datasets.schema import LABELS

RNG = np.random.default_rng(0)
SAID = "I am so happy that you came . That is a terrible , sad and disgusting thing"
WORDS = SAID.split()


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """The comparisons."""
    yield voice(folder / "voice")
    yield text(folder / "text")
    yield action(folder / "action")
    yield restoration(folder / "restoration")


def weights(place: Path) -> Weights:
    """Weights that lie in a folder."""
    return Weights(name=place.name, licence="MIT", path=str(place))


def worst(found: Any, expected: Any) -> float:  # noqa: ANN401
    """The largest absolute difference."""
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max())


def voice(folder: Path) -> dict[str, Any]:
    """Against the model card's own way: the extractor, no padding, a plain mean."""
    from transformers import Wav2Vec2FeatureExtractor

    from mien.actors.voice_affect_net import AffectModel

    actor = Audeering(checkpoint=weights(tiny_affect.build_audeering(folder)), device="cpu")
    actor.setup()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    network = AffectModel.from_pretrained(folder, local_files_only=True).eval()

    def alone(sound: np.ndarray) -> list[float]:
        values = extractor(sound, sampling_rate=RATE_HZ, return_tensors="pt").input_values
        with torch.inference_mode():
            return network.classifier(network.wav2vec2(values)[0].mean(dim=1))[0].tolist()

    def difference(lengths_s: Sequence[float]) -> float:
        sounds = [
            (RNG.normal(0, 0.1, round(s * RATE_HZ)) + 0.02 * i).astype(np.float32)
            for i, s in enumerate(lengths_s)
        ]
        pieces = [piece for i, sound in enumerate(sounds) for piece in cut(i, sound, 15.0)]
        found = actor.through(pieces, padded, actor.judged)
        return worst(found, [alone(sound) for sound in sounds])

    return {
        "actor": "audeering",
        "reference": "transformers, as on the card",
        "compared": "arousal, dominance, valence",
        "batched": difference([1.0] * 8),
        "ragged": difference([0.1, 0.3, 1.0, 1.7, 2.9, 4.0, 0.6, 2.2]),
        "tolerance": 1e-4,
    }


def text(folder: Path) -> dict[str, Any]:
    """Against the pipeline of transformers, one text at a time."""
    from transformers import pipeline

    actor = TextEmotion(checkpoint=weights(tiny_affect.build_distilroberta(folder)), device="cpu")
    actor.setup()
    judge: Any = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")

    def alone(one: str) -> list[float]:
        found = judge([one], truncation=True, max_length=512)[0]
        scores = {SYNONYMS.get(c["label"], c["label"]): c["score"] for c in found}
        return [scores[label] for label in LABELS]

    def difference(counts: Sequence[int]) -> float:
        texts = [" ".join(RNG.choice(WORDS, count)) for count in counts]
        found = actor.through(texts, actor.prepared, actor.judged)
        return worst(found, [alone(one) for one in texts])

    return {
        "actor": "distilroberta",
        "reference": "transformers' pipeline",
        "compared": "7 probabilities",
        "batched": difference([12] * 16),
        "ragged": difference([1, 2, 5, 9, 17, 33, 80, 200, 700]),
        "tolerance": 1e-5,
    }


def action(folder: Path) -> dict[str, Any]:
    """Against processor and network of transformers, one clip at a time."""
    import cv2
    from transformers import AutoImageProcessor, TimesformerForVideoClassification

    place = tiny_affect.build_timesformer(folder)
    actor = Action(checkpoint=weights(place), device="cpu", top_k=400)
    actor.setup()
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    network: Any = TimesformerForVideoClassification.from_pretrained(folder, local_files_only=True)
    network.eval()

    def picture(size: tuple[int, int]) -> bytes:
        image = cv2.resize(RNG.integers(0, 256, (5, 7, 3), np.uint8), size)
        return cv2.imencode(".jpg", image)[1].tobytes()

    def alone(look: Look) -> list[float]:
        images = [
            cv2.cvtColor(
                np.asarray(cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR)),
                cv2.COLOR_BGR2RGB,
            )
            for one in look.pictures
        ]
        with torch.inference_mode():
            inputs = processor(images, return_tensors="pt")
            return network(**inputs).logits.softmax(-1)[0].tolist()

    def difference(sizes: Sequence[tuple[int, int]]) -> float:
        looks = [Look(0, (0, 8), tuple(picture(size) for _ in range(8))) for size in sizes]
        found = [
            [one["score"] for one in sorted(labels, key=lambda one: int(one["label"].split()[1]))]
            for labels in actor.through(looks, actor.prepared, actor.judged)
        ]
        return worst(found, [alone(look) for look in looks])

    return {
        "actor": "timesformer",
        "reference": "transformers, clip by clip",
        "compared": "400 probabilities (ragged: picture sizes)",
        "batched": difference([(320, 180)] * 4),
        "ragged": difference([(320, 180), (180, 320), (448, 252), (200, 200)]),
        "tolerance": 1e-5,
    }


def restoration(folder: Path) -> dict[str, Any]:
    """Against spandrel's own call; the noise of this checkpoint weighs nothing."""
    from spandrel import ModelLoader, canonicalize_state_dict

    path = tiny_affect.build_gfpgan(folder)
    state = torch.load(path, weights_only=True)
    model: Any = ModelLoader("cpu").load_from_state_dict(canonicalize_state_dict(state)).eval()
    network = gfpgan.load(path).eval()
    pictures = torch.rand(2, 3, 512, 512) * 2 - 1
    with torch.inference_mode():
        found = gfpgan.drawn(network, pictures)
        expected = torch.cat([model.model(pictures[i : i + 1])[0] for i in range(2)])
    return {
        "actor": "restore (gfpgan)",
        "reference": "spandrel, face by face",
        "compared": "pixels, -1 to 1",
        "batched": worst(found, expected),
        "ragged": None,
        "tolerance": 1e-4,
    }
