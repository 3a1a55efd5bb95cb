"""The parts that a chain of actors can be cut into, and the cheapest way to do so."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from .need import Batch, Machine, Need
from .packing import Packer, Packing
from .refusal import share
from .space import Hold, counted

Span = tuple[int, int]
"""Actors of a chain: from one to before another."""

_CLOSE = 0.01  # plans whose hours differ by a smaller part are alike
_SETTINGS = 16  # settings of a shared worker that are weighed, about
_LEAST = 1e-9  # hours of an actor that has no work


@dataclass(frozen=True, kw_only=True)
class Setting(Hold):
    """A worker, with a batch size for each of its actors."""

    batches: tuple[Batch, ...]

    @property
    def gpu_memory_gb(self) -> float:
        """Of its device."""
        return sum(batch.gpu_memory_gb for batch in self.batches)


class Parts:
    """All parts of a chain; how many hours each takes is found out where it matters.

    The cheapest way to cut is found by dynamic programming over bounds of the parts' hours. Those
    of the parts that it takes are sharpened, then replaced by what a packing takes, until no other
    way can be cheaper.
    """

    def __init__(self, chain: Sequence[Need], machine: Machine, most: int) -> None:
        """Look at a chain.

        Args:
            chain: Each of its actors fits the machine.
            machine: Where it is to run.
            most: Workers of a pool, at most.
        """
        self._chain, self._machine = chain, machine
        self._packer = Packer(machine.spaces(), most)
        self._known = all(n.hours(batch) is not None for n in chain for batch in n.batches)
        self._settings: dict[Span, list[Setting]] = {}
        self._hours = {part: h for start in range(len(chain)) for part, h in self._bounds(start)}
        self._sharp: set[Span] = set()
        self._packed: dict[Span, Packing | None] = {}

    @property
    def programmes(self) -> int:
        """Integer programmes solved so far."""
        return self._packer.programmes

    def best(self) -> list[tuple[Span, Packing]]:
        """The parts to cut the chain into: the fewest, and of those that take the fewest hours."""
        best: list[tuple[Span, Packing]] = []
        best_hours = math.inf
        while True:
            way = self._cheapest()
            hours = sum(self._hours[part] for part in way)
            if best_hours <= hours * (1 + _CLOSE):
                return best
            if self._sharpen(way):
                continue
            packed = [(part, packing) for part in way if (packing := self._pack(part))]
            hours = sum(packing.hours for _, packing in packed)
            if len(packed) == len(way) and hours < best_hours:
                best, best_hours = packed, hours

    def groups(self, part: Span) -> list[Span]:
        """The pools of a part: neighbours that can share workers."""
        chain = self._chain[slice(*part)]
        sizes = [len(list(some)) for _, some in groupby(chain, lambda n: (n.gpus, n.environment))]
        return list(pairwise(accumulate(sizes, initial=part[0])))

    def settings(self, group: Span) -> list[Setting]:
        """The settings of a worker that some neighbours share; none where it fits no device."""
        start, stop = group
        if group not in self._settings:
            batches = [(batch,) for batch in self._chain[stop - 1].batches]
            if stop - start > 1:
                before = [setting.batches for setting in self.settings((start, stop - 1))]
                batches = [(*first, *last) for first in before for last in batches]
            settings = [self._setting(self._chain[start:stop], some) for some in batches]
            self._settings[group] = _thinned([s for s in settings if s.gpus < math.inf])
        return self._settings[group]

    def _bounds(self, start: int) -> Iterator[tuple[Span, float]]:
        """Hours that the parts from one actor on cannot go below, as far as they can fit."""
        for stop in range(start + 1, len(self._chain) + 1):
            hours = self._packer.bound(self._pools((start, stop)))
            if hours == math.inf:
                return
            yield (start, stop), hours

    def _cheapest(self) -> list[Span]:
        """The fewest parts, and of those the ones with the fewest hours, as far as is known."""
        best: list[tuple[int, float, int]] = [(0, 0.0, 0)]  # parts, hours, where the last begins
        for stop in range(1, len(self._chain) + 1):
            best.append(
                min(
                    (best[start][0] + 1, best[start][1] + self._hours[start, stop], start)
                    for start in range(stop)
                    if (start, stop) in self._hours
                )
            )
        way, stop = [], len(self._chain)
        while stop:
            way.append((best[stop][2], stop))
            stop = best[stop][2]
        return way[::-1]

    def _sharpen(self, way: Sequence[Span]) -> bool:
        """Take sharper bounds for some parts; tells whether there were any to take."""
        blunt = [part for part in way if part not in self._sharp]
        for part in blunt:
            self._sharp.add(part)
            self._set(part, self._packer.sharp_bound(self._pools(part)))
        return bool(blunt)

    def _pack(self, part: Span) -> Packing | None:
        if part not in self._packed:
            packing = self._packer.pack(self._pools(part), fill=not self._known)
            self._packed[part] = packing
            self._set(part, packing.hours if packing else math.inf)
        return self._packed[part]

    def _set(self, part: Span, hours: float) -> None:
        if hours < math.inf:
            self._hours[part] = hours
        else:
            del self._hours[part]

    def _pools(self, part: Span) -> list[list[Setting]]:
        return [self.settings(group) for group in self.groups(part)]

    def _setting(self, needs: Sequence[Need], batches: tuple[Batch, ...]) -> Setting:
        device_gb = sum(batch.gpu_memory_gb for batch in batches)
        host_gb = sum(batch.memory_gb for batch in batches)
        hours = sum(self._work(*pair) for pair in zip(needs, batches, strict=True))
        return Setting(
            cpus=counted(max(need.cpus for need in needs)),
            gpus=share(needs[0].gpus, device_gb, self._machine.device_gb),
            memory_gb=host_gb + (device_gb if self._machine.unified else 0.0),
            hours=hours if self._known else hours / len(needs),
            batches=batches,
        )

    def _work(self, need: Need, batch: Batch) -> float:
        """Hours of one worker; where those of the chain are not known, all actors count alike."""
        hours = need.hours(batch)
        if self._known and hours is not None:
            return max(hours, _LEAST)
        rates = [other.rate for other in need.batches if other.rate is not None]
        if batch.rate is None or len(rates) < len(need.batches):
            return 1.0
        return max(rates) / batch.rate


def _thinned(settings: list[Setting]) -> list[Setting]:
    """The settings that no other beats in everything; of very many, those that differ most."""
    kept: list[Setting] = []
    for one in sorted(settings, key=lambda s: (s.hours, s.memory_gb, s.gpu_memory_gb)):
        if not any(
            other.memory_gb <= one.memory_gb and other.gpu_memory_gb <= one.gpu_memory_gb
            for other in kept
        ):
            kept.append(one)
    if len(kept) <= _SETTINGS:
        return kept
    step = (len(kept) - 1) / (_SETTINGS - 1)
    some = {round(i * step) for i in range(_SETTINGS)}
    for least in ("memory_gb", "gpu_memory_gb"):
        some.add(min(range(len(kept)), key=lambda i: getattr(kept[i], least)))
    return [kept[i] for i in sorted(some)]
