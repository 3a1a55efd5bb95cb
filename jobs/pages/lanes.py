"""Lanes: a timeline as rows of cells over one time axis.

Everything is a rectangle in one table of *cells*: `chart` draws it as one glyph. Times are
milliseconds (Bokeh's unit for durations), heights are pixels from the top, so that the page can
put names, pictures and the playhead where Bokeh draws.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS

COLOURS = (
    *LABELS, "unknown", "speech", "offscreen", "word", "seen", "shot", "shot2", "arousal",
    "positive", "negative", "flag", "conflict",
)  # fmt: skip
"""What a cell's colour means; `style.css` says how each looks in light and in dark."""

UNSURE = 0.5
"""Below this confidence a judgement is hatched."""

MAX_ROWS = 12
"""Most speakers, and most people, that get a row of their own."""

MAX_SAMPLES = 20_000
"""Most samples of expressions drawn; more (a long video) are joined, block by block."""

MAX_GAP_S = 2.5
"""Two samples of a face further apart than this are not one run."""


@dataclass(kw_only=True)
class Run:
    """A stretch of one expression on one face; `label` None: unknown."""

    person: str
    start: float
    end: float
    label: str | None
    confidence: float | None
    valence: float | None


@dataclass(kw_only=True)
class Lanes:
    """Rows of cells, filled from the top.

    Attributes:
        rows: `kind`, `name`, `top` and `height` (pixels) of each row.
        cells: Left, right (ms), top, bottom (px), colour (index), opacity, hatching (0-1), kind
            (index into `kinds`), and the number of the item that the cell stands for.
        kinds: What items the cells stand for.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    cells: list[tuple[float, ...]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    @property
    def height_px(self) -> int:
        """Height of all rows so far."""
        return self.rows[-1]["top"] + self.rows[-1]["height"] if self.rows else 0

    def row(self, kind: str, name: str, height_px: int, **more: Any) -> int:  # noqa: ANN401
        """Add a row below the others; returns its top in pixels."""
        top = self.height_px
        self.rows.append({"kind": kind, "name": name, "top": top, "height": height_px, **more})
        return top

    def cell(
        self,
        kind: str,
        item: int,
        span: tuple[float, float],
        edges: tuple[float, float],
        colour: str,
        *,
        alpha: float = 1.0,
        hatch: float = 0.0,
    ) -> None:
        """Add a rectangle: `span` in seconds, `edges` top and bottom in pixels."""
        if kind not in self.kinds:
            self.kinds.append(kind)
        left, right = span[0] * 1e3, max(span[1], span[0]) * 1e3
        index = float(COLOURS.index(colour))
        place = float(self.kinds.index(kind))
        self.cells.append((left, right, *edges, index, alpha, hatch, place, float(item)))

    def judgement(
        self,
        kind: str,
        item: int,
        span: tuple[float, float],
        edges: tuple[float, float],
        label: str | None,
        confidence: float | None,
    ) -> None:
        """Add an emotion: as opaque as it is sure, hatched where unsure or unknown."""
        if label not in LABELS:
            self.cell(kind, item, span, edges, "unknown", alpha=0.0, hatch=0.4)
            return
        sure = 0.0 if confidence is None else min(max(confidence, 0.0), 1.0)
        hatch = 0.45 if sure < UNSURE else 0.0
        self.cell(kind, item, span, edges, label, alpha=0.3 + 0.7 * sure, hatch=hatch)


def expression_runs(series: Sequence[dict[str, Any]]) -> list[Run]:
    """Join neighbouring samples of one person that say the same.

    Args:
        series: `person`, and parallel `time`, `expression`, `confidence`, `valence`.

    Returns:
        Runs of equal expression and about equal confidence (in quarters), each reaching half way
        to its neighbours; confidence and valence are means over the samples that have one.
    """
    block = math.ceil(sum(len(one["time"]) for one in series) / MAX_SAMPLES) or 1
    return [run for one in series for run in _runs_of(one, block)]


def _runs_of(one: dict[str, Any], block: int) -> Iterator[Run]:
    time = np.asarray(one["time"], np.float64)
    if time.size == 0:
        return
    names = one["expression"]
    label = np.array([LABELS.index(name) if name in LABELS else -1 for name in names])
    confidence, valence = (_numbers(one.get(key), time.size) for key in ("confidence", "valence"))
    if block > 1:
        time, label, confidence, valence = _coarser(time, label, confidence, valence, block)
    gap = np.diff(time)
    near = gap <= MAX_GAP_S
    half = float(np.median(gap[near])) / 2 if near.any() else 0.1
    middle = (time[1:] + time[:-1]) / 2
    left = np.concatenate([time[:1] - half, np.where(near, middle, time[1:] - half)]).clip(0)
    right = np.concatenate([np.where(near, middle, time[:-1] + half), time[-1:] + half])
    level = np.where(np.isnan(confidence), -1, np.floor(np.nan_to_num(confidence) * 4))
    new = (np.diff(label) != 0) | (np.diff(level) != 0) | ~near
    first = np.concatenate([[0], np.flatnonzero(new) + 1])
    last = np.concatenate([first[1:], [time.size]])
    for a, b in zip(first, last, strict=True):
        yield Run(
            person=str(one["person"]),
            start=float(left[a]),
            end=float(right[b - 1]),
            label=LABELS[label[a]] if label[a] >= 0 else None,
            confidence=_mean(confidence[a:b]),
            valence=_mean(valence[a:b]),
        )


def _coarser(
    time: NDArray[np.float64],
    label: NDArray[np.int64],
    confidence: NDArray[np.float64],
    valence: NDArray[np.float64],
    block: int,
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """One sample for each `block`: the commonest label, with the means of those that have it."""
    rows = []
    for first in range(0, time.size, block):
        part = slice(first, first + block)
        kinds, counts = np.unique(label[part], return_counts=True)
        common = kinds[counts.argmax()]
        agree = label[part] == common
        means = [_mean(values[part][agree]) for values in (confidence, valence)]
        rows.append([time[part].mean(), common, *(np.nan if m is None else m for m in means)])
    columns = np.array(rows, np.float64).T
    return columns[0], columns[1].astype(np.int64), columns[2], columns[3]


def _numbers(values: Sequence[float | None] | None, size: int) -> NDArray[np.float64]:
    if not values:
        return np.full(size, np.nan)
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def shot_row(lanes: Lanes, shots: Sequence[dict[str, Any]]) -> None:
    """The film strip: the page lays pictures over these cells."""
    top = lanes.row("film", "Shots", 58)
    for i, shot in enumerate(shots):
        span = (shot["start"], shot["end"])
        lanes.cell("shot", i, span, (top + 2, top + 56), "shot" if i % 2 else "shot2")


def speaker_rows(
    lanes: Lanes, speakers: Sequence[dict[str, Any]], segments: Sequence[dict[str, Any]]
) -> None:
    """Who speaks, and below it the emotion that all channels together give."""
    names = [str(one["speaker"]) for one in speakers]
    if any(one.get("speaker") is None for one in segments):
        names.append("")
    tops = {}
    for name in names[:MAX_ROWS]:
        tops[name] = lanes.row("speaker", name or "unknown speaker", 34)
    for i, one in enumerate(segments):
        top = tops.get("" if one.get("speaker") is None else str(one["speaker"]))
        if top is None:
            continue
        span = (one["start"], one["end"])
        colour = "speech" if one.get("on_screen") else "offscreen"
        lanes.cell("speech", i, span, (top + 4, top + 13), colour)
        emotion = one.get("emotion") or {}
        edges = (top + 15, top + 30)
        lanes.judgement("fused", i, span, edges, emotion.get("dominant"), emotion.get("confidence"))


def word_row(lanes: Lanes, words: Sequence[Sequence[Any]]) -> None:
    """Words `(start, end, word, probability)`; the paler, the less sure."""
    if not words:
        return
    top = lanes.row("words", "Words", 26)
    for i, (start, end, _, probability) in enumerate(words):
        sure = 0.3 if probability is None else probability
        lanes.cell("word", i, (start, end), (top + 4, top + 22), "word", alpha=0.2 + 0.8 * sure)


def people_rows(
    lanes: Lanes,
    people: Sequence[dict[str, Any]],
    tracks: Sequence[dict[str, Any]],
    runs: Sequence[Run],
) -> None:
    """Each person's expression, and below it where the face is seen."""
    shown = sorted(people, key=lambda one: -(one.get("on_screen_s") or 0))[:MAX_ROWS]
    tops = {}
    for one in shown:
        name = str(one["person"])
        tops[name] = lanes.row("person", name, 36, person=name)
    for i, run in enumerate(runs):
        if (top := tops.get(run.person)) is not None:
            span, edges = (run.start, run.end), (top + 5, top + 24)
            lanes.judgement("face", i, span, edges, run.label, run.confidence)
    for i, track in enumerate(tracks):
        if (top := tops.get(str(track["person"]))) is not None:
            span = (track["start"], track["end"])
            lanes.cell("seen", i, span, (top + 26, top + 30), "seen")


