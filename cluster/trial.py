"""Trying actors once, before Ray Data would try them for ever."""

from collections.abc import Sequence

import cloudpickle
import ray
from ray.exceptions import WorkerCrashedError

from .host import SetupError, Stage, set_up


class Trial:
    """Sets up each chain once in a disposable process, outside any pool.

    Ray Data starts an actor that fails to import or to set up again and again, for ever; so every
    chain is tried once before its phase. The trial runs while the driver does other things.
    """

    def __init__(self, chains: Sequence[Sequence[Stage]]) -> None:
        self._chains = chains
        trial = ray.remote(num_cpus=1, max_retries=0)(_try)
        self._answer = trial.remote([cloudpickle.dumps(list(chain)) for chain in chains])

    def wait(self) -> None:
        """Wait for the end of the trial.

        Raises:
            SetupError: An actor cannot be set up, or its process died of it.
        """
        try:
            problem = ray.get(self._answer)
        except WorkerCrashedError as error:
            if len(self._chains) == 1:
                roles = ", ".join(repr(stage.role) for stage in self._chains[0])
                raise SetupError(f"setting up the actors {roles} kills their process.") from error
            for chain in self._chains:  # which one was it?
                Trial([chain]).wait()
            raise SetupError("setting up all actors in one process kills it.") from error
        if problem:
            raise SetupError(problem)


def _try(chains: Sequence[bytes]) -> str | None:
    try:
        for chain in chains:
            for stage in set_up(chain):
                stage.actor.close()
    except SetupError as error:
        return str(error)
    return None
