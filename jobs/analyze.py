"""`mien analyze`: a corpus of videos in; tables, timelines and pages out."""

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..actors.budget import ledger_table
from ..cluster.host import Stage
from ..cluster.memory import PeakMemory
from ..cluster.phase import check_schedulable, outstanding, run
from ..cluster.report import Report
from ..cluster.session import Cluster, session
from ..cluster.trial import Trial
from ..datasets.corpus import Corpus, Skip
from ..datasets.table import replace
from . import provenance
from .conclude import MARK, mark
from .flat import flatten_utterances, utterances
from .fusion.rules import Rules
from .fusion.timeline import RULES
from .graph import Graph
from .lock import locked
from .manifests import Segmentation
from .profile import Profile
from .progress import Progress
from .report import write_index
from .status import CORPUS, RECORD, rows_of

LEDGER = "ledger.parquet"
_WORK = ("phases", "startup", "wall_s", "peak_memory_gb")


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
        return Graph(
            profile=self.models,
            run=self.folder,
            span_s=self.span_s,
            chunk_s=self.chunk_s,
            rules=self.fusion,
            segmentation=self.segmentation,
        )

    def __call__(self) -> int:
        """Run what is outstanding.

        Returns:
            0, also when rows failed: those stand in the tables, and `mien status` lists them.
        """
        graph = self.graph()
        with PeakMemory() as memory, Progress() as progress, locked(self.folder):
            began = time.perf_counter()
            files, skips = self.corpus.survey()
            before = self._before()
            record = self._keep(graph, files, skips)
            with Workers(self.cluster, graph) as workers:
                for names in graph.ranks():
                    self.reports += self._rank(graph, names, files, workers, progress)
            flatten_utterances(graph)
            record["dollars"] = self._ledger()
            if before and not any(report.todo for report in self.reports):
                record.update({name: before.get(name) for name in _WORK})  # nothing was done
            else:
                record["phases"] = [report.summary() for report in self.reports]
                record["startup"] = workers.startup
                record["wall_s"] = time.perf_counter() - began
                record["peak_memory_gb"] = memory.peak_gb
            record["finished"] = provenance.now()
            replace(self.folder / RECORD, _json(record))
            write_index(self.folder, record)
        progress.close(self.reports, self.folder)
        return 0

    def _rank(
        self,
        graph: Graph,
        names: Sequence[str],
        files: pa.Table,
        workers: "Workers",
        progress: Progress,
    ) -> list[Report]:
        """Run phases that do not need each other: one after another, so that each has all cores.

        Where there are no more rows than cores (a single clip, the last failures), a phase would
        leave cores idle: then they run side by side, if each is a single pool. Of two phases with
        several pools each could hold what the other waits for.
        """
        manifests = {name: graph.manifest(name, files) for name in names}
        stale = {name: self._stale(graph, name, manifests[name]) for name in names}
        for name, manifest in manifests.items():
            replace(self.folder / rows_of(name), _parquet(manifest.select(["id"])))

        def one(name: str) -> Report:
            return run(
                graph.phases[name],
                manifests[name],
                self.folder,
                spare_cpus=self.cluster.spare_cpus,
                environments=self.cluster.environments,
                retry=self.retry,
                stale=stale[name],
                ready=partial(workers.ready, name),
                progress=progress.show,
            )

        todo = [
            len(outstanding(graph.table(n), manifests[n], retry=self.retry, stale=stale[n])[0])
            for n in names
        ]
        alone = any(
            s.actor.gpus or s.actor.environment for n in names for s in graph.phases[n].stages
        )
        if min(todo) == 0 or len(names) == 1 or sum(todo) > self.cluster.workers or alone:
            return [one(name) for name in names]
        workers.ready(names[0])
        futures = [workers.threads.submit(one, name) for name in names]
        return [future.result() for future in futures]

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
        done = set(graph.table(name).read(["id"], status="ok")["id"].to_pylist())
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
            "tables": {
                **{name: graph.table(name).folder.name for name in graph.phases},
                "utterances": utterances(graph).folder.name,
            },
            "models": graph.models(),
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


class Workers:
    """Ray, started when the first phase has rows to do, and the trial of all actors.

    Attributes:
        startup: Seconds until Ray stood, and spent waiting for the trial.
        threads: For phases side by side.
    """

    def __init__(self, cluster: Cluster, graph: Graph) -> None:
        self.startup: dict[str, float] = {}
        self._cluster, self._graph = cluster, graph
        self._stack = ExitStack()
        self.threads = ThreadPoolExecutor()
        self._stack.callback(self.threads.shutdown)  # last: after Ctrl-C, Ray's end ends them
        self._trial: Trial | None = None

    def ready(self, phase: str) -> None:
        """Make sure that a phase can run.

        Raises:
            SetupError: An actor of the run cannot be set up.
        """
        began = time.perf_counter()
        if self._trial is None:
            self._stack.enter_context(session(self._cluster))
            check_schedulable(self._graph.phases.values(), self._cluster.spare_cpus)
            self._trial = Trial(light(self._graph), self._cluster.environments)
            self.startup["ray_s"] = time.perf_counter() - began
        if phase != "videos" and "await_trial_s" not in self.startup:
            began = time.perf_counter()  # probing needs no model: it filled the wait
            self._trial.wait()
            self.startup["await_trial_s"] = time.perf_counter() - began

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def light(graph: Graph) -> list[list[Stage]]:
    """The chains of a run without the actors that load weights.

    Those would be loaded twice, and perhaps onto a device that is not theirs; a worker that cannot
    set one up says so itself, when its phase comes.
    """
    chains = ([s for s in p.stages if not s.actor.weights()] for p in graph.phases.values())
    return [chain for chain in chains if chain]


def _json(value: Any) -> bytes:  # noqa: ANN401
    return json.dumps(value, indent=1, default=str).encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()
