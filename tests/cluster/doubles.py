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
        tally: Folder in which each processed id leaves a mark.
        broken: What goes wrong in `setup`.
    """

    reads: ClassVar[tuple[str, ...]] = ("x", "order")
    adds: ClassVar[pa.Schema] = pa.schema([("twice", pa.int64())])
    model: ClassVar[str] = "arithmetic"

    slow_s: float = 0.0
    tally: str | None = None
    broken: str | None = None
    memory_rows: int = 1000

    def setup(self) -> None:
        if self.broken == "raise":
            raise OSError("no such weights: 'double.pt'")
        if self.broken == "exit":
            os._exit(7)

    def process(self, rows: pa.Table) -> pa.Table:
        if len(rows) > self.memory_rows:
            raise MemoryError("out of memory")
        orders = rows["order"].to_pylist()
        for name, order in zip(rows["id"].to_pylist(), orders, strict=True):
            time.sleep(self.slow_s)
            if order == "raise":
                raise ValueError(f"row {name} cannot be doubled")
            if order == "poison":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            if order == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if order == "die once" and self.tally and not Path(self.tally, "died").exists():
                Path(self.tally, "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.tally:
                Path(self.tally, name).touch()
        twice = [2 * x for x in rows["x"].to_pylist()]
        if "short" in orders:
            twice.pop()
        if "wrong columns" in orders:
            return pa.table({"thrice": twice})
        return answer({"twice": twice}, self.adds)


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
