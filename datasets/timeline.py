"""The behavioural timeline of a video: its JSON schema, and a validator that can fail."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import isclose, isfinite
from types import MappingProxyType
from typing import Any

from jsonschema import Draft202012Validator

from .schema import LABELS, PROSODY

NAME = "mien.timeline/1"
TIERS = ("reliable", "partial", "degraded", "absent")
WINDOWS = ("before", "during", "after", "nearby")
TOLERANCE_S = 0.002
"""Times are rounded to milliseconds; two that touch may part by this much."""

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
NUMBER: Json = {"type": "number"}
TIME: Json = {"type": "number", "minimum": 0}
UNIT: Json = {"type": "number", "minimum": 0, "maximum": 1}
SIGNED: Json = {"type": "number", "minimum": -1, "maximum": 1}
COUNT: Json = {"type": "integer", "minimum": 0}
LABEL: Json = {"enum": list(LABELS)}


def maybe(one: Json) -> Json:
    """The same or null: unknown."""
    if "enum" in one:
        return {**one, "enum": [*one["enum"], None]}
    return {**one, "type": [one["type"], "null"]}


def record(optional: Mapping[str, Json] = MappingProxyType({}), **properties: Json) -> Json:
    """An object with these keys, each required, and perhaps the optional ones."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": {**properties, **optional},
        "additionalProperties": False,
    }


def many(one: Json) -> Json:
    """A list."""
    return {"type": "array", "items": one}


SCORES = record(**dict.fromkeys(LABELS, UNIT))
CHANNEL = record(tier={"enum": list(TIERS)}, weight=maybe(UNIT), reason=TEXT)
NOTE: Json = {
    "type": "object",
    "required": ["type", "confidence"],
    "properties": {
        "type": TEXT,
        "confidence": maybe(UNIT),
        "timestamp": TIME,
        "start": TIME,
        "end": TIME,
        "duration": TIME,
        "baseline_ref": TEXT,
        "change": TEXT,
    },
    "anyOf": [{"required": ["timestamp"]}, {"required": ["start", "end"]}],
}
SEEN = maybe(record(dominant=LABEL, confidence=UNIT))
EMOTION = record(
    optional={"weights": record(**dict.fromkeys(("face", "voice", "text"), maybe(UNIT)))},
    dominant=maybe(LABEL),
    scores=maybe(SCORES),
    confidence=maybe(UNIT),
    by_channel=record(
        face=maybe(
            record(
                optional={"windows": record(before=SEEN, during=SEEN, after=SEEN)},
                dominant=LABEL,
                scores=SCORES,
                confidence=UNIT,
                window={"enum": list(WINDOWS)},
            )
        ),
        voice=maybe(record(**dict.fromkeys(("arousal", "dominance", "valence"), maybe(NUMBER)))),
        text=maybe(record(polarity=maybe(SIGNED), scores=maybe(SCORES))),
    ),
)
FINE = maybe(many(record(label=TEXT, score=maybe(NUMBER))))
SEGMENT = record(
    optional={"fine_emotions": record(face=FINE, voice=FINE)},
    start=TIME,
    end=TIME,
    speaker=maybe(TEXT),
    person=maybe(TEXT),
    on_screen=maybe(FLAG),
    listener=maybe(record(person=TEXT, emotion=LABEL, confidence=UNIT)),
    transcript=maybe(TEXT),
    words=many(record(start=TIME, end=TIME, word=TEXT, probability=maybe(NUMBER))),
    emotion=EMOTION,
    prosody=maybe(record(**{name: maybe(NUMBER) for name in PROSODY.names})),
    behavioral_notes=many(NOTE),
    conflict=maybe(FLAG),
    flags=many(TEXT),
)
SERIES: Json = {
    "type": "object",
    "required": ["person", "time", "expression", "confidence", "valence"],
    "properties": {
        "person": TEXT,
        "time": many(TIME),
        "expression": many(maybe(LABEL)),
        "confidence": many(maybe(UNIT)),
        "valence": many(maybe(SIGNED)),
    },
    "additionalProperties": many(maybe(NUMBER)),
}
SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Behavioural timeline of a video",
    "description": "Times are seconds from the start of the media, spans half-open, boxes pixels "
    "x, y, w, h in the upright frame. What is unknown is null, never zero.",
    **record(
        optional={
            "actions": many(
                record(start=TIME, end=TIME, labels=many(record(label=TEXT, score=maybe(UNIT))))
            ),
            "micro": many(
                record(
                    person=maybe(TEXT),
                    start=TIME,
                    apex=TIME,
                    end=TIME,
                    region={"enum": ["brows", "eyes", "mouth"]},
                    part=TEXT,
                    peak=maybe(NUMBER),
                    clear=maybe(NUMBER),
                )
            ),
            "notes": many(
                record(
                    kind=TEXT,
                    start=TIME,
                    end=TIME,
                    reason=maybe(TEXT),
                    summary=maybe(TEXT),
                    emotion=maybe(LABEL),
                    confidence=maybe(UNIT),
                    model=maybe(TEXT),
                    answer=maybe(TEXT),
                )
            ),
        },
        schema={"const": NAME},
        video_id=TEXT,
        uri=TEXT,
        duration=TIME,
        video=record(
            fps=maybe(NUMBER),
            width=maybe(COUNT),
            height=maybe(COUNT),
            has_audio=maybe(FLAG),
            has_video=maybe(FLAG),
            codec=maybe(TEXT),
        ),
        models=many(
            record(
                role=TEXT,
                **dict.fromkeys(("model", "revision", "licence", "quality"), maybe(TEXT)),
            )
        ),
        channels=record(**dict.fromkeys(("face", "voice", "text"), CHANNEL)),
        people=many(
            record(
                optional={"name": maybe(TEXT)},
                person=TEXT,
                speaker=maybe(TEXT),
                on_screen_s=TIME,
                speech_s=maybe(TIME),
                first_time=TIME,
                thumbnail_time=TIME,
                box={"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4},
            )
        ),
        speakers=many(record(speaker=TEXT, person=maybe(TEXT), speech_s=TIME)),
        shots=many(record(start=TIME, end=TIME)),
        segments=many(SEGMENT),
        tracks=many(
            record(
                person=TEXT,
                start=TIME,
                end=TIME,
                samples=many({"type": "array", "items": NUMBER, "minItems": 5, "maxItems": 5}),
            )
        ),
        series=many(SERIES),
        voice_series=many(record(start=TIME, end=TIME, speaker=maybe(TEXT), arousal=NUMBER)),
        flags=many(
            record(
                type=TEXT,
                start=TIME,
                end=TIME,
                segment=maybe(COUNT),
                confidence=maybe(UNIT),
                detail=TEXT,
            )
        ),
        warnings=many(TEXT),
    ),
}

