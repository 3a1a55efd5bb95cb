"""Parity of LAION's heads: stacked and batched against one item and one head at a time."""

import io
import wave
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

import tiny_laion
from mien.actors.laion_face import ENCODER as SIGLIP
from mien.actors.laion_face import HEADS as FACE
from mien.actors.laion_face import LaionFace
from mien.actors.laion_voice import ENCODER as WHISPER
from mien.actors.laion_voice import HEADS as VOICE
from mien.actors.laion_voice import LaionVoice
from mien.datasets import audio
from mien.datasets.schema import LAION_VOICE, WATCH

TOLERANCE = 1e-5
EVEN, RAGGED = (160,) * 6, (160, 96, 200, 31)  # sides of pictures, px
EVEN_S = [(0.0, 4.0), (4.0, 8.0), (8.0, 12.0)]
RAGGED_S = [(0.0, 1.0), (1.0, 31.0), (3.0, 9.5)]


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """All sizes, faces and voices."""
    tiny_laion.build_all(folder)
    yield from faces(folder)
    yield from voices(folder)


def faces(folder: Path) -> Iterator[dict[str, Any]]:
    """Scores of faces."""
    for size, name in (("small", FACE.name), ("large", tiny_laion.FACE_LARGE)):
        heads = replace(FACE, name=name, dir=str(folder))
        actor = LaionFace(encoder=replace(SIGLIP, dir=str(folder)), heads=heads, micro_batch=4)
        actor.setup()
        sizes = (tiny_laion.WIDTH, *(hidden // 8 for hidden in tiny_laion.SIZES[size]))
        ask = tiny_laion.face_reference(folder / SIGLIP.name, folder / name, sizes)

        def off(sides: Sequence[int], ask: Any = ask, actor: LaionFace = actor) -> float:  # noqa: ANN401
            images = [picture(side, seed) for seed, side in enumerate(sides)]
            rows = [[{"crop": png(one)} for one in some] for some in (images[:2], [], images[2:])]
            table = pa.table({"faces": pa.array(rows, WATCH.field("faces").type)})
            found = [one for row in actor.process(table)["laion_face"].to_pylist() for one in row]
            return largest(found, [ask(image) for image in images])

        yield {
            "actor": f"laion_face ({size})",
            "reference": "transformers SiglipModel, heads one by one",
            "compared": "40 scores",
            "batched": off(EVEN),
            "ragged": off(RAGGED),
            "tolerance": TOLERANCE,
        }


def voices(folder: Path) -> Iterator[dict[str, Any]]:
    """Scores of voices, resident and in shards."""
    file = str(recording(folder / "a.wav"))
    sizes = (
        ("small", VOICE.name),
        ("large", tiny_laion.VOICE_LARGE),
        ("plus", tiny_laion.VOICE_PLUS),
    )
    for size, name in sizes:
        tail = tiny_laion.TINY_TAILS["large" if size == "large" else "small"]
        ask = tiny_laion.voice_reference(
            folder / WHISPER.name, folder / name, tail, plus=size == "plus"
        )
        for shards in (1, 4):
            heads = replace(VOICE, name=name, dir=str(folder))
            encoder = replace(WHISPER, dir=str(folder))
            actor = LaionVoice(encoder=encoder, heads=heads, shards=shards, micro_batch=2)
            actor.setup()

            def off(spans: Any, ask: Any = ask, actor: LaionVoice = actor) -> float:  # noqa: ANN401
                starts, stops = zip(*spans, strict=True)
                uris = [file] * len(spans)
                found = actor.process(pa.table({"uri": uris, "start_s": starts, "stop_s": stops}))
                rows = found.to_pylist()
                scores = [[v for n in LAION_VOICE.names for v in row[n] or []] for row in rows]
                return largest(scores, [ask(heard(file, *span)) for span in spans])

            yield {
                "actor": f"laion_voice ({size}, {shards} shard{'s' * (shards > 1)})",
                "reference": "transformers Whisper encoder, heads one by one",
                "compared": "59 scores" if size == "plus" else "55 scores",
                "batched": off(EVEN_S),
                "ragged": off(RAGGED_S),
                "tolerance": TOLERANCE,
            }


def largest(found: Any, expected: Any) -> float:  # noqa: ANN401
    """The largest difference."""
    return float(np.abs(np.array(found) - np.array(expected)).max())


def picture(side: int, seed: int) -> NDArray[np.uint8]:
    """An RGB picture of one colour, in noise."""
    random = np.random.default_rng(seed)
    noise, colour = random.integers(0, 200, (side, side, 3)), random.integers(0, 56, 3)
    return (noise + colour).astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    """A picture, as a crop is kept but without loss."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def tone(duration_s: float, seed: int = 0) -> NDArray[np.float32]:
    """A wavering tone in noise that grows louder."""
    t = np.arange(round(duration_s * audio.RATE_HZ)) / audio.RATE_HZ
    made = np.sin(2 * np.pi * (200 + 40 * np.sin(t)) * t) * np.linspace(0.02, 0.5, len(t))
    noise = np.random.default_rng(seed).normal(size=len(t))
    return (made + 0.02 * noise).astype(np.float32)


def recording(file: Path) -> Path:
    """A file with such a tone."""
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, audio.RATE_HZ, 0, "NONE", ""))
        out.writeframes((tone(32.0) * 32767).astype("<i2").tobytes())
    return file


def heard(file: str, start_s: float, stop_s: float) -> NDArray[np.float32]:
    """A span of that file."""
    samples = audio.read(file, start_s, stop_s)
    assert samples is not None
    return samples
