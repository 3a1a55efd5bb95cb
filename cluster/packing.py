"""Packing pools of workers into nodes, so that the slowest pool is as fast as can be.

Pure arithmetic. Of each pool it is known what one worker holds and how long it takes, in one or
several settings (batch sizes); chosen are the setting of each pool, and how many workers it gets on
each node.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .space import EPSILON, Hold, Space, fits, shared

_CLOSE = 1e-4  # speeds that differ by less are one
_LEAST = 1e-12  # hours
_LARGEST = 4000  # unknowns of an integer programme, at most; beyond, packing is greedy alone
_BRANCHES = 500  # of an integer programme, at most: a limit that, unlike time, is the same each run


@dataclass(frozen=True, kw_only=True)
class Packing:
    """The chosen setting of each pool, and its workers on each node.

    Attributes:
        settings: Index into the pool's settings.
        workers: `(pool, node)`.
        hours: Of the slowest pool, for an hour of media.
    """

    settings: tuple[int, ...]
    workers: tuple[tuple[int, ...], ...]
    hours: float


class Packer:
    """Packs pools into some nodes.

    A speed (hours of media per hour) asks of each pool, in each setting, a number of workers: the
    best packing is that of the highest speed whose numbers fit. It is searched by bisection.
    Whether numbers fit is told by a sum or by a greedy placing, and where neither tells, by an
    integer programme.

    Attributes:
        programmes: Integer programmes solved so far.
    """

    def __init__(self, nodes: Sequence[Space], most: int) -> None:
        """Take nodes to pack into.

        Args:
            nodes: Where to.
            most: Workers of a pool, at most.
        """
        self.programmes = 0
        self._nodes, self._most = nodes, most
        self._has = np.array([_amounts(node) for node in nodes], float)
        self._total = self._has.sum(axis=0)

    def bound(self, pools: Sequence[Sequence[Hold]]) -> float:
        """Hours that no packing can go below; infinite where the pools cannot fit. Cheap."""
        hours = 0.0
        for name, total in zip(("cpus", "gpus", "memory_gb"), self._total.tolist(), strict=True):
            least = work = 0.0
            for pool in pools:
                least += min((getattr(hold, name) for hold in pool), default=math.inf)
                work += min((getattr(hold, name) * hold.hours for hold in pool), default=math.inf)
            if least > total + EPSILON:
                return math.inf
            if 0 < total < math.inf:
                hours = max(hours, work / total)
        return hours

    def sharp_bound(self, pools: Sequence[Sequence[Hold]]) -> float:
        """As `bound`, in whole workers."""
        asked = self._asked(pools)
        high = min(asked.fastest(), 1 / max(self.bound(pools), _LEAST))
        speed = _bisect(asked, 0.0, high, lambda x: x if self._options(asked, x) else None)
        return 1 / speed if speed else math.inf

    def pack(self, pools: Sequence[Sequence[Hold]], *, fill: bool = False) -> Packing | None:
        """Choose settings and workers so that the slowest pool is as fast as can be.

        Args:
            pools: The settings of each pool.
            fill: Give out what is left as well, evenly.

        Returns:
            `None` where not even one worker for each pool fits.
        """
        asked = self._asked(pools)
        best = self._at(asked, 0.0)
        if best is None:
            return None

        def reached(speed: float) -> float | None:
            nonlocal best
            found = self._at(asked, speed)
            best = found or best
            return 1 / found.hours if found else None

        _bisect(asked, 1 / best.hours, 1 / self.sharp_bound(pools), reached)
        return self._filled(asked, best) if fill else best

    def _asked(self, pools: Sequence[Sequence[Hold]]) -> "_Asked":
        return _Asked(pools, self._has, self._most)

    def _options(self, asked: "_Asked", speed: float) -> "_Options | None":
        """What a speed asks for, unless it is too much in sum."""
        counts = asked.counts(speed)
        possible = counts <= asked.rooms
        counts = np.where(possible, counts, 1)
        amounts = np.where(possible[..., None], counts[..., None] * asked.holds, np.inf)
        if (amounts.min(axis=1).sum(axis=0) > self._total + EPSILON).any():
            return None
        return _Options(counts.astype(int), possible, amounts)

    def _at(self, asked: "_Asked", speed: float) -> Packing | None:
        """A packing of this speed or more."""
        options = self._options(asked, speed)
        if options is None or not options.possible.any(axis=1).all():
            return None
        weights = 1 / np.maximum(self._total, EPSILON)
        weight = np.where(options.possible, options.counts * (asked.holds @ weights), np.inf)
        chosen = weight.argmin(axis=1)
        numbers = options.counts[np.arange(len(chosen)), chosen].tolist()
        found = self._placed(asked, chosen.tolist(), numbers)
        if found is None and (len(self._nodes) > 1 or options.possible.sum(axis=1).max() > 1):
            found = self._programme(asked, options)
        return found

    def _packing(
        self, asked: "_Asked", chosen: Sequence[int], workers: Sequence[Sequence[int]]
    ) -> Packing | None:
        """The packing, if it is one."""
        holds = asked.of(chosen)
        by_node = zip(*workers, strict=True)
        if not all(fits(holds, n, node) for n, node in zip(by_node, self._nodes, strict=True)):
            return None
        return Packing(
            settings=tuple(chosen),
            workers=tuple(tuple(n) for n in workers),
            hours=max(hold.hours / sum(n) for hold, n in zip(holds, workers, strict=True)),
        )

    def _placed(
        self, asked: "_Asked", chosen: Sequence[int], numbers: Sequence[int]
    ) -> Packing | None:
        """A packing: the large workers first, each into the first node that has room.

        Those that need no device go to nodes without one first.
        """
        holds = asked.of(chosen)
        amounts = np.array([_amounts(hold) for hold in holds], float)
        size = (amounts / np.maximum(self._total, EPSILON)).max(axis=1)
        workers = [[0] * len(self._nodes) for _ in holds]
        free = self._has.copy()
        bare = sorted(range(len(free)), key=lambda v: self._nodes[v].gpus)
        for i in np.argsort(-size, kind="stable").tolist():
            left = numbers[i]
            for v in range(len(free)) if holds[i].gpus else bare:
                if not left:
                    break
                room = min(left, _rooms(amounts[i], free[v]), asked.room(i, chosen[i], v))
                workers[i][v] = int(room)
                while self._nodes[v].gpus > 1 and holds[i].gpus and workers[i][v]:
                    gpus = [hold.gpus for hold in holds]
                    if shared(gpus, [row[v] for row in workers], self._nodes[v].gpus):
                        break
                    workers[i][v] -= 1
                free[v] -= workers[i][v] * amounts[i]
                left -= workers[i][v]
            if left:
                return None
        return self._packing(asked, chosen, workers)

    def _programme(self, asked: "_Asked", options: "_Options") -> Packing | None:
        """A packing by an integer programme: of those that fit, one that holds little memory.

        Its unknowns: whether a pool is in a setting, and its workers in that setting on each node.
        """
        pairs = np.argwhere(options.possible).tolist()
        nodes, width = len(self._nodes), 1 + len(self._nodes)
        if len(pairs) * width > _LARGEST:
            return None
        from scipy.optimize import Bounds, LinearConstraint, milp

        one = np.zeros((len(options.counts), len(pairs), width))
        whole = np.zeros((len(pairs), len(pairs), width))
        held = np.zeros((nodes, 3, len(pairs), width))
        upper = np.ones((len(pairs), width))
        for p, (i, s) in enumerate(pairs):
            one[i, p, 0] = 1
            whole[p, p] = [-options.counts[i, s], *[1] * nodes]
            upper[p, 1:] = [min(options.counts[i, s], asked.room(i, s, v)) for v in range(nodes)]
            for v in range(nodes):
                held[v, :, p, 1 + v] = asked.holds[i, s]
        memory = held[:, 2].sum(axis=0).ravel()
        most: Any = upper.ravel()
        has: Any = self._has.ravel()
        self.programmes += 1
        answer = milp(
            memory,
            integrality=np.ones(len(memory)),
            bounds=Bounds(0, most),
            constraints=[
                LinearConstraint(one.reshape(len(one), -1), 1, 1),
                LinearConstraint(whole.reshape(len(whole), -1), 0, 0),
                LinearConstraint(held.reshape(len(has), -1), -np.inf, has),
            ],
            options={"node_limit": _BRANCHES, "mip_rel_gap": 0.01},
        )
        if answer.x is None:
            return None
        values = np.rint(answer.x).astype(int).reshape(len(pairs), width).tolist()
        taken = [(s, row[1:]) for (_, s), row in zip(pairs, values, strict=True) if row[0]]
        return self._packing(asked, [s for s, _ in taken], [row for _, row in taken])

    def _filled(self, asked: "_Asked", packing: Packing) -> Packing:
        """The packing with more workers: all pools together as far as they can, then in turn."""
        chosen = packing.settings
        limits = [int(asked.rooms[i, s]) for i, s in enumerate(chosen)]
        growing = [i for i, limit in enumerate(limits) if sum(packing.workers[i]) < limit]

        def grown(some: Sequence[int], by: int) -> Packing | None:
            numbers = [
                min(limits[i], sum(n) + (by if i in some else 0))
                for i, n in enumerate(packing.workers)
            ]
            return self._placed(asked, chosen, numbers)

        while growing:
            step = 1 << max(limits[i] for i in growing).bit_length()
            while step := step // 2:
                packing = grown(growing, step) or packing
            for i in list(growing):
                more = grown([i], 1) if sum(packing.workers[i]) < limits[i] else None
                packing = more or packing
                if more is None:
                    growing.remove(i)
        return packing


class _Asked:
    """Pools as arrays; those with fewer settings are padded with impossible ones."""

    def __init__(self, pools: Sequence[Sequence[Hold]], has: np.ndarray, most: int) -> None:
        self._pools = pools
        shape = (len(pools), max(map(len, pools)))
        self._hours = np.full(shape, np.inf)
        self.holds = np.zeros((*shape, 3))
        for i, pool in enumerate(pools):
            self._hours[i, : len(pool)] = [hold.hours for hold in pool]
            self.holds[i, : len(pool)] = [_amounts(hold) for hold in pool]
        self._rooms = np.stack([_rooms(self.holds, node) for node in has], axis=-1)
        self.rooms = np.minimum(self._rooms.sum(axis=-1), most)

    def of(self, chosen: Sequence[int]) -> list[Hold]:
        return [pool[s] for pool, s in zip(self._pools, chosen, strict=True)]

    def room(self, pool: int, setting: int, node: int) -> float:
        """How many workers fit into an empty node, if they have it for themselves."""
        return self._rooms[pool, setting, node].item()

    def counts(self, speed: float) -> np.ndarray:
        """Workers that a speed asks for, `(pool, setting)`; infinite where there is no setting."""
        finite = np.isfinite(self._hours)
        asked = np.ceil(speed * np.where(finite, self._hours, 0.0) * (1 - 1e-9))
        return np.where(finite, np.maximum(asked, 1.0), np.inf)

    def fastest(self) -> float:
        """The highest speed at which each pool can have its workers, were it alone."""
        return (self.rooms / self._hours).max(axis=1).min().item()

    def below(self, speed: float) -> float:
        """The highest speed that asks for fewer workers somewhere; 0 where none does."""
        finite = np.isfinite(self._hours)
        return ((self.counts(speed)[finite] - 1) / self._hours[finite]).max().item()


@dataclass(frozen=True)
class _Options:
    counts: np.ndarray  # (pool, setting)
    possible: np.ndarray  # (pool, setting), bool
    amounts: np.ndarray  # (pool, setting, resource)


def _bisect(
    asked: _Asked, low: float, high: float, reached: Callable[[float], float | None]
) -> float:
    """The highest speed that can be reached, or a little more.

    Args:
        asked: Pools.
        low: A speed that can be reached.
        high: One beyond which none can.
        reached: Tries a speed; gives that speed or a higher one, or `None`.
    """
    speed = high
    while high > low * (1 + _CLOSE):
        found = reached(speed)
        if found is None:
            high = min(high, asked.below(speed))
        else:
            low = found
        speed = (low + high) / 2
    return high


def _rooms(holds: np.ndarray, has: np.ndarray) -> np.ndarray:
    """How many workers fit into a node, `(..., resource)` to `(...)`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rooms = np.floor((has + EPSILON) / holds)
        share = holds[..., 1]
        alone = has[1] * np.floor((1 + EPSILON) / share)
    rooms[..., 1] = np.where((share > 0) & (share < 1), alone, rooms[..., 1])
    return rooms.min(axis=-1)


def _amounts(of: Hold | Space) -> tuple[float, float, float]:
    return of.cpus, of.gpus, of.memory_gb
