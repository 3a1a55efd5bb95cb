"""The geometry of a page's figures: plain numbers that a template puts into SVG and HTML."""

import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..pages.packing import COLOURS
from .figures import Axis, Bars, Confusion, Curves, Figure, Parallel, Pictures, Rows

WIDTH_PX, NAME_PX, VALUE_PX, LINE_PX = 1000, 300, 190, 24
CURVES_PX, MARGIN_PX = (620, 280), (52, 8, 34, 8)
"""Size of a chart of curves; its margins: left, above, below, right."""
NOTHING = "\N{EN DASH}"
"""Where there is no value."""


def drawn(figure: Figure) -> dict[str, Any]:
    """A figure as its template reads it; `kind` names the template's part."""
    match figure:
        case Bars():
            return bars(figure)
        case Curves():
            return curves(figure)
        case Confusion():
            return confusion(figure)
        case Parallel():
            return parallel(figure)
        case Pictures():
            return {
                "kind": "pictures",
                "title": figure.title,
                "note": figure.note,
                "pictures": [
                    {"title": p.title, "address": image_uri(p.png), "caption": p.caption}
                    for p in figure.pictures
                ],
            }
        case Rows():
            return {"kind": "rows", "title": figure.title, "note": figure.note, **_cells(figure)}


def bars(figure: Bars) -> dict[str, Any]:
    """Where names, marks and intervals of a forest plot stand."""
    ends = [
        end
        for bar in figure.bars
        for end in (bar.value, bar.low, bar.high)
        if end is not None and math.isfinite(end)
    ]
    marks = ticks(min(ends, default=0.0), max(ends, default=1.0), 6)
    first, last = marks[0], marks[-1]
    room = WIDTH_PX - NAME_PX - VALUE_PX

    def across(value: float) -> float:
        return NAME_PX + room * (value - first) / (last - first)

    lines = [
        {
            "name": bar.name,
            "short": short(bar.name, 42),
            "kind": bar.kind,
            "says": said(bar.value, bar.low, bar.high),
            "note": bar.note,
            "y": LINE_PX * (number + 0.5),
            "at": across(bar.value) if math.isfinite(bar.value) else None,
            "from": None if bar.low is None else across(bar.low),
            "to": None if bar.high is None else across(bar.high),
        }
        for number, bar in enumerate(figure.bars)
    ]
    return {
        "kind": "bars",
        "title": figure.title,
        "note": figure.note,
        "x_name": figure.x_name,
        "lines": lines,
        "ticks": [(across(mark), _tick(mark)) for mark in marks],
        "zero": across(0.0) if first < 0 < last else None,
        "width": WIDTH_PX,
        "value_x": WIDTH_PX - VALUE_PX + 14,
        "height": LINE_PX * len(lines),
    }


def curves(figure: Curves) -> dict[str, Any]:
    """Where the lines of a chart run, in pieces where values are missing."""
    (width, height), (left, above, below, right) = CURVES_PX, MARGIN_PX
    values = [y for line in figure.lines.values() for y in line if math.isfinite(y)]
    x_marks = ticks(min(figure.x, default=0.0), max(figure.x, default=1.0), 7)
    y_marks = ticks(min(values, default=0.0), max(values, default=1.0), 5)
    low_x, high_x = min(figure.x, default=0.0), max(figure.x, default=1.0)
    span_x = (high_x - low_x) or 1.0

    def across(x: float) -> float:
        return left + (width - left - right) * (x - low_x) / span_x

    def down(y: float) -> float:
        share = (y - y_marks[0]) / (y_marks[-1] - y_marks[0])
        return height - below - (height - above - below) * share

    lines = []
    for number, (name, line) in enumerate(figure.lines.items()):
        points = [(across(x), down(y)) for x, y in zip(figure.x, line, strict=True)]
        lines.append(
            {
                "name": name,
                "colour": COLOURS[number % len(COLOURS)],
                "dashed": number >= len(COLOURS),
                "pieces": _pieces(points),
            }
        )
    return {
        "kind": "curves",
        "title": figure.title,
        "note": figure.note,
        "x_name": figure.x_name,
        "y_name": figure.y_name,
        "lines": lines,
        "x_ticks": [(across(x), _tick(x)) for x in x_marks if low_x <= x <= high_x],
        "y_ticks": [(down(y), _tick(y)) for y in y_marks],
        "width": width,
        "height": height,
        "left": left,
        "right": width - right,
        "floor": height - below,
    }


