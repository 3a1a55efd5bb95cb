"""Speed of LAION's heads: stacked against looped, and the whole actors against one at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tiny_laion
from mien.actors.laion_face import ENCODER as SIGLIP
from mien.actors.laion_face import HEADS as FACE
from mien.actors.laion_face import LaionFace
from mien.actors.laion_net import Heads, View
from mien.actors.laion_voice import ENCODER as WHISPER
from mien.actors.laion_voice import HEADS as VOICE
from mien.actors.laion_voice import LaionVoice
from mien.datasets.laion import LAION_FACE_NAMES, file_of
from models import Contest
from parity_laion import picture, png, tone

Sides = tuple[Callable[[], object], Callable[[], object]]
PLACE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def contests(size: str) -> list[Contest]:
    """Heads alone at their true sizes (of voices on a CPU: a 48th of the channels), then all."""
    full = size == "full"
    faces, segments, channels = (512, 32, 768) if full else (32, 4, 16)
    return [
        *(
            Contest(
                actor=f"laion_face heads, {kind}",
                items=faces,
                unit="embedding",
                build=lambda folder, kind=kind: face_heads(folder, kind, faces),
                note="40 heads stacked, against 40 calls for each face",
            )
            for kind in ("small", "large")
        ),
        *(
            Contest(
                actor=f"laion_face heads, {kind}",
                items=faces,
                unit="embedding",
                build=lambda folder, kind=kind: face_heads(folder, kind, faces, one_by_one=False),
                note="40 heads stacked, against 40 calls for the batch",
            )
            for kind in ("small", "large")
        ),
        Contest(
            actor="laion_voice heads",
            items=segments,
            unit="encoded segment",
            build=lambda folder: voice_heads(folder, channels, segments),
            note=f"55 Small heads on {channels} channels: one product, against 55 for each segment",
        ),
        Contest(
            actor="laion_face",
            items=64 if full else 16,
            unit="face",
            build=lambda folder: whole_face(folder, 64 if full else 16, full=full),
            note="" if full else "tiny SigLIP, 64 px",
        ),
        Contest(
            actor="laion_voice",
            items=segments,
            unit="segment of 10 s",
            build=lambda folder: whole_voice(folder, segments),
            note="tiny Whisper, heads of 8",
        ),
    ]


def face_heads(folder: Path, kind: str, count: int, *, one_by_one: bool = True) -> Sides:
    """The 40 heads for faces at their true size."""
    heads = tiny_laion.build_face_heads(folder, kind, width=1152, shrink=1)
    files = [folder / file_of(name) for name in LAION_FACE_NAMES]
    stacked = Heads(files, {1152: View(torch.nn.Flatten(), torch.float32)}, PLACE)
    return sides(stacked, list(heads.values()), torch.randn(count, 1152), one_by_one=one_by_one)


def voice_heads(folder: Path, channels: int, count: int) -> Sides:
    """The 55 heads for voices, Small; on a GPU in half precision. One file serves as all."""
    width, tail = tiny_laion.TIMES * channels, tiny_laion.TAILS["small"]
    file = folder / "model_x_best.pth"
    torch.save(tiny_laion.voice_head(width, tail).state_dict(), file)
    dtype = torch.float16 if PLACE.type == "cuda" else torch.float32
    stacked = Heads([file] * 55, {width: View(torch.nn.Flatten(), dtype)}, PLACE)
    naive = [tiny_laion.loaded(tiny_laion.voice_head(width, tail), file) for _ in range(55)]
    states = torch.randn(count, tiny_laion.TIMES, channels).to(dtype)
    return sides(stacked, [head.to(dtype) for head in naive], states)


def sides(
    stacked: Heads,
    heads: Sequence[torch.nn.Module],
    inputs: torch.Tensor,
    *,
    one_by_one: bool = True,
) -> Sides:
    """All at once, and one head (and one item) after the other."""
    inputs = inputs.to(PLACE)
    heads = [head.to(PLACE) for head in heads]

    @torch.inference_mode()
    def batched() -> object:
        return stacked(inputs).cpu()

    @torch.inference_mode()
    def naive() -> object:
        parts = inputs.split(1) if one_by_one else [inputs]
        return [[head(part).cpu() for head in heads] for part in parts]

    return batched, naive


def whole_face(folder: Path, count: int, *, full: bool) -> Sides:
    """From crops to scores."""
    tiny_laion.build_siglip(folder / SIGLIP.name, full=full)
    width = 1152 if full else tiny_laion.WIDTH
    tiny_laion.build_face_heads(folder / FACE.name, width=width, shrink=1)
    actor = LaionFace(
        encoder=replace(SIGLIP, dir=str(folder)), heads=replace(FACE, dir=str(folder))
    )
    actor.setup()
    sizes = (width, *tiny_laion.SIZES["small"])
    ask = tiny_laion.face_reference(folder / SIGLIP.name, folder / FACE.name, sizes, device=PLACE)
    images = [picture(160, seed) for seed in range(count)]
    crops = [png(image) for image in images]
    return (
        lambda: actor.through(crops, actor.prepared, actor.judged),
        lambda: [ask(image) for image in images],
    )


def whole_voice(folder: Path, count: int) -> Sides:
    """From samples to scores."""
    tiny_laion.build_whisper(folder / WHISPER.name)
    tiny_laion.build_voice_heads(folder / VOICE.name)
    actor = LaionVoice(
        encoder=replace(WHISPER, dir=str(folder)), heads=replace(VOICE, dir=str(folder))
    )
    actor.setup()
    tail = tiny_laion.TINY_TAILS["small"]
    ask: Any = tiny_laion.voice_reference(folder / WHISPER.name, folder / VOICE.name, tail)
    sounds = [np.ascontiguousarray(tone(10.0, seed)) for seed in range(count)]
    return lambda: actor.scores(sounds), lambda: [ask(sound) for sound in sounds]
