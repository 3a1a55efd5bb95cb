"""The main job's graph: its phases, and the manifest that each is run on.

Every manifest is a pure function of the tables before it, so a resumed run makes the same one.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..actors.transcript import chunks
from ..cluster.host import Stage
from ..cluster.phase import Phase
from ..datasets import schema
from ..datasets.ids import row_id
from ..datasets.table import Table
from ..datasets.video import spans
from .conclude import EVIDENCE, Conclude
from .fusion.rules import Rules
from .fusion.timeline import RULES
from .fusion.utterances import utterances_of
from .profile import Profile

ROLES = {
    "videos": ("probe",),
    "turns": ("voice_activity", "diarize"),
    "speech": ("transcribe",),
    "watch": ("watch", "identity"),
    "voice": ("prosody", "voice_affect", "text_affect"),
}
"""The chain of each phase, by role."""

UPSTREAM = {
    "videos": (),
    "turns": ("videos",),
    "speech": ("turns",),
    "watch": ("turns",),
    "voice": ("turns", "speech"),
    "timeline": ("turns", "speech", "watch", "voice"),
}
"""The tables that each phase's manifest is made from."""

REQUIRED = ("probe", "voice_activity", "diarize")
UTTERANCE_RULES = ("assignment", "fill_nearest_s", "max_gap_s", "max_utterance_s")

