"""Disturb a run in every way at random moments, give the command again, and count the rows.

usage: chaos.py [--points 40] [--seed 0] [--only KIND] [--json FILE]

At each point one fault strikes a small run (`chaos_job.py`, a real local Ray): a process is killed
with SIGKILL, a node ends, the disk is full, Ray's shared memory is too small for the rows, somebody
presses Ctrl-C, or the actor misbehaves with one row. The same command is given again until it ends
well. Then every row must stand in whole files exactly once; a row may have failed only if the actor
misbehaved with it, and by the right name; and no process may be left.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import psutil
import pyarrow.parquet as pq

from common import arguments, show

ROWS = 120
TRIES = 4
PATIENCE_S = 240.0
MARK = "MIEN_CHAOS"
ACTOR = {
    "hang": "HungError",
    "exit": "WorkerDiedError",
    "poison": "WorkerDiedError",
    "memory": "MemoryError",
    "short": "ValueError",
}
"""What an actor does with one row, and the failure that must stand in that row."""
STRUCK = ("driver", "worker", "raylet", "node", "disk", "ctrl-c")
FAULTS = (*STRUCK, "store", "leak", *ACTOR)


@dataclass(kw_only=True)
class Point:
    """One fault at one moment.

    Attributes:
        fault: Its kind.
        share: Of the rows that are done when it strikes; negative: before the first.
        row: That the actor misbehaves with.
        seed: For what is drawn when it strikes.
    """

    fault: str
    share: float
    row: int
    seed: int

    def command(self, run: Path) -> list[str]:
        """The command that is disturbed, and given again."""
        words = [sys.executable, str(Path(__file__).with_name("chaos_job.py")), str(run)]
        words += ["--rows", str(ROWS)]
        if self.fault in ACTOR:
            words += ["--order", self.fault, "--at", str(self.row)]
        special = {
            "node": ["--nodes", "2"],
            "store": ["--row-mb", "2", "--slow-s", "0.02"],
            "leak": ["--leak", "17"],
            "disk": ["--row-mb", "0.001"],
        }
        return words + special.get(self.fault, [])


@dataclass(kw_only=True)
class Outcome:
    """What came of a point.

    Attributes:
        runs: How often the command was given until it ended well.
        first_exit: Status of the disturbed run.
        said: Its last line of complaint.
        lost: Rows that stand nowhere.
        twice: Rows that stand more than once.
        unnamed: Rows that failed though nothing was wrong with them, or not by the right name.
        torn: Files that cannot be read.
        left: Processes that were left.
        seconds: In all.
    """

    runs: int = 0
    first_exit: int | None = None
    said: str = ""
    lost: int = 0
    twice: int = 0
    unnamed: int = 0
    torn: int = 0
    left: int = 0
    seconds: float = 0.0
    ended: bool = False

    @property
    def exact(self) -> bool:
        """Whether all promises were kept."""
        return self.ended and not (
            self.lost or self.twice or self.unnamed or self.torn or self.left
        )


def points(count: int, seed: int, kinds: tuple[str, ...] = FAULTS) -> list[Point]:
    """Draw points: all kinds as often, in a random order, each at a random moment."""
    rng = random.Random(seed)
    drawn = [kinds[i % len(kinds)] for i in range(count)]
    rng.shuffle(drawn)
    return [
        Point(
            fault=fault,
            share=rng.uniform(-0.1, 0.9),
            row=rng.randrange(ROWS),
            seed=rng.randrange(2**32),
        )
        for fault in drawn
    ]


def titled(process: psutil.Process) -> str:
    """A process's command line; empty when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def victims(driver: psutil.Process, fault: str) -> list[psutil.Process]:
    """Whom a fault may strike; empty while there is nobody."""
    family = driver.children(recursive=True)
    raylets = [p for p in family if "/raylet/raylet" in titled(p).split(" ")[0]]
    workers = [p for p in family if titled(p).startswith("ray::MapWorker")]
    if fault == "node":
        second = raylets[1:]
        return [p for raylet in second for p in [raylet, *raylet.children(recursive=True)]]
    return {"driver": [driver], "worker": workers, "raylet": raylets[:1]}[fault]


def strike(point: Point, driver: psutil.Process, run: Path) -> bool:
    """Let the fault happen; false while there is nothing that it could happen to."""
    if point.fault == "ctrl-c":
        os.killpg(driver.pid, signal.SIGINT)
        return True
    if point.fault == "disk":
        fill(run)
        return True
    found = victims(driver, point.fault)
    if found and point.fault == "worker":
        found = [random.Random(point.seed).choice(found)]
    for process in found:
        try:
            process.kill()
        except psutil.Error:
            continue
    return bool(found)


