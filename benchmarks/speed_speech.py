"""Speed of recognition and alignment: batched against one chunk or segment at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import tiny_speech
from mien.actors.align import Align, Clip
from mien.actors.alignment import spell
from mien.actors.weights import Weights
from mien.actors.whisper_transformers import Whisper
from models import Contest

TEXT = "so it goes and so it went until the end of the long and narrow road"
Sides = tuple[Callable[[], object], Callable[[], object]]


def contests(size: str) -> list[Contest]:
    """Alignment, its trellis alone, and recognition."""
    full = size == "full"
    segments, chunks = (128, 32) if full else (16, 8)
    return [
        Contest(
            actor="align",
            items=segments,
            unit="segment of 3-8 s",
            build=lambda folder: alignment(folder, segments, full),
            note="naive: whisperx.alignment on each segment in turn",
        ),
        Contest(
            actor="whisper",
            items=chunks,
            unit="chunk of 30 s",
            build=lambda folder: recognition(folder, chunks, full),
            note="naive: the same actor, a chunk at a time",
        ),
    ]


def noise(seconds: float, seed: int) -> np.ndarray:
    """Noise."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=round(seconds * 16000)) * 0.1).astype(np.float32)


def alignment(folder: Path, count: int, full: bool) -> Sides:
    """Segments of one language, against WhisperX's functions on one at a time."""
    import torch
    from whisperx.alignment import backtrack, get_trellis, merge_repeats

    width, layers = (768, 12) if full else (128, 2)
    tiny_speech.build_aligner(folder, width=width, layers=layers)
    weights = Weights(name="tiny", licence="MIT", path=str(folder))
    actor = Align(languages={"en": weights}, threads=2, micro_batch=32 if full else 2)
    actor.setup()
    ears, vocabulary = actor._ears["en"], actor._vocabularies["en"]
    spelling = spell(TEXT, vocabulary, len(vocabulary))
    clips = [Clip(0, i, 0.0, noise(3 + i % 6, i), spelling) for i in range(count)]

    def naive() -> None:
        for clip in clips:
            sound = actor.moved(torch.from_numpy(clip.samples)[None])
            with torch.inference_mode():
                logs, _ = ears(sound, torch.ones_like(sound, dtype=torch.long))
            heard, symbols = logs[0].cpu(), spelling.symbols
            trellis = get_trellis(heard, symbols, 0)
            path = backtrack(trellis, heard, symbols, 0)
            if path:
                merge_repeats(path, "x" * len(symbols))

    return lambda: actor.aligned("en", clips), naive


def recognition(folder: Path, count: int, full: bool) -> Sides:
    """Chunks, together and one by one."""
    size = {"width": 1280, "layers": 4} if full else {"width": 64, "layers": 2}
    tiny_speech.build_whisper(folder, **size, mels=128 if full else 80)
    actor = Whisper(
        checkpoint=Weights(name="tiny", licence="MIT", path=str(folder)),
        max_tokens=100 if full else 30,
        precision="float16" if full else "float32",
        threads=2,
    )
    actor.setup()
    sounds = [noise(30, i) for i in range(count)]
    return (
        lambda: actor.transcribe(sounds),
        lambda: [actor.transcribe([sound]) for sound in sounds],
    )
