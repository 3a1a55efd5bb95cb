"""The picture of a run's packing: which pools are in memory together, phase after phase.

It is drawn as SVG: it stands on the corpus page, which runs hardly any script, and a chart that
nobody moves needs no library of a megabyte.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .markup import clean, environment

WIDTH_PX, HEIGHT_PX, LEAST_PX, GAP_PX = 1000, 170, 44, 6
COLOURS = ("#4477aa", "#66a5ad", "#228833", "#a89a2e", "#cc6677", "#882255", "#7a68a6", "#6b7785")
"""Of the pools of one phase, from below; the colours repeat."""
NARROW_PX, LOW_PX = 60, 13
"""A part that is smaller carries no label: its name is shown when it is pointed at."""


def packing(plan: Mapping[str, Any] | None, phases: Sequence[Mapping[str, Any]] = ()) -> Markup:
    """Draw how a run was packed.

    Args:
        plan: The record `plan` of a run; see `jobs.expected.record`. Any key may be missing.
        phases: The record `phases` of the run, for the time that each took.

    Returns:
        Part of a page; empty where nothing was planned.
    """
    made: dict[str, Any] = clean(dict(plan or {})) or {}
    planned = made.get("phases") or {}
    if not planned:
        return Markup("")
    actual = {one.get("name"): one.get("wall_s") for one in phases}
    parts = list(_parts(planned))
    panels = [_panel("memory", made.get("memory_gb"), parts, "memory_gb")]
    if not made.get("unified") and any(p.get("gpu_memory_gb") for s in parts for p in s["pools"]):
        panels.append(_panel("GPU memory", made.get("gpu_memory_gb"), parts, "gpu_memory_gb"))
    lines = [_line(name, one, actual.get(name)) for name, one in planned.items()]
    longest = max(
        (s for line in lines for s in (line["expected_s"], line["actual_s"]) if s), default=1
    )
    text = (
        environment()
        .get_template("packing.html")
        .render(panels=panels, lines=lines, longest=longest, width=WIDTH_PX, height=HEIGHT_PX)
    )
    return Markup(text)


def _parts(planned: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is resident at a time, in order."""
    for name, one in planned.items():
        segments = one.get("segments") or []
        for number, segment in enumerate(segments, start=1):
            title = name if len(segments) == 1 else f"{name} {number}/{len(segments)}"
            yield {
                "title": title,
                "hours": segment.get("hours"),
                "pools": segment.get("pools") or [],
            }


def _panel(
    title: str, budget_gb: float | None, parts: Sequence[Mapping[str, Any]], key: str
) -> dict[str, Any]:
    """One chart: a column for each part, a block for each pool, a line for what there is."""
    held = [sum(_gb(pool, key) for pool in part["pools"]) for part in parts]
    top = max([budget_gb or 0.0, *held]) * 1.08 or 1.0
    columns, left = [], 0.0
    for part, gb, width in zip(parts, held, _widths(parts), strict=True):
        columns.append(
            {
                "title": part["title"],
                "left": left,
                "width": width - GAP_PX,
                "gb": gb,
                "top": HEIGHT_PX * (1 - gb / top),
                "blocks": list(_blocks(part, key, top, width - GAP_PX)),
            }
        )
        left += width
    line = None if budget_gb is None else HEIGHT_PX * (1 - budget_gb / top)
    return {"title": title, "budget_gb": budget_gb, "line": line, "columns": columns}


def _blocks(
    part: Mapping[str, Any], key: str, top: float, width: float
) -> Iterator[dict[str, Any]]:
    bottom = float(HEIGHT_PX)
    for number, pool in enumerate(part["pools"]):
        gb = _gb(pool, key)
        height = HEIGHT_PX * gb / top
        bottom -= height
        if gb:
            name = "+".join(str(actor) for actor in pool.get("actors") or ["?"])
            state = "measured" if pool.get("measured") else "declared"
            known = f"{name}: {pool.get('workers') or 1} x {pool.get(key) or 0:.3g} GB, {state}"
            letters = int((width - 8) / 6.8)
            yield {
                "top": bottom,
                "height": height,
                "colour": COLOURS[number % len(COLOURS)],
                "says": known,
                "label": _short(name, letters) if width > NARROW_PX and height > LOW_PX else "",
            }


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(1, letters - 1)] + "…"


def _gb(pool: Mapping[str, Any], key: str) -> float:
    """Held by all workers of a pool."""
    return (pool.get(key) or 0.0) * (pool.get("workers") or 1)


def _widths(parts: Sequence[Mapping[str, Any]]) -> list[float]:
    """By expected time, where all of them are known; a part is never too narrow to be seen."""
    hours = [part["hours"] for part in parts]
    if not parts:
        return []
    least = min(LEAST_PX, WIDTH_PX / len(parts))
    whole = sum(h or 0.0 for h in hours)
    if None in hours or not whole:
        return [WIDTH_PX / len(parts)] * len(parts)
    rest = WIDTH_PX - least * len(parts)
    return [least + rest * (h or 0.0) / whole for h in hours]


def _line(name: str, one: Mapping[str, Any], actual_s: float | None) -> dict[str, Any]:
    hours = one.get("hours")
    return {
        "name": name,
        "expected_s": None if hours is None else hours * 3600,
        "actual_s": actual_s,
        "measured": bool(one.get("measured")),
        "parts": len(one.get("segments") or []),
        "assumed": bool((one.get("rows") or {}).get("assumed")),
    }
