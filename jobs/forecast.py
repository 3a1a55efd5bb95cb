"""What a run will have to do: hours of media, rows and bytes, before anything is spent.

Where the run has tables already, they tell; elsewhere assumptions of the configuration stand in,
and whatever follows from one is marked as assumed.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import av
import pyarrow as pa
import pyarrow.compute as pc

from ..cluster.waves import Again, outstanding
from ..datasets.media import MediaError, opened
from ..datasets.scan import PARTS
from ..datasets.store import listed
from .graph import UPSTREAM, Graph

OF_VIDEOS = ("videos", "sound", "turns", "moments", "timeline")
"""Phases with one row for each video."""


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What an hour of media holds, where no table tells yet.

    Attributes:
        speech: Share of the time in which somebody speaks.
        chunk: How full a chunk of speech is, of `job.chunk_s`.
        utterances: For an hour of speech.
        turns: Changes of speaker for an hour of speech.
        cuts: For an hour of media.
        flags: Flagged utterances, for an hour of media.
        faces: Share of the flagged utterances whose speaker's face is seen.
        faceless: Utterances without any face on screen, for an hour of media.
        mb_per_hour: Of each table, for an hour of media.
        mb_per_video: Of pages and of what a table takes for each video, however short.
        headers: Of so many files of unknown length the headers are read, at most.
    """

    speech: float = 0.6
    chunk: float = 0.7
    utterances: float = 900.0
    turns: float = 600.0
    cuts: float = 200.0
    flags: float = 60.0
    faces: float = 0.8
    faceless: float = 60.0
    mb_per_hour: Mapping[str, float] = field(
        default_factory=lambda: {
            "sound": 60.0,
            "turns": 1.0,
            "speech": 1.0,
            "watch": 150.0,
            "faces": 30.0,
            "micro": 1.0,
            "segments": 1.0,
            "voice": 1.5,
            "notes": 1.0,
            "timeline": 3.0,
        }
    )
    mb_per_video: float = 1.4
    headers: int = 200

    def __post_init__(self) -> None:
        for name in ("speech", "chunk", "faces"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"`assume.{name}` must be from 0 to 1, but is {getattr(self, name):g}."
                )
        for name in ("utterances", "turns", "cuts", "flags", "faceless", "mb_per_video", "headers"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`assume.{name}` must be at least 0, but is {getattr(self, name):g}."
                )
        if not self.chunk:
            raise ValueError("`assume.chunk` must be greater than 0, but is 0.")


@dataclass(frozen=True, kw_only=True)
class Hours:
    """How much media there is.

    Attributes:
        total_h: Of all files.
        files: How many.
        probed: Files whose length stands in the table `videos`.
        opened: Files whose header was read now.
        guessed: Files that are taken to be as long as the others are on average.
    """

    total_h: float
    files: int
    probed: int = 0
    opened: int = 0
    guessed: int = 0

    def __str__(self) -> str:
        """One line for a person."""
        parts = [
            f"{count} {how}"
            for count, how in (
                (self.probed, "probed"),
                (self.opened, "by their headers"),
                (self.guessed, "taken to be as long as the others"),
            )
            if count
        ]
        return f"{self.files} files, {self.total_h:.2f} h of media ({', '.join(parts)})"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a phase.

    Attributes:
        per_hour: For an hour of media.
        total: Of the whole corpus.
        todo: Of those, not done yet.
        assumed: Whether that follows from an assumption.
        gb: That are still to be written.
    """

    per_hour: float
    total: float
    todo: float
    assumed: bool
    gb: float

    @property
    def share(self) -> float:
        """What is left to do, of all."""
        return self.todo / self.total if self.total else 0.0


def hours(files: pa.Table, lengths: Mapping[str, float], headers: int) -> Hours:
    """How much media a corpus holds.

    Args:
        files: The corpus, as manifest of the phase `videos`.
        lengths: Seconds of the videos that were probed, by `video_id`.
        headers: Of so many others the headers are read, at most, evenly spread.
    """
    names, uris = files["video_id"].to_pylist(), files["uri"].to_pylist()
    known = [lengths[name] for name in names if name in lengths]
    others = [uri for name, uri in zip(names, uris, strict=True) if name not in lengths]
    step = max(1, -(-len(others) // headers)) if headers else len(others) + 1
    looked = [header_s(uri) for uri in others[::step]] if headers else []
    read = [length for length in looked if length is not None]
    guessed = len(others) - len(looked)
    everything = [*known, *read]
    mean = (sum(read) / len(read) if read else 0.0) or (
        sum(everything) / len(everything) if everything else 0.0
    )
    return Hours(
        total_h=(sum(everything) + guessed * mean) / 3600,
        files=len(files),
        probed=len(known),
        opened=len(looked),
        guessed=guessed,
    )


def header_s(uri: str) -> float | None:
    """Length of a file by its header alone, seconds; `None` where that does not say."""
    try:
        with opened(uri) as container:
            return container.duration / av.time_base if container.duration else None
    except (MediaError, OSError):
        return None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run will have to do.

    Attributes:
        hours: Of media.
        rows: By phase.
        assumed: What was assumed.
        lengths: Seconds of the videos that were probed, by `video_id`.
    """

    hours: Hours
    rows: Mapping[str, Rows]
    assumed: Assumed
    lengths: Mapping[str, float] = field(repr=False)

    @property
    def whole(self) -> "Forecast":
        """The same corpus, as if nothing stood yet."""
        rows = {name: replace(one, todo=one.total) for name, one in self.rows.items()}
        return replace(self, rows=rows)

    @property
    def gb(self) -> float:
        """What is still to be written, pages included, in GB (10^9)."""
        pages = self.rows["timeline"].todo if "timeline" in self.rows else 0
        pages *= self.assumed.mb_per_video / 1e3
        return pages + sum(one.gb for one in self.rows.values())


