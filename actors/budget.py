"""A budget that many workers spend from, and the ledger of what it was spent on.

Both are one SQLite file. Money is promised before a question is sent, at the most that it can
cost, and settled after at what it did cost; each step is one exclusive transaction, so that
spent plus promised never passes the limit, however many workers there are.

A worker that dies in between leaves its promise behind. It counts as spent until the answer is
known: for ever where nobody can know (a single message), until the batch is collected otherwise.

A bill above its promise (the tokens were counted too low) is written down as it is: what the API
counts before is called an estimate, so promises are made with a margin.

The file is locked as POSIX has it. Workers on several nodes share one budget where the file
system of the run's folder carries such locks between nodes (NFS 4, GPFS, Lustre mounted with
`flock`); where it does not (`localflock`, `nolock`), keep the actors that pay on one node.
"""

import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from ..datasets.store import Place
from .prices import Usage

FILE = "ledger.sqlite"
LOCK_S = 120.0
"""How long a worker waits for the others to leave the file."""

LEDGER = pa.schema(
    [
        pa.field("call", pa.string(), nullable=False),
        ("time", pa.timestamp("us", "UTC")),  # when the money was promised
        ("row", pa.string()),  # id of the row that asked
        ("digest", pa.string()),  # of the question's content
        ("model", pa.string()),  # as the server names it, once it has answered
        # promised | sent (in a batch) | settled | released (not billed) | lost (may be billed)
        pa.field("state", pa.string(), nullable=False),
        ("promised", pa.float64()),  # dollars
        pa.field("dollars", pa.float64(), nullable=False),  # that count as spent
        ("input_tokens", pa.int64()),  # at the full price
        ("output_tokens", pa.int64()),
        ("cache_write_tokens", pa.int64()),
        ("cache_read_tokens", pa.int64()),
        ("request_id", pa.string()),
        ("batch", pa.string()),
        ("host", pa.string()),
    ]
)


class BudgetError(RuntimeError):
    """The budget does not cover another call; nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A call that somebody wants to make.

    Attributes:
        dollars: The most that it can cost.
        digest: Of the question's content.
        row: Id of the row that asks.
        model: As the API names it.
    """

    dollars: float
    digest: str
    row: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Budget:
    """Money that can be spent, and where it is written down.

    Attributes:
        folder: Of the ledger; all workers share it. Need not exist yet.
        limit: What may be spent in it, by all workers and all runs together.
        patience_s: How long a call that does not fit waits for promises of others to be settled
            below their worst; at least as long as a call takes.
        name: Of the limit, where a user sets it.
        unit: What is spent, where it is not dollars.
    """

    folder: Path
    limit: float
    patience_s: float = 60.0
    name: str = "budget_usd"
    unit: str = "dollars"

    def __post_init__(self) -> None:
        if not self.limit >= 0:
            raise ValueError(f"`{self.name}` must be at least 0, but is {self.limit}.")

    def spent(self) -> float:
        """Dollars that are spent or promised."""
        with opened(self.folder) as db:
            return _spent(db)

    def check(self, dollars: float) -> None:
        """Make sure that a call of at least so many dollars fits at all, whatever is settled.

        Raises:
            BudgetError: It does not.
        """
        with opened(self.folder) as db:
            gone = _spent(db) - _pending(db, self.patience_s)
        if gone + dollars > self.limit:
            raise self._error(gone, dollars)

    def promise(self, wish: Wish) -> str:
        """Set money aside for one call.

        Returns:
            The name of the call.

        Raises:
            BudgetError: It does not fit, also after the promises of others were waited for.
        """
        until = time.monotonic() + self.patience_s
        pause_s = 0.02
        while True:
            with opened(self.folder, write=True) as db:
                spent = _spent(db)
                if spent + wish.dollars <= self.limit:
                    return _promise(db, wish)
                gone = spent - _pending(db, self.patience_s)
            if gone + wish.dollars > self.limit or time.monotonic() > until:
                raise self._error(spent, wish.dollars)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

    def promise_all(self, wishes: Sequence[Wish], batch: str) -> list[str | BudgetError]:
        """Set money aside for calls that go out together, in order, as far as it reaches.

        Args:
            wishes: Of the calls.
            batch: Name of the batch, until `send` tells the true one.

        Returns:
            For each wish the name of the call, or why it does not fit.
        """
        made: list[str | BudgetError] = []
        with opened(self.folder, write=True) as db:
            spent = _spent(db)
            for wish in wishes:
                if spent + wish.dollars > self.limit:
                    made.append(self._error(spent, wish.dollars))
                    continue
                made.append(_promise(db, wish, batch))
                spent += wish.dollars
        return made

    def settle(
        self, call: str, usage: Usage, dollars: float, model: str, request_id: str | None
    ) -> None:
        """Write down what a call has cost; again is harmless."""
        values = (dollars, usage.input, usage.output, sum(usage.write.values()), usage.read)
        with opened(self.folder, write=True) as db:
            db.execute(
                "UPDATE calls SET state = 'settled', dollars = ?, input_tokens = ?,"
                " output_tokens = ?, cache_write_tokens = ?, cache_read_tokens = ?, model = ?,"
                " request_id = ? WHERE call = ? AND state != 'settled'",
                (*values, model, request_id, call),
            )

    def release(self, calls: Iterable[str]) -> None:
        """Give back what was promised: these calls were not billed."""
        self._mark(calls, "state = 'released', dollars = 0")

    def lose(self, calls: Iterable[str]) -> None:
        """Count promises as spent for good: the calls may have been billed."""
        self._mark(calls, "state = 'lost'")

    def send(self, calls: Iterable[str], batch: str) -> None:
        """Note in which batch calls are under way."""
        self._mark(calls, "state = 'sent', batch = ?", batch)

    def states(self, calls: Iterable[str]) -> dict[str, str]:
        """State of some calls; those that the ledger does not have are left out."""
        with opened(self.folder) as db:
            rows = [
                db.execute("SELECT call, state FROM calls WHERE call = ?", (c,)).fetchone()
                for c in calls
            ]
        return dict(row for row in rows if row)

    def under_way(self) -> list[dict[str, Any]]:
        """Calls that were promised or sent in a batch and not settled, as `LEDGER` has them."""
        with opened(self.folder) as db:
            names = [f.name for f in LEDGER]
            rows = db.execute(
                f"SELECT {', '.join(names)} FROM calls WHERE state IN ('promised', 'sent')"
            )
            return [dict(zip(names, row, strict=True)) for row in rows]

    def batches(self) -> set[str]:
        """Names of all batches in the ledger, also of those that were collected."""
        with opened(self.folder) as db:
            rows = db.execute("SELECT DISTINCT batch FROM calls WHERE batch IS NOT NULL")
            return {name for (name,) in rows}

    def _mark(self, calls: Iterable[str], change: str, *values: str) -> None:
        with opened(self.folder, write=True) as db:
            db.executemany(
                f"UPDATE calls SET {change} WHERE call = ? AND state IN ('promised', 'sent')",
                [(*values, call) for call in calls],
            )

    def _error(self, spent: float, dollars: float) -> BudgetError:
        limit, gone, one = (
            f"{x:.4f}".rstrip("0").rstrip(".") for x in (self.limit, spent, dollars)
        )
        return BudgetError(
            f"`{self.name}` is {limit}, of which {gone} {self.unit} are spent or promised, and one "
            f"more question can take {one}. Raise `{self.name}`, then `mien retry`."
        )


