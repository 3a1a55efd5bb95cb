"""ImageNet weights of torchvision: from a path or torchvision's cache, never downloaded here."""

from pathlib import Path
from typing import Any

import torch

from .network import Trunk

RANDOM = "random"


def located(weights: str, url: str) -> Path | None:
    """The file of some weights.

    Args:
        weights: `auto`: torchvision's cache, and random where it does not hold them; `imagenet`:
            the cache; `random`; anything else: the path of a file.
        url: Where torchvision publishes them.

    Returns:
        The file; `None` for random weights.

    Raises:
        FileNotFoundError: What was asked for is not there; says the cure.
    """
    if weights == RANDOM:
        return None
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    asked = cached if weights in ("auto", "imagenet") else Path(weights).expanduser()
    if asked.is_file():
        return asked
    if weights == "auto":
        return None
    if weights == "imagenet":
        raise FileNotFoundError(
            f"`weights: imagenet` must stand in {cached}, but does not: copy {url} there, name "
            "a file of your own (`model.parameters.weights=PATH`), or train from random weights "
            "(`model.parameters.weights=random`)."
        )
    raise FileNotFoundError(
        f"`weights` must be auto, imagenet, random or the path of a file, but {weights!r} does "
        "not exist."
    )


def read(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint, by name.

    Raises:
        ValueError: The file holds something else.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ValueError(f"{path} must hold tensors by name (a `state_dict`), but does not.")
    return found


def fill(trunk: Trunk, network: torch.nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load a network's weights and note in its trunk where they come from.

    Raises:
        ValueError: They are another network's.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another network: {error}") from error
    trunk.origin = path.name
