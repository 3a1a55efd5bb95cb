"""The networks of `mien train`, by name; known here without loading torch."""

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..packages import absent, cure

if TYPE_CHECKING:
    from .network import Network

NETWORKS = {
    "improved_cnn": ("ImprovedCnn", "frames"),
    "tiny_vit": ("TinyVit", "frames"),
    "resnet50": ("ResNet50", "frames"),
    "vit_b16": ("VitB16", "frames"),
    "temporal_vit": ("TemporalVit", "clip"),
    "multimodal": ("Multimodal", "clip+audio"),
}
"""Of each: its class, in the module of its name, and its `inputs`."""

FRAMES = 10
"""Of a clip, at most, where nothing else is said."""


def build(
    name: str, *, classes: int, size_px: int, seed: int = 0, **parameters: object
) -> "Network":
    """A network whose random weights follow from the seed alone.

    Args:
        name: Of `NETWORKS`.
        classes: At least 2.
        size_px: Side of its pictures.
        seed: Of the weights that are drawn.
        parameters: Of its class.

    Raises:
        ValueError: A parameter is unknown or out of its range.
        ModuleNotFoundError: torch is not installed; says the cure.
    """
    lacking = absent(["torch", "torchvision"])
    if lacking:
        raise ModuleNotFoundError(f"training needs {', '.join(lacking)}: {cure(lacking)}.")
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return create(name, classes=classes, size_px=size_px, **parameters)


def create(name: str, *, classes: int, size_px: int, **parameters: Any) -> "Network":  # noqa: ANN401
    """A network whose random weights torch's own generator draws; see `build`."""
    kind = getattr(import_module(f".{name}", __package__), NETWORKS[name][0])
    known = [key for key in inspect.signature(kind).parameters if key not in ("classes", "size_px")]
    for key in parameters:
        if key not in known:
            raise ValueError(f"`parameters` of {name} are {', '.join(known)}, but {key!r} is none.")
    return kind(classes=classes, size_px=size_px, **parameters)