def confusion(figure: Confusion) -> dict[str, Any]:
    """Counts with the share of their row, which shades them."""
    matrix = np.asarray(figure.matrix)
    totals = matrix.sum(1)
    lines = [
        {
            "label": label,
            "total": int(total),
            "cells": [
                {
                    "count": int(count),
                    "share": round(100 * float(count) / float(total)) if total else 0,
                    "right": column == row,
                }
                for column, count in enumerate(matrix[row])
            ],
        }
        for row, (label, total) in enumerate(zip(figure.labels, totals, strict=True))
    ]
    return {
        "kind": "confusion",
        "title": figure.title,
        "note": figure.note,
        "labels": list(figure.labels),
        "lines": lines,
    }


def parallel(figure: Parallel) -> dict[str, Any]:
    """Where the axes of parallel coordinates stand, and how the lines run across them."""
    above, height, edge = 30, 250, 90
    step = (WIDTH_PX - 2 * edge) / max(1, len(figure.axes) - 1)
    columns = [edge + step * number for number in range(len(figure.axes))]

    def down(share: float) -> float:
        return above + height * (1 - share)

    traces = []
    for trace in figure.traces:
        met = list(zip(columns, figure.axes, trace.values, strict=True))
        known = [(x, down(_share(axis, value))) for x, axis, value in met if value is not None]
        traces.append(
            {
                "name": trace.name,
                "kind": trace.kind,
                "strength": 0.15 + 0.85 * min(1.0, max(0.0, trace.strength)),
                "points": _path(known) if known else "",
            }
        )
    letters = max(8, int(step / 6.5))
    return {
        "kind": "parallel",
        "title": figure.title,
        "note": figure.note,
        "axes": [
            {
                "x": x,
                "name": axis.name,
                "short": short(axis.name.rpartition(".")[2], letters),
                "ticks": [(down(_share(axis, at)), short(said, letters)) for at, said in _at(axis)],
            }
            for x, axis in zip(columns, figure.axes, strict=True)
        ],
        "traces": traces,
        "width": WIDTH_PX,
        "top": above,
        "floor": above + height,
    }


def _share(axis: Axis, value: float | str) -> float:
    """Where a value lies on an axis: 0 at its lower end, 1 at its upper one."""
    if axis.names:
        return (list(axis.names).index(str(value)) + 0.5) / len(axis.names)
    low, high, at = axis.low, axis.high, float(value)
    if axis.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low) if high > low else 0.5


def _at(axis: Axis) -> list[tuple[float | str, str]]:
    """The marks of an axis: values, and how they are written."""
    if axis.names:
        return [(name, name) for name in axis.names]
    if not axis.log:
        inside = [mark for mark in ticks(axis.low, axis.high, 6) if axis.low <= mark <= axis.high]
        return [(mark, _tick(mark)) for mark in inside]
    powers = range(math.ceil(math.log10(axis.low)), math.floor(math.log10(axis.high)) + 1)
    marks = [10.0**power for power in powers]
    return [(mark, f"{mark:g}") for mark in (marks if len(marks) > 1 else [axis.low, axis.high])]


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about `count` of them.

    Example:
        >>> ticks(0.31, 0.66, 5)
        [0.3, 0.4, 0.5, 0.6, 0.7]
    """
    if not low < high:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def said(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A value with its interval, in words.

    Example:
        >>> said(0.60214, 0.571, 0.6331), said(0.3127)
        ('0.6021 [0.571, 0.633]', '0.3127')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    ends = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return f"{value:.4f}{ends}"


def short(text: str, letters: int) -> str:
    """A text that fits, cut where it must be."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def image_uri(picture: bytes) -> str:
    """A PNG or JPEG as the address of itself.

    Raises:
        ValueError: It is neither.
    """
    for magic, kind in ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg")):
        if picture.startswith(magic):
            return f"data:image/{kind};base64,{b64encode(picture).decode('ascii')}"
    raise ValueError(f"a picture must be PNG or JPEG, but begins with {picture[:8]!r}.")


def cell(value: object) -> str:
    """A table's value as text: a number with four digits behind the point, at most."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        if not math.isfinite(value):
            return NOTHING
        if value and abs(value) < 1e-3:
            return f"{value:.2e}"
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _cells(figure: Rows) -> dict[str, Any]:
    rows = figure.table.to_pylist()
    numbers = [
        all(isinstance(row[name], int | float | None) for row in rows)
        for name in figure.table.column_names
    ]
    return {
        "names": list(zip(figure.table.column_names, numbers, strict=True)),
        "lines": [list(zip(map(cell, row.values()), numbers, strict=True)) for row in rows],
    }


def _pieces(points: Iterable[tuple[float, float]]) -> list[str]:
    """Runs of finite points as SVG wants them; a lone point is drawn as a short stroke."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [_path(run) for run in runs if run]


def _path(run: Sequence[tuple[float, float]]) -> str:
    if len(run) == 1:
        (x, y), *_ = run
        run = [(x - 2, y), (x + 2, y)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in run)


def _tick(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}"
