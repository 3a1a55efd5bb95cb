"""The page of one video: the player, the lanes below it, the transcript beside it.

One file that holds all it needs but the video: it works from disk and opens no connection.
"""

import math
from collections.abc import Sequence
from typing import Any

from . import lanes as rows
from .chart import chart
from .lanes import Lanes, expression_runs
from .markup import asset, bokeh_script, clean, clock, data_uri, href, page, script_json

MAX_THUMBNAILS = 150
MAX_THUMBNAIL_BYTES = 1_000_000
MAX_BOXES = 25_000

MODEL = ("role", "model", "revision", "licence", "quality")
PERSON = (
    "person",
    "name",
    "speaker",
    "on_screen_s",
    "speech_s",
    "first_time",
    "thumbnail_time",
    "box",
)

TIERS = {
    "reliable": "good enough to rely on",
    "partial": "there for part of the video",
    "degraded": "present, but poor",
    "absent": "not available",
}
"""What a channel's tier means, in plain words."""


def render(timeline: dict[str, Any], *, media: str, thumbnails: list[tuple[float, bytes]]) -> str:
    """Write the page of one video.

    Args:
        timeline: A `mien.timeline/1`: plain data, times in seconds, None where unknown.
        media: Path or URL of the video as the page should reference it; a relative path is
            relative to the page.
        thumbnails: Time (seconds) and JPEG; thinned to what a page can carry.

    Returns:
        The HTML.
    """
    timeline = clean(timeline)
    words, segments = _flat_words(timeline.get("segments") or [])
    flags = timeline.get("flags") or []
    runs = expression_runs(timeline.get("series") or [])
    times = [one["thumbnail_time"] for one in _people(timeline)[: rows.MAX_ROWS]]
    wanted = [time_s for time_s in times if time_s is not None]
    pictures = thin(thumbnails, wanted)
    lanes = _lanes(timeline, segments, words, runs, flags)
    duration_s = timeline.get("duration") or _end(segments, timeline.get("shots") or [])
    data = {
        "duration": duration_s,
        "media": href(media),
        "video": timeline.get("video") or {},
        "people": _people(timeline),
        "shots": timeline.get("shots") or [],
        "segments": segments,
        "words": words,
        "runs": [_short_run(run) for run in runs],
        "tracks": _lighter_tracks(timeline.get("tracks") or []),
        "arousal": timeline.get("voice_series") or [],
        "flags": flags,
        "actions": timeline.get("actions") or [],
        "micro": timeline.get("micro") or [],
        "remarks": [_short_remark(one) for one in timeline.get("notes") or []],
        "pictures": [[time_s, data_uri(jpeg)] for time_s, jpeg in pictures],
        "rows": lanes.rows,
        "kinds": lanes.kinds,
        "colours": rows.COLOURS,
        "labels": rows.LABELS,
        "unsure": rows.UNSURE,
        "height": lanes.height_px,
        "chart": chart(lanes, duration_s=duration_s),
    }
    return page(
        "page.html",
        scripts={"bokeh": bokeh_script(), "script": asset("page.js")},
        style=asset("style.css") + asset("page.css"),
        data=script_json(clean_page(data)),
        pictured=bool(pictures),
        title=_name(timeline),
        facts=_facts(timeline, duration_s),
        people=_people(timeline),
        speakers=timeline.get("speakers") or [],
        channels=_channels(timeline.get("channels") or {}),
        models=[dict.fromkeys(MODEL) | one for one in timeline.get("models") or []],
        remarks=timeline.get("notes") or [],
        warnings=timeline.get("warnings") or [],
        labels=rows.LABELS,
        media=href(media),
        hidden_rows=_hidden_rows(timeline),
    )


def clean_page(data: dict[str, Any]) -> dict[str, Any]:
    """Round what the page computed; the chart's numbers are packed and stay as they are."""
    chart = data.pop("chart")
    return {**clean(data), "chart": chart}


def thin(
    thumbnails: Sequence[tuple[float, bytes]], wanted: Sequence[float] = ()
) -> list[tuple[float, bytes]]:
    """Choose the pictures that a page can carry, spread evenly over the time.

    Args:
        thumbnails: Time (seconds) and JPEG, in any order.
        wanted: Times whose nearest picture is chosen first.

    Returns:
        At most `MAX_THUMBNAILS` of them, of at most `MAX_THUMBNAIL_BYTES` together, by time.
    """
    found = sorted((one for one in thumbnails if one[1]), key=lambda one: one[0])
    if not found:
        return []
    first, last = found[0][0], found[-1][0]
    count = min(MAX_THUMBNAILS, len(found))
    spread = [first + (last - first) * _radical_inverse(i) for i in range(1, 4 * count)]
    order = dict.fromkeys(_nearest(found, time_s) for time_s in [*wanted, first, last, *spread])
    chosen, size = [], 0
    for index in order:
        size += len(found[index][1])
        if len(chosen) == count or size > MAX_THUMBNAIL_BYTES:
            break
        chosen.append(index)
    return [found[index] for index in sorted(chosen)]


def _radical_inverse(number: int) -> float:
    """Van der Corput's sequence (base 2): any beginning of it is spread over 0-1 evenly."""
    value, scale = 0.0, 0.5
    while number:
        number, bit = divmod(number, 2)
        value += bit * scale
        scale /= 2
    return value


