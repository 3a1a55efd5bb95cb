"""Profiles: which actor fills which role."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..actors.actor import Actor
from ..cluster.host import Stage


class UnfilledError(RuntimeError):
    """No actor of a role can work on this machine."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Candidates for each role, best first.

    Attributes:
        name: Of the profile, for the report.
        actors: Every candidate, by name.
        roles: Names of the candidates of each role; a role that is not listed is left out of
            the analysis.
        dir: Folder of model weights.
    """

    name: str
    actors: dict[str, Actor]
    roles: dict[str, list[str]] = field(default_factory=dict)
    dir: str | None = None

    def __post_init__(self) -> None:
        for role, names in self.roles.items():
            for name in names:
                if name not in self.actors:
                    raise ValueError(
                        f"`models.roles.{role}` must name actors of `models.actors` "
                        f"({', '.join(sorted(self.actors))}), but names {name!r}."
                    )

    def stage(self, role: str) -> Stage:
        """The best actor of a role that can work here.

        Raises:
            UnfilledError: None can; says why for each.
        """
        reasons = []
        for name in self.roles[role]:
            reason = self.actors[name].missing()
            if reason is None:
                return Stage(role=role, actor=self.actors[name])
            reasons.append(f"{name}: {reason}")
        raise UnfilledError(
            f"no actor can fill the role {role!r} on this machine: {'; '.join(reasons)}. Bring "
            f"what is missing, or drop the role with `~models.roles.{role}`."
        )

    def stages(self, roles: Sequence[str]) -> tuple[Stage, ...]:
        """The chain of some roles; those that the profile does not list are left out."""
        return tuple(self.stage(role) for role in roles if self.roles.get(role))
