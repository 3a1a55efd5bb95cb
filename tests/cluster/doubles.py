"""Actors that misbehave on demand, beside the real ones that the end-to-end tests run."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from mien.actors.actor import Actor, answer


@dataclass(kw_only=True)
class Double(Actor):
    """Doubles `x`; obeys the row's `order` on the way.

    Attributes:
        slow_s: Time per row.
        tally: Folder in which each processed id leaves a mark, and each worker that is closed.
        broken: What goes wrong in `setup`.
        memory_rows: Rows that fit into memory at once.
        leak_rows: Rows after which a worker has leaked all its memory.
    """

    reads: ClassVar[tuple[str, ...]] = ("x", "order")
    adds: ClassVar[pa.Schema] = pa.schema([("twice", pa.int64())])
    model: ClassVar[str] = "arithmetic"

    slow_s: float = 0.0
    tally: str | None = None
    broken: str | None = None
    memory_rows: int = 1000
    leak_rows: int = 10**9

    def setup(self) -> None:
        self._seen = 0
        if self.broken == "raise":
            raise OSError("no such weights: 'double.pt'")
        if self.broken == "exit":
            os._exit(7)

    def process(self, rows: pa.Table) -> pa.Table:
        if len(rows) > self.memory_rows:
            raise MemoryError("out of memory")
        self._seen += len(rows)
        if self._seen > self.leak_rows:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        orders = rows["order"].to_pylist()
        for name, order in zip(rows["id"].to_pylist(), orders, strict=True):
            time.sleep(self.slow_s)
            self._obey(order, name)
            if self.tally:
                Path(self.tally, name).touch()
        if "nothing" in orders:
            return None
        twice = [2 * x for x in rows["x"].to_pylist()]
        if "short" in orders:
            twice.pop()
        if "wrong columns" in orders:
            return pa.table({"thrice": twice})
        return answer({"twice": twice}, self.adds)

    def _obey(self, order: str | None, name: str) -> None:
        if order == "raise":
            raise ValueError(f"row {name} cannot be doubled")
        if order == "raise bytes":
            raise ValueError(os.fsdecode(b"no such file: \xff"))
        if order == "memory":
            raise MemoryError
        if order == "poison":
            raise RuntimeError("CUDA error: device-side assert triggered")
        if order == "panic":
            raise Panic("called `Option::unwrap()` on a `None` value")
        if order == "leave":
            sys.exit("no licence")
        if order == "exit":
            os._exit(3)
        if order == "hang":
            time.sleep(10_000)
        if order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "die once" and self.tally and not Path(self.tally, "died").exists():
            Path(self.tally, "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> None:
        if self.tally:
            Path(self.tally, f"closed {os.getpid()}").touch()


class Panic(BaseException):
    """As the libraries that are written in Rust raise it."""


def manifest(orders: list[str | None]) -> pa.Table:
    """A manifest of `len(orders)` rows of one second each."""
    count = len(orders)
    return pa.table(
        {
            "id": pa.array([f"row{i:03d}" for i in range(count)]),
            "video_id": pa.array(["v"] * count),
            "uri": pa.array(["v.mp4"] * count),
            "start_s": pa.array([float(i) for i in range(count)]),
            "stop_s": pa.array([i + 1.0 for i in range(count)]),
            "x": pa.array(list(range(count))),
            "order": pa.array(orders, pa.string()),
        }
    )


@dataclass(kw_only=True)
class Reporter(Actor):
    """Says where it ran: the Python, the process, what Ray gave it, how many rows at once.

    Attributes:
        column: That it adds.
        marks: Folder in which `setup` leaves the same, by the column's name.
    """

    reads: ClassVar[tuple[str, ...]] = ("x",)

    column: str = "where"
    marks: str | None = None

    @property
    def adds(self) -> pa.Schema:  # type: ignore[override]
        return pa.schema([(self.column, pa.string())])

    def said(self, rows: int) -> str:
        import ray

        from mien.cluster import host

        given = ray.get_runtime_context().get_assigned_resources()
        return json.dumps(
            {
                "python": sys.executable,
                "mien": host.__file__,
                "pid": os.getpid(),
                "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
                "GPU": given.get("GPU"),
                "memory": given.get("memory"),
                "rows": rows,
            }
        )

    def setup(self) -> None:
        if self.marks:
            Path(self.marks, self.column).write_text(self.said(0))

    def process(self, rows: pa.Table) -> pa.Table:
        return answer({self.column: [self.said(len(rows))] * len(rows)}, self.adds)
