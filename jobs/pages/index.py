"""The corpus page: a line for every video, and what the run did."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...datasets.schema import LABELS
from .markup import asset, clean, data_uri, href, page
from .packing import packing

MAX_THUMBNAIL_BYTES = 3_000_000
"""All pictures of the page together; later videos go without one."""

PHASE = (
    *("name", "rows", "ok", "failed", "skipped", "wall_s", "media_s", "rtf", "busy_share"),
    "reasons",
)
POOL = ("stages", "workers", "rows_per_s", "alone_rows_per_s", "efficiency")
MODEL = ("role", "model", "revision", "licence", "quality")

CURES = (
    (("invalid data", "truncated", "moov", "corrupt", "no video", "not a video", "empty"),
     "Does the file play elsewhere? Fetch it again or convert it, then run `mien retry`."),
    (("vanish", "no such file", "not found", "does not exist"),
     "Check that the file is still there, then run `mien retry`."),
    (("permission", "not readable", "unreadable"),
     "Make the file readable, then run `mien retry`."),
    (("out of memory", "outofmemory", "memoryerror", "killed"),
     "Free memory or use fewer workers, then run `mien retry`."),
    (("http", "download", "timed out", "network"),
     "Check the address and the network, then run `mien retry`."),
)  # fmt: skip
"""Words of an error, and what a user can do about it."""


@dataclass(kw_only=True)
class Totals:
    """What the pages of an index hold together.

    Attributes:
        videos: All of them.
        failed: Those that failed, or are outstanding.
        media_s: Their length, as far as it is known.
    """

    videos: int = 0
    failed: int = 0
    media_s: float = 0.0

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count the rows of one page."""
        self.videos += len(rows)
        self.failed += sum(_failed(row) for row in rows)
        self.media_s += sum(row.get("duration") or 0.0 for row in rows)


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One page of an index that has several.

    Attributes:
        number: From 1.
        names: The first video of each page.
        lines: Videos of a page.
    """

    number: int
    names: Sequence[str]
    lines: int


def page_name(number: int) -> str:
    """The file of a page of the index.

    Example:
        >>> page_name(1), page_name(2)
        ('index.html', 'index-2.html')
    """
    return "index.html" if number == 1 else f"index-{number}.html"


def render_index(
    rows: list[dict[str, Any]],
    summary: dict[str, Any],
    leaf: Leaf | None = None,
    totals: Totals | None = None,
) -> str:
    """Write the corpus page.

    Args:
        rows: A video each: `video_id`, `uri`, `title`, `page` (relative address or None),
            `duration` (s), `people`, `speakers`, `segments`, `flags`, `warnings` (counts or
            lists), `emotions` (share by label), `status`, `error_stage`, `error_message`,
            `thumbnail` (JPEG or None). Any key may be missing or None: unknown.
        summary: `phases`, `wall_s`, `peak_memory_gb`, `machine`, `models`, `versions`, `git`,
            `command`; any key may be missing.
        leaf: Which page of several this is.
        totals: Of all pages; of these rows by default.

    Returns:
        The HTML: one file that opens no connection.
    """
    room = MAX_THUMBNAIL_BYTES
    lines = []
    if totals is None:
        totals = Totals()
        totals.add(rows)
    for row in rows:
        picture = row.get("thumbnail")
        room -= len(picture or b"")
        lines.append(_line(row, picture if picture and room >= 0 else None))
    return page(
        "index.html",
        scripts={"script": asset("index.js")},
        style=asset("style.css") + asset("index.css"),
        videos=[line for line in lines if not line["failed"]],
        failures=[line for line in lines if line["failed"]],
        labels=LABELS,
        totals=totals,
        leaf=leaf,
        pages=[(href(page_name(i)), name) for i, name in enumerate(leaf.names, 1)] if leaf else [],
        summary=_summary(clean(summary)),
        pictured=any(row.get("thumbnail") for row in rows),
    )


def cure(message: str | None) -> str:
    """What a user can do about a failure.

    Example:
        >>> cure("PermissionError: [Errno 13] Permission denied: 'a.mp4'")
        'Make the file readable, then run `mien retry`.'
    """
    lowered = (message or "").lower()
    for signs, advice in CURES:
        if any(sign in lowered for sign in signs):
            return advice
    return "Read the reason; once its cause is gone, run `mien retry`."


def _failed(row: dict[str, Any]) -> bool:
    return row.get("status", "ok") != "ok"


def _line(row: dict[str, Any], picture: bytes | None) -> dict[str, Any]:
    plain = clean({key: value for key, value in row.items() if key != "thumbnail"})
    shares = plain.get("emotions") or {}
    whole = sum(shares.get(label) or 0 for label in LABELS)
    return {
        "title": plain.get("title") or plain.get("uri") or plain.get("video_id") or "video",
        "uri": plain.get("uri") or "",
        "page": href(row["page"]) if row.get("page") else None,
        "picture": data_uri(picture) if picture else None,
        "duration": plain.get("duration"),
        **{name: _count(plain.get(name)) for name in ("people", "speakers", "segments", "flags")},
        "warnings": _texts(plain.get("warnings")),
        "emotions": [
            (label, (shares.get(label) or 0) / whole)
            for label in sorted(LABELS, key=lambda label: -(shares.get(label) or 0))
            if whole and shares.get(label)
        ],
        "failed": _failed(plain),
        "stage": plain.get("error_stage") or "unknown stage",
        "message": plain.get("error_message") or "no reason recorded",
        "cure": cure(plain.get("error_message")),
    }


def _count(value: Any) -> int | None:  # noqa: ANN401
    return len(value) if isinstance(value, list | dict) else value


def _texts(value: Any) -> list[str]:  # noqa: ANN401
    """Warnings as texts, whether they come as texts, as one text, or as a count."""
    if not value:
        return []
    if isinstance(value, list):
        return [str(one) for one in value]
    if isinstance(value, str):
        return [value]
    return [f"{value:g} {'warning' if value == 1 else 'warnings'}: see its page"]


def _summary(summary: dict[str, Any]) -> dict[str, Any]:
    """The run summary with every key, and bars for the stages' seconds."""
    phases = [dict.fromkeys(PHASE) | one for one in summary.get("phases") or []]
    models = [dict.fromkeys(MODEL) | one for one in summary.get("models") or []]
    stages: dict[str, float] = {}
    for phase in phases:
        for one in phase.get("stages") or []:
            stages[str(one["stage"])] = stages.get(str(one["stage"]), 0) + (one["seconds"] or 0)
    longest = max(stages.values(), default=0) or 1
    machine = summary.get("machine") or {}
    versions = summary.get("versions") or {}
    return {
        "phases": phases,
        "stages": [
            (name, seconds, seconds / longest)
            for name, seconds in sorted(stages.items(), key=lambda one: -one[1])
        ],
        "pools": [
            (phase["name"] or "", dict.fromkeys(POOL) | one)
            for phase in phases
            for one in phase.get("pools") or []
        ],
        "packing": packing(summary.get("plan"), phases),
        "wall_s": summary.get("wall_s"),
        "peak_memory_gb": summary.get("peak_memory_gb"),
        "models": models,
        "facts": [
            *((key, _plain(summary[key])) for key in ("command", "git") if summary.get(key)),
            *((str(key), _plain(value)) for key, value in machine.items()),
            *((str(key), _plain(value)) for key, value in versions.items()),
        ],
    }


def _plain(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
