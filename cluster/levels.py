"""Levels of memory: below the soft one workers wait, below the hard one the run ends."""

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from .memory import Reading, host

LOOK_S = 0.25
"""How often memory is read; at 5 GB/s, the fastest it goes, that is little more than 1 GB."""


class MemoryPressureError(RuntimeError):
    """Memory ran so short that the run was ended, before the machine would have stood still."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How much memory must stay available on a machine, in GB; 0 switches a level off.

    Attributes:
        soft_gb: With less available, workers wait before their next batch. `None`: 6% of what
            there is, but at least 2, or an eighth where that is less.
        hard_gb: With less available, the run ends, and can be resumed. `None`: half of that, or of
            `soft_gb` where that is less.
        stalled_percent: Workers also wait where all processes stood still for want of memory for
            this share of the last 10 s; below the soft level that ends the run.
        patience_s: A worker that waited this long lets one batch pass: memory that the run's own
            models hold does not come back by waiting.
    """

    soft_gb: float | None = None
    hard_gb: float | None = None
    stalled_percent: float = 40.0
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("soft_gb", "hard_gb", "patience_s"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"`watchdog.{name}` must be at least 0, but is {value:g}.")
        if self.soft_gb and self.hard_gb and self.hard_gb >= self.soft_gb:
            raise ValueError(
                f"`watchdog.hard_gb` must be less than `watchdog.soft_gb` ({self.soft_gb:g}), "
                f"but is {self.hard_gb:g}."
            )
        if self.stalled_percent <= 0:
            raise ValueError(
                f"`watchdog.stalled_percent` must be greater than 0 (above 100 it is off), "
                f"but is {self.stalled_percent:g}."
            )

    def on(self, reading: Reading) -> tuple[float, float]:
        """The soft and the hard level on one machine, GB."""
        capacity_gb = reading.capacity_gb
        usual_gb = 2.0
        if capacity_gb is not None:
            usual_gb = max(0.06 * capacity_gb, min(2.0, capacity_gb / 8))
        soft_gb, hard_gb = self.soft_gb, self.hard_gb
        if soft_gb is None:
            soft_gb = usual_gb if not hard_gb else hard_gb + usual_gb / 2
        if hard_gb is None:
            hard_gb = min(usual_gb, soft_gb) / 2
        return soft_gb, hard_gb

    def level(self, reading: Reading) -> Literal["soft", "hard"] | None:
        """Which level is reached; `None` where neither is, or memory is unknown."""
        soft_gb, hard_gb = self.on(reading)
        stalled = (reading.full_percent or 0.0) >= self.stalled_percent
        left_gb = reading.available_gb
        if left_gb is not None and (left_gb < hard_gb or (left_gb < soft_gb and stalled)):
            return "hard"
        return "soft" if stalled or (left_gb is not None and left_gb < soft_gb) else None

    def relieved(self, reading: Reading) -> bool:
        """Whether the soft level is left behind, and by some way, so that it is not met at once.

        The way is a quarter of what lies between the levels, and half of the stalls.
        """
        soft_gb, hard_gb = self.on(reading)
        far_gb = soft_gb + max(0.0, soft_gb - hard_gb) / 4
        calm = (reading.full_percent or 0.0) < self.stalled_percent / 2
        left_gb = reading.available_gb
        return self.level(reading) is None and calm and (left_gb is None or left_gb >= far_gb)

    def told(self, reading: Reading) -> str:
        """What was read, and where the levels lie, in words."""
        soft_gb, hard_gb = self.on(reading)
        return (
            f"{_gb(reading.available_gb)} of {_gb(reading.capacity_gb)} available (workers wait "
            f"below {soft_gb:.1f}, the run ends below {hard_gb:.1f}), all processes stalled for "
            f"{reading.full_percent or 0:.0f}% of the last 10 s (limit: {self.stalled_percent:g}%)"
        )


def _gb(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} GB"


class Gate:
    """Lets a worker's batches pass as long as there is memory on its machine.

    Attributes:
        waited_s: In all.
    """

    def __init__(self, levels: Levels, *, read: Callable[[], Reading] = host) -> None:
        self.waited_s = 0.0
        self._levels, self._read = levels, read
        self._next_look_s = 0.0

    def admit(self) -> None:
        """Wait before a batch while memory is short, `patience_s` at most.

        Raises:
            MemoryPressureError: After all that waiting there is less than the hard level.
        """
        began_s = time.monotonic()
        if began_s < self._next_look_s:
            return
        if self._levels.level(self._read()):
            release()
            self._wait(began_s + self._levels.patience_s)
        now_s = time.monotonic()
        self._next_look_s = now_s + LOOK_S
        self.waited_s += now_s - began_s

    def _wait(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            time.sleep(LOOK_S)
            if self._levels.relieved(self._read()):
                return
        reading = self._read()
        if self._levels.level(reading) == "hard":
            raise MemoryPressureError(f"a worker's machine ran short: {self._levels.told(reading)}")


def release() -> None:
    """Give back what this process holds for later: garbage, and the caches of Arrow and torch."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if "torch" in sys.modules:
        from ..actors import neural

        neural.release()
