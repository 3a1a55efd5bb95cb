"""Trying actors once, before Ray Data would try them for ever."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import cloudpickle
import ray
from ray.exceptions import RuntimeEnvSetupError, WorkerCrashedError

from .environments import runtime_env
from .host import SetupError, Stage, set_up


class Trial:
    """Sets up each chain once in a disposable process, outside any pool.

    Ray Data starts an actor that fails to import or to set up again and again, for ever; so every
    chain is tried once before its phase, each actor in its own environment. The trial runs while
    the driver does other things.
    """

    def __init__(
        self, chains: Sequence[Sequence[Stage]], environments: Mapping[str, str] | None = None
    ) -> None:
        """Begin.

        Args:
            chains: Of all phases.
            environments: Path of a Python by name, for actors that name an environment.
        """
        self._environments = environments or {}
        self._parts: dict[str | None, list[Sequence[Stage]]] = {}
        for chain in chains:
            for name, part in groupby(chain, key=lambda stage: stage.actor.environment):
                self._parts.setdefault(name, []).append(tuple(part))
        trial = ray.remote(num_cpus=1, max_retries=0)(_try)
        self._answers = {
            name: trial.options(runtime_env=runtime_env(name, self._environments)).remote(
                [cloudpickle.dumps(list(part)) for part in parts]
            )
            for name, parts in self._parts.items()
        }

    def wait(self) -> None:
        """Wait for the end of the trial.

        Raises:
            SetupError: An actor cannot be set up, or its process died of it.
        """
        for name, answer in self._answers.items():
            try:
                problem = ray.get(answer)
            except WorkerCrashedError as error:
                self._blame(self._parts[name], error)
            except RuntimeEnvSetupError as error:
                raise SetupError(f"the environment {name!r} cannot be started: {error}") from error
            else:
                if problem:
                    raise SetupError(problem)

    def _blame(self, parts: Sequence[Sequence[Stage]], error: WorkerCrashedError) -> None:
        """Find the chain that kills its process."""
        if len(parts) == 1:
            roles = ", ".join(repr(stage.role) for stage in parts[0])
            raise SetupError(f"setting up the actors {roles} kills their process.") from error
        for part in parts:
            Trial([part], self._environments).wait()
        raise SetupError("setting up all actors in one process kills it.") from error


def _try(chains: Sequence[bytes]) -> str | None:
    try:
        for chain in chains:
            for stage in set_up(chain):
                stage.actor.close()
    except SetupError as error:
        return str(error)
    return None
