"""Lanes: a timeline as rows over one time axis, drawn by Bokeh.

Everything rectangular is one glyph over one table of *cells*. Times are milliseconds (Bokeh's
unit for durations), heights are pixels from the top, so that the page can put names, pictures
and the playhead where Bokeh draws. Bokeh gets numbers only: no text of the timeline.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    LinearColorMapper,
    Range1d,
    RangeTool,
    TimedeltaTickFormatter,
    WheelZoomTool,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from ..datasets.schema import LABELS

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

AXIS_PX, OVERVIEW_PX = 26, 32


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
        lanes.judgement(
            "fused", i, span, edges, emotion.get("dominant"), emotion.get("confidence")
        )


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
    """What deserves a look; conflicts between channels in a colour of their own."""
    if not flags:
        return
    top = lanes.row("flags", "Flags", 30)
    for i, flag in enumerate(flags):
        end = flag["start"] if flag.get("end") is None else flag["end"]
        span = (flag["start"], max(end, flag["start"] + 0.15))
        conflict = "conflict" in str(flag["type"]) or "incongruence" in str(flag["type"])
        lanes.cell(
            "flag", i, span, (top + 5, top + 25), "conflict" if conflict else "flag", alpha=0.9
        )


def table(cells: Sequence[tuple[float, ...]]) -> dict[str, NDArray[Any]]:
    """Cells as columns, in types that travel small."""
    columns = np.array(cells, np.float64).reshape(-1, 9).T
    names = ("left", "right", "top", "bottom", "colour", "alpha", "hatch", "kind", "item")
    types = (*("f4",) * 4, "u1", "f4", "f4", "u1", "i4")
    return {n: c.astype(t) for n, c, t in zip(names, columns, types, strict=True)}


def chart(lanes: Lanes, *, duration_s: float) -> dict[str, Any]:
    """Draw the lanes, with an overview of the whole below them.

    Args:
        lanes: Rows and cells.
        duration_s: End of the time axis.

    Returns:
        What `Bokeh.embed.embed_item` takes: plain data, for the element `chart`.
    """
    end_ms = max(duration_s, 0.1) * 1e3
    first_ms = end_ms if duration_s <= 180 else 120e3  # a long video opens zoomed in
    view = Range1d(
        0, first_ms, bounds=(0, end_ms), min_interval=min(500.0, end_ms), name="view"
    )
    mapper = LinearColorMapper(
        palette=["#888888"] * len(COLOURS), low=-0.5, high=len(COLOURS) - 0.5, name="colours"
    )
    rows = _rows_figure(lanes, view, mapper)
    whole = _overview_figure(lanes, view, mapper, end_ms)
    return dict(json_item(column(rows, whole, spacing=4, sizing_mode="stretch_width"), "chart"))


def _blank_figure(height_px: int, **more: Any) -> figure:  # noqa: ANN401
    return figure(
        frame_height=height_px,
        sizing_mode="stretch_width",
        toolbar_location=None,
        min_border=0,
        outline_line_color=None,
        background_fill_alpha=0,
        border_fill_alpha=0,
        lod_threshold=None,
        x_axis_type="timedelta",
        y_axis_location=None,
        y_range=Range1d(height_px, 0),
        **more,
    )


def _quads(plot: figure, data: dict[str, NDArray[Any]], mapper: LinearColorMapper) -> None:
    source = ColumnDataSource(data, name=f"{plot.name} cells")
    colour = {"field": "colour", "transform": mapper}
    plot.quad(
        source=source,
        left="left",
        right="right",
        top="top",
        bottom="bottom",
        fill_color=colour,
        fill_alpha="alpha",
        line_color=None,
    )
    # Hatching is a glyph of its own: Bokeh makes a pattern for every cell of a hatched table.
    hatched = data["hatch"] > 0
    edges = {key: data[key][hatched] for key in ("left", "right", "top", "bottom")}
    plot.quad(
        source=ColumnDataSource(edges),
        left="left",
        right="right",
        top="top",
        bottom="bottom",
        fill_color=None,
        line_color=None,
        hatch_pattern="right_diagonal_line",
        hatch_alpha=0.45,
        hatch_scale=8,
        hatch_weight=0.8,
        name=f"{plot.name} hatches",
    )


def _rows_figure(lanes: Lanes, view: Range1d, mapper: LinearColorMapper) -> figure:
    zoom = WheelZoomTool(dimensions="width", modifiers={"ctrl": True})
    plot = _blank_figure(
        max(lanes.height_px, 1),
        x_range=view,
        tools=["xpan", zoom],
        active_drag="xpan",
        active_scroll=zoom,
        min_border_bottom=AXIS_PX,
        name="rows",
    )
    plot.ygrid.visible = False
    plot.xgrid.name, plot.xaxis.name = "grid", "axis"
    long, short = "%h:%M:%S", "%M:%S"
    plot.xaxis.formatter = TimedeltaTickFormatter(
        days=long, hours=long, hourmin=long, minutes=short, minsec=short, seconds=short,
        milliseconds="%M:%S.%MS", context=None,
    )  # fmt: skip
    _quads(plot, table(lanes.cells), mapper)
    captions = ("x", "y", "text", "colour", "ground")
    labels = ColumnDataSource({name: [] for name in captions}, name="labels")
    plot.text(
        "x", "y", "text", source=labels, text_color="colour", text_baseline="middle",
        background_fill_color="ground", border_radius=3, padding=(0, 2),
        text_font_size="11px", text_font={"value": "system-ui, sans-serif"},
    )  # fmt: skip
    return plot


def _overview_figure(
    lanes: Lanes, view: Range1d, mapper: LinearColorMapper, end_ms: float
) -> figure:
    edges = {"fused": (10, 24), "flag": (2, 8), "seen": (26, 29)}
    cells = []
    for cell in lanes.cells:
        kind = lanes.kinds[int(cell[7])]
        if kind in edges:
            width = max(cell[1] - cell[0], end_ms / 800)
            cells.append((cell[0], cell[0] + width, *edges[kind], *cell[4:]))
    whole = Range1d(0, end_ms, bounds=(0, end_ms))
    plot = _blank_figure(OVERVIEW_PX, x_range=whole, tools="", name="whole")
    plot.xaxis.visible = plot.xgrid.visible = plot.ygrid.visible = False
    _quads(plot, table(cells), mapper)
    tool = RangeTool(x_range=view, start_gesture="pan", name="range")
    tool.overlay.name = "range box"
    plot.add_tools(tool)
    return plot