def _nearest(found: Sequence[tuple[float, bytes]], time_s: float) -> int:
    return min(range(len(found)), key=lambda i: abs(found[i][0] - time_s))


def _flat_words(
    segments: Sequence[dict[str, Any]],
) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    """All words as one list; each segment keeps what the page shows, and `[from, to)` of them."""
    words: list[list[Any]] = []
    lighter = []
    for one in segments:
        first = len(words)
        for word in one.get("words") or []:
            text = str(word["word"]).strip()
            words.append([word["start"], word["end"], text, word.get("probability")])
        lighter.append(_lighter(one) | {"words": [first, len(words)]})
    return words, lighter


def _lighter(segment: dict[str, Any]) -> dict[str, Any]:
    """A segment without what the page does not show: an hour has thousands."""
    kept = {key: value for key, value in segment.items() if value not in (None, [], {})}
    if kept.get("words"):
        kept.pop("transcript", None)
    emotion = dict(segment.get("emotion") or {})
    channels = dict(emotion.get("by_channel") or {})
    for name in channels:
        channels[name] = {k: v for k, v in (channels[name] or {}).items() if k != "scores"} or None
    scores = sorted((emotion.get("scores") or {}).items(), key=lambda one: -(one[1] or 0))
    return kept | {"emotion": {**emotion, "by_channel": channels, "scores": scores[:3]}}


def _short_remark(one: dict[str, Any]) -> dict[str, Any]:
    """A remark without the model's whole answer: that stands in the table."""
    return {key: value for key, value in one.items() if key != "answer"}


def _short_run(run: rows.Run) -> list[Any]:
    label = rows.LABELS.index(run.label) if run.label is not None else -1
    return [run.person, run.start, run.end, label, run.confidence, run.valence]


def _lighter_tracks(tracks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tracks with whole pixels, and with fewer samples where there are very many."""
    every = math.ceil(sum(len(one["samples"]) for one in tracks) / MAX_BOXES) or 1
    lighter = []
    for one in tracks:
        samples = one["samples"]
        kept = [*samples[:-1:every], *samples[-1:]]
        boxes = [[time_s, *(round(edge) for edge in box)] for time_s, *box in kept]
        lighter.append({**one, "samples": boxes})
    return lighter


def _lanes(
    timeline: dict[str, Any],
    segments: list[dict[str, Any]],
    words: list[list[Any]],
    runs: list[rows.Run],
    flags: list[dict[str, Any]],
) -> Lanes:
    lanes = Lanes()
    rows.shot_row(lanes, timeline.get("shots") or [])
    rows.speaker_rows(lanes, timeline.get("speakers") or [], segments)
    rows.word_row(lanes, words)
    rows.people_rows(lanes, _people(timeline), timeline.get("tracks") or [], runs)
    rows.arousal_row(lanes, timeline.get("voice_series") or [])
    rows.polarity_row(lanes, segments)
    rows.action_row(lanes, timeline.get("actions") or [])
    rows.micro_row(lanes, timeline.get("micro") or [])
    rows.flag_row(lanes, flags)
    rows.remark_row(lanes, timeline.get("notes") or [])
    return lanes


def _people(timeline: dict[str, Any]) -> list[dict[str, Any]]:
    people = [dict.fromkeys(PERSON) | one for one in timeline.get("people") or []]
    return sorted(people, key=lambda one: -(one["on_screen_s"] or 0))


def _end(*lists: Sequence[dict[str, Any]]) -> float:
    return max((one["end"] for some in lists for one in some), default=0.0)


def _name(timeline: dict[str, Any]) -> str:
    uri = str(timeline.get("uri") or timeline.get("video_id") or "video")
    return uri.rstrip("/").rsplit("/", 1)[-1] or uri


def _facts(timeline: dict[str, Any], duration_s: float) -> list[str]:
    """What the file is, in a few words each."""
    video = timeline.get("video") or {}
    facts = [clock(duration_s)]
    if video.get("has_video") and video.get("width"):
        fps = f", {video['fps']:.4g} fps" if video.get("fps") else ""
        facts.append(f"{video['width']} × {video['height']}{fps}")  # noqa: RUF001 (a times sign)
    if video.get("codec"):
        facts.append(str(video["codec"]))
    if video.get("has_video") is False:
        facts.append("no picture")
    if video.get("has_audio") is False:
        facts.append("no sound")
    for key, one, more in (
        ("people", "person seen", "people seen"),
        ("speakers", "speaker heard", "speakers heard"),
        ("shots", "shot", "shots"),
    ):
        count = len(timeline.get(key) or [])
        facts.append(f"{count} {one if count == 1 else more}")
    return facts


def _channels(channels: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "tier": str(channel.get("tier") or "unknown"),
            "meaning": TIERS.get(str(channel.get("tier")), ""),
            "weight": channel.get("weight"),
            "reason": channel.get("reason"),
        }
        for name, channel in channels.items()
    ]


def _hidden_rows(timeline: dict[str, Any]) -> str:
    """Who has no row of their own; empty where all have."""
    hidden = []
    for key, name in (("people", "people"), ("speakers", "speakers")):
        more = len(timeline.get(key) or []) - rows.MAX_ROWS
        if more > 0:
            hidden.append(f"{more} more {name}")
    return " and ".join(hidden)
