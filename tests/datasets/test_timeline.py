"""The validator must accept a whole timeline, and see everything that can be wrong with one."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mien.datasets.schema import LABELS, PROSODY
from mien.datasets.timeline import SCHEMA, validate

Json = dict[str, Any]
PUBLISHED = Path(__file__).parents[2] / "docs" / "timeline.schema.json"
SCORES = dict.fromkeys(LABELS, 0.1) | {"happy": 0.4}
BOX = [10.0, 10.0, 50.0, 50.0]


def segment(start: float, end: float, who: int) -> Json:
    return {
        "start": start,
        "end": end,
        "speaker": f"SPEAKER_0{who}",
        "person": f"PERSON_0{who}",
        "on_screen": True,
        "listener": {"person": f"PERSON_0{1 - who}", "emotion": "neutral", "confidence": 0.5},
        "transcript": "well yes",
        "words": [
            {"start": start, "end": start + 0.5, "word": "well", "probability": 0.9},
            {"start": start + 0.5, "end": end, "word": "yes", "probability": None},
        ],
        "emotion": {
            "dominant": "happy",
            "scores": dict(SCORES),
            "confidence": 0.6,
            "by_channel": {
                "face": {
                    "dominant": "happy",
                    "scores": dict(SCORES),
                    "confidence": 0.7,
                    "window": "during",
                },
                "voice": {"arousal": 0.5, "dominance": None, "valence": None},
                "text": {"polarity": -0.3, "scores": None},
            },
        },
        "prosody": dict.fromkeys(PROSODY.names),
        "behavioral_notes": [
            {"type": "gaze_aversion", "timestamp": start, "duration": 0.5, "confidence": 0.5},
            {"type": "speech_rate", "start": start, "end": end, "confidence": None},
        ],
        "conflict": True,
        "flags": ["conflict"],
    }


def whole() -> Json:
    """A valid timeline with everything in it."""
    flag = {"type": "conflict", "start": 0.0, "end": 2.0, "segment": 0, "confidence": 0.5}
    return {
        "schema": "mien.timeline/1",
        "video_id": "v",
        "uri": "v.mp4",
        "duration": 10.0,
        "video": {
            "fps": 25.0,
            "width": 640,
            "height": 360,
            "has_audio": True,
            "has_video": True,
            "codec": None,
        },
        "models": [
            {"role": "watch", "model": "m", "revision": "1", "licence": "MIT", "quality": None}
        ],
        "channels": {
            name: {"tier": "partial", "weight": weight, "reason": "because"}
            for name, weight in (("face", 0.6), ("voice", None), ("text", 0.4))
        },
        "people": [
            {
                "person": f"PERSON_0{k}",
                "speaker": f"SPEAKER_0{k}",
                "on_screen_s": 9.0,
                "speech_s": 2.0,
                "first_time": 0.0,
                "thumbnail_time": 1.0,
                "box": BOX,
            }
            for k in range(2)
        ],
        "speakers": [
            {"speaker": f"SPEAKER_0{k}", "person": f"PERSON_0{k}", "speech_s": 2.0}
            for k in range(2)
        ],
        "shots": [{"start": 0.0, "end": 5.0}, {"start": 5.0, "end": 10.0}],
        "segments": [segment(0.0, 2.0, 0), segment(3.0, 5.0, 1)],
        "tracks": [
            {"person": "PERSON_00", "start": 0.0, "end": 1.0, "samples": [[0.0, *BOX], [1.0, *BOX]]}
        ],
        "series": [
            {
                "person": "PERSON_00",
                "time": [0.0, 0.2],
                "expression": ["happy", None],
                "confidence": [0.5, None],
                "valence": [0.3, None],
            }
        ],
        "voice_series": [{"start": 0.0, "end": 2.0, "speaker": "SPEAKER_00", "arousal": 0.5}],
        "flags": [{**flag, "detail": "face happy, text negative"}],
        "warnings": ["something"],
    }


def put(path: str, value: object) -> Callable[[Json], None]:
    """Set one value, by a path such as `segments.0.start`."""

    def change(timeline: Json) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        here: Any = timeline
        for key in way:
            here = here[key]
        here[last] = value

    return change


def drop(path: str) -> Callable[[Json], None]:
    def change(timeline: Json) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        here: Any = timeline
        for key in way:
            here = here[key]
        del here[last]

    return change


MUTATIONS = {
    "another schema": (put("schema", "mien.timeline/2"), "timeline.schema"),
    "missing key": (drop("warnings"), "'warnings' is a required property"),
    "extra key": (put("mood", 1), "'mood' was unexpected"),
    "extra segment key": (put("segments.0.lie", True), "timeline.segments[0]"),
    "text for a number": (put("duration", "10"), "timeline.duration"),
    "negative time": (put("segments.0.start", -1.0), "timeline.segments[0].start"),
    "not a number": (put("segments.0.prosody.pitch_hz", float("nan")), "pitch_hz must be finite"),
    "infinite": (put("series.0.valence.0", float("inf")), "valence[0] must be finite"),
    "unknown label": (put("segments.0.emotion.dominant", "nervous"), "emotion.dominant"),
    "unknown window": (put("segments.0.emotion.by_channel.face.window", "x"), "face.window"),
    "missing label": (drop("segments.0.emotion.scores.sad"), "segments[0].emotion.scores"),
    "unknown tier": (put("channels.face.tier", "good"), "channels.face.tier"),
    "channel weights": (put("channels.face.weight", 0.9), "channels must have weights"),
    "note without a time": (drop("segments.0.behavioral_notes.0.timestamp"), "behavioral_notes[0]"),
    "note outside": (put("segments.0.behavioral_notes.0.timestamp", 11.0), "behavioral_notes[0]"),
    "short box": (put("people.0.box", [1, 2, 3]), "people[0].box"),
    "short sample": (put("tracks.0.samples.0", [0.0, 1.0]), "tracks[0].samples[0]"),
    "backwards": (put("segments.1.end", 2.5), "segments[1].end must be at least"),
    "beyond the end": (put("segments.1.end", 10.5), "segments[1] must lie in 0-10.0 s"),
    "not sorted": (put("segments.0.start", 3.5), "segments[1] must come after"),
    "empty shot": (put("shots.1.start", 0.0), "shots[1] must come after"),
    "shot beyond the end": (put("shots.1.end", 12.0), "shots[1] must lie in"),
    "word outside": (put("segments.0.words.1.end", 2.5), "segments[0].words[1] must lie in"),
    "words not sorted": (put("segments.0.words.0.start", 0.6), "segments[0].words"),
    "words but no text": (put("segments.0.transcript", None), "segments[0].transcript"),
    "unknown speaker": (put("segments.0.speaker", "SPEAKER_07"), "segments[0].speaker must be"),
    "unknown person": (put("tracks.0.person", "PERSON_07"), "tracks[0].person must be one of"),
    "unknown series person": (put("series.0.person", "X"), "series[0].person must be one of"),
    "unknown person's voice": (put("people.1.speaker", "X"), "people[1].speaker must be one of"),
    "unknown voice's person": (put("speakers.1.person", "X"), "speakers[1].person must be one of"),
    "person twice": (put("people.1.person", "PERSON_00"), "people must name each one once"),
    "listens to herself": (put("segments.0.listener.person", "PERSON_00"), "not be the speaker"),
    "shares of two": (put("segments.0.emotion.scores.sad", 0.9), "emotion.scores must sum to 1"),
    "not the strongest": (put("segments.0.emotion.dominant", "sad"), "must be the strongest"),
    "dominant of nothing": (put("segments.0.emotion.scores", None), "dominant must be null"),
    "face shares": (put("segments.0.emotion.by_channel.face.scores.sad", 0.9), "face.scores must"),
    "series too short": (put("series.0.valence", [0.1]), "series[0].valence must have 2"),
    "series not sorted": (put("series.0.time", [0.2, 0.2]), "series[0].time[1] must come after"),
    "series beyond the end": (put("series.0.time", [0.2, 10.2]), "series[0] must lie in"),
    "track samples outside": (put("tracks.0.end", 0.5), "tracks[0].samples must lie in"),
    "flag without its segment": (put("flags.0.segment", 2), "flags[0].segment must be less than"),
    "flag beyond the end": (put("flags.0.end", 20.0), "flags[0] must lie in"),
    "late portrait": (put("people.0.thumbnail_time", 20.0), "people[0].thumbnail_time"),
    "unknown voice": (put("voice_series.0.speaker", "X"), "voice_series[0].speaker"),
}


def test_a_whole_timeline_is_valid() -> None:
    assert validate(whole()) == []
    assert validate(json.loads(json.dumps(whole()))) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_sees_what_is_wrong(name: str) -> None:
    change, wanted = MUTATIONS[name]
    timeline = whole()
    change(timeline)
    problems = validate(timeline)
    assert any(wanted in problem for problem in problems), problems


def nullable(value: Json, path: str = "") -> list[str]:
    """Paths of all values in a nested record."""
    found: list[str] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        here = f"{path}.{key}".lstrip(".")
        found.append(here)
        if isinstance(item, dict | list):
            found += nullable(item, here)  # pyright: ignore[reportArgumentType]
    return found


def test_no_key_can_be_left_out() -> None:
    optional = {"timestamp", "duration", "start", "end"}
    for path in nullable(whole()):
        last = path.rsplit(".", 1)[-1]
        if last.isdigit() or (".behavioral_notes." in path and last in optional):
            continue
        timeline = whole()
        drop(path)(timeline)
        assert validate(timeline), path


def test_what_may_be_unknown() -> None:
    """Each value is either refused as null or documented as nullable in the schema."""
    allowed = set()
    for path in nullable(whole()["segments"][0]):
        timeline = copy.deepcopy(whole())
        put(f"segments.0.{path}", None)(timeline)
        if not validate(timeline):
            allowed.add(path)
    for must in ("speaker", "person", "on_screen", "listener", "conflict", "prosody"):
        assert must in allowed
    for never in ("start", "end", "words", "flags", "emotion", "emotion.by_channel"):
        assert never not in allowed


@pytest.mark.parametrize("value", [None, [], 3, "timeline", {}])
def test_other_things_are_no_timeline(value: object) -> None:
    assert validate(value)


def test_the_published_schema_is_this_one() -> None:
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == SCHEMA
    Draft202012Validator.check_schema(SCHEMA)
