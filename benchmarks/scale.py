"""Scale: what a large corpus costs beside its media: rows are simulated, no media are read.

A video is 30 minutes long; per hour there are 2 videos, 60 rows of `watch`, 100 of `speech` and 600
of `voice`; `LARGEST` says up to how many hours a table is simulated. The tables are written by the
project's own code from the project's own manifests, without pictures, in files of as many rows as
a run's have. Each point is a process of its own. Seconds are of CPU: what else the machine does is
not in them. `x10` is the ratio to the point before, per tenfold hours: 10 is linear. Memory (PSS)
is the peak of the process less what it had when it began.

    python benchmarks/scale.py [--hours 10,1000,10000,100000] [--folder FOLDER] [--json FILE]
"""

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from common import arguments, show
from mien.cluster.host import begin
from mien.cluster.memory import PeakMemory, tree_gb
from mien.cluster.waves import Again, outstanding
from mien.datasets import schema
from mien.datasets.corpus import Folder
from mien.datasets.store import replace
from mien.datasets.table import Table, encoded, table_schema
from mien.jobs.conclude import TIMELINE
from mien.jobs.fusion.timeline import RULES
from mien.jobs.manifests import KEEPS, Manifests
from mien.jobs.report import write_index
from mien.jobs.tally import CORPUS, kept, rows_of, tallies

clock = time.process_time
VIDEO_S, VIDEOS_PER_HOUR, CHUNKS, TURNS = 1800.0, 2, 50, 300
"""Of a simulated video: its length, how many an hour has, chunks of speech, utterances."""
FILE_ROWS = dict.fromkeys(["videos", "turns", "speech", "voice", "timeline"], 4096) | {"watch": 512}
"""Rows of a file: those of `watch` have pictures, and a file is closed by its size."""
WAVE_ROWS = 16_384
LARGEST = {"speech": 10_000, "voice": 1_000, "timeline": 1_000}
"""Hours beyond which a table is left out: its rows would take the time of all else."""
ADDS = {
    "videos": schema.PROBE,
    "turns": pa.schema([*schema.SPEECH_ACTIVITY, *schema.TURNS]),
    "speech": schema.TRANSCRIPT,
    "watch": schema.WATCH,
    "voice": schema.PROSODY,
    "timeline": TIMELINE,
}
SCHEMAS = {
    name: table_schema(pa.schema(list({f.name: f for f in (*KEEPS[name], *adds)}.values())))
    for name, adds in ADDS.items()
}


@dataclass(frozen=True)
class Simulation:
    """A run that has no media.

    Attributes:
        folder: Of the run.
        hours: Of media.
    """

    folder: Path
    hours: int

    @property
    def tables(self) -> dict[str, Table]:
        """The tables, by phase."""
        names = [name for name in ADDS if self.hours <= LARGEST.get(name, self.hours)]
        return {name: Table(self.folder / "tables" / name, SCHEMAS[name]) for name in names}

    def groups(self, name: str) -> Iterator[pa.Table]:
        """The manifest of a phase."""
        made = Manifests(
            tables=self.tables, run=self.folder, span_s=60.0, chunk_s=30.0, rules=RULES
        )
        return made.groups(name, pq.read_table(self.folder / CORPUS))


def spans(count: int, *names: str) -> list[dict[str, Any]]:
    """Spans of a video at even distances, half of its time; two speakers in turn."""
    step = VIDEO_S / count
    every = (
        {"start_s": i * step, "stop_s": (i + 0.5) * step, "speaker": f"SPEAKER_0{i % 2}"}
        for i in range(count)
    )
    return [{name: span[name] for name in names} for span in every]


