"""A network, data and a protocol: what is trained, how it is judged, what a sweep can tune."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...cluster.phase import plain
from ...cluster.session import Cluster
from ...datasets import store
from ...datasets.frames import decode, identity, listen
from ...datasets.labelled import Source, examples
from ..evaluation.extract import digest
from ..evaluation.predictions import predictions
from ..evaluation.scores import METRICS
from .folds import Protocol, Rows
from .model import Model
from .schedule import Schedule

if TYPE_CHECKING:
    from .data import Examples
    from .loop import Fit

SPLIT = "cv"
"""The rows of the first repeat, each held out once; further repeats are `cv2`, `cv3`, ..."""
_SPEED = ("device", "workers")
VERSION = 1
"""Raised when the same parameters come to give another answer."""


@dataclass(kw_only=True)
class Training:
    """A network trained and judged by nested cross-validation.

    Attributes:
        model: The network and its phases.
        data: The labelled frames.
        protocol: How rows are parted.
        schedule: How it is trained.
        sound_s: Sound about the middle of each clip, for networks that listen, in seconds.
        headline: The metric that ranks.
    """

    model: Model
    data: Source
    protocol: Protocol = field(default_factory=Protocol)
    schedule: Schedule = field(default_factory=Schedule)
    sound_s: float = 5.0
    headline: str = "balanced_accuracy"
    _examples: "Examples | None" = field(default=None, init=False, repr=False)
    _origin: str = field(default="", init=False, repr=False)
    _states: Path | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.headline not in METRICS:
            raise ValueError(
                f"`headline` must be one of {', '.join(METRICS)}, but is {self.headline!r}."
            )
        if self.sound_s <= 0:
            raise ValueError(f"`sound_s` must be greater than 0, but is {self.sound_s:g}.")

    @property
    def name(self) -> str:
        """Of the data, as the tables have it."""
        return self.data.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted; of two the second one is what a single logit speaks for."""
        return self.examples.labels

    @property
    def examples(self) -> "Examples":
        """All examples.

        Raises:
            RuntimeError: `prepare` has not been called.
        """
        if self._examples is None:
            raise RuntimeError("`Training.prepare` must be called first.")
        return self._examples

    @property
    def groups(self) -> list[str]:
        """The person, or video, of each example."""
        return self.examples.table[self.protocol.group].to_pylist()

    def extraction(self) -> str:
        """Hash of what the decoded frames depend on."""
        return identity(self.data, self.model.size_px)

    def hash(self) -> str:
        """Names what changes the predictions: model, weights, protocol, schedule and frames."""
        schedule = {k: v for k, v in asdict(self.schedule).items() if k not in _SPEED}
        content = {
            "version": VERSION,
            "model": asdict(replace(self.model, phases=dict(self.model.phases))),
            "protocol": asdict(self.protocol),
            "schedule": schedule,
            "origin": self._origin,
            "frames": self.examples.frames.folder.name,
            "sound": self.examples.sounds and self.examples.sounds.path.name,
        }
        text = json.dumps(plain(content), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def prepare(
        self,
        cluster: Cluster,
        folder: store.Place,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Decode what is not decoded yet; starts no Ray.

        Raises:
            ValueError: No frame can be read, or there are fewer than two labels.
        """
        if self._examples is not None:
            return
        from .data import Examples  # needs torch

        self._origin = self.model.build(2, self.schedule.seed).trunk.origin  # or it is refused now
        frames = decode(self.data, self.model.size_px, folder, progress)
        found = examples(frames.rows, self.model.frames)
        labels = tuple(sorted(pc.unique(found["label"]).to_pylist()))
        if len(labels) < 2:
            raise ValueError(f"there must be at least 2 labels, but only found {labels}.")
        hears = "audio" in self.model.inputs
        self._examples = Examples(
            table=found,
            frames=frames,
            sounds=listen(found, self.sound_s, frames.folder) if hears else None,
            labels=labels,
            inputs=self.model.inputs,
            length=self.model.frames,
        )
        self._states = Path(str(folder)) / "folds" / self.hash()

    def content(self) -> str:
        """Hash of the examples with their labels, and of the files that were decoded."""
        return f"{digest(self.examples.table)} {self.examples.frames.folder.name}"

    def folds(self) -> list[str]:
        """Names of the outer folds."""
        return self.protocol.names(self.groups)

    def tune(self, fold: str) -> Iterator[float]:
        """Score of the best weights so far on the rows that training stops by, after each epoch."""
        learn, stop = self.within(self.outer(fold)[0])
        score = 0.0
        for epoch in self.fit().run(self.examples, learn, stop):
            score = epoch.score if epoch.best else score
            yield score

    def judge(self, fold: str) -> pa.Table:
        """Predict the rows that a fold holds out; goes on after an epoch that was kept."""
        rows, held = self.outer(fold)
        learn, stop = self.within(rows)
        fit, state = self.fit(), self.states / f"{fold}.pt"
        if state.exists():
            fit.restore(loaded(state))
        stood = len(fit.history)
        for _ in fit.run(self.examples, learn, stop, partial(saved, state)):
            pass
        said = fit.judge(self.examples, held)
        facts = {
            "history": [asdict(epoch) for epoch in fit.history],
            "resumed_after": stood,
            "train_loss": fit.judge(self.examples, learn).loss,
            "held_out_loss": said.loss,
            "origin": fit.network.trunk.origin,
        }
        store.replace(self.facts(fold), json.dumps(facts).encode())
        repeat = int(fold[1:].split("f")[0])
        table = self.examples.table.take(pa.array(held))
        return predictions(
            benchmark=self.name,
            system=self.model.network,
            split=SPLIT if repeat == 1 else f"{SPLIT}{repeat}",
            fold=fold,
            ids=table["id"].to_pylist(),
            groups=table[self.protocol.group].to_pylist(),
            truth=table["label"].to_pylist(),
            predicted=[self.labels[i] for i in said.probabilities.argmax(1)],
            scores=said.probabilities,
        )

    @property
    def states(self) -> Path:
        """Where folds keep what they have done: named by `hash`."""
        if self._states is None:
            raise RuntimeError("`Training.prepare` must be called first.")
        return self._states

    def facts(self, fold: str) -> Path:
        """Where `judge` writes what else came of a fold: epochs and losses."""
        return self.states / f"{fold}.json"

    def outer(self, fold: str) -> tuple[Rows, Rows]:
        """Rows to learn from, and rows that a fold holds out."""
        return self.protocol.outer(fold, self.examples.truth, self.groups)

    def within(self, rows: Rows) -> tuple[Rows, Rows]:
        """Of some rows: those to learn from, and those that training stops by."""
        return self.protocol.within(rows, self.examples.truth, self.groups)

    def parted(self) -> tuple[Rows, Rows]:
        """All rows: those that the network that is kept learns from, and those it stops by."""
        return self.within(np.arange(len(self.examples.table)))

    def fit(self) -> "Fit":
        """A new network, untrained."""
        from .loop import Fit

        network = self.model.build(len(self.labels), self.schedule.seed)
        return Fit(network, self.model.phases, self.schedule, self.model.batch_size)


def saved(path: Path, state: dict[str, Any]) -> None:
    """Write a training's state, whole or not at all."""
    import torch

    with store.drafted(path) as draft:
        torch.save(state, draft)


def loaded(path: Path) -> dict[str, Any]:
    """Read a training's state; on the CPU, whatever it was trained on."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)