def arousal_row(lanes: Lanes, series: Sequence[dict[str, Any]]) -> None:
    """The voice's arousal as steps, 0 at the bottom and 1 at the top."""
    known = [(i, one) for i, one in enumerate(series) if one.get("arousal") is not None]
    if not known:
        return
    top = lanes.row("arousal", "Arousal", 48)
    for i, one in known:
        level = top + 44 - 40 * min(max(one["arousal"], 0.0), 1.0)
        span = (one["start"], one["end"])
        lanes.cell("arousal", i, span, (level, top + 44), "arousal", alpha=0.3)
        lanes.cell("arousal", i, span, (level, level + 2), "arousal")


def polarity_row(lanes: Lanes, segments: Sequence[dict[str, Any]]) -> None:
    """What the words say, from negative (down) to positive (up)."""
    known = [(i, one, p) for i, one in enumerate(segments) if (p := polarity(one)) is not None]
    if not known:
        return
    top = lanes.row("polarity", "Text polarity", 40)
    middle = top + 20
    for i, one, value in known:
        tip = middle - 17 * min(max(value, -1.0), 1.0)
        edges = (min(tip, middle - 1), max(tip, middle + 1))
        colour = "positive" if value > 0 else "negative" if value < 0 else "unknown"
        lanes.cell("polarity", i, (one["start"], one["end"]), edges, colour, alpha=0.85)