GROUP = 256
"""Videos whose rows are held in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The phases of a run, in order, and what their rows are.

    Attributes:
        profile: Fills the roles.
        run: The run's folder.
        span_s: Length of a watched span, at most.
        chunk_s: Length of a transcribed chunk, at most.
        rules: Of the fusion.
    """

    profile: Profile
    run: Path
    span_s: float
    chunk_s: float
    rules: Rules = RULES
    phases: dict[str, Phase] = field(init=False)

    def __post_init__(self) -> None:
        for role in REQUIRED:
            if not self.profile.roles.get(role):
                raise ValueError(
                    f"`models.roles` must fill {', '.join(map(repr, REQUIRED))}, which all else "
                    f"stands on, but leaves out {role!r}."
                )
        phases: dict[str, Phase] = {}
        rows_from = {
            "speech": {"chunk_s": self.chunk_s},
            "watch": {"span_s": self.span_s},
            "voice": {name: getattr(self.rules, name) for name in UTTERANCE_RULES},
        }
        for name, roles in ROLES.items():
            stages = self.profile.stages(roles)
            if stages:
                phases[name] = Phase(
                    name=name,
                    stages=stages,
                    upstream=_hashes(phases, name),
                    keeps=KEEPS[name],
                    rows_from=rows_from.get(name),
                )
        conclude = Conclude(
            rules=self.rules,
            run=str(self.run),
            tables={name: phase.table(self.run).folder.name for name, phase in phases.items()},
            models=[
                {**stage.provenance(), "quality": stage.actor.quality}
                for phase in phases.values()
                for stage in phase.stages
            ],
        )
        stage = Stage(role="conclude", actor=conclude)
        phases["timeline"] = Phase(
            name="timeline",
            stages=(stage,),
            upstream=_hashes(phases, "timeline"),
            keeps=KEEPS["timeline"],
        )
        object.__setattr__(self, "phases", phases)

    def ranks(self) -> list[list[str]]:
        """The phases in order; those that do not need each other stand together."""
        ranks: list[list[str]] = []
        for name in self.phases:
            if ranks and not set(UPSTREAM[name]) & set(ranks[-1]):
                ranks[-1].append(name)
            else:
                ranks.append([name])
        return ranks

    def table(self, name: str) -> Table:
        """A phase's table."""
        return self.phases[name].table(self.run)

    def manifest(self, name: str, files: pa.Table) -> pa.Table:
        """The rows of a phase, as far as the tables before it know them.

        Args:
            name: Of the phase.
            files: The corpus, as manifest of the `videos` phase.
        """
        if name == "videos":
            return files
        makers: dict[str, Callable[[Sequence[dict]], Iterator[dict]]] = {
            "turns": self._turns,
            "speech": self._speech,
            "watch": self._watch,
            "voice": self._voice,
            "timeline": self._timeline,
        }
        parts = [
            pa.Table.from_pylist(list(makers[name](group)), schema=MANIFESTS[name])
            for group in self._videos(files)
        ]
        return pa.concat_tables(parts or [MANIFESTS[name].empty_table()])

    def _videos(self, files: pa.Table) -> Iterator[list[dict]]:
        """Videos that could be probed, in groups."""
        columns = ["id", "fingerprint", "duration_s", "fps", "has_video", "has_audio"]
        rows = self.table("videos").read(columns, ids=files["id"].to_pylist(), status="ok")
        listed = files.select(["id", "video_id", "uri"]).to_pylist()
        places = {file["id"]: file for file in listed}  # the corpus may have been moved
        videos = [{**row, **places[row["id"]]} for row in rows.to_pylist()]
        videos.sort(key=lambda v: v["video_id"])
        for video in videos:  # of unknown length: nothing to watch, and still a timeline
            video["duration_s"] = video["duration_s"] or 0.0
        for at in range(0, len(videos), GROUP):
            yield videos[at : at + GROUP]

    def _rows(self, name: str, columns: Sequence[str], videos: Sequence[dict]) -> dict[str, list]:
        """Rows of some videos that are done and belong to the content they have now."""
        names = [v["video_id"] for v in videos]
        if name not in self.phases:
            return {video: [] for video in names}
        prints = {v["video_id"]: v["fingerprint"] for v in videos}
        found = self.table(name).by_video([*columns, "fingerprint", "status"], names)
        return {
            video: [r for r in rows if r["fingerprint"] == prints[video] and r["status"] == "ok"]
            for video, rows in found.items()
        }

    def _turns(self, videos: Sequence[dict]) -> Iterator[dict]:
        for video in videos:
            yield {**_row("turns", video, 0.0, video["duration_s"]), **_some(video, "has_audio")}

    def _speech(self, videos: Sequence[dict]) -> Iterator[dict]:
        turns = self._rows("turns", ["speech"], videos)
        for video in videos:
            for row in turns[video["video_id"]]:
                for start, stop in chunks(_spans(row["speech"] or []), max_s=self.chunk_s):
                    yield _row("speech", video, start, stop)

    def _watch(self, videos: Sequence[dict]) -> Iterator[dict]:
        turns = self._rows("turns", ["speech"], videos)
        for video in videos:
            known = turns[video["video_id"]]
            speech = known[0]["speech"] if known else None
            for start, stop in (
                spans(video["duration_s"], self.span_s) if video["has_video"] else []
            ):
                row = _row("watch", video, start, stop, "unheard" if speech is None else "heard")
                yield {**row, "fps": video["fps"], "speech": speech}

    def _voice(self, videos: Sequence[dict]) -> Iterator[dict]:
        turns = self._rows("turns", ["turns", "exclusive_turns"], videos)
        speech = self._rows("speech", ["words"], videos)
        for video in videos:
            for row in turns[video["video_id"]]:
                words = [w for r in speech[video["video_id"]] for w in r["words"] or []]
                for said in self._utterances({**row, "words": words}):
                    start, stop = said["start_s"], said["stop_s"]
                    name = (said["speaker"], said["text"])
                    yield {**_row("voice", video, start, stop, *name), **_some(said, *_SAID)}

    def _utterances(self, heard: dict) -> list[dict]:
        rules = self.rules
        return utterances_of(
            heard,
            rule=rules.assignment,
            fill_nearest_s=rules.fill_nearest_s,
            max_gap_s=rules.max_gap_s,
            max_s=rules.max_utterance_s,
        )

    def _timeline(self, videos: Sequence[dict]) -> Iterator[dict]:
        names = [v["video_id"] for v in videos]
        evidence: dict[str, list[dict]] = {name: [] for name in names}
        wanted = self._current(videos)
        for table in self.phases:
            if table not in ("videos", "timeline"):
                for row in self.table(table).locate(names):
                    if row["id"] in wanted[table]:
                        evidence[row["video_id"]].append({**_some(row, *_EVIDENCE), "table": table})
        for video in videos:
            found = sorted(evidence[video["video_id"]], key=lambda e: (e["table"], e["id"]))
            state = str([video["uri"], *((e["id"], e["attempt"]) for e in found)])
            digest = hashlib.sha256(state.encode()).hexdigest()[:16]
            row = _row("timeline", video, 0.0, video["duration_s"])
            yield {**row, "evidence": found, "digest": digest}

    def _current(self, videos: Sequence[dict]) -> dict[str, set[str]]:
        """Ids of the rows that the manifests of these videos hold now."""
        makers = {"turns": self._turns, "speech": self._speech, "watch": self._watch}
        makers["voice"] = self._voice
        return {
            name: {row["id"] for row in make(videos)} if name in self.phases else set()
            for name, make in makers.items()
        }

    def stale(self, manifest: pa.Table) -> frozenset[str]:
        """Timelines that stand, but on other evidence than there is now."""
        known = self.table("timeline").read(["id", "digest"])
        digests = dict(zip(known["id"].to_pylist(), known["digest"].to_pylist(), strict=True))
        rows = zip(manifest["id"].to_pylist(), manifest["digest"].to_pylist(), strict=True)
        return frozenset(i for i, digest in rows if digests.get(i, digest) != digest)


