"""Speed of voice affect, text emotion, action and restoration: batched against one by one."""

import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import tiny_affect
from mien.actors.action import Action
from mien.actors.neural import Neural
from mien.actors.restore import Restore
from mien.actors.text_emotion import TextEmotion
from mien.actors.voice_affect import Audeering
from mien.actors.weights import Weights
from mien.datasets.audio import RATE_HZ
from mien.datasets.schema import WATCH
from models import Contest

RNG = np.random.default_rng(0)
SAID = "I am so happy that you came . That is a terrible , sad and disgusting thing"
WORDS = SAID.split()
Sides = tuple[Callable[[], object], Callable[[], object]]


def contests(size: str) -> list[Contest]:
    """Four contests; small ones take few items, and small models where there are such."""
    full = size == "full"
    utterances, texts, clips, faces = (256, 2048, 64, 64) if full else (48, 512, 8, 2)
    note = "the actor reads the file too" if full else "two layers of 32; the actor reads too"
    small = "" if full else "two layers of 32"
    return [
        Contest(
            actor="audeering",
            items=utterances,
            unit="utterance of 1-8 s",
            build=lambda folder: voice(folder, utterances, full),
            note=note,
        ),
        Contest(
            actor="distilroberta",
            items=texts,
            unit="text of 3-40 words",
            build=lambda folder: text(folder, texts, full),
            note=small,
        ),
        Contest(
            actor="timesformer",
            items=clips,
            unit="clip of 8 pictures",
            build=lambda folder: action(folder, clips, full),
            note=small,
        ),
        Contest(
            actor="restore",
            items=faces,
            unit="face of 160 px",
            build=lambda folder: restoration(folder, faces),
            note="GFPGAN of full size; both sides lay in and out",
        ),
    ]


def ready(actor: Neural) -> Any:  # noqa: ANN401
    """An actor that is set up."""
    actor.setup()
    return actor


def weights(place: Path) -> Weights:
    """Weights that lie at a path."""
    return Weights(name=place.name, licence="MIT", path=str(place))


def voice(folder: Path, count: int, full: bool) -> Sides:
    """The actor on rows of one file; the card's loop on sounds in memory."""
    import torch
    from transformers import Wav2Vec2FeatureExtractor

    place = tiny_affect.build_audeering(folder / "voice", full=full)
    actor = ready(Audeering(checkpoint=weights(place), micro_batch=16 if full else 2))
    seconds = RNG.uniform(1, 8, count)
    sounds = [0.1 * RNG.standard_normal(round(s * RATE_HZ), np.float32) for s in seconds]
    rows = spans(sounds)
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(place, local_files_only=True)
    network = actor._network

    def naive() -> list[list[float]]:
        answers = []
        with torch.inference_mode():
            for sound in sounds:
                values = extractor(sound, sampling_rate=RATE_HZ, return_tensors="pt").input_values
                states = network.wav2vec2(values.to(actor.place))[0].mean(dim=1)
                answers.append(network.classifier(states)[0].tolist())
        return answers

    return lambda: actor.process(rows), naive


def spans(sounds: list[np.ndarray]) -> pa.Table:
    """Sounds as rows of one file."""
    uri = Path(tempfile.mkdtemp(prefix="speed-")) / "all.wav"
    with wave.open(str(uri), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(
            np.rint(np.concatenate(sounds) * 32767).clip(-32768, 32767).astype("<i2").tobytes()
        )
    stops = np.cumsum([len(sound) for sound in sounds]) / RATE_HZ
    starts = [0.0, *stops[:-1]]
    return pa.table({"uri": [str(uri)] * len(sounds), "start_s": starts, "stop_s": stops})


def text(folder: Path, count: int, full: bool) -> Sides:
    """The actor; the pipeline of transformers, text by text."""
    from transformers import pipeline

    place = tiny_affect.build_distilroberta(folder / "text", full=full)
    actor = ready(TextEmotion(checkpoint=weights(place), micro_batch=64))
    texts = [" ".join(RNG.choice(WORDS, n)) for n in RNG.integers(3, 41, count)]
    rows = pa.table({"text": texts})
    judge: Any = pipeline("text-classification", model=str(place), top_k=None, device=actor.place)
    return lambda: actor.process(rows), lambda: [judge(one, truncation=True) for one in texts]


def action(folder: Path, count: int, full: bool) -> Sides:
    """The actor; the same model clip by clip, as on its card."""
    import cv2
    import torch

    place = tiny_affect.build_timesformer(folder / "action", full=full)
    actor = ready(Action(checkpoint=weights(place), micro_batch=8 if full else 2))
    network, processor = actor._network, actor._processor

    def picture() -> bytes:
        image = cv2.resize(RNG.integers(0, 256, (9, 16, 3), np.uint8), (448, 252))
        return cv2.imencode(".jpg", image)[1].tobytes()

    frames = [[{"time_s": i + 0.5, "thumbnail": picture()} for i in range(8)] for _ in range(count)]
    rows = pa.table(
        {
            "start_s": [0.0] * count,
            "stop_s": [8.0] * count,
            "frames": pa.array(frames, WATCH.field("frames").type),
            "cuts": pa.array([[]] * count, WATCH.field("cuts").type),
        }
    )

    def naive() -> list[int]:
        answers = []
        with torch.inference_mode():
            for clip in frames:
                data = (np.frombuffer(one["thumbnail"], np.uint8) for one in clip)
                bgr = [np.asarray(cv2.imdecode(one, cv2.IMREAD_COLOR)) for one in data]
                images = [one[:, :, ::-1].copy() for one in bgr]
                pixels = processor(images, return_tensors="pt").pixel_values.to(actor.place)
                answers.append(int(network(pixel_values=pixels).logits.argmax()))
        return answers

    return lambda: actor.process(rows), naive


def restoration(folder: Path, count: int) -> Sides:
    """The actor; the same actor, face by face."""
    import cv2

    place = tiny_affect.build_gfpgan(folder / "restore")
    actor = ready(Restore(mode="gfpgan", checkpoint=weights(place), align=False, micro_batch=8))

    def face() -> dict[str, Any]:
        image = cv2.resize(RNG.integers(0, 256, (8, 8, 3), np.uint8), (160, 160))
        crop = cv2.imencode(".jpg", image)[1].tobytes()
        return {"w": 40.0, "h": 40.0, "quality": 0.2, "crop": crop}

    kind = WATCH.field("faces").type
    rows = pa.table({"faces": pa.array([[face() for _ in range(count)]], kind)})
    single = pa.table({"faces": pa.array([[one] for one in rows["faces"][0].as_py()], kind)})
    alone = [single.slice(i, 1) for i in range(count)]
    return lambda: actor.process(rows), lambda: [actor.process(row) for row in alone]
