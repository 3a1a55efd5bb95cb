"""A lock in an object store: tickets that are numbered, and renewed by who holds the last one.

Stores know no locks, but of several processes that create one object only one succeeds. Whoever
creates the next ticket has the lease; the ticket is never removed before a higher one stands, so a
number is given once. A ticket counts as left behind when it was watched for a whole lease and not
renewed: the clocks of two machines are not compared, unless it is many minutes old.
"""

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from upath import UPath

from ..datasets.store import Place, create, listed, replace
from . import provenance

log = logging.getLogger(__name__)

LEASE_S = 30.0
"""A lease holds so long after it was renewed, which is done three times in it."""
FORGOTTEN = 20
"""A ticket that is older than so many leases is not watched any more."""
STRIKE_S = 5.0
"""A process that lost its lease is interrupted so often, until it lets go of the run."""
FOLDER = ".lock"


class BusyError(RuntimeError):
    """Another process works on the same run."""


class LostError(RuntimeError):
    """The lease was not renewed in time, and another process has it."""


def busy(holder: str, folder: Place) -> BusyError:
    """The refusal of a run that another process works on."""
    return BusyError(
        f"another process works on this run ({holder}, folder '{folder}'). "
        "Wait for it, end it, or choose another `out`."
    )


@dataclass
class Lease:
    """A ticket of this process.

    Attributes:
        run: What it is a lease of.
        number: Of the ticket.
        lease_s: See `LEASE_S`.
        lost: Whether a higher ticket stands.
    """

    run: UPath
    number: int
    lease_s: float
    lost: bool = False
    _beats: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def ticket(self) -> UPath:
        """Where the ticket stands."""
        return _ticket(self.run, self.number)

    def content(self, *, released: bool = False) -> bytes:
        """What the ticket says."""
        self._beats += 1
        said = {"holder": provenance.who(), "released": released, "beat": self._beats}
        return json.dumps({**said, "time_s": time.time()}).encode()

    def keep(self) -> None:
        """Renew the ticket until the lease is over; a thread's work."""
        while not self._over.wait(self.lease_s / 3):
            try:
                if _numbers(self.run)[-1:] != [self.number]:
                    self.lost = True
                    self._strike()
                    return
                replace(self.ticket, self.content())
            except OSError as error:
                log.warning("the lease of '%s' could not be renewed: %s", self.run, error)

    def _strike(self) -> None:
        """Interrupt the main thread until the lease is over: code that it calls may swallow it."""
        main = threading.main_thread().ident
        while not self._over.is_set():
            signal.pthread_kill(main or 0, signal.SIGINT)
            self._over.wait(STRIKE_S)

    def end(self) -> None:
        """No longer renew it."""
        self._over.set()

    def release(self) -> None:
        """Let others have it at once."""
        if self.lost:
            return
        try:
            replace(self.ticket, self.content(released=True))
        except OSError as error:  # it is left behind, then
            log.warning("the lease of '%s' could not be released: %s", self.run, error)


@contextmanager
def leased(run: UPath, lease_s: float = LEASE_S) -> Iterator[None]:
    """Hold the lease of a run for as long as the block runs.

    Raises:
        BusyError: Another process holds it; says which.
        LostError: Another process took it, because it was not renewed in time.
    """
    lease = _taken(run, lease_s)
    keeper = threading.Thread(target=lease.keep, daemon=True)
    keeper.start()
    try:
        yield
    except KeyboardInterrupt:
        if lease.lost:
            raise LostError(
                f"the lease of '{run}' was not renewed for {lease_s:g} s, and another process has "
                "it now: this one ends. What is done is kept."
            ) from None
        raise
    finally:
        lease.end()
        keeper.join()
        lease.release()


def _taken(run: UPath, lease_s: float) -> Lease:
    numbers = _numbers(run)
    if numbers:
        _await_end(run, numbers[-1], lease_s)
    lease = Lease(run, number=max(numbers, default=0) + 1, lease_s=lease_s)
    if not create(lease.ticket, lease.content()):
        raise busy(_holder(_read(lease.ticket)), run)
    numbers = _numbers(run)
    if numbers[-1] != lease.number:  # the number was given before, and its ticket removed since
        lease.ticket.unlink(missing_ok=True)
        raise busy(_holder(_read(_ticket(run, numbers[-1]))), run)
    for number in numbers[:-1]:
        _ticket(run, number).unlink(missing_ok=True)
    return lease


def _await_end(run: UPath, number: int, lease_s: float) -> None:
    """Return once a ticket is released or left behind.

    Raises:
        BusyError: It was renewed meanwhile, or has gone because there is a higher one.
    """
    ticket = _ticket(run, number)
    first = _read(ticket)
    if first and time.time() - first["time_s"] > FORGOTTEN * lease_s:
        return
    until = time.monotonic() + lease_s
    if first and not first["released"]:
        log.warning("%s did not end here: seeing whether it still works", _holder(first))
    while True:
        now = _read(ticket)
        if now and now["released"]:
            return
        if not now or now != first:
            raise busy(_holder(now or first), run)
        if time.monotonic() > until:
            return
        time.sleep(lease_s / 15)


def _ticket(run: UPath, number: int) -> UPath:
    return run / FOLDER / f"{number:09d}.json"


def _numbers(run: UPath) -> list[int]:
    return [int(file.place.stem) for file in listed(run / FOLDER, "*.json")]


def _read(ticket: UPath) -> dict[str, Any] | None:
    try:
        return json.loads(ticket.read_bytes())
    except FileNotFoundError:
        return None


def _holder(said: dict[str, Any] | None) -> str:
    return said["holder"] if said else "unknown"
