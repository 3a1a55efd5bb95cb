"""Trials of a search: one process each, several at once, by Ray Tune."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .tasks import Share

Parameters = Mapping[str, Any]
Objective = Callable[[Parameters], Iterator[float]]
"""What a trial does: it gives a score after each step; larger is better."""

State = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial that is to be made.

    Attributes:
        number: From 0.
        parameters: By key.
    """

    number: int
    parameters: Parameters


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial that is over.

    Attributes:
        number: From 0.
        parameters: By key.
        state: `stopped` where it fell behind the others and was not carried to its end.
        scores: After each step.
        seconds: What it took.
        error: Why it failed.
    """

    number: int
    parameters: Parameters
    state: State
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def score(self) -> float | None:
        """After the last step; `None` where it failed."""
        return self.scores[-1] if self.scores and self.state != "failed" else None


class Study(Protocol):
    """Who says what to try, and keeps what came of it."""

    def ask(self) -> Asked | None:
        """The next trial; `None` where there is none left."""
        ...

    def tell(self, tried: Tried) -> None:
        """Take what came of one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Which trials are stopped early: asynchronous successive halving (Li et al. 2020, ASHA).

    At the steps `grace`, `grace * factor`, `grace * factor**2` ... a trial goes on only if it is
    among the best `1 / factor` of those that came so far.

    Attributes:
        grace: Steps that every trial may make.
        factor: One of so many goes on.
        max_steps: A trial ends, complete, after so many.
    """

    grace: int = 3
    factor: float = 3.0
    max_steps: int = 100

    def __post_init__(self) -> None:
        if self.grace < 1:
            raise ValueError(f"`halving.grace` must be at least 1, but is {self.grace}.")
        if self.factor <= 1:
            raise ValueError(f"`halving.factor` must be greater than 1, but is {self.factor:g}.")
        if self.max_steps < self.grace:
            raise ValueError(
                f"`halving.max_steps` must be at least `halving.grace` ({self.grace}), but is "
                f"{self.max_steps}."
            )


def tune(
    study: Study,
    objective: Objective,
    *,
    share: Share,
    concurrent: int,
    halving: Halving | None = None,
) -> None:
    """Make the trials that a study asks for, until it asks for no more.

    Must be called within a `session`. A trial that raises, or whose process dies, is a failed
    trial, and the others go on.

    Args:
        study: Asked and told in this process, one call at a time.
        objective: Of a module of ours, so that workers can import it.
        share: Of one trial.
        concurrent: Trials at once, at most.
        halving: Which are stopped early; `None`: none.
    """
    from .tuner import fit  # Ray Tune is not in every environment

    fit(study, objective, share, concurrent, halving)