def ledger_table(folder: Place) -> pa.Table:
    """Every call that was made from a folder, oldest first.

    Args:
        folder: That of the budget; without a ledger the table is empty, as it is in a store.

    Returns:
        A table of `LEDGER`. The sum of `dollars` is what counts as spent.
    """
    if not isinstance(folder, Path) or not (folder / FILE).exists():
        return LEDGER.empty_table()
    with opened(folder) as db:
        rows = db.execute(f"SELECT {', '.join(LEDGER.names)} FROM calls ORDER BY time").fetchall()
    columns = dict(zip(LEDGER.names, zip(*rows, strict=True), strict=True)) if rows else {}
    if not columns:
        return LEDGER.empty_table()
    columns["time"] = tuple(round(t * 1e6) for t in columns["time"])
    arrays = [pa.array(columns[f.name], type=f.type) for f in LEDGER]
    return pa.table(arrays, schema=LEDGER)


@contextmanager
def opened(folder: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The ledger, for one transaction; one that writes has the file to itself from the start."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / FILE, timeout=LOCK_S, isolation_level=None)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'calls'").fetchone():
            db.execute(_CREATE)
        db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


_CREATE = """
CREATE TABLE IF NOT EXISTS calls (
    call TEXT PRIMARY KEY, time REAL NOT NULL, "row" TEXT, digest TEXT, model TEXT,
    state TEXT NOT NULL, promised REAL NOT NULL, dollars REAL NOT NULL,
    input_tokens INTEGER, output_tokens INTEGER, cache_write_tokens INTEGER,
    cache_read_tokens INTEGER, request_id TEXT, batch TEXT, host TEXT
)
"""


def _spent(db: sqlite3.Connection) -> float:
    return db.execute("SELECT COALESCE(SUM(dollars), 0.0) FROM calls").fetchone()[0]


def _pending(db: sqlite3.Connection, patience_s: float) -> float:
    """Promises that may still be settled for less, soon."""
    young = (
        "SELECT COALESCE(SUM(dollars), 0.0) FROM calls"
        " WHERE state = 'promised' AND batch IS NULL AND time > ?"
    )
    return db.execute(young, (time.time() - patience_s,)).fetchone()[0]


def _promise(db: sqlite3.Connection, wish: Wish, batch: str | None = None) -> str:
    call = uuid4().hex
    names = "call, time, row, digest, model, state, promised, dollars, batch, host"
    row, cost = (call, time.time(), wish.row, wish.digest, wish.model), wish.dollars
    db.execute(
        f"INSERT INTO calls ({names}) VALUES (?, ?, ?, ?, ?, 'promised', ?, ?, ?, ?)",
        (*row, cost, cost, batch, socket.gethostname()),
    )
    return call
