"""A study: what to try next, from what was tried before, by Optuna's TPE.

Each trial that is over stands in a file of its own, and nothing else is kept: a study that was
ended goes on with what stands. The sampler of trial `n` is seeded with `n`: one trial at a time,
a study that was ended and taken up again asks for the very same values as one that was not.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...cluster.tuning import Asked, Parameters, Tried
from ...datasets.store import Place, listed, replace
from .domains import Choice, Domain, Integer, LogUniform, written

PATTERN = "trial-*.json"


class Study:
    """The trials of one outer fold.

    Attributes:
        told: Called with each trial that is over, once it stands.
    """

    def __init__(
        self,
        folder: Place,
        domains: Mapping[str, Domain],
        *,
        trials: int,
        seed: int,
        first: Parameters | None = None,
    ) -> None:
        """Read what stands.

        Args:
            folder: Of the files; named by a hash of all that changes scores.
            domains: By key.
            trials: How many there shall be.
            seed: Of the sampler.
            first: Parameters of trial 0; sampled where there are none.
        """
        self._folder, self._domains = folder, dict(domains)
        self._trials, self._seed, self._first = trials, seed, first
        self.told: Callable[[Tried], None] = lambda _: None
        self._running: dict[int, Asked] = {}
        self._tried = {one.number: one for one in read(folder)}

    @property
    def tried(self) -> list[Tried]:
        """All that stand, by number."""
        return [self._tried[number] for number in sorted(self._tried)]

    @property
    def left(self) -> int:
        """How many trials are to be made yet."""
        return sum(number not in self._tried for number in range(self._trials))

    def ask(self) -> Asked | None:
        """The next trial; `None` where there is none left."""
        taken = self._tried.keys() | self._running.keys()
        number = next((n for n in range(self._trials) if n not in taken), None)
        if number is None:
            return None
        first = self._first if number == 0 else None
        asked = Asked(number=number, parameters=first or self._sampled(number))
        self._running[number] = asked
        return asked

    def tell(self, tried: Tried) -> None:
        """Keep what came of a trial."""
        content = {**vars(tried), "parameters": dict(tried.parameters)}
        replace(self._folder / f"trial-{tried.number:05}.json", json.dumps(content).encode())
        self._running.pop(tried.number, None)
        self._tried[tried.number] = tried
        self.told(tried)

    def best(self) -> Tried:
        """The complete trial with the highest score; the earliest of equals.

        Raises:
            ValueError: No trial is complete.
        """
        return best(self.tried)

    def importance(self) -> dict[str, float]:
        """How much of the scores' variance each parameter explains (fANOVA, Hutter et al. 2014).

        Returns:
            Shares that sum to 1, by key; nothing where the trials do not suffice to tell.
        """
        import optuna

        study = self._optuna(0)
        ended = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        if len({one.value for one in ended}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._seed)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)

    def _sampled(self, number: int) -> dict[str, Any]:
        asked = self._optuna(number).ask(self._distributions())
        return {key: self._value(key, found) for key, found in asked.params.items()}

    def _value(self, key: str, found: Any) -> Any:  # noqa: ANN401
        domain = self._domains[key]
        return domain.of[domain.names.index(found)] if isinstance(domain, Choice) else found

    def _optuna(self, number: int) -> Any:  # noqa: ANN401
        """Optuna's view of what was tried and what is under way, for trial `number`."""
        import optuna
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        states = {
            "complete": TrialState.COMPLETE,
            "stopped": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=self._seeds(number), constant_liar=True),
        )
        distributions = self._distributions()
        trials = [(states[one.state], one.parameters, one.scores) for one in self.tried]
        trials += [(TrialState.RUNNING, one.parameters, ()) for one in self._running.values()]
        for state, parameters, scores in trials:
            study.add_trial(
                create_trial(
                    state=state,
                    value=scores[-1] if state == TrialState.COMPLETE else None,
                    params={key: self._category(key, parameters[key]) for key in distributions},
                    distributions=distributions,
                    intermediate_values=dict(enumerate(scores, start=1)),
                )
            )
        return study

    def _seeds(self, number: int) -> int:
        return int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])

    def _category(self, key: str, value: Any) -> Any:  # noqa: ANN401
        domain = self._domains[key]
        return written(value) if isinstance(domain, Choice) else value

    def _distributions(self) -> dict[str, Any]:
        return {key: _distribution(domain) for key, domain in self._domains.items()}


def best(tried: list[Tried]) -> Tried:
    """The complete trial with the highest score; the earliest of equals."""
    complete = [one for one in tried if one.state == "complete"]
    if not complete:
        reasons = [one.error for one in tried if one.error]
        raise ValueError(
            f"none of {len(tried)} trials is complete"
            + (f"; the first failed with: {reasons[0]}." if reasons else ".")
        )
    return max(complete, key=lambda one: (one.scores[-1], -one.number))


def read(folder: Place) -> list[Tried]:
    """The trials that stand in a folder."""
    return [_parsed(file.place.read_bytes()) for file in listed(folder, PATTERN)]


def _parsed(content: bytes) -> Tried:
    found = json.loads(content)
    return Tried(**{**found, "scores": tuple(found["scores"])})


def _distribution(domain: Domain) -> Any:  # noqa: ANN401
    from optuna import distributions as optuna

    match domain:
        case Choice():
            return optuna.CategoricalDistribution(domain.names)
        case Integer():
            return optuna.IntDistribution(domain.low, domain.high, log=domain.log)
        case LogUniform():
            return optuna.FloatDistribution(domain.low, domain.high, log=True)
        case _:
            return optuna.FloatDistribution(domain.low, domain.high)
