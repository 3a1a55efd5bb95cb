"""The chart: lanes drawn by Bokeh, with an overview of the whole below them.

Bokeh gets numbers only: no text of the timeline. The page adds captions, names, pictures and the
playhead, and hands the colours of its style sheet to the models named here.
"""

from typing import Any

from bokeh.core.properties import field, value
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    LinearColorMapper,
    Range1d,
    RangeTool,
    Text,
    TimedeltaTickFormatter,
    WheelZoomTool,
)
from bokeh.plotting import figure
from bokeh.transform import transform
from numpy.typing import NDArray

from .lanes import COLOURS, Lanes, table

WHOLE_S = 180.0
"""A video up to this long opens as a whole; a longer one with its first `FIRST_S` seconds."""

FIRST_S = 120.0
AXIS_PX, OVERVIEW_PX = 26, 32


def chart(lanes: Lanes, *, duration_s: float) -> dict[str, Any]:
    """Draw the lanes, with an overview of the whole below them.

    Args:
        lanes: Rows and cells.
        duration_s: End of the time axis.

    Returns:
        What `Bokeh.embed.embed_item` takes: plain data.
    """
    end_ms = max(duration_s, 0.1) * 1e3
    first_ms = end_ms if duration_s <= WHOLE_S else FIRST_S * 1e3
    view = Range1d(
        start=0, end=first_ms, bounds=(0, end_ms), min_interval=min(500.0, end_ms), name="view"
    )
    mapper = LinearColorMapper(
        palette=["#888888"] * len(COLOURS), low=-0.5, high=len(COLOURS) - 0.5, name="colours"
    )
    rows = _rows_figure(lanes, view, mapper)
    whole = _overview_figure(lanes, view, mapper, end_ms)
    return dict(json_item(column(rows, whole, spacing=4, sizing_mode="stretch_width")))


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
        y_range=Range1d(start=height_px, end=0),
        **more,
    )


def _quads(plot: figure, data: dict[str, NDArray[Any]], mapper: LinearColorMapper) -> None:
    source = ColumnDataSource(dict(data), name=f"{plot.name} cells")
    plot.quad(
        source=source,
        left="left",
        right="right",
        top="top",
        bottom="bottom",
        fill_color=transform("colour", mapper),
        fill_alpha="alpha",
        line_color=None,
    )
    # Hatching is a glyph of its own: Bokeh makes a pattern for every cell of a hatched table.
    hatched = data["hatch"] > 0
    edges = {key: data[key][hatched] for key in ("left", "right", "top", "bottom")}
    plot.quad(
        source=ColumnDataSource(dict(edges)),
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
    caption = Text(
        x="x", y="y", text="text", text_color=field("colour"), text_baseline="middle",
        text_font_size="11px", text_font=value("system-ui, sans-serif"),
        background_fill_color=field("ground"),
    )  # fmt: skip
    plot.add_glyph(labels, caption)
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
    whole = Range1d(start=0, end=end_ms, bounds=(0, end_ms))
    plot = _blank_figure(OVERVIEW_PX, x_range=whole, tools="", name="whole")
    plot.xaxis.visible = plot.xgrid.visible = plot.ygrid.visible = False
    _quads(plot, table(cells), mapper)
    tool = RangeTool(x_range=view, start_gesture="pan", name="range")
    tool.overlay.name = "range box"
    plot.add_tools(tool)
    return plot
