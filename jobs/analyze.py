"""`mien analyze`: a corpus of videos in; tables, timelines and pages out."""

import fcntl
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..cluster.memory import PeakMemory
from ..cluster.phase import Report, run, try_once
from ..cluster.session import Cluster, session
from ..datasets.corpus import Corpus, Skip
from ..datasets.ids import row_id
from ..datasets.table import Table, replace, table_schema
from . import provenance
from .fusion.timeline import UTTERANCES
from .graph import Graph
from .profile import Profile
from .progress import Progress
from .report import write_index
from .status import CORPUS, RECORD

log = logging.getLogger(__name__)


class BusyError(RuntimeError):
    """Another process works on the same run."""


@dataclass(kw_only=True)
class Analyze:
    """The main job.

    Attributes:
        corpus: What to analyse.
        models: Which actors.
        cluster: On what.
        out: The run's folder; if it holds a run already, that is resumed.
        retry: Whether to try failed rows again.
        span_s: A video is watched in spans of at most this length, in seconds.
        chunk_s: Speech is transcribed in chunks of at most this length, in seconds.
        config: The composed configuration, kept with the run.
    """

    corpus: Corpus
    models: Profile
    cluster: Cluster
    out: str
    retry: bool = False
    span_s: float = 60.0
    chunk_s: float = 30.0
    config: str = ""
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.span_s < 1:
            raise ValueError(f"`job.span_s` must be at least 1, but is {self.span_s:g}.")
        if not 1 <= self.chunk_s <= 30:
            raise ValueError(f"`job.chunk_s` must be from 1 to 30, but is {self.chunk_s:g}.")
        self.folder = Path(self.out).resolve()

    def graph(self) -> Graph:
        """The phases of this run."""
        return Graph(profile=self.models, run=self.folder, span_s=self.span_s, chunk_s=self.chunk_s)

    def __call__(self) -> int:
        """Run what is outstanding.

        Returns:
            0, also when rows failed: those stand in the tables, and `mien status` lists them.
        """
        graph = self.graph()
        with PeakMemory() as memory, Progress() as progress, locked(self.folder):
            began = time.perf_counter()
            files, skips = self.corpus.survey()
            record = self._keep(graph, files, skips)
            with session(self.cluster):
                started = time.perf_counter() - began
                try_once([phase.stages for phase in graph.phases.values()])
                tried = time.perf_counter() - began - started
                for name, phase in graph.phases.items():
                    manifest = graph.manifest(name, files)
                    report = run(
                        phase,
                        manifest,
                        self.folder,
                        spare_cpus=self.cluster.spare_cpus,
                        retry=self.retry,
                        stale=self._stale(graph, name, manifest),
                        progress=progress.show,
                    )
                    self.reports.append(report)
            flatten_utterances(graph)
            self._conclude(
                record,
                wall_s=time.perf_counter() - began,
                startup={"ray_s": started, "try_actors_s": tried},
                peak_memory_gb=memory.peak_gb,
            )
        progress.close(self.reports, self.folder)
        return 0

    def _stale(self, graph: Graph, name: str, manifest: pa.Table) -> frozenset[str]:
        """Timelines on old evidence, and those whose page was deleted."""
        if name != "timeline":
            return frozenset()
        videos = zip(manifest["id"].to_pylist(), manifest["video_id"].to_pylist(), strict=True)
        pages = {i for i, v in videos if not (self.folder / "videos" / v / "report.html").exists()}
        done = set(graph.table(name).read(["id"], status="ok")["id"].to_pylist())
        return graph.stale(manifest) | frozenset(pages & done)

    def _keep(self, graph: Graph, files: pa.Table, skips: list[Skip]) -> dict[str, Any]:
        """Write down what is about to run, so that `status` and `retry` find it."""
        record = {
            "mien": provenance.version(),
            "config": self.config,
            "corpus": {"files": len(files), "skipped": [skip._asdict() for skip in skips]},
            "tables": {name: graph.table(name).folder.name for name in graph.phases},
            "models": [
                {**stage.provenance(), "quality": stage.actor.quality}
                for phase in graph.phases.values()
                for stage in phase.stages
            ],
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "git": provenance.git(),
            "command": " ".join(["mien", *sys.argv[1:]]),
            "started": provenance.now(),
            "finished": None,
            "phases": [],
        }
        replace(self.folder / RECORD, _json(record))
        replace(self.folder / CORPUS, _parquet(files))
        return record

    def _conclude(self, record: dict[str, Any], **facts: Any) -> None:  # noqa: ANN401
        record.update(facts, finished=provenance.now())
        record["phases"] = [report.summary() for report in self.reports]
        replace(self.folder / RECORD, _json(record))
        write_index(self.folder, record)


def flatten_utterances(graph: Graph, group: int = 256) -> None:
    """Bring the table `utterances` up to the timelines: one row for each segment.

    A file holds whole videos, so a video's utterances stand there all or not at all. A timeline
    that was made anew comes with a higher `attempt`; the newest one of a video counts.
    """
    source = graph.table("timeline")
    table = utterances(graph)
    done = set(
        zip(*(table.read([c])[c].to_pylist() for c in ("timeline_id", "attempt")), strict=True)
    )
    rows = source.read(["id", "attempt"], status="ok").to_pylist()
    todo = [r["id"] for r in rows if (r["id"], r["attempt"]) not in done]
    for at in range(0, len(todo), group):
        flat = []
        for row in source.read(ids=todo[at : at + group], status="ok").to_pylist():
            for i, said in enumerate(row["utterances"] or []):
                key = {n: row[n] for n in ("video_id", "uri", "status", "attempt", "config_hash")}
                flat.append({**said, **key, "id": row_id(row["id"], i), "timeline_id": row["id"]})
        table.write(pa.Table.from_pylist(flat, schema=table.schema))


def utterances(graph: Graph) -> Table:
    """The flat table of what was said."""
    source = graph.table("timeline").folder
    schema = table_schema(UTTERANCES_ROW)
    return Table(source.with_name(source.name.replace("timeline", "utterances", 1)), schema)


_KEYS = set(table_schema().names)
UTTERANCES_ROW = pa.schema(
    [("timeline_id", pa.string()), *(f for f in UTTERANCES if f.name not in _KEYS)]
)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes off a run for as long as the block runs.

    Raises:
        BusyError: Another one holds it; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise BusyError(
                f"another process works on this run ({file.read().strip()}, folder '{folder}'). "
                "Wait for it, end it, or choose another `out`."
            ) from error
        file.truncate(0)
        file.write(provenance.who())
        file.flush()
        yield


def _json(value: Any) -> bytes:  # noqa: ANN401
    return json.dumps(value, indent=1, default=str).encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()
