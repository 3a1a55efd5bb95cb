"""Speed of what works on sound: diarization and enhancement. See `models.py`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import tiny_sound
from mien.actors.diarize import Pyannote
from mien.actors.enhance import Demucs
from mien.actors.overlap import overlapped
from mien.actors.weights import Weights
from mien.datasets.audio import RATE_HZ, Sound
from models import Contest

Sides = tuple[Callable[[], object], Callable[[], object]]


def contests(size: str) -> list[Contest]:
    """See `models.py`."""
    full = size == "full"
    minutes, mixture_s = (10, 300) if full else (0.5, 20)

    def pyannote(folder: Path) -> Sides:
        """Batches of 32 windows against pyannote's own default of 1."""
        place = tiny_sound.build_pyannote(folder / "pyannote", full=full)
        weights = Weights(name=tiny_sound.COMMUNITY, licence="CC-BY-4.0", path=str(place))
        sound = noise(minutes * 60, RATE_HZ)
        sides = []
        for batch in (32, 1):
            actor = Pyannote(pipeline=weights, micro_batch=batch)
            actor.setup()
            sides.append(lambda actor=actor: actor.listened("sound", sound))
        return sides[0], sides[1]

    def demucs(folder: Path) -> Sides:
        """Windows in batches against `apply_model`, one by one."""
        import torch
        from demucs.apply import apply_model

        path = tiny_sound.build_demucs(
            folder / "a.th", seconds=7.8 if full else 1.0, channels=48 if full else 8
        )
        actor = Demucs(network=Weights(name="htdemucs", licence="MIT", path=str(path)))
        actor.setup()
        sound = noise(mixture_s, actor.rate_hz)
        mix = torch.from_numpy(sound)[None, None].expand(1, 2, -1)

        def batched() -> object:
            return [*overlapped([sound], actor.clean, *actor.windows())]

        def naive() -> object:
            return apply_model(actor.net, mix, shifts=0, overlap=0.25, device=actor.place)

        return batched, naive

    return [
        Contest(
            actor="pyannote",
            items=round(minutes * 60),
            unit="second of sound",
            build=pyannote,
            note="noise in all windows; naive: batch size 1, pyannote's default",
        ),
        Contest(
            actor="demucs",
            items=mixture_s,
            unit="second of sound",
            build=demucs,
            note="naive: demucs.apply, which keeps all four sources of the whole sound",
        ),
    ]


def noise(seconds: float, rate_hz: int) -> Sound:
    """Noise."""
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32)