ANSWERS: dict[str, dict[str, Any]] = {
    "videos": {"duration_s": VIDEO_S, "fps": 25.0, "has_video": True, "has_audio": True},
    "turns": {
        "speech": spans(CHUNKS, "start_s", "stop_s"),
        "exclusive_turns": spans(TURNS, "start_s", "stop_s", "speaker"),
    },
    "speech": {
        "words": [{"start_s": 0.0, "stop_s": 0.3, "word": "hello", "probability": 0.9}],
    },
    "timeline": {"people": 2, "segments": TURNS, "thumbnail": b"\xff" * 5000},
}
"""What later phases read of a row; all else is null."""


def answered(name: str, rows: pa.Table) -> pa.Table:
    """Manifest rows as they come back from their phase."""
    rows = begin(rows, "simulated", [1] * len(rows))
    if name == "videos":
        rows = rows.append_column("fingerprint", rows["video_id"])
    columns = []
    for field in SCHEMAS[name]:
        answer = ANSWERS.get(name, {}).get(field.name)
        if field.name in rows.column_names:
            columns.append(rows[field.name])
        elif answer is not None:
            columns.append(pa.array([answer] * len(rows), field.type))
        else:
            columns.append(pa.nulls(len(rows), field.type))
    return pa.table(columns, schema=SCHEMAS[name])


def corpus(run: Simulation) -> dict[str, float]:
    """Walk a folder of empty files, and write the manifest of the simulated videos."""
    count, media = run.hours * VIDEOS_PER_HOUR, run.folder / "media"
    for i in range(count):
        if i % 1000 == 0:
            (media / f"{i // 1000:04}").mkdir(parents=True)
        (media / f"{i // 1000:04}" / f"video {i}.mp4").touch()
    began = clock()
    files = Folder(path=str(media)).survey().rows
    took_s = clock() - began
    replace(run.folder / CORPUS, encoded(files))
    return {"listing": took_s, "rows": len(files)}


STATES: dict[str, Callable[[int], bool]] = {
    "nothing done": lambda wave: wave % 2 == 0,
    "half done": lambda wave: True,
    "all done": lambda wave: False,
}
"""How much of a phase stands, and of which waves the rows are then written."""


def phase(run: Simulation, name: str) -> dict[str, float]:
    """A phase's manifest and anti-join when nothing, half and all of its rows stand."""
    found, left = dict[str, float](), 0
    for state, writes in STATES.items():
        rows, left, took_s, began = 0, 0, 0.0, clock()
        for i, (todo, seen) in enumerate(waves(run, name)):
            took_s += clock() - began
            rows, left = rows + seen, left + len(todo)
            for at in range(0, len(todo) if writes(i) else 0, FILE_ROWS[name]):
                run.tables[name].write(answered(name, todo.slice(at, FILE_ROWS[name])))
            began = clock()
        found |= {f"{name}: {state}": took_s, "rows": rows}
    assert left == 0
    return found


def waves(run: Simulation, name: str) -> Iterator[tuple[pa.Table, int]]:
    """The outstanding rows of a phase, a wave at a time, and of how many that is the rest."""
    held, seen = [], 0
    for group in kept(run.groups(name), run.folder / rows_of(name)):
        held.append(outstanding(run.tables[name], group, Again())[0])
        seen += len(group)
        if seen >= WAVE_ROWS:
            yield pa.concat_tables(held), seen
            held, seen = [], 0
    if held:
        yield pa.concat_tables(held), seen


def status(run: Simulation) -> dict[str, float]:
    """All that stands, counted."""
    began = clock()
    found = tallies(run.folder, {name: name for name in run.tables})
    took_s = clock() - began
    return {"status": took_s, "rows": sum(tally.rows for tally in found.values())}


def reading(run: Simulation) -> dict[str, float]:
    """The rows of one video in `watch`: the first, for which footers are read, and another."""
    table = run.tables["watch"]
    videos = pq.read_table(run.folder / CORPUS)["video_id"].to_pylist()
    found = {}
    for what, video in (("first", videos[0]), ("another", videos[-1])):
        began = clock()
        rows = table.by_video(["fingerprint"], [video])[video]
        found[f"one video: {what}"] = clock() - began
        assert len(rows) == VIDEO_S / 60
    return {**found, "rows": table.count()}