def fill(folder: Path) -> None:
    """Leave no room on a small disk."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return


def disturbed(point: Point, run: Path, outcome: Outcome, environment: dict[str, str]) -> None:
    """Give the command, let the fault strike, and wait for the end."""
    process = subprocess.Popen(
        point.command(run),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the whole group of a terminal's foreground
        env=environment,
    )
    assert process.stdout
    driver = psutil.Process(process.pid)
    struck = point.fault not in STRUCK
    if point.share < 0 and point.fault in ("driver", "ctrl-c", "disk"):
        time.sleep(-point.share * 100)  # up to ten seconds: while it starts
        struck = process.poll() is not None or strike(point, driver, run)
    for line in process.stdout:
        if not struck and line.startswith("done") and int(line.split()[1]) >= point.share * ROWS:
            struck = strike(point, driver, run)
    _, complaints = process.communicate(timeout=PATIENCE_S)
    outcome.first_exit = process.returncode
    outcome.said = (complaints.strip().splitlines() or [""])[-1]


def left_over(mark: str) -> list[psutil.Process]:
    """Processes that a point started and that still live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(mark: str, patience_s: float = 45.0) -> list[psutil.Process]:
    """Wait until what a point started has ended; ends and returns what has not."""
    deadline = time.monotonic() + patience_s
    while (left := left_over(mark)) and time.monotonic() < deadline:
        time.sleep(0.5)
    for process in left:
        process.kill()
    return left


def count(point: Point, run: Path, outcome: Outcome) -> None:
    """Count the rows in the files, and look at each failure."""
    ids: Counter[str] = Counter()
    for path in run.glob("tables/*/part-*.parquet"):
        try:
            rows = pq.read_table(path).drop_columns(["payload"]).to_pylist()
        except OSError:
            outcome.torn += 1
            continue
        ids.update(row["id"] for row in rows)
        for row in rows:
            wanted = ACTOR.get(point.fault) if row["id"] == f"row{point.row:03d}" else None
            outcome.unnamed += row["error_type"] != wanted or bool(wanted) != bool(
                row["error_message"]
            )
    outcome.lost = ROWS - len(ids)
    outcome.twice = sum(many > 1 for many in ids.values())


def tried(point: Point, work: Path) -> Outcome:
    """Let a fault happen and see what comes of it."""
    outcome, run, mark = Outcome(), work / uuid4().hex, uuid4().hex
    environment = os.environ | {MARK: mark, "TMPDIR": str(work)}
    run.mkdir()
    if point.fault == "disk":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(run)], check=True)
    began = time.monotonic()
    try:
        disturbed(point, run, outcome, environment)
        outcome.left = len(gone(mark))
        (run / "ballast").unlink(missing_ok=True)
        outcome.runs, status = 1, outcome.first_exit
        while status and outcome.runs < TRIES:
            again = subprocess.run(
                point.command(run), capture_output=True, env=environment, timeout=PATIENCE_S
            )
            outcome.runs, status = outcome.runs + 1, again.returncode
        outcome.ended = not status
        count(point, run, outcome)
    finally:
        outcome.left += len(gone(mark))
        outcome.seconds = time.monotonic() - began
        if point.fault == "disk":
            subprocess.run(["umount", str(run)], check=True)
        shutil.rmtree(run, ignore_errors=True)
    return outcome


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for runs, with a short name: Ray puts its sockets below it."""
    work = Path(tempfile.mkdtemp(prefix="ch-"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def mountable(work: Path) -> bool:
    """Whether this user may mount a small disk."""
    place = work / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True
    )
    if not done.returncode:
        subprocess.run(["umount", str(place)], check=True)
    return not done.returncode


def main() -> int:
    """Run the benchmark; 1 when a promise was broken."""
    asked = arguments(
        __doc__,
        points={"type": int, "default": 40},
        seed={"type": int, "default": 0},
        only={"choices": FAULTS},
    )
    with workplace() as work:
        return judged(asked, work)


def judged(asked: argparse.Namespace, work: Path) -> int:
    """Go through all points."""
    kinds = (asked.only,) if asked.only else FAULTS
    if "disk" in kinds and not mountable(work):
        print("no full disk: this user may not mount one", flush=True)
        kinds = tuple(kind for kind in kinds if kind != "disk")
    found: list[tuple[Point, Outcome]] = []
    for i, point in enumerate(points(asked.points, asked.seed, kinds)):
        outcome = tried(point, work)
        found.append((point, outcome))
        print(
            f"{i + 1:2} {point.fault:7} {'exact' if outcome.exact else 'WRONG'}: struck at "
            f"{max(0.0, point.share):.0%}, exit {outcome.first_exit}, {outcome.runs} runs, "
            f"{outcome.lost} lost, {outcome.twice} twice, {outcome.unnamed} unnamed, "
            f"{outcome.torn} torn, {outcome.left} left, {outcome.seconds:.0f} s  "
            f"{outcome.said[:100]}",
            flush=True,
        )
    exact = sum(outcome.exact for _, outcome in found)
    show("Chaos", summary(found), asked.json, points=len(found), exact=exact, seed=asked.seed)
    return int(exact < len(found))


def summary(found: list[tuple[Point, Outcome]]) -> list[dict[str, Any]]:
    """A line for each kind of fault."""
    rows = []
    for kind in dict.fromkeys(point.fault for point, _ in sorted(found, key=_place)):
        of = [outcome for point, outcome in found if point.fault == kind]
        rows.append(
            {
                "fault": kind,
                "points": len(of),
                "exact": sum(o.exact for o in of),
                **{
                    name: sum(getattr(o, name) for o in of)
                    for name in ("lost", "twice", "unnamed", "torn", "left")
                },
                "runs": sum(o.runs for o in of),
                "median s": round(median(o.seconds for o in of), 1),
            }
        )
    return rows


def _place(pair: tuple[Point, Outcome]) -> int:
    return FAULTS.index(pair[0].fault)


if __name__ == "__main__":
    sys.exit(main())
