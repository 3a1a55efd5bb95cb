"""Tasks that take no time, to try sweeps on."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from mien.jobs.evaluation.predictions import predictions

LABELS = ("no", "yes")


@dataclass(kw_only=True)
class Quadratic:
    """A hill: the score rises from step to step towards `1 - (x - 0.3)^2 - (log10(c) + 2)^2 / 20`.

    Attributes:
        x: From 0 to 1.
        c: Greater than 0.
        kind: `plain`, or what a trial does instead: `raise`, `die` (its process ends).
        steps: Of a trial.
        pause_s: Length of a step.
        window_s: What features depend on.
        noise: Standard deviation of a fold's hill, seeded by its name.
    """

    x: float = 0.9
    c: float = 1.0
    kind: str = "plain"
    steps: int = 4
    pause_s: float = 0.0
    window_s: float = 1.0
    noise: float = 0.0
    prepared: list[str] = field(default_factory=list)
    labels: tuple[str, ...] = LABELS
    headline: str = "accuracy"

    def __post_init__(self) -> None:
        if not 0 <= self.x <= 1:
            raise ValueError(f"`x` must be from 0 to 1, but is {self.x:g}.")

    def extraction(self) -> str:
        return f"window {self.window_s:g}"

    def prepare(self, cluster: object, folder: object) -> None:
        self.prepared.append(str(folder))

    def content(self) -> str:
        return "as ever"

    def folds(self) -> list[str]:
        return ["a", "b/c"]

    def height(self) -> float:
        return 1 - (self.x - 0.3) ** 2 - (np.log10(self.c) + 2) ** 2 / 20

    def tune(self, fold: str) -> Iterator[float]:
        if self.kind == "raise":
            raise ValueError("this kind\nfails")
        if self.kind == "die":
            os._exit(1)
        draw = np.random.default_rng([len(fold), round(1e6 * self.x)]).normal()
        for step in range(1, self.steps + 1):
            time.sleep(self.pause_s)
            yield float(self.height() + self.noise * draw - 1 / step + 1 / self.steps)

    def judge(self, fold: str) -> pa.Table:
        """Right as often as the hill is high."""
        truth = np.arange(60) % 2
        right = np.arange(60) < 60 * self.height()
        return _said(fold, truth, np.where(right, truth, 1 - truth))


@dataclass(kw_only=True)
class Noise:
    """Labels that nothing can predict: a seed picks the guesses, tuning picks the luckiest seed.

    Attributes:
        seed: Of the guesses.
        rows: Of each fold.
        leak: Whether tuning sees the rows held out, as it must not.
    """

    seed: int = 0
    rows: int = 40
    leak: bool = False
    labels: tuple[str, ...] = LABELS
    headline: str = "accuracy"

    def extraction(self) -> str:
        return "none"

    def prepare(self, cluster: object, folder: object) -> None:
        pass

    def content(self) -> str:
        return "as ever"

    def folds(self) -> list[str]:
        return ["a", "b", "c", "d"]

    def tune(self, fold: str) -> Iterator[float]:
        seen = [fold] if self.leak else [one for one in self.folds() if one != fold]
        yield float(np.mean([np.equal(*self._rows(one)).mean() for one in seen]))

    def judge(self, fold: str) -> pa.Table:
        return _said(fold, *self._rows(fold))

    def _rows(self, fold: str) -> tuple[np.ndarray, np.ndarray]:
        """Truth, and a guess."""
        truth = np.random.default_rng([1, ord(fold)]).integers(0, 2, self.rows)
        return truth, np.random.default_rng([2, self.seed, ord(fold)]).integers(0, 2, self.rows)


@dataclass(kw_only=True)
class Job:
    """What a sweep tunes."""

    benchmark: Quadratic | Noise

    def __call__(self) -> int:
        return 0


def _said(fold: str, truth: np.ndarray, predicted: np.ndarray) -> pa.Table:
    names = [f"{fold}{row:03}" for row in range(len(truth))]
    return predictions(
        benchmark="toy",
        system="toy",
        split="loso",
        fold=fold,
        ids=names,
        groups=names,
        truth=[LABELS[i] for i in truth],
        predicted=[LABELS[i] for i in predicted],
    )
