"""A phase laid out on the machine: its actors in pools, as planned, with their batch sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .host import Stage
from .need import Machine, Need
from .phase import Phase
from .plan import Pool, Segment, plan


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
        segment: As planned.
        done: How many of the phase's actors have worked when it ends.
    """

    crews: tuple[Crew, ...]
    segment: Segment
    done: int


class UncuttableError(RuntimeError):
    """A phase must be cut to fit the machine, but a part with what it fetches does not fit."""


def layout(
    phase: Phase, chain: Sequence[Need], machine: Machine, *, blocks: int | None = None
) -> tuple[Shift, ...]:
    """Plan a phase.

    Where it is cut depends on what the machine has, and not on how many rows are left, so that a
    resumed run finds what stands at a cut. Behind each cut the prelude works again.

    Args:
        phase: Its actors.
        chain: What they need; see `needs`.
        machine: What workers may take.
        blocks: Into how many blocks its rows are cut; `None`: many.

    Raises:
        RefusedError: An actor does not fit; names it and the smallest change.
        UncuttableError: See there.
    """
    ahead = len(phase.prelude)
    whole = plan(chain, machine).segments
    shifts: list[Shift] = []
    done = 0
    for segment in whole:
        first = done
        done += sum(len(pool.needs) for pool in segment.pools)
        places = [*(range(ahead) if first else ()), *range(first, done)]
        stages = [phase.stages[i] for i in places]
        again, *more = plan([chain[i] for i in places], machine, blocks=blocks).segments
        if more:
            raise UncuttableError(
                f"the phase '{phase.name}' does not fit the machine at once, and behind a cut "
                f"{_roles(phase.prelude)} must fit beside {_roles(stages[ahead:])}, but does not: "
                "lower what they hold, or use a larger machine (`cluster=`)."
            )
        shifts.append(Shift(crews=_crews(again, stages), segment=again, done=done))
    return tuple(shifts)


def _crews(segment: Segment, stages: Sequence[Stage]) -> tuple[Crew, ...]:
    crews, rest = [], iter(stages)
    for pool in segment.pools:
        mine = [
            _told(stage, need, size)
            for need, size, stage in zip(pool.needs, pool.batch_sizes, rest, strict=False)
        ]
        crews.append(Crew(stages=tuple(mine), pool=pool))
    return tuple(crews)


def _told(stage: Stage, need: Need, size: int) -> Stage:
    """A stage whose actor works in the planned batches, and keeps to the measured memory."""
    actor = replace(stage.actor, batch_size=size)
    if need.measured:
        batch = next(batch for batch in need.batches if batch.size == size)
        actor = replace(actor, memory_gb=batch.gpu_memory_gb if actor.gpus else batch.memory_gb)
    return replace(stage, actor=actor)


def _roles(stages: Sequence[Stage]) -> str:
    return ", ".join(f"'{stage.role}'" for stage in stages)
