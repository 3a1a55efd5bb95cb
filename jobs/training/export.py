"""Exporting a trained network, for use without torch."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...actors.nets.network import MEAN, STD, Network, probabilities
from ...actors.sidecar import MODEL, Sidecar, sha256

OPSET = 20
CLOSE = 1e-4
"""Largest difference between the exported network's probabilities and torch's."""


class _Judge(nn.Module):
    """A network whose inputs are tensors one by one, and whose outputs are probabilities."""

    def __init__(self, network: Network, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return probabilities(self.network(dict(zip(self.names, tensors, strict=True))))


def export(
    network: Network,
    folder: Path,
    *,
    name: str,
    labels: tuple[str, ...],
    batch: Mapping[str, Tensor],
    licence: str,
    config_hash: str,
    trained: Mapping[str, Any],
    calibrated: bool = False,
) -> Path:
    """Write a network as ONNX, and beside it what one must know to use it.

    The inputs are those of a batch of `Network`, by their names, any number of rows; pictures are
    uint8. The output `probabilities` is `(n, classes)`.

    Args:
        network: Trained, on the CPU; it is left as it was.
        folder: Made if need be; see `actors.sidecar` for its files.
        name: Of the network, of `catalogue.NETWORKS`.
        labels: Of the classes, in order.
        batch: Some real rows, two at least: the export is compared with torch on them, together
            and alone. It takes clips of just as many frames, and as many samples of sound.
        licence: SPDX name of what was trained, data included.
        config_hash: Of the training's configuration.
        trained: How it was trained, for the sidecar: anything that JSON holds.
        calibrated: Whether its probabilities were calibrated.

    Returns:
        The ONNX file.

    Raises:
        ValueError: The labels are not as many as the classes.
        ArithmeticError: The exported network does not say what torch says.
    """
    if len(labels) != network.classes:
        raise ValueError(
            f"`labels` must be {network.classes} as the classes, but are {len(labels)}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path, inputs = folder / MODEL, {key: batch[key] for key in network.example(1)}
    expected = _written(network, inputs, path)
    alone = ran(path, {key: rows[:1] for key, rows in inputs.items()})
    found = np.concatenate([ran(path, inputs), alone])
    apart = float(np.abs(found - np.concatenate([expected, expected[:1]])).max())
    if not apart < CLOSE:
        raise ArithmeticError(
            f"'{path}' must say what the trained network says (to {CLOSE:g}), but is {apart:g} "
            "apart."
        )
    Sidecar(
        network=name,
        inputs=network.inputs,
        labels=labels,
        size_px=network.size_px,
        mean=MEAN,
        std=STD,
        origin=network.trunk.origin,
        licence=licence,
        trained=trained,
        config_hash=config_hash,
        calibrated=calibrated,
        sha256=sha256(path),
    ).write(folder)
    return path


def _written(network: Network, inputs: Mapping[str, Tensor], path: Path) -> NDArray[np.float32]:
    """Write the network; returns torch's own probabilities."""
    judge, training = _Judge(network, list(inputs)), network.training
    tensors = tuple(tensor.contiguous() for tensor in inputs.values())
    rows = torch.export.Dim("rows", min=1)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operation that ONNX does not know
    judge.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of its own doing
            expected = judge(*tensors).numpy()
            torch.onnx.export(
                judge,
                tensors,
                str(path),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=list(inputs),
                output_names=["probabilities"],
                dynamic_shapes=[tuple({0: rows} for _ in tensors)],
                verbose=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        network.train(training)
    return expected


def ran(path: Path, inputs: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """Probabilities of an exported network."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    [found] = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return np.asarray(found, np.float32)
