"""Loading pyannote.audio's pipelines from local files, without running what the files say.

pyannote 4.0.7 itself loads models with `weights_only=False`, imports whatever module a model names,
builds whatever class `config.yaml` names, and asks the hub for what it does not find. Here models
are unpickled with the few types that they need, and built from pyannote's own classes.
"""

import importlib
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import yaml
from pyannote.audio import Model
from pyannote.audio.core import model, task
from pyannote.audio.pipelines import SpeakerDiarization
from torch.torch_version import TorchVersion

CLASSES = {
    f"pyannote.audio.pipelines{module}.SpeakerDiarization"
    for module in ("", ".speaker_diarization")
}
MODELS = "pyannote.audio.models."
"""Where a model's class must stand."""
SAFE = [
    *(task.Specifications, task.Problem, task.Resolution),
    *([model.Introspection] if hasattr(model, "Introspection") else []),  # of old checkpoints
    TorchVersion,
]
"""The types that a model's file needs besides tensors; none runs code when it is unpickled."""
IGNORED = (
    *("omegaconf.", "pytorch_lightning.", "lightning.", "typing.Any", "collections.defaultdict"),
    *("builtins.list", "builtins.dict", "builtins.int", "pathlib."),
)
"""What training left in it (names, or beginnings of such): read as `Ignored`, never imported."""
BATCHES = ("segmentation_batch_size", "embedding_batch_size")


def load(folder: Path, parts: Mapping[str, Path]) -> SpeakerDiarization:
    """Build a pipeline.

    Args:
        folder: With `config.yaml`.
        parts: Folder or file of each model that the configuration names on the hub.

    Raises:
        ValueError: The pipeline is of another kind, or a file holds what it should not.
        FileNotFoundError: A model is neither in the folder nor among `parts`.
    """
    config = yaml.safe_load((folder / "config.yaml").read_text())
    if (kind := config["pipeline"]["name"]) not in CLASSES or config.get("preprocessors"):
        raise ValueError(
            f"`pipeline` must be a SpeakerDiarization without preprocessors, but is {kind} "
            f"({folder})."
        )
    given = {k: v for k, v in config["pipeline"]["params"].items() if k not in BATCHES}
    for role in ("segmentation", "embedding"):
        place = _place(folder, given[role], parts)
        given[role] = network(place if place.is_file() else place / "pytorch_model.bin")
    share_windows(given["embedding"])
    if "plda" in signature(SpeakerDiarization).parameters:  # since version 4
        given["plda"] = _plda(folder, given.get("plda"), parts)
    pipeline = SpeakerDiarization(**given)
    pipeline.freeze(config.get("freeze", {}))
    pipeline.instantiate(config["params"])
    return pipeline


class Ignored:
    """Stands for an object that is not looked at."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...


def network(path: Path) -> Model:
    """Load one of pyannote's models, from a file as Lightning saves it.

    Raises:
        ValueError: The file is not such, or holds more than tensors and known types.
    """
    try:
        known = {f"{one.__module__}.{one.__qualname__}" for one in SAFE}
        named = set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - known
        ignored = [(Ignored, name) for name in named if name.startswith(IGNORED)]
        with torch.serialization.safe_globals([*SAFE, *ignored]):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{str(path)!r} is no model that can be loaded safely: {error}") from error
    kind = saved["pyannote.audio"]["architecture"]
    if not kind["module"].startswith(MODELS):
        raise ValueError(f"a model must be one of {MODELS}*, but is {kind} ({path}).")
    made = getattr(importlib.import_module(kind["module"]), kind["class"])
    if not (isinstance(made, type) and issubclass(made, Model)):
        raise ValueError(f"a model must be a pyannote.audio.Model, but is {kind} ({path}).")
    taken = signature(made).parameters
    built = made(**{k: v for k, v in saved["hyper_parameters"].items() if k in taken})
    built.on_load_checkpoint(saved)
    absent, extra = built.load_state_dict(saved["state_dict"], strict=False)
    extra = [key for key in extra if not key.startswith("loss_func")]  # of the training
    if absent or extra:
        raise ValueError(f"{str(path)!r} lacks {absent[:3]} and has {extra[:3]} too much.")
    return built.eval()


def share_windows(embedder: Any) -> None:  # noqa: ANN401
    """Let an embedding network go through each window once.

    pyannote sends a window once for each speaker in it, with that speaker's mask, though only the
    pooling at the end looks at the mask.
    """
    if not hasattr(embedder, "forward_embedding"):
        return
    own = embedder.forward

    def forward(waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        if weights is None:
            return own(waveforms)
        fresh = torch.ones(len(waveforms), dtype=torch.bool, device=waveforms.device)
        fresh[1:] = (waveforms[1:] != waveforms[:-1]).flatten(1).any(1)
        frames = embedder.forward_frames(waveforms[fresh])
        return embedder.forward_embedding(frames[fresh.cumsum(0) - 1], weights=weights)

    embedder.forward = forward


def _plda(folder: Path, given: Any, parts: Mapping[str, Path]) -> Any:  # noqa: ANN401
    """The PLDA; an empty one where none is named: the pipeline wants one even if it uses none."""
    from pyannote.audio.core.plda import PLDA

    if given is None:
        return PLDA.__new__(PLDA)
    place = _place(folder, given, parts)
    return PLDA(place / "xvec_transform.npz", place / "plda.npz")


def _place(folder: Path, given: Any, parts: Mapping[str, Path]) -> Path:  # noqa: ANN401
    """The folder of a model: named relative to the pipeline, by path, or by name on the hub."""
    if isinstance(given, Mapping):
        root, below = given["checkpoint"], given.get("subfolder", "")
    else:
        root, _, below = (
            str(given).partition("/") if given.startswith("$model/") else (given, "", "")
        )
    base = folder if root == "$model" else parts.get(root, folder / root)
    place = base / below.partition("@")[0]
    if not place.exists():
        raise FileNotFoundError(
            f"`config.yaml` names the model {given!r}, but it is not there ({folder}): give its "
            "weights in `segmentation` or `embedding`."
        )
    return place
