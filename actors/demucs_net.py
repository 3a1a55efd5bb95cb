"""Loading Hybrid Transformer Demucs from its published files, without running what they say.

demucs 4.1 itself unpickles with `weights_only=False`, or imports the class that a safetensors file
names.
"""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs.htdemucs import HTDemucs
from safetensors import safe_open

SAFE = [
    *(HTDemucs, Fraction, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))),
    *(
        (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
]
"""The types in a `.th` file besides tensors; none runs code when it is unpickled."""
KIND = f"{HTDemucs.__module__}.{HTDemucs.__qualname__}"


def load(place: Path, files: Sequence[str] = ()) -> HTDemucs:
    """Build the network.

    Args:
        place: A `.safetensors` or `.th` file, or the folder that holds it.
        files: Patterns of its name in the folder.

    Raises:
        ValueError: The file is not such, or holds more than tensors and known types.
    """
    path = place if place.is_file() else min(p for f in files or ("*",) for p in place.glob(f))
    package = _tensors(path) if path.suffix == ".safetensors" else _pickled(path)
    known = signature(HTDemucs).parameters
    network = HTDemucs(
        *package["args"], **{k: v for k, v in package["kwargs"].items() if k in known}
    )
    network.load_state_dict(package["state"])
    return network


def _pickled(path: Path) -> dict[str, Any]:
    """A package as `demucs.states.serialize_model` makes it: class, arguments, state."""
    with torch.serialization.safe_globals(SAFE):
        try:
            package = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(f"{str(path)!r} is no network that can be loaded safely.") from error
    if package["klass"] is not HTDemucs or "__quantized" in package["state"]:
        raise ValueError(f"`network` must be a plain {KIND}, but {str(path)!r} is not.")
    return package


def _tensors(path: Path) -> dict[str, Any]:
    """The same from safetensors, with class and arguments as JSON beside them."""
    with safe_open(str(path), framework="pt") as file:
        facts = file.metadata()
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if facts["klass"] != KIND or "structure" in facts:
        raise ValueError(f"`network` must be a plain {KIND}, but {str(path)!r} is not.")
    return {"state": state, **{key: _decoded(json.loads(facts[key])) for key in ("args", "kwargs")}}


def _decoded(value: Any) -> Any:  # noqa: ANN401
    """JSON with its fractions made such."""
    if isinstance(value, Mapping):
        if value.get("_type") == "fraction":
            return Fraction(value["numerator"], value["denominator"])
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value