VALIDATOR = Draft202012Validator(SCHEMA)
SPANS = ("shots", "segments", "tracks", "flags", "voice_series", "actions", "micro", "notes")
"""Lists of the timeline whose records have a start and an end, in order of time."""


def _numbers(value: object, path: str) -> Iterator[str]:
    """Numbers that JSON cannot carry."""
    if isinstance(value, float) and not isfinite(value):
        yield f"{path} must be finite or null, but is {value}."
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _numbers(item, f"{path}[{i}]")


def _span(one: Mapping[str, Any], path: str, low: float, high: float) -> Iterator[str]:
    """A span that runs backwards or leaves its surroundings."""
    if one["end"] < one["start"]:
        yield f"{path}.end must be at least {path}.start ({one['start']}), but is {one['end']}."
    if one["start"] < low - TOLERANCE_S or one["end"] > high + TOLERANCE_S:
        yield f"{path} must lie in {low}-{high} s, but is {one['start']}-{one['end']} s."


def _sorted(values: Sequence[float], path: str, *, strictly: bool = False) -> Iterator[str]:
    """The first of some values that is out of order."""
    for i, (one, two) in enumerate(pairwise(values)):
        if two < one or (strictly and two == one):
            yield f"{path}[{i + 1}] must come after {path}[{i}] ({one}), but is {two}."
            return


def _unique(values: Sequence[str], path: str) -> Iterator[str]:
    """Names that stand twice."""
    twice = sorted({name for name in values if values.count(name) > 1})
    if twice:
        yield f"{path} must name each one once, but names {', '.join(twice)} twice."


def _known(name: str | None, names: Iterable[str], path: str) -> Iterator[str]:
    """A name that nobody introduced."""
    if name is not None and name not in names:
        yield f"{path} must be one of {sorted(names)} or null, but is {name!r}."


def _scores(scores: Mapping[str, float] | None, dominant: str | None, path: str) -> Iterator[str]:
    """Scores that are no shares, or a dominant label that is not the strongest."""
    if scores is None:
        if dominant is not None:
            yield f"{path}.dominant must be null where there are no scores, but is {dominant!r}."
        return
    total = sum(scores.values())
    if not isclose(total, 1, abs_tol=0.005):
        yield f"{path}.scores must sum to 1, but sum to {total:.4f}."
    if dominant is not None and scores[dominant] < max(scores.values()) - 1e-3:
        best = max(scores, key=lambda label: scores[label])
        yield f"{path}.dominant must be the strongest label ({best!r}), but is {dominant!r}."


