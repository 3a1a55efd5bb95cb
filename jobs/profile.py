"""Profiles: which actor fills which role."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from ..actors.actor import Actor
from ..actors.weights import commercial
from ..cluster.environments import problem
from ..cluster.host import Stage
from ..cluster.memory import read
from .moments import Choice


class UnfilledError(RuntimeError):
    """Roles that no actor can fill on this machine, or that none may fill."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Candidates for each role, best first.

    Attributes:
        name: Of the profile, for the report.
        actors: Every candidate, by name.
        roles: Names of the candidates of each role. A role that is not listed is left out of the
            analysis, and so is one that no candidate can fill, if its last is null.
        dir: Folder of model weights.
        moments: What the role `notes` is asked about.
        allow_nc: Whether models may be used whose licence forbids commercial use.
        environments: Path of a Python by name, for actors that name one.
        gpus: Devices that a run may use; `None`: those of this machine.
    """

    name: str
    actors: dict[str, Actor]
    roles: dict[str, list[str | None]] = field(default_factory=dict)
    dir: str | None = None
    moments: Choice = field(default_factory=Choice)
    allow_nc: bool = False
    environments: dict[str, str] = field(default_factory=dict)
    gpus: int | None = None

    def __post_init__(self) -> None:
        for role, names in self.roles.items():
            for name in names:
                if name is not None and name not in self.actors:
                    raise ValueError(
                        f"`models.roles.{role}` must name actors of `models.actors` "
                        f"({', '.join(sorted(self.actors))}), but names {name!r}."
                    )

    def stage(self, role: str) -> Stage:
        """The best actor of a role that can work here.

        Raises:
            UnfilledError: None can; says why for each.
        """
        return self.stages([role])[0]

    def stages(self, roles: Sequence[str]) -> tuple[Stage, ...]:
        """The best actors of some roles that can work here; roles not listed are left out.

        Raises:
            UnfilledError: Names every role that none can fill, with the reason and the cure for
                each candidate, and every model whose licence is in the way.
        """
        stages, reasons = [], []
        for role in roles:
            candidates = self.roles.get(role) or []
            names = [name for name in candidates if name is not None]
            found = {name: self.reason(name) for name in names}
            fits = next((name for name in names if found[name] is None), None)
            if fits is not None:
                stages.append(Stage(role=role, actor=self.actors[fits]))
            elif None not in candidates:
                reasons += [f"  {role}: {name}: {found[name]}" for name in names]
        if reasons:
            raise UnfilledError(
                "these roles cannot be filled on this machine:\n"
                + "\n".join(reasons)
                + f"\nBring what is missing (`mien fetch models={self.name}` brings weights, `mien "
                f"doctor models={self.name}` shows the state), or drop a role with "
                "`~models.roles.ROLE`."
            )
        return tuple(stages)

    def reason(self, name: str) -> str | None:
        """Why an actor cannot, or may not, work here."""
        actor = self.actors[name]
        if not self.allow_nc and noncommercial(actor):
            return (
                f"{actor.provenance()['model']} may not be used commercially "
                f"({actor.provenance()['licence']}): `licence.allow_nc=true` if your use is not"
            )
        return actor.missing() or problem(actor, self.environments) or self._deviceless(actor)

    def _deviceless(self, actor: Actor) -> str | None:
        """Why an actor lacks a device, and the cure."""
        if not actor.gpus or (devices() if self.gpus is None else self.gpus):
            return None
        return "needs a GPU, and none is here: take `models=cpu`, or its `gpus: 0`, `device: cpu`"


@cache
def devices() -> int:
    """How many GPUs of this machine NVIDIA's driver shows to us."""
    return len(read().devices)


def noncommercial(actor: Actor) -> bool:
    """Whether the licence of an actor's model or weights forbids commercial use."""
    licences = [actor.licence, *(weights.licence for weights in actor.weights())]
    return not all(commercial(licence) for licence in licences)
