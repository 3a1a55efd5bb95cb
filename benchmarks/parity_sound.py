"""Parity of what works on sound: diarization and enhancement. See `parity.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import tiny_sound
from mien.actors import diarize, overlap
from mien.actors.deepfilter import DeepFilterNet, analysis, features, synthesis
from mien.actors.enhance import Demucs
from mien.actors.weights import Weights
from mien.datasets import audio
from mien.datasets.audio import Sound


def noise(count: int, seed: int) -> Sound:
    """Noise that comes and goes."""
    envelope = 1.1 + np.sin(np.arange(count) / 3_000)
    return (np.random.default_rng(seed).normal(0, 0.1, count) * envelope).astype(np.float32)


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """See `parity.py`."""
    yield from pyannote(folder)
    yield demucs(folder)
    yield from deepfilternet()


def pyannote(folder: Path) -> Iterator[dict[str, Any]]:
    """Batches of 32 against pyannote's own pipeline with batches of 1."""
    place = tiny_sound.build_pyannote(folder / "pyannote")
    weights = Weights(name=tiny_sound.COMMUNITY, licence="CC-BY-4.0", path=str(place))
    actor = diarize.Pyannote(pipeline=weights)
    actor.setup()
    from pyannote.audio import Pipeline

    pipeline = Pipeline.from_pretrained(place)
    assert pipeline is not None
    pipeline.segmentation_batch_size = pipeline.embedding_batch_size = 1
    times = []
    for seed, seconds in enumerate((8.0, 3.3)):  # of whole windows; less than one
        uri = folder / f"{seed}.flac"
        audio.write(uri, [noise(round(seconds * audio.RATE_HZ), seed)])
        rows = pa.table({"uri": [str(uri)], "speech": [[{"start_s": 0.0}]]})
        (made,) = actor.process(rows).to_pylist()
        sound = audio.read(str(uri))
        file = {"waveform": torch.from_numpy(sound)[None], "sample_rate": audio.RATE_HZ}
        wanted = diarize.columns(pipeline(file, min_speakers=2, max_speakers=5), seconds)
        times.append(max(furthest(made[key], wanted[key]) for key in ("turns", "exclusive_turns")))
    named = {"actor": "pyannote", "reference": "pyannote.audio Pipeline, batch 1"}
    yield {**named, "compared": "turns, s", **two(times), "tolerance": 1e-9}
    # Of noise this pipeline makes no embedding: tests/actors/test_diarize_model.py compares those.


def two(differences: list[float]) -> dict[str, float]:
    """Of sound of whole windows and of other lengths."""
    return {"batched": float(differences[0]), "ragged": float(differences[1])}


def furthest(made: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> float:
    """The largest difference of a start or stop; infinite where turns or speakers differ."""
    if [turn["speaker"] for turn in made] != [turn["speaker"] for turn in wanted]:
        return float("inf")
    pairs = [(a[k], b[k]) for a, b in zip(made, wanted, strict=True) for k in ("start_s", "stop_s")]
    return max((abs(a - b) for a, b in pairs), default=0.0)


def demucs(folder: Path) -> dict[str, Any]:
    """Windows in batches, of sound that comes in pieces, against `apply_model` on the whole."""
    from demucs import apply, states

    path = tiny_sound.build_demucs(folder / "htdemucs.th")
    actor = Demucs(network=Weights(name="htdemucs", licence="MIT", path=str(path)))
    actor.setup()
    network = states.load_model(path).eval()
    differences = []
    for count in (44_100 + 3 * 33_075, 151_234):
        sound = noise(count, 0)
        pieces = overlap.overlapped(np.array_split(sound, 5), actor.clean, *actor.windows())
        mix = torch.from_numpy(sound)[None, None].expand(1, 2, -1)
        wanted = apply.apply_model(network, mix, shifts=0, overlap=0.25)[0, 3].mean(0).numpy()
        differences.append(np.abs(np.concatenate([*pieces]) - wanted).max())
    return {
        "actor": "demucs",
        "reference": "demucs.apply.apply_model",
        "compared": "vocals, full scale 1",
        **two(differences),
        "tolerance": 1e-6,
    }


def deepfilternet() -> Iterator[dict[str, Any]]:
    """What surrounds the networks against libdf."""
    import libdf

    actor = DeepFilterNet()
    actor.setup()
    used = actor.filter.settings
    state = libdf.DF(used.rate_hz, used.size, used.hop, used.bands, used.least_bins)
    sound = noise(96_000, 0)
    spectrum = state.analysis(sound[None])[0]
    bands, bins = features(spectrum, used)
    levels = libdf.erb_norm(libdf.erb(spectrum[None], state.erb_widths()), used.decay)[0]
    units = libdf.unit_norm(spectrum[None, :, : used.bins].copy(), used.decay)[0]
    differences = {
        "spectrum": np.abs(analysis(sound, used) - spectrum).max(),
        "features": max(np.abs(bands - levels).max(), np.abs(bins - units).max()),
        "sound": np.abs(
            synthesis(spectrum, used) - state.synthesis(spectrum[None].copy())[0]
        ).max(),
    }
    for compared, difference in differences.items():
        yield {
            "actor": "deepfilternet",
            "reference": "libdf 0.5.6",
            "compared": compared,
            "batched": float(difference),
            "ragged": None,
            "tolerance": 1e-5,
        }