def _segment(one: Mapping[str, Any], path: str, duration: float) -> Iterator[str]:
    yield from _span(one, path, 0, duration)
    for j, word in enumerate(one["words"]):
        yield from _span(word, f"{path}.words[{j}]", one["start"], one["end"])
    yield from _sorted([word["start"] for word in one["words"]], f"{path}.words")
    if one["transcript"] is None and one["words"]:
        yield f"{path}.transcript must not be null where there are words."
    emotion = one["emotion"]
    yield from _scores(emotion["scores"], emotion["dominant"], f"{path}.emotion")
    for name in ("face", "text"):
        part = emotion["by_channel"][name]
        if part is not None:
            where = f"{path}.emotion.by_channel.{name}"
            yield from _scores(
                part["scores"], part.get("dominant") if part["scores"] else None, where
            )
    for j, note in enumerate(one["behavioral_notes"]):
        where = f"{path}.behavioral_notes[{j}]"
        at = note.get("timestamp", note.get("start"))
        yield from _span({"start": at, "end": note.get("end", at)}, where, 0, duration)


def _series(one: Mapping[str, Any], path: str, duration: float) -> Iterator[str]:
    count = len(one["time"])
    for name, values in one.items():
        if name != "person" and len(values) != count:
            yield f"{path}.{name} must have {count} values as `time` has, but has {len(values)}."
    yield from _sorted(one["time"], f"{path}.time", strictly=True)
    if count:
        yield from _span({"start": one["time"][0], "end": one["time"][-1]}, path, 0, duration)


def _meaning(timeline: Mapping[str, Any]) -> Iterator[str]:
    """What a JSON schema cannot say; the timeline already fits the schema."""
    duration = timeline["duration"]
    people = [one["person"] for one in timeline["people"]]
    speakers = [one["speaker"] for one in timeline["speakers"]]
    yield from _unique(people, "people")
    yield from _unique(speakers, "speakers")
    for group in SPANS:
        spans = timeline.get(group) or []
        yield from _sorted([one["start"] for one in spans], group, strictly=group == "shots")
        for i, one in enumerate(spans):
            path = f"{group}[{i}]"
            if group == "segments":
                yield from _segment(one, path, duration)
            else:
                yield from _span(one, path, 0, duration)
            yield from _known(one.get("speaker"), speakers, f"{path}.speaker")
            yield from _known(one.get("person"), people, f"{path}.person")
    for i, one in enumerate(timeline["people"]):
        yield from _known(one["speaker"], speakers, f"people[{i}].speaker")
        for name in ("first_time", "thumbnail_time"):
            if one[name] > duration + TOLERANCE_S:
                yield f"people[{i}].{name} must be at most {duration}, but is {one[name]}."
    for i, one in enumerate(timeline["speakers"]):
        yield from _known(one["person"], people, f"speakers[{i}].person")
    for i, one in enumerate(timeline["segments"]):
        listener = one["listener"]
        if listener is not None:
            path = f"segments[{i}].listener.person"
            yield from _known(listener["person"], people, path)
            if listener["person"] == one["person"]:
                yield f"{path} must not be the speaker ({one['person']})."
    for i, one in enumerate(timeline["tracks"]):
        times = [sample[0] for sample in one["samples"]]
        yield from _sorted(times, f"tracks[{i}].samples")
        if times:
            ends = {"start": times[0], "end": times[-1]}
            yield from _span(ends, f"tracks[{i}].samples", one["start"], one["end"])
    for i, one in enumerate(timeline["series"]):
        yield from _known(one["person"], people, f"series[{i}].person")
        yield from _series(one, f"series[{i}]", duration)
    for i, one in enumerate(timeline.get("micro") or []):
        if not one["start"] <= one["apex"] <= one["end"]:
            span = f"{one['start']}-{one['end']}"
            yield f"micro[{i}].apex must lie in {span} s, but is {one['apex']}."
    for i, one in enumerate(timeline["flags"]):
        if one["segment"] is not None and one["segment"] >= len(timeline["segments"]):
            count = len(timeline["segments"])
            yield f"flags[{i}].segment must be less than {count}, but is {one['segment']}."
    weights = [one["weight"] for one in timeline["channels"].values() if one["weight"]]
    if weights and not isclose(sum(weights), 1, abs_tol=0.005):
        yield f"channels must have weights that sum to 1, but they sum to {sum(weights):.4f}."


def validate(timeline: Any) -> list[str]:  # noqa: ANN401
    """Find what is wrong with a timeline.

    Args:
        timeline: As `json.load` gives it.

    Returns:
        One sentence for each problem, which begins with the path of what is wrong; empty for a
        valid timeline. What the schema finds is reported first, and alone: the meaning of a
        timeline is only looked into where its form is right.
    """
    problems = [f"{line}" for line in _numbers(timeline, "timeline")]
    for error in sorted(VALIDATOR.iter_errors(timeline), key=str):
        problems.append(f"{error.json_path.replace('$', 'timeline', 1)}: {error.message[:300]}")
    if not problems and isinstance(timeline, Mapping):
        problems = list(_meaning(timeline))
    return problems
