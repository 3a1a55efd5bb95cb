"""The whole job on a corpus, against a plain sequential script that calls the same models.

usage: corpus.py [FOLDER] [--clips 20] [--many 200] [--json FILE]

The corpus is the media of FOLDER (by default the demo's sample clip), copied under new names up to
the number of clips; the one clip is always the demo's. Measured: throughput of `mien analyze` and
of the same actors called one after another in one process; the share of worker time spent outside
actors; peak memory of the run with all its processes, for few clips and for many; and one clip
alone, from the command to the page, with what of it is start-up.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cloudpickle

from common import MIEN, analyze, arguments, show
from mien.cluster.host import Host, begin
from mien.cluster.journal import Journal
from mien.datasets.corpus import EXTENSIONS, Folder
from mien.jobs.graph import Graph
from mien.jobs.main import built, configuration


def filled(source: list[Path], folder: Path, count: int) -> Path:
    """A corpus of `count` files."""
    folder.mkdir(parents=True)
    for i in range(count):
        path = source[i % len(source)]
        shutil.copy(path, folder / f"{i:04d}_{path.name}")
    return folder


def sequential(corpus: Path, run: Path) -> dict[str, float]:
    """The same actors, one after another in this process; no Ray. Seconds by part."""
    began = time.perf_counter()
    cfg = configuration("analyze", [f"corpus.path='{corpus}'", f"out='{run}'"])
    graph = Graph(profile=built(cfg.models), run=run, span_s=60.0, chunk_s=30.0)
    files = Folder(path=str(corpus)).files()
    setup_s = work_s = 0.0
    for name, phase in graph.phases.items():
        at = time.perf_counter()
        host = Host(cloudpickle.dumps(list(phase.stages)), Journal())
        setup_s += time.perf_counter() - at
        manifest = graph.manifest(name, files)
        table = graph.table(name)
        at = time.perf_counter()
        for row in range(0, len(manifest), 8):
            some = manifest.slice(row, 8)
            table.write(host(begin(some, phase.hash, [1] * len(some))).select(table.schema.names))
        work_s += time.perf_counter() - at
    return {"wall": time.perf_counter() - began, "setup": setup_s, "work": work_s}


def measured(corpus: Path, run: Path) -> dict[str, Any]:
    """Run the job and read what it says of itself."""
    began = time.perf_counter()
    done = analyze(corpus, run)
    wall_s = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(done.stderr)
    record = json.loads((run / "run.json").read_text())
    phases = record["phases"]
    busy = sum(s["seconds"] for p in phases for s in p["stages"])
    cores = sum(p["wall_s"] * p["workers"] for p in phases)
    failed = sum(p["failed"] for p in phases)
    media_s = next(p["media_s"] for p in phases if p["name"] == "turns")
    return {
        "wall_s": wall_s,
        "media_s": media_s,
        "peak_gb": record["peak_memory_gb"],
        "startup": record["startup"],
        "outside": 1 - busy / cores,
        "first_rows_s": sum(p["first_row_s"] or 0 for p in phases),
        "failed": failed,
        "phases": {p["name"]: p["wall_s"] for p in phases},
        "stages": {s["stage"]: s["seconds"] for p in phases for s in p["stages"]},
    }


def main() -> int:
    """Run the benchmark."""
    asked = arguments(
        __doc__,
        folder={"bare": True, "nargs": "?", "type": Path},
        clips={"type": int, "default": 20},
        many={"type": int, "default": 200},
    )
    work = Path(tempfile.mkdtemp(prefix="corpus-"))
    sample = work / "sample.mp4"
    subprocess.run([str(MIEN), "demo", str(sample)], check=True, capture_output=True)
    media = [sample]
    if asked.folder:
        media = sorted(p for p in asked.folder.rglob("*") if p.suffix.lower() in EXTENSIONS)
    rows = []
    few = filled(media, work / "few", asked.clips)
    plain = sequential(few, work / "plain")
    ours = measured(few, work / "run-few")
    rows.append(
        {
            "what": f"sequential script, {asked.clips} clips, 1 process",
            "wall s": plain["wall"],
            "x real time": ours["media_s"] / plain["wall"],
        }
    )
    for label, facts in [
        (f"mien analyze, {asked.clips} clips", ours),
        (f"mien analyze, {asked.many} clips", measured(_many(media, work, asked.many), work / "m"))
        if asked.many
        else ("", None),
        ("mien analyze, the demo's clip of 19 s", measured(sample, work / "one")),
    ]:
        if facts:
            rows.append(
                {
                    "what": label,
                    "wall s": facts["wall_s"],
                    "x real time": facts["media_s"] / facts["wall_s"],
                    "media s": facts["media_s"],
                    "outside actors": f"{facts['outside']:.0%}",
                    "peak GB": facts["peak_gb"],
                    "start Ray s": facts["startup"]["ray_s"],
                    "await trial s": facts["startup"]["await_trial_s"],
                    "failed": facts["failed"],
                }
            )
            print(label, json.dumps(facts), flush=True)
    show("Corpus", rows, asked.json, ratio=plain["wall"] / ours["wall_s"])
    shutil.rmtree(work, ignore_errors=True)
    return 0


def _many(media: list[Path], work: Path, count: int) -> Path:
    return filled(media, work / "many", count)


if __name__ == "__main__":
    sys.exit(main())
