"""`mien train`: a network judged by cross-validation, and one that is kept."""

import json
import time
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...actors.packages import absent, cure
from ...cluster.session import Cluster, session
from ...cluster.tasks import Progress, Share, run
from ...cluster.training import Crew, fit
from ...datasets.store import place, remove
from ..evaluation.record import Record, config_hash
from ..evaluation.save import save
from ..lock import locked
from ..progress import LINE_EVERY_S, console
from .compare import others
from .report import Final, outcome
from .task import Training, loaded
from .worker import HISTORY, STATE, judge, train

MODEL = "model"


@dataclass(kw_only=True)
class Run:
    """Train a network on labelled faces or frames, and judge it on people it has not seen.

    Attributes:
        training: What, on what, and how.
        cluster: On what machine.
        out: The run's folder; if it holds this training already, that is resumed.
        fold: Share of the machine that one fold of the cross-validation takes.
        final: Who trains the network that is kept, on all rows; `None`: none is kept.
        compare: Folders of other runs on the same data, to be compared with this one.
        config: The composed configuration, kept with the run.
    """

    training: Training
    cluster: Cluster
    out: str
    fold: Share = field(default_factory=lambda: Share(gpus=None))
    final: Crew | None = field(default_factory=Crew)
    compare: list[str] = field(default_factory=list)
    config: str = ""

    def __post_init__(self) -> None:
        self.folder = place(self.out)

    def __call__(self) -> int:
        """Run what is outstanding.

        Returns:
            0.
        """
        lacking = absent(["torch", "torchvision", "ray.train"])
        if lacking:
            raise ValueError(f"`mien train` needs {', '.join(lacking)}: {cure(lacking)}.")
        with (
            locked(self.folder),
            Record(self.folder, kind="train", config=self.config) as record,
        ):
            training = self.training
            training.prepare(self.cluster, self.folder, Decoding())
            console.print(
                f"{len(training.examples.table)} examples of {len(set(training.groups))} groups "
                f"({training.protocol.group}s), {len(training.labels)} labels"
            )
            compared = others(self.compare)
            with session(self.cluster):
                judged = self._judged()
                kept = self._kept() if self.final else None
            record.add(system=training.model.network, training=training.hash())
            save(self.folder, outcome(training, judged, kept, compared), record)
        return 0

    def _judged(self) -> pa.Table:
        """Predictions of all folds."""
        names = self.training.folds()
        pieces = run(
            judge,
            {name: name for name in names},
            self.training.states,
            cluster=self.cluster,
            share=self.fold,
            common=placed(self.training, self.fold),
            progress=self._done,
        )
        return pa.concat_tables(pieces.values())

    def _done(self, progress: Progress) -> None:
        """A fold's predictions stand: its state, four times the weights, is needed no more."""
        remove(self.training.states / f"{progress.name}.pt")
        _say(progress)

    def _kept(self) -> Final:
        """Train on all rows, and write the network as a file that runs without torch."""
        from .export import export  # needs torch

        training, crew = self.training, self.final or Crew()
        folder = Path(str(self.folder)) / "final" / training.hash()
        checkpoint, _ = fit(
            train,
            (placed(training, crew.share), folder),
            folder / "checkpoints",
            cluster=self.cluster,
            crew=crew,
            watch=Watch(folder / HISTORY),
        )
        trained = training.fit()
        trained.restore(loaded(checkpoint / STATE))
        for _ in trained.run(training.examples, *training.parted()):
            pass
        network = trained.network.cpu()
        rows = np.linspace(0, len(training.examples.table) - 1, 4).astype(int)
        path = export(
            network,
            folder / MODEL,
            name=training.model.network,
            labels=training.labels,
            batch=training.examples.batch(rows.tolist()),
            licence=training.data.licence,
            config_hash=config_hash(self.config) if self.config else training.hash(),
            trained={
                "data": training.name,
                "epochs": len(trained.history),
                "seed": training.schedule.seed,
            },
        )
        console.print(f"Network: {path}")
        return Final(network=network, history=trained.history, path=path)


def placed(training: Training, share: Share) -> Training:
    """A training where it belongs: without a share of a GPU it would take one uncounted."""
    made = copy(training)
    if share.gpus == 0 and made.schedule.device == "auto":
        made.schedule = replace(made.schedule, device="cpu")
    return made


class Decoding:
    """Says now and then how far the decoding of frames has come."""

    def __init__(self) -> None:
        """Begin."""
        self._said = time.monotonic()

    def __call__(self, done: int, count: int) -> None:
        """Take note of the frames done, of all."""
        if time.monotonic() - self._said > LINE_EVERY_S:
            console.print(f"decoded {done} of {count} frames")
            self._said = time.monotonic()


class Watch:
    """Prints the epochs of a training as they come."""

    def __init__(self, history: Path) -> None:
        """Watch a file that does not yet stand."""
        self._history, self._said = history, 0

    def __call__(self) -> None:
        """Print what is new."""
        if not self._history.exists():
            return
        epochs = json.loads(self._history.read_text())
        for epoch in epochs[self._said :]:
            console.print(
                "final, {phase}, epoch {number}: training loss {train_loss:.3f}, validation loss "
                "{validation_loss:.3f}, balanced accuracy {score:.3f}".format(**epoch)
            )
        self._said = len(epochs)


def _say(progress: Progress) -> None:
    took = f"{progress.wall_s:.0f} s" if progress.wall_s else "stood already"
    console.print(f"fold {progress.name}: {progress.done} of {progress.total}, {took}")