def forecast(
    graph: Graph,
    files: pa.Table,
    assumed: Assumed,
    again: Callable[[str], Again] = lambda name: Again(),
) -> Forecast:
    """Look at what stands, and estimate the rest.

    Args:
        graph: Of the run.
        files: The corpus.
        assumed: For what no table tells.
        again: What a phase does although it stands, by its name.
    """
    lengths = _lengths(graph, files)
    media = hours(files, lengths, assumed.headers)
    guess = _guesses(graph, media, assumed)
    waits: dict[str, set[str]] = {}
    found: dict[str, Rows] = {}
    for name in graph.phases:
        upstream = [waits[up] for up in UPSTREAM[name] if up in waits]
        unsure = set[str]().union(*upstream)
        count = _counted(graph, name, files, again(name), unsure)
        sure_h = sum(s for video, s in lengths.items() if video not in unsure) / 3600
        waits[name] = unsure | count.videos
        if name == "videos":
            found[name] = Rows(
                per_hour=len(files) / media.total_h if media.total_h else 0.0,
                total=len(files),
                todo=count.todo,
                assumed=media.guessed > 0,
                gb=_gb(graph, name, count.todo, media.total_h, len(files), assumed),
            )
            continue
        whole = not unsure and len(lengths) == len(_sound(graph, files))
        rate = count.sure / sure_h if sure_h else guess[name]
        total = count.rows if whole else rate * media.total_h
        done = count.rows - count.todo
        found[name] = Rows(
            per_hour=rate,
            total=total,
            todo=max(0.0, total - done),
            assumed=not whole and (media.guessed > 0 or not (sure_h or name in OF_VIDEOS)),
            gb=_gb(graph, name, max(0.0, total - done), media.total_h, total, assumed),
        )
    return Forecast(hours=media, rows=found, assumed=assumed, lengths=lengths)


@dataclass(frozen=True)
class _Count:
    """Rows of a manifest: all, those of videos that are sure, those to do; and their videos."""

    rows: int
    sure: int
    todo: int
    videos: set[str]


def _counted(
    graph: Graph, name: str, files: pa.Table, again: Again, unsure: Collection[str]
) -> _Count:
    table = graph.table(name)
    rows = sure = left = 0
    videos: set[str] = set()
    for group in graph.groups(name, files):
        todo, _ = outstanding(table, group, again)
        rows, left = rows + len(group), left + len(todo)
        sure += sum(video not in unsure for video in group["video_id"].to_pylist())
        videos.update(todo["video_id"].to_pylist())
    return _Count(rows, sure, left, videos)


def _sound(graph: Graph, files: pa.Table) -> list[str]:
    """Videos of the corpus that did not fail to be probed."""
    rows = graph.table("videos").read(["id", "video_id", "status"], ids=files["id"].to_pylist())
    failed = rows.filter(pc.equal(rows["status"], "failed"))
    bad = set(failed["video_id"].to_pylist())
    return [name for name in files["video_id"].to_pylist() if name not in bad]


def _lengths(graph: Graph, files: pa.Table) -> dict[str, float]:
    rows = graph.table("videos").read(
        ["video_id", "duration_s"], ids=files["id"].to_pylist(), status="ok"
    )
    pairs = zip(rows["video_id"].to_pylist(), rows["duration_s"].to_pylist(), strict=True)
    return {name: seconds or 0.0 for name, seconds in pairs}


def _guesses(graph: Graph, media: Hours, assumed: Assumed) -> dict[str, float]:
    """Rows for an hour of media, by phase, before any table tells."""
    videos = media.files / media.total_h if media.total_h else 0.0
    spans = max(3600 / graph.span_s, videos)
    segments = {"fixed": 3600 * graph.segmentation.pps, "scenes": assumed.cuts + videos}
    choice = graph.profile.moments
    return {
        **dict.fromkeys(OF_VIDEOS, videos),
        "speech": max(assumed.speech * 3600 / (graph.chunk_s * assumed.chunk), videos),
        "watch": spans,
        "faces": spans,
        "micro": spans,
        "segments": segments.get(graph.segmentation.mode, assumed.speech * assumed.turns),
        "voice": assumed.speech * assumed.utterances,
        "notes": sum(
            min(count, choice.most_per_hour)
            for kind, count in moments(assumed, choice.every_s).items()
            if kind in choice.kinds
        ),
    }


def moments(assumed: Assumed, every_s: float) -> dict[str, float]:
    """Moments of each kind for an hour of media.

    Args:
        assumed: What an hour holds.
        every_s: Length of a `keyframe` moment; one ends at each cut, too.
    """
    return {
        "flag": assumed.flags,
        "facs": assumed.flags * assumed.faces,
        "no_face": assumed.faceless,
        # A shot of length L is cut into ceil(L / every_s): half a moment more, on average.
        "keyframe": 3600 / every_s + assumed.cuts / 2,
    }


def _gb(
    graph: Graph, name: str, todo: float, total_h: float, total: float, assumed: Assumed
) -> float:
    """What the rows that are to do will take: as those that stand, or as is assumed."""
    table = graph.table(name)
    stands = table.count()
    if stands:
        size = sum(file.size_bytes for file in listed(table.folder, PARTS))
        return todo * size / stands / 1e9
    share = todo / total if total else 0.0
    return share * total_h * assumed.mb_per_hour.get(name, 0.0) / 1e3