def compaction(run: Simulation) -> dict[str, float]:
    """The files of `watch`, merged."""
    began = clock()
    run.tables["watch"].compact()
    took_s = clock() - began
    return {"compaction": took_s, "rows": run.tables["watch"].count()}


def index(run: Simulation) -> dict[str, float]:
    """The pages of the corpus, with a picture for each video that has a timeline."""
    tables = {name: name for name in ("videos", "timeline")}
    began = clock()
    write_index(run.folder, {"tables": tables})
    pages = len(list(run.folder.glob("index*.html")))
    return {"index pages": clock() - began, "rows": pages}


def points(run: Simulation) -> dict[str, Callable[[Simulation], dict[str, float]]]:
    """What is measured, in order."""
    return {
        "corpus": corpus,
        **{name: lambda run, name=name: phase(run, name) for name in run.tables},
        "status": status,
        "reading": reading,
        "compaction": compaction,
        "reading again": reading,
        "index": index,
    }


def measured(run: Simulation, point: str) -> dict[str, float]:
    """Run one point here: its seconds, rows and memory."""
    me = psutil.Process()
    before_gb = tree_gb(me)
    with PeakMemory(every_s=0.1) as memory:
        found = points(run)[point](run)
    return {**found, "memory MB": max(0.0, 1000 * (max(memory.peak_gb, tree_gb(me)) - before_gb))}


def simulated(run: Simulation) -> Iterator[dict[str, Any]]:
    """Run all points of some hours, each in a process of its own."""
    for point in points(run):
        command = [sys.executable, __file__, "--point", point, "--folder", str(run.folder)]
        command += ["--hours", str(run.hours)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{point} at {run.hours} h failed:\n{done.stderr}")
        found = json.loads(done.stdout.splitlines()[-1])
        memory, rows = found.pop("memory MB"), found.pop("rows")
        for what, took_s in found.items():
            what = what + " (compacted)" if point == "reading again" else what
            row = {"hours": run.hours, "what": what, "rows": rows, "s": took_s, "MB": memory}
            print(row, flush=True)
            yield row


def wide(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each thing that is measured: how it grows over the hours."""
    lines: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        lines.setdefault(row["what"], {})[row["hours"]] = row
    return [
        {
            "what": what,
            **{f"s, {h} h": row["s"] for h, row in line.items()},
            "s x10": growth({h: row["s"] for h, row in line.items()}),
            **{f"MB, {h} h": round(row["MB"]) for h, row in line.items()},
            "MB x10": growth({h: row["MB"] for h, row in line.items()}),
            "rows": max(row["rows"] for row in line.values()),
        }
        for what, line in lines.items()
    ]


def growth(by_hours: dict[int, float]) -> float | None:
    """How much more it is for ten times the hours, between the last two points."""
    if len(by_hours) < 2:
        return None
    (h1, y1), (h2, y2) = sorted(by_hours.items())[-2:]
    return (y2 / y1) ** (1 / math.log10(h2 / h1)) if y1 and y2 else None


def main() -> int:
    """Print how time and memory grow."""
    asked = arguments(
        __doc__,
        hours={"default": "10,1000,10000,100000"},
        folder={"type": Path, "help": "for the simulated runs; removed afterwards"},
        point={"help": "run this point alone, in this process"},
    )
    hours = [int(text) for text in asked.hours.split(",")]
    if asked.point:
        run = Simulation(asked.folder, hours[0])
        print(json.dumps(measured(run, asked.point)))
        return 0
    rows, took_s = [], {}
    for count in hours:
        work = Path(tempfile.mkdtemp(prefix="scale-", dir=asked.folder))
        began = time.perf_counter()
        rows += simulated(Simulation(work, count))
        took_s[f"{count} h"] = time.perf_counter() - began
        shutil.rmtree(work)
    show("Scale", wide(rows), asked.json, took_s=took_s, points=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
