"""Rows that come, or a reason why none do."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from .journal import Journal, RemoteJournal

Item = TypeVar("Item")

LOOK_S = 10.0
"""How often somebody looks while nothing comes."""
END_S = 3.0
"""For how long whoever leaves early waits until those who make the items have ended."""


class StalledError(RuntimeError):
    """A pool got no worker: Ray would wait for ever."""


@dataclass(kw_only=True)
class Seats:
    """Whether each pool has a worker.

    Attributes:
        journals: Of the pools, by their names.
        start_s: How long a pool may be without.
        clock: In seconds.
    """

    journals: Mapping[str, Journal | RemoteJournal]
    start_s: float
    clock: Callable[[], float] = time.monotonic
    _since_s: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Look at each pool. Time is counted from the first look that finds nobody.

        Raises:
            StalledError: One has been without a worker for too long.
        """
        for name, journal in self.journals.items():
            if journal.seated():
                self._since_s.pop(name, None)
                continue
            now_s = self.clock()
            if now_s - self._since_s.setdefault(name, now_s) > self.start_s:
                raise StalledError(
                    f"no worker of '{name}' could be started for {self.start_s:g} s "
                    "(`job.hung.start_s`): others hold what it needs, or a node is lost. What is "
                    "done is kept; the same command takes up the rest, on what there is then."
                )


def timely(items: Iterable[Item], check: Callable[[], None]) -> Generator[Item]:
    """Pass items on, and look what is wrong while none comes.

    The items are taken in a thread, one ahead. It closes what they come from when this generator
    is closed: close it while Ray still runs, or Ray Data complains of its end.

    Args:
        items: May block.
        check: Called every `LOOK_S` seconds in which none came; raises to give up.
    """
    found: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=1)
    over = threading.Event()

    def put(kind: str, what: object) -> None:
        while not over.is_set():
            with suppress(queue.Full):
                found.put((kind, what), timeout=1.0)
                return

    def take() -> None:
        source = iter(items)
        try:
            for item in source:
                put("item", item)
                if over.is_set():
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            if isinstance(source, Generator):
                with suppress(Exception):  # its rows are done, or done again
                    source.close()

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    try:
        while True:
            try:
                kind, what = found.get(timeout=LOOK_S)
            except queue.Empty:
                check()
                continue
            if kind == "end":
                return
            if isinstance(what, BaseException) and kind == "error":
                raise what
            yield what  # type: ignore[misc]
    finally:
        over.set()
        taker.join(END_S)
