"""The fusion, judged on a run of `mien analyze`, whose tables are fused anew.

Rules learn nothing: the outer folds hold out videos so that rules which were tuned are judged on
videos that did not take part in the choice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from ...actors.answers import content_hash
from ...cluster.session import Cluster
from ...datasets.schema import LABELS
from ...datasets.store import Place
from ..conclude import Conclude
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import predictions
from ..evaluation.results import measured
from ..evaluation.scores import METRICS, confusion
from ..fusion.evidence import Evidence
from ..fusion.rules import Rules
from ..fusion.timeline import RULES, fuse
from ..gather import Gather
from ..profile import Profile
from ..status import opened
from ..tally import CORPUS

if TYPE_CHECKING:
    from ..analyze import Analyze
    from ..graph import Graph

COLUMNS = ("video", "start_s", "stop_s", "emotion")
NONE = "none"
"""What is predicted where the fusion has no utterance, or none with an emotion."""
NAME, SPLIT, SYSTEM, FREQUENT = "timeline", "videos", "fusion", "most frequent label"
BASE = RULES.base
WEIGHTS = tuple(f"{name}_weight" for name in BASE)


@dataclass(kw_only=True)
class Timeline:
    """The emotion of utterances, as the fusion has it, against labels of the same spans.

    Attributes:
        folder: Folder of a run of `mien analyze`.
        truth: CSV with the columns video (its name below the corpus), start_s, stop_s, emotion.
        rules: Of the fusion.
        parts: Into how many parts the videos are cut; each is held out once.
        headline: The metric that ranks.
    """

    folder: str
    truth: str
    rules: Rules = RULES
    parts: int = 5
    headline: str = "macro_f1"
    name: str = NAME
    labels: tuple[str, ...] = (*LABELS, NONE)
    _spans: dict[str, list[dict[str, Any]]] = field(default_factory=dict, init=False, repr=False)
    _evidence: dict[str, Evidence] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.parts < 2:
            raise ValueError(f"`benchmark.parts` must be at least 2, but is {self.parts}.")
        if self.headline not in METRICS:
            raise ValueError(
                f"`benchmark.headline` must be one of {', '.join(METRICS)}, but is "
                f"{self.headline!r}."
            )

    def extraction(self) -> str:
        """Hash of the tables that are fused: some of the rules decide what an utterance is."""
        return " ".join(_graph(self.folder, self.rules).phases["timeline"].upstream)

    def prepare(self, cluster: Cluster, folder: Place) -> None:
        """Read the evidence of the videos that the truth names; starts nothing.

        Raises:
            ValueError: The truth does not fit the run, or the run was not made with these rules.
        """
        if self._evidence:
            return
        self._spans = spans(self.truth, self.labels)
        found = gathered(self.folder, self.rules)
        missing = sorted(set(self._spans) - set(found))
        if missing:
            raise ValueError(
                f"`benchmark.truth` names {missing[0]!r}, but {self.folder!r} has no such video; "
                f"it has {', '.join(sorted(found)[:3])} ..."
            )
        if len(self._spans) < self.parts:
            raise ValueError(
                f"`benchmark.parts` must be at most {len(self._spans)} (the videos with truth), "
                f"but is {self.parts}."
            )
        self._evidence = {video: found[video] for video in self._spans}

    def content(self) -> str:
        """Hash of the labelled spans."""
        return content_hash(self._spans)

    def folds(self) -> list[str]:
        """Names of the parts."""
        return [f"part {number}" for number in range(1, self.parts + 1)]

    def tune(self, fold: str) -> Iterator[float]:
        """Score of the videos that a part does not hold out."""
        held = self._held(fold)
        yield self._score([video for video in self._spans if video not in held])

    def judge(self, fold: str) -> pa.Table:
        """What the fusion says of the videos that a part holds out."""
        return self._predictions(self._held(fold), fold)

    def run(self, cluster: Cluster, folder: Place, models: Profile) -> Outcome:
        """Judge the fusion, each of its channels alone, and the most frequent label."""
        self.prepare(cluster, folder)
        channels = {name: dict.fromkeys(WEIGHTS, 0.0) | {f"{name}_weight": 1.0} for name in BASE}
        systems = {SYSTEM: self} | {
            f"{name} alone": self._with(replace(self.rules, **weights))
            for name, weights in channels.items()
        }
        said = [
            task._predictions(list(self._spans), "all", system) for system, task in systems.items()
        ]
        truth = said[0]["truth"].to_pylist()
        most = max(self.labels, key=truth.count)
        frequent = pa.array([most] * len(truth), pa.string())
        place = said[0].schema.get_field_index("predicted")
        baseline = said[0].set_column(place, "predicted", frequent)
        place = baseline.schema.get_field_index("system")
        named = pa.array([FREQUENT] * len(truth), pa.string())
        answered = pa.concat_tables([*said, baseline.set_column(place, "system", named)])
        inputs = {SYSTEM: "face, voice, text"} | {f"{name} alone": name for name in BASE}
        return Outcome(
            title=f"Fusion on {self.folder}",
            benchmark=NAME,
            labels=self.labels,
            headline=self.headline,
            predictions=answered,
            results=measured(
                NAME,
                answered,
                labels=self.labels,
                inputs=inputs,
                kinds={FREQUENT: "baseline"},
                metrics=list(dict.fromkeys((self.headline, "accuracy", "weighted_f1"))),
                split=SPLIT,
            ),
            notes=[
                f"{len(truth)} labelled spans of {len(self._spans)} videos; each is answered by "
                "the utterance that it shares most time with.",
                f"Where there is none, or no emotion, the answer is {NONE!r}, and wrong.",
                "Rules learn nothing from these labels, unless a sweep has chosen them.",
            ],
        )

    def _with(self, rules: Rules) -> "Timeline":
        """The same, with other rules and the evidence that was read."""
        other = replace(self, rules=rules)
        other._spans, other._evidence = self._spans, self._evidence
        return other

    def _held(self, fold: str) -> list[str]:
        number = self.folds().index(fold)
        return sorted(self._spans)[number :: self.parts]

    def _score(self, videos: Sequence[str]) -> float:
        table = self._predictions(videos, "")
        counts = confusion(table["truth"].to_pylist(), table["predicted"].to_pylist(), self.labels)
        return float(METRICS[self.headline](counts))

    def _predictions(self, videos: Sequence[str], fold: str, system: str = SYSTEM) -> pa.Table:
        rows = [
            (video, span, predicted)
            for video in videos
            for span, predicted in zip(
                self._spans[video],
                answered(self._evidence[video], self.rules, self._spans[video]),
                strict=True,
            )
        ]
        return predictions(
            benchmark=NAME,
            system=system,
            split=SPLIT,
            fold=fold,
            ids=[f"{video} {span['start_s']:g}-{span['stop_s']:g}" for video, span, _ in rows],
            groups=[video for video, _, _ in rows],
            truth=[span["emotion"] for _, span, _ in rows],
            predicted=[predicted for _, _, predicted in rows],
        )


def answered(evidence: Evidence, rules: Rules, spans: Sequence[Mapping[str, Any]]) -> list[str]:
    """The emotion of the utterance that shares most time with each span."""
    segments = fuse(evidence, rules)["segments"]
    starts = np.array([one["start"] for one in segments])
    stops = np.array([one["end"] for one in segments])
    found = []
    for span in spans:
        shared = np.minimum(stops, span["stop_s"]) - np.maximum(starts, span["start_s"])
        best = int(shared.argmax()) if len(segments) else 0
        known = len(segments) and shared[best] > 0
        found.append((segments[best]["emotion"]["dominant"] if known else None) or NONE)
    return found


def spans(path: str, labels: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Read labelled spans by video.

    Args:
        path: CSV with the columns video, start_s, stop_s, emotion.
        labels: All there are.

    Raises:
        ValueError: A column or a label is unknown, or a span is empty.
    """
    table = csv.read_csv(
        path, convert_options=csv.ConvertOptions(column_types={"video": pa.string()})
    )
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(
            f"'{path}' must have the columns {', '.join(COLUMNS)}, but lacks {missing[0]}."
        )
    found: dict[str, list[dict[str, Any]]] = {}
    for line, row in enumerate(table.select(COLUMNS).to_pylist(), start=2):
        if row["emotion"] not in labels:
            raise ValueError(
                f"`emotion` must be one of {', '.join(labels)}, but is {row['emotion']!r} "
                f"('{path}', line {line})."
            )
        if not row["start_s"] < row["stop_s"]:
            raise ValueError(
                f"`stop_s` must be greater than `start_s` ({row['start_s']:g}), but is "
                f"{row['stop_s']:g} ('{path}', line {line})."
            )
        found.setdefault(row["video"], []).append(row)
    return found


