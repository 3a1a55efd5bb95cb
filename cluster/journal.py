"""Who is busy with which rows, so that the death of a worker can be laid to a row."""

import socket
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from ray.actor import ActorProxy


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A worker's place in a pool. When its process dies, Ray puts another one into it.

    Attributes:
        name: The same for one process after another.
        node: The machine that the present process runs on.
    """

    name: str
    node: str


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A process that ended while it held a row.

    Attributes:
        allowed_s: How long it was allowed to take, where that was exceeded.
        reason: What it said last; empty if nothing.
    """

    allowed_s: float | None
    reason: str


@dataclass(kw_only=True)
class _Hold:
    seat: Seat
    role: str
    ids: tuple[str, ...]
    allowed_s: float
    since_s: float
    reason: str = ""


class Journal:
    """What each worker is busy with, in memory, for as long as a phase runs.

    A worker names the rows at risk before it calls an actor. If its process dies, the next one in
    the same seat finds them on record: they are lost once. What was lost with a whole node is
    nobody's fault and does not count.
    """

    def __init__(
        self,
        nodes: Callable[[], Collection[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin an empty journal.

        Args:
            nodes: Names the nodes that live; by default none ever dies.
            clock: In seconds.
        """
        self._nodes, self._clock = nodes, clock
        self._setting_up: dict[str, Seat] = {}
        self._held: dict[str, _Hold] = {}
        self._losses: dict[tuple[str, str], list[Loss]] = defaultdict(list)
        self._taken: dict[str, Seat] = {}
        self._fatal_setups = 0

    def seat(self) -> Seat:
        """A new seat on this machine."""
        return Seat(name=uuid4().hex, node=socket.gethostname())

    def enter(self, seat: Seat, traceback: str = "") -> int:
        """A process takes a seat and begins to set up its actors.

        Args:
            seat: Whatever the process before it in this seat was busy with is lost.
            traceback: Where that one stood when its deadline passed; empty if it left none.

        Returns:
            How many setups in a row ended with the death of their process.
        """
        setup = self._setting_up.get(seat.name)
        if setup and self._lives(setup):
            self._fatal_setups += 1
        held = self._held.pop(seat.name, None)
        if held and self._lives(held.seat):
            moved = held.seat.node != seat.node  # what it left lies out of reach
            overdue = self._clock() - held.since_s >= held.allowed_s
            late = bool(traceback) or (moved and overdue)
            loss = Loss(allowed_s=held.allowed_s if late else None, reason=traceback or held.reason)
            for name in held.ids:
                self._losses[held.role, name].append(loss)
        self._setting_up[seat.name] = self._taken[seat.name] = seat
        return self._fatal_setups

    def ready(self, seat: Seat) -> None:
        """The actors in a seat are set up, or have refused to be."""
        self._setting_up.pop(seat.name, None)
        self._fatal_setups = 0

    def hold(
        self, seat: Seat, role: str, ids: Sequence[str], allowed_s: float
    ) -> dict[str, list[Loss]]:
        """Name the rows at risk, in place of those that this seat held before.

        Args:
            seat: Whose process calls an actor next.
            role: Of the actor.
            ids: Of the rows. Where one of several was lost before, none is taken.
            allowed_s: How long the call may take.

        Returns:
            The losses with this actor so far, of the rows that have any.
        """
        self._taken[seat.name] = seat  # a journal that was started again learns who sits
        losses = {i: self._losses[role, i] for i in ids if (role, i) in self._losses}
        if not losses or len(ids) == 1:
            self._held[seat.name] = _Hold(
                seat=seat, role=role, ids=tuple(ids), allowed_s=allowed_s, since_s=self._clock()
            )
        return losses

    def explain(self, seat: Seat, reason: str) -> None:
        """Say why the process is about to end, with its rows."""
        if seat.name in self._held:
            self._held[seat.name].reason = reason

    def release(self, seat: Seat) -> None:
        """No row is at risk in this seat any more."""
        self._held.pop(seat.name, None)

    def seated(self) -> int:
        """How many seats are taken, on nodes that live."""
        return sum(map(self._lives, self._taken.values()))

    def _lives(self, seat: Seat) -> bool:
        return self._nodes is None or seat.node in self._nodes()


class RemoteJournal:
    """A journal in a process of its own, as Ray's workers see it, on whatever node they are."""

    def __init__(self, actor: "ActorProxy[Journal]") -> None:
        """Wrap a handle; it travels to the workers, and the journal ends with the last one."""
        self._actor = actor

    def seat(self) -> Seat:
        """The seat of the Ray actor that asks: Ray starts a dead actor again under its old id."""
        import ray

        context = ray.get_runtime_context()
        return Seat(name=context.get_actor_id() or uuid4().hex, node=context.get_node_id())

    def enter(self, seat: Seat, traceback: str = "") -> int:
        """See `Journal`."""
        return self._ask("enter", seat, traceback)

    def ready(self, seat: Seat) -> None:
        """See `Journal`."""
        self._ask("ready", seat)

    def hold(
        self, seat: Seat, role: str, ids: Sequence[str], allowed_s: float
    ) -> dict[str, list[Loss]]:
        """See `Journal`."""
        return self._ask("hold", seat, role, ids, allowed_s)

    def explain(self, seat: Seat, reason: str) -> None:
        """See `Journal`."""
        self._ask("explain", seat, reason)

    def release(self, seat: Seat) -> None:
        """See `Journal`; nobody waits for it, and what is said next comes behind it."""
        getattr(self._actor, "release").remote(seat)  # noqa: B009

    def seated(self) -> int:
        """See `Journal`."""
        return self._ask("seated")

    def _ask(self, name: str, *words: object) -> Any:  # noqa: ANN401
        import ray

        return ray.get(getattr(self._actor, name).remote(*words))


def ray_journal() -> RemoteJournal:
    """Start a journal on this node of the Ray cluster.

    It costs no core. Should its process die, it begins empty: a row may then kill a worker more.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Journal).options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False)
    )
    return RemoteJournal(actor.remote(_living))


def _living() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
