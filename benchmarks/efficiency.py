"""What the framework costs: a phase on Ray against the plain loop of the same actor.

    python benchmarks/efficiency.py [--seconds 90] [--json FILE]

The plain loop is one process per core, each with the actor set up, that take the rows one after
another; nothing is written. The phase is what `mien analyze` runs: blocks, journal, table and all.
`efficiency` counts both from their start, process and model start-up included; `steady` counts
from the moment that the actors are set up. `actor` says how much of a worker's steady time is
inside the actor, and `slower` how much longer the actor needs for the same rows beside Ray.

The first actor watches a film made by code; the others only compute, for a set time per row.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import pyarrow as pa
import pyarrow.compute as pc

from common import arguments, show
from film import make
from mien.actors.actor import Actor
from mien.actors.watch import Watch
from mien.cluster.execution import run
from mien.cluster.host import Stage
from mien.cluster.phase import Phase
from mien.cluster.session import Cluster, session
from mien.datasets.media import probe
from mien.datasets.video import spans

SPAN_S = 10.0


@dataclass(kw_only=True)
class Spin(Actor):
    """Computes for a set time per row.

    Attributes:
        row_s: Processor time per row, seconds.
    """

    reads: ClassVar[tuple[str, ...]] = ("id",)
    adds: ClassVar[pa.Schema] = pa.schema([("turns", pa.int64())])

    row_s: float

    def process(self, rows: pa.Table) -> pa.Table:
        """Turn."""
        return pa.table({"turns": [self._spin() for _ in range(len(rows))]}, self.adds)

    def _spin(self) -> int:
        until, turns = time.process_time() + self.row_s, 0
        while time.process_time() < until:
            turns += 1
        return turns


_actor: Actor | None = None


def start(pickled: bytes) -> None:
    """Set up the actor of a plain process."""
    global _actor
    _actor = cloudpickle.loads(pickled)
    assert _actor is not None
    _actor.setup()


def one(rows: pa.Table) -> float:
    """Process a batch; returns its duration in seconds."""
    assert _actor is not None
    began = time.perf_counter()
    _actor.process(rows)
    return time.perf_counter() - began


def plain(actor: Actor, rows: pa.Table, workers: int) -> dict[str, float]:
    """The plain loop: total, start-up and work in seconds, and the actors' own in sum."""
    size = actor.batch_size
    began = time.perf_counter()
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=start, initargs=(cloudpickle.dumps(actor),)
    ) as pool:
        list(pool.map(time.sleep, [0.2] * workers))  # every process is up
        ready = time.perf_counter()
        own_s = sum(pool.map(one, [rows.slice(at, size) for at in range(0, len(rows), size)]))
        done = time.perf_counter()
    return {"total_s": done - began - 0.2, "work_s": done - ready, "own_s": own_s}


def framed(actor: Actor, rows: pa.Table, folder: Path) -> dict[str, float]:
    """The same as a phase of a run."""
    phase = Phase(name="bench", stages=(Stage(role="bench", actor=actor),))
    began = time.perf_counter()
    report = run(phase, rows, folder)
    total_s = time.perf_counter() - began
    stands = phase.table(folder).read(["status", "timings"])
    assert pc.all(pc.equal(stands["status"], "ok")).as_py()
    assert len(stands) == len(rows)
    own_s = sum(t["seconds"] for row in stands["timings"].to_pylist() for t in row)
    assert report.first_row_s is not None
    first_s = stands["timings"][0].as_py()[0]["seconds"] * min(actor.batch_size, len(rows))
    start_s = report.first_row_s - first_s
    return {"total_s": total_s, "start_s": start_s, "own_s": own_s, "workers": report.workers}


def keyed(count: int, uri: str, tiles: list[tuple[float, float]]) -> pa.Table:
    """Rows that the actors understand."""
    return pa.table(
        {
            "id": [f"row{i:06d}" for i in range(count)],
            "video_id": ["film"] * count,
            "uri": [uri] * count,
            "start_s": [tiles[i % len(tiles)][0] for i in range(count)],
            "stop_s": [tiles[i % len(tiles)][1] for i in range(count)],
        }
    )


def cases(folder: Path, seconds: float, workers: int) -> Iterator[tuple[str, Actor, pa.Table]]:
    """What is measured: about `seconds` of work on all cores for each."""
    film = str(make(folder / "film.mp4", seconds=60.0))
    facts, tiles = probe(film), spans(60.0, SPAN_S)
    watch = Watch()
    watch.setup()
    rows = keyed(len(tiles), film, tiles)
    rows = rows.append_column("fps", pa.array([facts["fps"]] * len(rows)))
    rows = rows.append_column(
        "speech",
        pa.nulls(
            len(rows), pa.list_(pa.struct([("start_s", pa.float64()), ("stop_s", pa.float64())]))
        ),
    )
    began = time.perf_counter()
    watch.process(rows.slice(0, 1))
    count = int(seconds * workers / (time.perf_counter() - began))
    columns = {
        name: rows[name].take([i % len(rows) for i in range(count)]) for name in rows.column_names
    }
    columns["id"] = keyed(count, film, tiles)["id"]
    yield f"watching, spans of {SPAN_S:g} s", Watch(), pa.table(columns)
    for row_s, batch in ((1.0, 1), (0.1, 1), (0.01, 1), (0.01, 16), (0.001, 16)):
        count = int(seconds * workers / row_s / 2)
        name = f"computing {1000 * row_s:g} ms a row, {batch} at a time"
        yield name, Spin(row_s=row_s, batch_size=batch), keyed(count, film, tiles)


def measure(folder: Path, seconds: float, workers: int) -> Iterator[dict[str, Any]]:
    """A line for each case."""
    for i, (name, actor, rows) in enumerate(cases(folder, seconds, workers)):
        alone = plain(actor, rows, workers)
        with session(Cluster(cores=workers)):
            inside = framed(actor, rows, folder / f"run{i}")
        steady_s = inside["total_s"] - inside["start_s"]
        yield {
            "what": name,
            "rows": len(rows),
            "plain s": alone["total_s"],
            "mien s": inside["total_s"],
            "of which start s": inside["start_s"],
            "efficiency": alone["total_s"] / inside["total_s"],
            "steady": alone["work_s"] / steady_s,
            "actor": inside["own_s"] / steady_s / workers,
            "slower": inside["own_s"] / alone["own_s"],
        }


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__, seconds={"type": float, "default": 90.0})
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure(Path(folder), asked.seconds, workers))
    show(f"a phase against the plain loop, {workers} cores", rows, asked.json)


if __name__ == "__main__":
    main()
