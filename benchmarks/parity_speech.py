"""Parity of recognisers with CTranslate2's decoding, and of alignment with WhisperX's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tiny_speech
from mien.actors.align import ENGLISH, Align, Clip
from mien.actors.alignment import align, spell
from mien.actors.weights import Weights
from mien.actors.whisper_transformers import WEIGHTS, Whisper

TOKENS = 30


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """The comparisons."""
    tiny_speech.build_all(folder)
    yield from emissions(folder)
    yield paths()
    yield from recognition(folder)


def noise(seconds: float, seed: int) -> np.ndarray:
    """Noise that comes and goes."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * 16000)) / 16000
    return (rng.normal(size=len(times)) * 0.1 * (1 + np.sin(5 * times))).astype(np.float32)


def at(default: Weights, folder: Path) -> Weights:
    """Weights of the checkpoint below a folder of models."""
    path = str(folder / default.name)
    return Weights(name=default.name, licence=default.licence, files=default.files, path=path)


def emissions(folder: Path) -> Iterator[dict[str, Any]]:
    """What the aligner hears in padded clips, against the network on each clip alone."""
    import torch
    from transformers import Wav2Vec2ForCTC

    actor = Align(languages={"en": at(ENGLISH, folder)}, device="cpu")
    actor.setup()
    model = Wav2Vec2ForCTC.from_pretrained(folder / ENGLISH.name).eval()
    worst = {}
    for kind, seconds in (("batched", [2.0] * 4), ("ragged", [0.3, 1.0, 2.2, 4.0])):
        clips = [
            Clip(0, i, 0.0, noise(s, i), spell("a", {"a": 1}, 2)) for i, s in enumerate(seconds)
        ]
        samples, mask = actor._prepared("en", clips)
        with torch.inference_mode():
            logs, frames = actor._ears["en"](samples, mask)
            worst[kind] = max(
                float((logs[i, : frames[i]] - alone(model, actor, clip)).abs().max())
                for i, clip in enumerate(clips)
            )
    yield {
        "actor": "align",
        "reference": "transformers Wav2Vec2ForCTC",
        "compared": "log probabilities",
        **worst,
        "tolerance": 1e-4,
    }


def alone(model: Any, actor: Align, clip: Clip) -> Any:  # noqa: ANN401
    """Log probabilities of one clip, without padding or mask."""
    samples, _ = actor._prepared("en", [clip])
    return model(samples).logits[0].log_softmax(-1)


def paths() -> dict[str, Any]:
    """Paths through the same emissions."""
    import torch
    from whisperx.alignment import backtrack, get_trellis, merge_repeats

    rng, worst = np.random.default_rng(0), {}
    for kind, lengths in (("batched", [200] * 12), ("ragged", rng.integers(50, 400, size=12))):
        heard = [torch.randn(int(n), 30).mul(3).log_softmax(-1) for n in lengths]
        texts = [rng.integers(1, 30, size=40).tolist() for _ in heard]
        gaps = [0]
        for one, text, path in zip(
            heard, texts, align([h.numpy() for h in heard], texts, 0), strict=True
        ):
            trellis = get_trellis(one, text, 0)
            steps: Any = backtrack(trellis, one, text, 0)
            if path is None or steps is None:
                gaps.append(0 if path is steps else 10**6)
                continue
            theirs = merge_repeats(steps, "x" * len(text))
            gaps += [abs(int(a) - part.start) for a, part in zip(path.starts, theirs, strict=True)]
            gaps += [abs(int(a) - part.end) for a, part in zip(path.stops, theirs, strict=True)]
        worst[kind] = max(gaps)
    return {
        "actor": "align",
        "reference": "whisperx 3.8.6",
        "compared": "times on the same emissions, frames",
        **worst,
        "tolerance": 1,
    }


def recognition(folder: Path) -> Iterator[dict[str, Any]]:
    """The same checkpoint, converted: numbers and word times, greedily, chunk by chunk."""
    from faster_whisper import WhisperModel

    actor = Whisper(checkpoint=at(WEIGHTS, folder), max_tokens=TOKENS, device="cpu")
    actor.setup()
    other = WhisperModel(
        str(folder / tiny_speech.CONVERTED.name), device="cpu", local_files_only=True
    )
    numbers: dict[str, float] = {}
    times: dict[str, float] = {}
    for kind, seconds in (("batched", [5.0] * 4), ("ragged", [1.0, 4.0, 9.3, 28.0])):
        sounds = [noise(s, i) for i, s in enumerate(seconds)]
        gaps = [
            apart(actor, other, sound, said)
            for sound, said in zip(sounds, actor.transcribe(sounds), strict=True)
        ]
        numbers[kind], times[kind] = (max(column) for column in zip(*gaps, strict=True))
    common = {"actor": "whisper", "reference": "CTranslate2 4.8, greedy"}
    compared = "avg_logprob, no_speech_prob"
    yield {**common, "compared": compared, **numbers, "tolerance": 1e-3}
    yield {**common, "compared": "word times, s", **times, "tolerance": 0.021}


def apart(actor: Whisper, other: Any, sound: np.ndarray, said: Any) -> tuple[float, float]:  # noqa: ANN401
    """How far apart the two engines are on one chunk: in numbers, and in seconds."""
    language, segments = said
    tokenizer = actor.tokenizer(language)
    mels, _ = actor._prepared([sound])
    states = other.encode(mels[0].numpy())
    (result,) = other.model.generate(
        states,
        [tokenizer.sot_sequence],
        beam_size=1,
        max_length=2 * TOKENS,
        return_scores=True,
        return_no_speech_prob=True,
    )
    (tokens,) = result.sequences_ids
    text = [token for token in tokens if token < tokenizer.eot]
    (timed,) = other.find_alignment(tokenizer, [text], states, len(sound) // 160)
    words = [word for segment in segments for word in segment["words"]]
    ends = (timed[0]["start"] - words[0]["start_s"], timed[-1]["end"] - words[-1]["stop_s"])
    logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
    first = segments[0]
    number = max(
        abs(first["avg_logprob"] - logprob), abs(first["no_speech_prob"] - result.no_speech_prob)
    )
    return number, max(map(abs, ends))