_SAID = ("speaker", "text", "words")
_EVIDENCE = ("id", "attempt", "file")
_CONTENT = pa.field("fingerprint", pa.string())

MANIFESTS = {
    "turns": pa.schema([*schema.KEY, _CONTENT, ("has_audio", pa.bool_())]),
    "speech": pa.schema([*schema.KEY, _CONTENT]),
    "watch": pa.schema([*schema.KEY, _CONTENT, ("fps", schema.F64), *schema.SPEECH_ACTIVITY]),
    "voice": pa.schema(
        [*schema.KEY, _CONTENT, *schema.UTTERANCE_TEXT, schema.TRANSCRIPT.field("words")]
    ),
    "timeline": pa.schema([*schema.KEY, _CONTENT, ("evidence", EVIDENCE), ("digest", pa.string())]),
}
"""Columns of each phase's manifest."""

KEEPS = {
    "videos": pa.schema([]),
    **{name: pa.schema([_CONTENT]) for name in ("turns", "speech", "watch")},
    "voice": pa.schema([_CONTENT, *schema.UTTERANCE_TEXT, schema.TRANSCRIPT.field("words")]),
    "timeline": pa.schema([_CONTENT, ("digest", pa.string())]),
}
"""Which of those stand in the table."""


def _hashes(phases: dict[str, Phase], name: str) -> tuple[str, ...]:
    return tuple(phases[up].hash for up in UPSTREAM[name] if up in phases)


def _row(table: str, video: dict, start_s: float, stop_s: float, *more: object) -> dict[str, Any]:
    name, content = video["video_id"], video["fingerprint"]
    return {
        "id": row_id(table, name, content, float(start_s), float(stop_s), *more),
        "video_id": name,
        "uri": video["uri"],
        "start_s": start_s,
        "stop_s": stop_s,
        "fingerprint": content,
    }


def _some(record: dict, *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names}


def _spans(records: Sequence[dict]) -> list[tuple[float, float]]:
    return [(r["start_s"], r["stop_s"]) for r in records]


def media_s(files: pa.Table, table: Table) -> float:
    """Length of the corpus as far as it could be probed, seconds."""
    rows = table.read(["duration_s"], ids=files["id"].to_pylist(), status="ok")
    return pc.sum(rows["duration_s"]).as_py() or 0.0