def gathered(folder: str, rules: Rules) -> dict[str, Evidence]:
    """Read the evidence of a run by video.

    Raises:
        ValueError: With these rules some of its tables would be others.
    """
    graph = _graph(folder, rules)
    conclude = graph.phases["timeline"].stages[-1].actor
    assert isinstance(conclude, Conclude)
    known = opened(folder)[1]["tables"]
    other = [name for name, made in conclude.tables.items() if known.get(name) != made]
    if other:
        raise ValueError(
            f"these rules change the tables {', '.join(other)} of {folder!r}: give `mien analyze` "
            "with them (`job.fusion...`) first."
        )
    gather = Gather(run=conclude.run, tables=conclude.tables, likeness=conclude.likeness)
    files = pq.read_table(pa.BufferReader((graph.run / CORPUS).read_bytes()))
    return {
        row["video_id"]: evidence
        for rows in graph.groups("timeline", files)
        for row, evidence in gather(rows)
    }


def _graph(folder: str, rules: Rules) -> "Graph":
    """The phases of a run, had it been made with these rules."""
    return replace(_analyze(folder), fusion=rules).graph()


@lru_cache(maxsize=1)
def _analyze(folder: str) -> "Analyze":
    """The job that made a run, built from its record."""
    from ..main import built  # the configuration is read where Hydra is known

    run, record = opened(folder)
    cfg = OmegaConf.create(record["config"])
    cfg.out = str(run)
    job: Any = built(cfg.job)
    return job
