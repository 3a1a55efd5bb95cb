"""Trying actors once, before Ray Data would try them for ever."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from . import settings  # noqa: F401 # pyright: ignore[reportUnusedImport] - before Ray

# isort: split
import cloudpickle
import ray
from ray.exceptions import (
    GetTimeoutError,
    OutOfMemoryError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

from .deadline import GENEROUS
from .environments import runtime_env
from .host import SetupError, Stage, set_up


class Trial:
    """Sets up each chain once in a disposable process, outside any pool.

    Ray Data starts an actor that fails to import or to set up again and again, for ever; so every
    chain is tried once before its phase, each actor in its own environment. The trial runs while
    the driver does other things.
    """

    def __init__(
        self,
        chains: Sequence[Sequence[Stage]],
        environments: Mapping[str, str] | None = None,
        allowed_s: float = GENEROUS.start_s,
    ) -> None:
        """Begin.

        Args:
            chains: Of all phases.
            environments: Path of a Python by name, for actors that name an environment.
            allowed_s: For the setup of an actor, and for the trial to find a place.
        """
        self._environments, self._allowed_s = environments or {}, allowed_s
        self._parts: dict[str | None, list[Sequence[Stage]]] = {}
        for chain in chains:
            for name, part in groupby(chain, key=lambda stage: stage.actor.environment):
                self._parts.setdefault(name, []).append(tuple(part))
        trial = ray.remote(num_cpus=1, max_retries=0)(_try)
        self._answers = {
            name: trial.options(runtime_env=runtime_env(name, self._environments)).remote(
                [cloudpickle.dumps(list(part)) for part in parts], allowed_s
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
                problem = ray.get(answer, timeout=self._limit_s(name))
            except GetTimeoutError as error:
                raise SetupError(
                    f"the trial of the actors did not come to an end in {self._limit_s(name):g} s "
                    "(`job.hung.start_s` for each): others hold the machine, or nothing moves."
                ) from error
            except (WorkerCrashedError, OutOfMemoryError) as error:
                self._blame(self._parts[name], error)
            except RuntimeEnvSetupError as error:
                raise SetupError(f"the environment {name!r} cannot be started: {error}") from error
            else:
                if problem:
                    raise SetupError(problem)

    def _limit_s(self, name: str | None) -> float:
        return self._allowed_s * (1 + sum(map(len, self._parts[name])))

    def _blame(self, parts: Sequence[Sequence[Stage]], error: Exception) -> None:
        """Find the chain that kills its process."""
        if len(parts) == 1:
            roles = ", ".join(repr(stage.role) for stage in parts[0])
            raise SetupError(
                f"setting up the actors {roles} kills their process, or takes more than "
                f"{self._allowed_s:g} s (`job.hung.start_s`)."
            ) from error
        for part in parts:
            Trial([part], self._environments, self._allowed_s).wait()
        raise SetupError("setting up all actors in one process kills it.") from error


def _try(chains: Sequence[bytes], allowed_s: float) -> str | None:
    try:
        for chain in chains:
            for stage in set_up(chain, allowed_s):
                stage.actor.close()
    except SetupError as error:
        return str(error)
    return None
