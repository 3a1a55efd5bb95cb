"""A phase laid out on the machine: its actors in pools, as planned, with their batch sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .host import Stage
from .phase import Phase
from .plan import Machine, Measured, Plan, Pool, Segment, needs, plan


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Actors that share worker processes.

    Attributes:
        stages: With the batch sizes of the plan.
        pool: How many workers, and what each holds.
    """

    stages: tuple[Stage, ...]
    pool: Pool

    @property
    def alone(self) -> float | None:
        """Rows per second of one worker by itself, through all its actors; `None`: unknown."""
        rates = [
            next((b.rate for b in need.batches if b.size == size), None)
            for need, size in zip(self.pool.needs, self.pool.batch_sizes, strict=True)
        ]
        known = [rate for rate in rates if rate]
        return 1 / sum(1 / rate for rate in known) if len(known) == len(rates) else None


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What is resident together.

    Attributes:
        crews: One behind the other.
        done: How many of the phase's actors have worked when it ends.
    """

    crews: tuple[Crew, ...]
    done: int


class UncuttableError(RuntimeError):
    """A phase must be cut to fit the machine, but a part with what it fetches does not fit."""


def layout(
    phase: Phase,
    machine: Machine,
    *,
    blocks: int | None = None,
    rows_per_hour: float | None = None,
    measured: Mapping[str, Measured] | None = None,
) -> tuple[Shift, ...]:
    """Plan a phase.

    Where it is cut, the prelude works again behind each cut.

    Args:
        phase: Its chain.
        machine: What workers may take.
        blocks: Into how many blocks its rows are cut; `None`: many.
        rows_per_hour: Rows for an hour of media, where known.
        measured: What was measured of actors, by role.

    Raises:
        RefusedError: An actor does not fit; names it and the smallest change.
        UncuttableError: See there.
    """

    def planned(stages: Sequence[Stage]) -> Plan:
        chain = needs(stages, machine, rows_per_hour=rows_per_hour, measured=measured)
        return plan(chain, machine, blocks=blocks)

    shifts: list[Shift] = []
    done = 0
    for segment in planned(phase.stages).segments:
        count = sum(len(pool.needs) for pool in segment.pools)
        stages = phase.stages[done : done + count]
        if done and phase.prelude:
            stages = (*phase.prelude, *stages)
            again = planned(stages)
            (segment, *more) = again.segments
            if more:
                raise UncuttableError(
                    f"the phase '{phase.name}' does not fit the machine at once, and behind a cut "
                    f"{_roles(phase.prelude)} must fit beside {_roles(stages)}, but does not: "
                    f"lower what they hold, or use a larger machine (`cluster=`).\n{again}"
                )
        done += count
        shifts.append(Shift(crews=_crews(segment, stages), done=done))
    return tuple(shifts)


def _crews(segment: Segment, stages: Sequence[Stage]) -> tuple[Crew, ...]:
    crews, rest = [], iter(stages)
    for pool in segment.pools:
        mine = tuple(
            replace(stage, actor=replace(stage.actor, batch_size=size))
            for size, stage in zip(pool.batch_sizes, rest, strict=False)
        )
        crews.append(Crew(stages=mine, pool=pool))
    return tuple(crews)


def _roles(stages: Sequence[Stage]) -> str:
    return ", ".join(f"'{stage.role}'" for stage in stages)
