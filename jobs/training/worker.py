"""What a worker does in a training; it imports little, for each worker must."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from ...cluster.training import Shift
from ...datasets.store import replace
from .task import Training, loaded, saved

STATE, HISTORY = "state.pt", "history.json"


def judge(fold: str, training: Training) -> pa.Table:
    """Train and judge one fold."""
    return training.judge(fold)


def train(common: tuple[Training, Path], shift: Shift) -> None:
    """Train the network that is kept, from where it was left.

    Args:
        common: The training, prepared, and the folder that is told how far it has come.
        shift: See `cluster.training`.
    """
    training, folder = common
    fit = training.fit()
    with shift.checkpoint() as kept:
        if kept:
            fit.restore(loaded(kept / STATE))

    def write(into: Path) -> None:
        saved(into / STATE, fit.state())
        replace(folder / HISTORY, json.dumps([asdict(epoch) for epoch in fit.history]).encode())

    for epoch in fit.run(training.examples, *training.parted()):
        shift.report({"loss": epoch.validation_loss, "score": epoch.score}, write)
