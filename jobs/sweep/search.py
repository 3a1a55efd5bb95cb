"""A search: its space, how many trials, on what share of the machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...cluster.tasks import Share
from ...cluster.tuning import Halving
from .domains import Domain, flattened


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a sweep varies, and how often.

    Attributes:
        space: Domains, nested as the keys of the configuration are.
        trials: For each outer fold.
        seed: Of the sampler.
        outer: Outer folds: `all`, their names, or how many, evenly spread.
        concurrent: Trials at once; `None`: as many as the machine has shares for.
        share: What one trial holds.
        halving: Which trials are stopped early; `None`: none.
        extract: Whether parameters may be varied on which features depend. All features are then
            made before the first trial.
        features: Folder of a run whose features are read; `None`: the sweep's own.
        mlflow: Whether to record the trials in MLflow, too.
    """

    space: Mapping[str, Any]
    trials: int = 20
    seed: int = 0
    outer: str | int | Sequence[str] = "all"
    concurrent: int | None = None
    share: Share = field(default_factory=Share)
    halving: Halving | None = None
    extract: bool = False
    features: str | None = None
    mlflow: bool = False

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"`sweep.trials` must be at least 1, but is {self.trials}.")
        if self.seed < 0:
            raise ValueError(f"`sweep.seed` must be at least 0, but is {self.seed}.")
        if self.concurrent is not None and self.concurrent < 1:
            raise ValueError(f"`sweep.concurrent` must be at least 1, but is {self.concurrent}.")
        if isinstance(self.outer, int) and self.outer < 1:
            raise ValueError(f"`sweep.outer` must be at least 1, but is {self.outer}.")
        flattened(self.space)

    @property
    def domains(self) -> dict[str, Domain]:
        """By dotted key."""
        return flattened(self.space)

    def folds(self, known: Sequence[str]) -> list[str]:
        """Those of the outer folds that are tuned and judged.

        Raises:
            ValueError: One does not exist, or there are not so many.
        """
        if self.outer == "all":
            return list(known)
        if isinstance(self.outer, int):
            if self.outer > len(known):
                raise ValueError(
                    f"`sweep.outer` must be at most {len(known)} (the folds), but is {self.outer}."
                )
            return [known[i * len(known) // self.outer] for i in range(self.outer)]
        asked = [self.outer] if isinstance(self.outer, str) else list(self.outer)
        unknown = [name for name in asked if name not in known]
        if unknown or not asked:
            raise ValueError(
                f"`sweep.outer` must be `all`, a number, or some of {', '.join(known)}, but is "
                f"{self.outer!r}."
            )
        return asked
