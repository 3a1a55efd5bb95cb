"""Made-up conversations with truth: turns of real voices, cut from clips of one speaker each."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

from mien.datasets import audio

RATE_HZ = 16_000
OTHERS = {  # voices in `asr/`, besides EmoDB's four
    "jfk": "jfk.flac",
    "librispeech": "librispeech/*.flac",
    "ljspeech": "ljspeech/*.wav",
    "sppas_m15": "sppas_eng/ENG_M15*.wav",
    "oriana": "sppas_eng/oriana1.wav",
    "librivox": "librivox/*.wav",
}
F32 = NDArray[np.float32]
Turns = list[tuple[float, float, str]]


def voices(data: Path, half: int) -> dict[str, list[F32]]:
    """Speech by voice, without the silence at either end; every second clip or piece of 5 s.

    Args:
        data: Laid out like the test data.
        half: 0 or 1: which. The two have no audio in common, so one can be tuned on and the
            other reported.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted((data / "speech_emotion" / "emodb").glob("*.wav")):
        files.setdefault(f"emodb_{path.name[:2]}", []).append(path)
    files |= {name: sorted((data / "asr").glob(pattern)) for name, pattern in OTHERS.items()}
    found = {}
    for name, paths in files.items():
        clips = [samples for path in paths if (samples := audio.read(str(path))) is not None]
        size = 5 * RATE_HZ
        pieces = [trim(clip[i : i + size]) for clip in clips for i in range(0, len(clip), size)]
        pieces = [piece for piece in pieces if len(piece) > 0.7 * RATE_HZ]
        found[name] = pieces[half::2]
    return found


def trim(samples: F32, floor_db: float = -30) -> F32:
    """Cut what is quieter than `floor_db` against the loudest 20 ms off both ends."""
    size = RATE_HZ // 50
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.square(blocks).mean(1)
    loud = np.flatnonzero(power > power.max(initial=0) * 10 ** (floor_db / 10))
    return samples[loud[0] * size : (loud[-1] + 1) * size] if len(loud) else samples[:0]


def conversation(
    clips: dict[str, list[F32]],
    rng: np.random.Generator,
    speakers: int,
    length_s: float,
) -> tuple[F32, Turns]:
    """Make one conversation in one room.

    Turns of 0.7 to 5 s with pauses of 0.1 to 1.5 s; uneven shares of the talk; a level and an
    echo for each speaker; one microphone (a tilt of the spectrum) and one noise for all. In every
    other conversation a speaker stays with a few clips next to each other, so with one manner.

    Args:
        clips: By voice.
        rng: Chance.
        speakers: Voices in it.
        length_s: Until the last turn starts.
    """
    names = [str(name) for name in rng.permutation(sorted(clips))[:speakers]]
    shares = rng.dirichlet(np.full(speakers, 3.0))
    level = dict(zip(names, 10 ** rng.uniform(-0.25, 0.25, speakers), strict=True))
    rooms = {name: echo(rng) for name in names}
    few = bool(rng.random() < 0.5)
    parts, turns, at = [], [], 0
    while at < length_s * RATE_HZ or len(turns) < speakers:
        fresh = len(turns) < speakers
        name = names[len(turns)] if fresh else str(rng.choice(names, p=shares))
        pool = clips[name]
        clip = pool[rng.integers(min(len(pool), 8) if few else len(pool))]
        size = min(len(clip), int(rng.uniform(0.7, 5.0) * RATE_HZ))
        start = rng.integers(len(clip) - size + 1)
        piece = clip[start : start + size]
        piece = piece * (0.05 * level[name] / np.sqrt(np.square(piece).mean() + 1e-12))
        pause = np.zeros(int(rng.uniform(0.1, 1.5) * RATE_HZ), np.float32)
        at += len(pause)
        turns.append((at / RATE_HZ, (at + size) / RATE_HZ, name))
        at += size
        parts += [pause, fftconvolve(piece, rooms[name])[:size]]
    sound = np.concatenate(parts)
    sound = np.asarray(lfilter([1.0, rng.uniform(-0.4, 0.4)], [1.0], sound))
    noise = np.asarray(lfilter([1.0], [1.0, -0.9], rng.normal(size=len(sound))))
    snr_db = rng.uniform(18, 40)
    sound += noise * (np.std(sound) / np.std(noise) * 10 ** (-snr_db / 20))
    return (sound * 0.9 / np.abs(sound).max()).astype(np.float32), turns


def echo(rng: np.random.Generator) -> F32:
    """The answer of a small room: direct sound, then decaying noise of -5 to -25 dB."""
    time_s = np.arange(int(0.4 * RATE_HZ)) / RATE_HZ
    tail = rng.normal(size=len(time_s)) * 10 ** (-3 * time_s / rng.uniform(0.15, 0.5))
    tail[: RATE_HZ // 200] = 0
    tail *= 10 ** (rng.uniform(-25, -5) / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    return tail.astype(np.float32)


def conversations(data: Path, half: int, count: int) -> list[tuple[F32, Turns]]:
    """Conversations of 1, 2, 3, 4, 1... speakers and 15 s to 5 min, the same at each call."""
    rng, clips = np.random.default_rng(half), voices(data, half)
    lengths_s = 10 ** rng.uniform(np.log10(15), np.log10(300), count)
    return [conversation(clips, rng, i % 4 + 1, s) for i, s in enumerate(lengths_s)]
