"""`mien analyze`: a corpus of videos in; tables, timelines and pages out."""

import json
import logging
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..actors.budget import ledger_table
from ..cluster.deadline import Deadline
from ..cluster.disk import Disk, Guard
from ..cluster.execution import Terms, run
from ..cluster.findings import Store
from ..cluster.levels import Gate
from ..cluster.memory import PeakMemory
from ..cluster.phase import Phase
from ..cluster.report import Report
from ..cluster.session import Cluster
from ..cluster.watchdog import Watchdog
from ..cluster.waves import Again, outstanding, peeked
from ..datasets.corpus import Corpus, Skip
from ..datasets.store import place, replace
from . import provenance
from .clean import forget
from .conclude import MARK, mark
from .expected import expected
from .expected import record as plan_record
from .flat import flatten_utterances, utterances
from .forecast import Assumed, Forecast, forecast
from .fusion.rules import Rules
from .fusion.timeline import RULES
from .graph import Graph
from .lock import locked
from .logbook import Logbook
from .manifests import Segmentation
from .profile import Profile
from .progress import Progress
from .report import write_index
from .retain import Retain, refuse
from .status import RECORD
from .tally import CORPUS, kept, rows_of
from .workers import Workers

LEDGER = "ledger.parquet"
_WORK = ("plan", "phases", "startup", "wall_s", "peak_memory_gb", "least_available_gb")
log = logging.getLogger(__name__)


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
        fusion: How the evidence becomes a timeline.
        segmentation: How sound is cut for the role `laion_voice`.
        measured: Where measurements of `mien profile` are kept.
        assume: What an hour of media holds, where the run has no tables yet.
        disk: What must stay free.
        hung: How long an actor may take.
        retain: What identifies people and stays after the run.
        timelines: Whether the evidence becomes timelines and pages; else there are tables alone.
        config: The composed configuration, kept with the run.
    """

    corpus: Corpus
    models: Profile
    cluster: Cluster
    out: str
    retry: bool = False
    span_s: float = 60.0
    chunk_s: float = 30.0
    fusion: Rules = RULES
    segmentation: Segmentation = field(default_factory=Segmentation)
    measured: str = "~/.cache/mien/measured"
    assume: Assumed = field(default_factory=Assumed)
    disk: Disk = field(default_factory=Disk)
    hung: Deadline = field(default_factory=Deadline)
    retain: Retain = field(default_factory=Retain)
    timelines: bool = True
    config: str = ""
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.span_s < 1:
            raise ValueError(f"`job.span_s` must be at least 1, but is {self.span_s:g}.")
        if not 1 <= self.chunk_s <= 30:
            raise ValueError(f"`job.chunk_s` must be from 1 to 30, but is {self.chunk_s:g}.")
        self.folder = place(self.out)

    def graph(self) -> Graph:
        """The phases of this run."""
        return Graph(
            profile=self.models,
            run=self.folder,
            span_s=self.span_s,
            chunk_s=self.chunk_s,
            rules=self.fusion,
            segmentation=self.segmentation,
            pictures=self.retain.thumbnails,
            timelines=self.timelines,
        )

    def __call__(self) -> int:
        """Run what is outstanding.

        Returns:
            0, also when rows failed: those stand in the tables, and `mien status` lists them.
        """
        graph = self.graph()
        with (
            Watchdog(self.cluster.watchdog) as watchdog,
            PeakMemory() as memory,
            Progress() as progress,
            locked(self.folder),
        ):
            began = time.perf_counter()
            files, skips = self.corpus.survey()
            refuse(graph.phases.values(), self.folder)
            ahead = self.ahead(graph, files)
            warning = self.disk.judge(self.folder, ahead.gb)
            if warning:
                log.warning(warning)
            before = self._before()
            record = self._keep(graph, files, skips)
            book = Logbook(folder=self.folder, run=record["started"])
            book.say("run started", command=record["command"], files=len(files))
            with book.ended(), Workers(self.cluster, graph, self.hung) as workers:
                terms = self._terms(graph, ahead, workers, record, book)
                for names in graph.ranks():
                    reports = self._rank(graph, names, files, workers, terms, progress)
                    for report in reports:
                        book.phase(report.name, report.summary())
                    self.reports += reports
            if self.timelines:
                flatten_utterances(graph)
            freed = forget(self.folder, record, self.retain.gone)
            if freed:
                book.say("pictures and vectors of people removed", bytes=freed)
            record["dollars"] = self._ledger()
            if before and not any(report.todo for report in self.reports):
                record.update({name: before.get(name) for name in _WORK})  # nothing was done
            else:
                record["phases"] = [report.summary() for report in self.reports]
                record["startup"] = workers.startup
                record["wall_s"] = time.perf_counter() - began
                record["peak_memory_gb"] = memory.peak_gb
                record["least_available_gb"] = watchdog.lowest_gb
            record["finished"] = provenance.now()
            replace(self.folder / RECORD, _json(record))
            write_index(self.folder, record)
            book.say("run finished", wall_s=time.perf_counter() - began)
            book.write()
        progress.close(self.reports, self.folder)
        return 0

    def ahead(self, graph: Graph, files: pa.Table) -> Forecast:
        """What there is to do, as far as tables and headers tell, and assumptions beyond."""
        return forecast(graph, files, self.assume, partial(self._again, graph))

    def _terms(
        self,
        graph: Graph,
        ahead: Forecast,
        workers: Workers,
        record: dict[str, Any],
        book: Logbook,
    ) -> Terms:
        """Plan the run, and write the plan down.

        Raises:
            RefusedError: An actor does not fit the machine; nothing has been started.
        """
        if not any(rows.todo for rows in ahead.rows.values()):
            return Terms(environments=self.cluster.environments)
        machine, store = workers.machine(), Store(Path(self.measured).expanduser())
        planned = expected(graph, machine, ahead, store)
        record["plan"] = plan_record(planned, machine, ahead)
        replace(self.folder / RECORD, _json(record))
        return Terms(
            machine=self.cluster.machine,
            needs={name: one.needs for name, one in planned.items()},
            environments=self.cluster.environments,
            deadline=self.hung,
            admit=Gate(self.cluster.watchdog).admit,
            guard=Guard(folder=self.folder, disk=self.disk).check,
            finished=book.finished,
        )

    def _rank(
        self,
        graph: Graph,
        names: Sequence[str],
        files: pa.Table,
        workers: Workers,
        terms: Terms,
        progress: Progress,
    ) -> list[Report]:
        """Run phases that do not need each other: one after another, so that each has all cores.

        Where there are no more rows than cores (a single clip, the last failures), a phase would
        leave cores idle: then they run side by side, if each is a single pool. Of two phases with
        several pools each could hold what the other waits for.
        """
        again = {name: self._again(graph, name) for name in names}
        manifests = {
            name: kept(graph.groups(name, files), self.folder / rows_of(name)) for name in names
        }

        def show(report: Report) -> None:
            progress.show(report)
            workers.metrics.show(report)

        def one(name: str, manifest: Iterable[pa.Table]) -> Report:
            return run(
                graph.phases[name],
                manifest,
                self.folder,
                terms=terms,
                again=again[name],
                ready=partial(workers.ready, name),
                progress=show,
            )

        if len(names) == 1 or any(not _single(graph.phases[name]) for name in names):
            return [one(name, manifests[name]) for name in names]
        found = {name: peeked(manifests[name], 2) for name in names}
        todo = [
            sum(len(outstanding(graph.table(name), part, again[name])[0]) for part in first)
            for name, (first, _) in found.items()
        ]
        many = any(len(first) > 1 for first, _ in found.values())
        if many or min(todo) == 0 or sum(todo) > self.cluster.workers:
            return [one(name, every) for name, (_, every) in found.items()]
        workers.ready(names[0])
        futures = [workers.threads.submit(one, name, every) for name, (_, every) in found.items()]
        return [future.result() for future in futures]

    def _again(self, graph: Graph, name: str) -> Again:
        """What a phase does although it stands."""
        return Again(failed=self.retry, stale=partial(self._stale, graph, name))

    def _before(self) -> dict[str, Any] | None:
        """The record of the run that stands here, if it came to its end."""
        path = self.folder / RECORD
        record = json.loads(path.read_text()) if path.exists() else {}
        return record if record.get("finished") else None

    def _stale(self, graph: Graph, name: str, manifest: pa.Table) -> frozenset[str]:
        """Timelines on old evidence, and those whose page is gone or shows another one."""
        stale = graph.stale(name, manifest)
        if name != "timeline":
            return stale
        config_hash = graph.phases[name].hash
        videos = manifest["video_id"].to_pylist()
        rows = graph.table(name).read(["id"], video_ids=videos, status="ok")
        done = set(rows["id"].to_pylist())
        pages = {
            row["id"]
            for row in manifest.select(["id", "video_id", "digest"]).to_pylist()
            if not self._shown(row["video_id"], mark(config_hash, row["id"], row["digest"]))
        }
        return stale | frozenset(pages & done)

    def _shown(self, video_id: str, wanted: str) -> bool:
        """Whether a video's page and `timeline.json` stand, and show this timeline."""
        folder = self.folder / "videos" / video_id
        whole = all((folder / name).exists() for name in ("report.html", "timeline.json", MARK))
        return whole and (folder / MARK).read_text() == wanted

    def _ledger(self) -> float:
        """Write down what paid models were asked in this run; returns what it cost, in dollars."""
        ledger = ledger_table(self.folder / "api")
        if len(ledger):
            replace(self.folder / LEDGER, _parquet(ledger))
        return pc.sum(ledger["dollars"]).as_py() or 0.0

    def _keep(self, graph: Graph, files: pa.Table, skips: list[Skip]) -> dict[str, Any]:
        """Write down what is about to run, so that `status` and `retry` find it."""
        record = {
            "mien": provenance.version(),
            "config": self.config,
            "corpus": {"files": len(files), "skipped": [skip._asdict() for skip in skips]},
            "plan": None,
            "tables": {
                **{name: graph.table(name).folder.name for name in graph.phases},
                **({"utterances": utterances(graph).folder.name} if self.timelines else {}),
            },
            "models": graph.models(),
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "git": provenance.git(),
            "command": shlex.join(["mien", *sys.argv[1:]]),
            "started": provenance.now(),
            "finished": None,
            "phases": [],
        }
        replace(self.folder / RECORD, _json(record))
        replace(self.folder / CORPUS, _parquet(files))
        return record


def _single(phase: Phase) -> bool:
    """Whether a phase is one pool of plain workers."""
    return not any(stage.actor.gpus or stage.actor.environment for stage in phase.stages)


def _json(value: Any) -> bytes:  # noqa: ANN401
    return json.dumps(value, indent=1, default=str).encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()
