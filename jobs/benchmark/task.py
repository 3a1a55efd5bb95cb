"""What a benchmark is, and what a sweep can tune."""

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from ...cluster.session import Cluster
from ...datasets.store import Place
from ..evaluation.outcome import Outcome
from ..profile import Profile


class Task(Protocol):
    """A benchmark, or a training, whose parameters a sweep can tune.

    `prepare` comes first; after it a task may be pickled and sent to another process.
    """

    def extraction(self) -> str:
        """Hash of all that its features depend on: two tasks with the same one share them."""
        ...

    def prepare(self, cluster: Cluster, folder: Place) -> None:
        """Read the data and make the features that do not stand yet.

        The only step that starts Ray or reads media. Once it is done it does nothing.

        Args:
            cluster: On what.
            folder: Of the run; features stand in its folder `features`.
        """
        ...

    def content(self) -> str:
        """Hash of the rows that `prepare` read, labels included."""
        ...

    def folds(self) -> list[str]:
        """Names of the outer folds, each held out once."""
        ...

    def tune(self, fold: str) -> Iterator[float]:
        """Score within the training rows of a fold, after each step; larger is better.

        Never sees a row that the fold holds out. Plain Python: it may run in another process.
        """
        ...

    def judge(self, fold: str) -> pa.Table:
        """Predict the rows that a fold holds out, trained on all others.

        Returns:
            Rows of `evaluation.predictions.PREDICTIONS`.
        """
        ...


class Benchmark(Task, Protocol):
    """Systems, compared on the same rows under one protocol.

    Attributes:
        name: Of the benchmark, as the tables have it.
        labels: The classes, in their order.
        headline: The metric that ranks: a key of `evaluation.scores.METRICS`.
    """

    name: str
    labels: tuple[str, ...]
    headline: str

    def run(self, cluster: Cluster, folder: Place, models: Profile) -> Outcome:
        """Judge every system.

        Args:
            cluster: On what.
            folder: Of the run; features stand in its folder `features`.
            models: The profile, for systems that use its actors.

        Returns:
            What every system said, and what that makes.
        """
        ...
