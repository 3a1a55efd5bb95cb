"""Kill a run at random moments, run it again, and count the rows.

usage: resume.py [FOLDER] [--kills 20] [--seed 0] [--json FILE]

A run on FOLDER (by default a few short clips made by code) is killed with SIGKILL: the driver, a
worker or the raylet in turn, each at a random moment. The same command is then given again until
it ends. After that each row must stand in the files exactly once, and they must be the rows of a
run that nobody disturbed. The time of the second run is set against the share of work that was
left.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common import MIEN, arguments, show

KINDS = ("driver", "worker", "raylet")


def rows_of(run: Path) -> dict[str, list[str]]:
    """Ids of all rows in all files of a run, by table."""
    found: dict[str, list[str]] = {}
    for path in sorted((run / "tables").glob("*/part-*.parquet")):
        table = pq.read_table(path, columns=["id", "status"])
        ok = table.filter(pc.equal(table["status"], "ok"))["id"].to_pylist()
        found.setdefault(path.parent.name, []).extend(ok)
    return {name: sorted(ids) for name, ids in found.items()}


def victim(driver: psutil.Process, kind: str, rng: random.Random) -> psutil.Process | None:
    """The process to kill; `None` while there is none of its kind."""
    if kind == "driver":
        return driver
    found = []
    for process in driver.children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if kind == "raylet" and "/raylet/raylet" in line.split(" ")[0]:
            found.append(process)
        if kind == "worker" and line.startswith("ray::") and "IDLE" not in line:
            found.append(process)
    return rng.choice(found) if found else None


def disturbed(corpus: Path, run: Path, kind: str, after_s: float, rng: random.Random) -> float:
    """Start a run, kill a part of it at a moment; returns the seconds until it was over."""
    began = time.perf_counter()
    command = [str(MIEN), "analyze", str(corpus), f"out={run}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    driver = psutil.Process(process.pid)
    time.sleep(after_s)
    while process.poll() is None:
        target = victim(driver, kind, rng)
        if target:
            target.send_signal(signal.SIGKILL)
            break
        time.sleep(0.05)
    process.wait(timeout=900)
    return time.perf_counter() - began


def main() -> int:
    """Run the benchmark; 1 when a row was lost or stands twice."""
    asked = arguments(
        __doc__,
        folder={"bare": True, "nargs": "?", "type": Path},
        kills={"type": int, "default": 20},
        seed={"type": int, "default": 0},
    )
    rng = random.Random(asked.seed)
    work = Path(tempfile.mkdtemp(prefix="resume-"))
    corpus = asked.folder or short_clips(work / "corpus")
    began = time.perf_counter()
    subprocess.run(
        [str(MIEN), "analyze", str(corpus), f"out={work / 'calm'}"], check=True, capture_output=True
    )
    whole_s = time.perf_counter() - began
    calm = rows_of(work / "calm")
    total = sum(map(len, calm.values()))
    print(f"undisturbed: {total} rows in {whole_s:.1f} s", flush=True)
    rows, wrong = [], 0
    for i in range(asked.kills):
        kind, run = KINDS[i % len(KINDS)], work / f"run{i}"
        after_s = rng.uniform(0.05, 0.95) * whole_s
        first_s = disturbed(corpus, run, kind, after_s, rng)
        kept = rows_of(run)
        kept_rows = sum(map(len, kept.values()))
        began = time.perf_counter()
        again = subprocess.run(
            [str(MIEN), "analyze", str(corpus), f"out={run}"], capture_output=True, text=True
        )
        second_s = time.perf_counter() - began
        stands = rows_of(run)
        twice = sum(len(ids) - len(set(ids)) for ids in stands.values())
        lost = sum(len(set(ids) - set(stands.get(name, []))) for name, ids in calm.items())
        wrong += bool(twice or lost or again.returncode)
        left = 1 - kept_rows / total
        rows.append(
            {
                "killed": kind,
                "after s": round(after_s, 1),
                "over after s": round(first_s, 1),
                "rows kept": kept_rows,
                "work left": f"{left:.0%}",
                "second run s": round(second_s, 1),
                "of the whole": f"{second_s / whole_s:.0%}",
                "lost": lost,
                "twice": twice,
                "exit": again.returncode,
            }
        )
        print(rows[-1], flush=True)
        shutil.rmtree(run, ignore_errors=True)
    facts = {"undisturbed_s": whole_s, "rows": total, "violations": wrong}
    show("Kill and resume", rows, asked.json, **facts)
    shutil.rmtree(work, ignore_errors=True)
    return int(wrong > 0)


def short_clips(folder: Path, count: int = 6) -> Path:
    """A corpus of the demo's sample clip under several names."""
    folder.mkdir(parents=True)
    first = folder / "clip0.mp4"
    subprocess.run([str(MIEN), "demo", str(first)], check=True, capture_output=True)
    for i in range(1, count):
        shutil.copy(first, folder / f"clip{i}.mp4")
    return folder


if __name__ == "__main__":
    sys.exit(main())