def polarity(segment: dict[str, Any]) -> float | None:
    """The text channel's polarity of a segment, -1 to 1; None: unknown."""
    channels = (segment.get("emotion") or {}).get("by_channel") or {}
    return (channels.get("text") or {}).get("polarity")


def flag_row(lanes: Lanes, flags: Sequence[dict[str, Any]]) -> None:
    """What deserves a look; conflicts between channels in a colour of their own.

    Brief movements have a row of their own.
    """
    shown = [(i, flag) for i, flag in enumerate(flags) if flag["type"] != "brief_facial_movement"]
    if not shown:
        return
    top = lanes.row("flags", "Flags", 30)
    for i, flag in shown:
        end = flag["start"] if flag.get("end") is None else flag["end"]
        span = (flag["start"], max(end, flag["start"] + 0.15))
        conflict = "conflict" in str(flag["type"]) or "incongruence" in str(flag["type"])
        lanes.cell(
            "flag", i, span, (top + 5, top + 25), "conflict" if conflict else "flag", alpha=0.9
        )


def micro_row(lanes: Lanes, moved: Sequence[dict[str, Any]]) -> None:
    """Brief movements of faces."""
    if not moved:
        return
    top = lanes.row("micro", "Brief movements", 24)
    for i, one in enumerate(moved):
        span = (one["start"], max(one["end"], one["start"] + 0.05))
        lanes.cell("micro", i, span, (top + 4, top + 20), "flag", alpha=0.9)


def action_row(lanes: Lanes, actions: Sequence[dict[str, Any]]) -> None:
    """What is done, clip by clip: the likeliest action, as opaque as it is likely."""
    if not actions:
        return
    top = lanes.row("actions", "Actions", 24)
    for i, clip in enumerate(actions):
        best = clip["labels"][0]["score"] if clip["labels"] else None
        span, edges = (clip["start"], clip["end"]), (top + 3, top + 21)
        lanes.cell("action", i, span, edges, "shot", alpha=0.3 + 0.7 * (best or 0.0))


def remark_row(lanes: Lanes, remarks: Sequence[dict[str, Any]]) -> None:
    """Moments that a vision-language model was asked about."""
    if not remarks:
        return
    top = lanes.row("remarks", "Notes", 30)
    for i, one in enumerate(remarks):
        span = (one["start"], max(one["end"], one["start"] + 0.15))
        lanes.judgement("remark", i, span, (top + 5, top + 25), one["emotion"], one["confidence"])


def table(cells: Sequence[tuple[float, ...]]) -> dict[str, NDArray[Any]]:
    """Cells as columns, in types that travel small."""
    columns = np.array(cells, np.float64).reshape(-1, 9).T
    names = ("left", "right", "top", "bottom", "colour", "alpha", "hatch", "kind", "item")
    types = (*("f4",) * 4, "u1", "f4", "f4", "u1", "i4")
    return {n: c.astype(t) for n, c, t in zip(names, columns, types, strict=True)}
