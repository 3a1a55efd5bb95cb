"""The rows of each phase: pure functions of the tables before it.

A resumed run makes the same manifests, hence the same ids.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..actors.transcript import chunks
from ..datasets import schema
from ..datasets.ids import row_id
from ..datasets.segmentation import MODES, segment
from ..datasets.store import Place
from ..datasets.table import Table
from ..datasets.video import spans
from .fusion.rules import Rules
from .fusion.utterances import utterances_of
from .gather import EVIDENCE
from .recall import POINTER, POINTERS

GROUP = 64
"""Videos whose rows are held in memory at a time: of half an hour each, 20 000 utterances."""
SUPERSEDED = ("turns", "speech", "watch")
"""Tables whose rows others can take the place of, for the same content."""
CONCLUSIONS = ("moments", "timeline")
"""Phases that fuse the evidence of a whole video."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """How sound is cut for the models that judge segments rather than utterances.

    Attributes:
        mode: `fixed`, `turns`, `scenes` or `voice_activity`; see `datasets.laion.segment`.
        pps: Predictions per second in the mode `fixed`; 0 takes the file whole, up to 30 s.
    """

    mode: str = "turns"
    pps: float = 0.2

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(
                f"`job.segmentation.mode` must be one of {', '.join(MODES)}, but is {self.mode!r}."
            )


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """What rows there are, as far as the tables know.

    Attributes:
        tables: Of the phases, by name.
        run: The run's folder.
        span_s: Length of a watched span, at most.
        chunk_s: Length of a transcribed chunk, at most.
        rules: Of the fusion.
        segmentation: Of the sound.
    """

    tables: Mapping[str, Table]
    run: Place
    span_s: float
    chunk_s: float
    rules: Rules
    segmentation: Segmentation = field(default_factory=Segmentation)

    def groups(self, name: str, files: pa.Table) -> Iterator[pa.Table]:
        """The rows of a phase, some videos at a time, so that memory does not grow with the corpus.

        Videos come in the order of their names, and so do their rows in every table: a file holds
        a short range of videos, and a group is found in few files (`datasets/scan.py`).

        Args:
            name: Of the phase.
            files: The corpus, as manifest of the `videos` phase.

        Yields:
            All rows of the phase for at most `GROUP` videos; groups without a row are left out.
        """
        files = files.sort_by("video_id")
        for at in range(0, len(files), GROUP):
            group = files.slice(at, GROUP)
            if name == "videos":
                yield group
            else:
                rows = list(self._makers[name](self._videos(group)))
                if rows:
                    yield pa.Table.from_pylist(rows, schema=MANIFESTS[name])

    def of(self, name: str, files: pa.Table) -> pa.Table:
        """The rows of a phase, all at once: for a corpus that is small."""
        schema = files.schema if name == "videos" else MANIFESTS[name]
        return pa.concat_tables([schema.empty_table(), *self.groups(name, files)])

    @property
    def _makers(self) -> dict[str, Callable[[Sequence[dict]], Iterator[dict]]]:
        return {
            "sound": self._sound,
            "turns": self._turns,
            "speech": self._speech,
            "watch": self._watch,
            "faces": self._faces,
            "micro": self._micro,
            "segments": self._segments,
            "voice": self._voice,
            "moments": self._moments,
            "notes": self._notes,
            "timeline": self._timeline,
        }

    def _videos(self, files: pa.Table) -> list[dict]:
        """Those of some videos that could be probed, by name."""
        columns = ["id", "fingerprint", "duration_s", "fps", "has_video", "has_audio"]
        rows = self.tables["videos"].read(
            columns,
            video_ids=files["video_id"].to_pylist(),
            ids=files["id"].to_pylist(),
            status="ok",
        )
        listed = files.select(["id", "video_id", "uri"]).to_pylist()
        places = {file["id"]: file for file in listed}  # the corpus may have been moved
        videos = [{**row, **places[row["id"]]} for row in rows.to_pylist()]
        for video in videos:  # of unknown length: nothing to watch, and still a timeline
            video["duration_s"] = video["duration_s"] or 0.0
        return sorted(videos, key=lambda v: v["video_id"])

    def _rows(self, name: str, columns: Sequence[str], videos: Sequence[dict]) -> dict[str, list]:
        """Rows of some videos that are done and belong to the content they have now."""
        names = [v["video_id"] for v in videos]
        if name not in self.tables:
            return {video: [] for video in names}
        prints = {v["video_id"]: v["fingerprint"] for v in videos}
        found = self.tables[name].by_video([*columns, "id", "fingerprint", "status"], names)
        replaced = name in SUPERSEDED and ("sound" in self.tables or name == "watch")
        now = {r["id"] for r in self._makers[name](videos)} if replaced else None
        return {
            video: [
                r
                for r in rows
                if r["fingerprint"] == prints[video]
                and r["status"] == "ok"
                and (now is None or r["id"] in now)
            ]
            for video, rows in found.items()
        }

    def _enhanced(self, videos: Sequence[dict]) -> dict[str, str | None]:
        """Where the enhanced sound of each video lies; the run may have been moved."""
        found = self._rows("sound", ["sound_uri"], videos)
        uris = {video: next((r["sound_uri"] for r in rows), None) for video, rows in found.items()}
        return {
            video: None if uri is None else str(self.run / "sound" / Path(uri).name)
            for video, uri in uris.items()
        }

    def _sound(self, videos: Sequence[dict]) -> Iterator[dict]:
        for video in videos:
            yield {**_row("sound", video, 0.0, video["duration_s"]), **_some(video, "has_audio")}

    def _turns(self, videos: Sequence[dict]) -> Iterator[dict]:
        sound = self._enhanced(videos)
        for video in videos:
            uri = sound[video["video_id"]]
            row = _row("turns", video, 0.0, video["duration_s"], *_heard(uri))
            yield {**row, **_some(video, "has_audio"), "sound_uri": uri}

    def _speech(self, videos: Sequence[dict]) -> Iterator[dict]:
        turns, sound = self._rows("turns", ["speech"], videos), self._enhanced(videos)
        for video in videos:
            for row in turns[video["video_id"]]:
                for start, stop in chunks(_spans(row["speech"] or []), max_s=self.chunk_s):
                    uri = sound[video["video_id"]]
                    found = _row("speech", video, start, stop, *_heard(uri))
                    yield {**found, "sound_uri": uri}

    def _watch(self, videos: Sequence[dict]) -> Iterator[dict]:
        turns = self._rows("turns", ["speech"], videos)
        for video in videos:
            known = turns[video["video_id"]]
            speech = known[0]["speech"] if known else None
            for start, stop in (
                spans(video["duration_s"], self.span_s) if video["has_video"] else []
            ):
                row = _row("watch", video, start, stop, "unheard" if speech is None else "heard")
                heard = None if speech is None else _within(speech, start, stop)
                yield {**row, "fps": video["fps"], "speech": heard}

    def _faces(self, videos: Sequence[dict]) -> Iterator[dict]:
        for video, row in self._watched(videos):
            found = _row("faces", video, row["start_s"], row["stop_s"], row["id"])
            yield {**found, "watched": _some(row, *_FILE)}

    def _micro(self, videos: Sequence[dict]) -> Iterator[dict]:
        turns = self._rows("turns", ["speech"], videos)
        for video, row in self._watched(videos):
            start, stop = row["start_s"], row["stop_s"]
            heard = [one for known in turns[video["video_id"]] for one in known["speech"] or []]
            found = _row("micro", video, start, stop, row["id"])
            said = _within(heard, start, stop)
            yield {**found, **_some(video, "fps"), "speech": said, "watched": _some(row, *_FILE)}

    def _watched(self, videos: Sequence[dict]) -> Iterator[tuple[dict, dict]]:
        """The watched spans that stand, with the files that hold them."""
        by_name = {video["video_id"]: video for video in videos}
        now = {row["id"] for row in self._watch(videos)}
        rows = self.tables["watch"].locate(list(by_name))
        done = [r for r in rows if r["id"] in now and r["status"] == "ok"]
        for row in sorted(done, key=lambda r: (r["video_id"], r["start_s"])):
            yield by_name[row["video_id"]], row

    def _segments(self, videos: Sequence[dict]) -> Iterator[dict]:
        heard = self._rows("turns", ["speech", "exclusive_turns"], videos)
        needs_cuts = self.segmentation.mode == "scenes"
        seen = self._rows("watch", ["cuts"], videos) if needs_cuts else {}
        for video in videos:
            if video["has_audio"]:
                row = next(iter(heard[video["video_id"]]), {})
                cuts = [
                    c["time_s"] for r in seen.get(video["video_id"], []) for c in r["cuts"] or []
                ]
                for start, stop in segment(
                    self.segmentation.mode,
                    duration_s=video["duration_s"],
                    pps=self.segmentation.pps,
                    turns=_spans(row.get("exclusive_turns") or []),
                    cuts=sorted(cuts),
                    speech=_spans(row.get("speech") or []),
                ):
                    yield _row("segments", video, start, stop)

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

    def _moments(self, videos: Sequence[dict]) -> Iterator[dict]:
        evidence = [n for n in self.tables if n not in ("videos", "notes", *CONCLUSIONS)]
        yield from self._concluded("moments", evidence, videos)

    def _timeline(self, videos: Sequence[dict]) -> Iterator[dict]:
        evidence = [n for n in self.tables if n not in ("videos", "timeline")]
        yield from self._concluded("timeline", evidence, videos)

    def _concluded(
        self, phase: str, tables: Sequence[str], videos: Sequence[dict]
    ) -> Iterator[dict]:
        """A row per video, with all evidence that some tables hold, and a digest of it."""
        names = [v["video_id"] for v in videos]
        evidence: dict[str, list[dict]] = {name: [] for name in names}
        for table in tables:
            wanted = {row["id"] for row in self._makers[table](videos)}
            for row in self.tables[table].locate(names):
                if row["id"] in wanted:
                    evidence[row["video_id"]].append({**_some(row, *_EVIDENCE), "table": table})
        for video in videos:
            found = sorted(evidence[video["video_id"]], key=lambda e: (e["table"], e["id"]))
            state = str([video["uri"], *((e["id"], e["attempt"]) for e in found)])
            digest = hashlib.sha256(state.encode()).hexdigest()[:16]
            row = _row(phase, video, 0.0, video["duration_s"])
            yield {**row, "evidence": found, "digest": digest}

    def _notes(self, videos: Sequence[dict]) -> Iterator[dict]:
        places = {row["id"]: row["file"] for _, row in self._watched(videos)}
        moments = self._rows("moments", ["moments"], videos)
        for video in videos:
            for row in moments[video["video_id"]]:
                for moment in row["moments"] or []:
                    said = [
                        moment[name] for name in ("kind", "reason", "speaker", "text", "context")
                    ]
                    if any(f["id"] not in places for f in moment["frames"]):
                        continue  # of spans that were watched anew: chosen again before it is shown
                    frames = [{**f, "file": places[f["id"]]} for f in moment["frames"]]
                    at = [(f["id"], f["index"]) for f in frames]
                    found = _row("notes", video, moment["start_s"], moment["stop_s"], *said, at)
                    yield {**found, **_some(moment, *schema.MOMENT.names), "frames": frames}


def _heard(sound_uri: str | None) -> tuple[str, ...]:
    """Part of the name of what was heard in enhanced sound: the plain sound has other rows."""
    return ("enhanced",) if sound_uri else ()


_SAID = ("speaker", "text", "words")
_EVIDENCE = ("id", "attempt", "file")
_FILE = ("file", "id")
_CONTENT = pa.field("fingerprint", pa.string())
_AUDIO = [("has_audio", pa.bool_())]
_SPOKEN: list = [*schema.UTTERANCE_TEXT, schema.TRANSCRIPT.field("words")]
_FUSED = [("evidence", EVIDENCE), ("digest", pa.string())]

MANIFESTS = {
    name: pa.schema([*schema.KEY, _CONTENT, *more])
    for name, more in {
        "sound": _AUDIO,
        "turns": [*_AUDIO, *schema.SOUND],
        "speech": schema.SOUND,
        "watch": [("fps", schema.F64), *schema.SPEECH_ACTIVITY],
        "faces": [("watched", POINTER)],
        "micro": [("fps", schema.F64), *schema.SPEECH_ACTIVITY, ("watched", POINTER)],
        "segments": [],
        "voice": _SPOKEN,
        "moments": _FUSED,
        "notes": [*schema.MOMENT, ("frames", POINTERS)],
        "timeline": _FUSED,
    }.items()
}
"""Columns of each phase's manifest."""

KEEPS = {
    "videos": pa.schema([]),
    **{name: pa.schema([_CONTENT]) for name in MANIFESTS},
    "voice": pa.schema([_CONTENT, *_SPOKEN]),
    "notes": pa.schema([_CONTENT, *schema.MOMENT]),
    **{name: pa.schema([_CONTENT, ("digest", pa.string())]) for name in CONCLUSIONS},
}
"""Which of those stand in the table."""


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


def _within(records: Sequence[dict], start_s: float, stop_s: float) -> list[dict]:
    """Those that touch a span: a long video has many, and many spans."""
    return [r for r in records if r["stop_s"] >= start_s and r["start_s"] <= stop_s]


def _spans(records: Sequence[dict]) -> list[tuple[float, float]]:
    return [(r["start_s"], r["stop_s"]) for r in records]
