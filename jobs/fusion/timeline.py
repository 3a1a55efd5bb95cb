"""The behavioural timeline of a video: all its evidence, fused.

Pure: tables and numbers in, a dictionary out. What is missing is null in the timeline and named
in its warnings; nothing here reads media, knows a model or needs Ray.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from ...datasets import schema
from ...datasets.timeline import NAME
from . import brief, fine, flags, notes, series
from .channels import weights
from .conflict import of_label
from .evidence import Evidence
from .faces import faces_of
from .plain import number, plain, strongest, time
from .rules import Rules
from .segments import Segments
from .series import actions, people, remarks, shots, tracks
from .spoken import spoken

RULES = Rules()
LATE_S = 1.0
"""Evidence later than the declared end of the video by more than this moves the end."""

F32, TEXT = pa.float32(), pa.string()
WINDOWS = ("before", "during", "after")
UTTERANCES = pa.schema(
    [
        ("start_s", pa.float64()),
        ("stop_s", pa.float64()),
        ("speaker", TEXT),
        ("person", TEXT),
        ("on_screen", pa.bool_()),
        ("text", TEXT),
        schema.TRANSCRIPT.field("words"),
        *schema.VOICE_AFFECT,
        *schema.PROSODY,
        ("text_polarity", F32),
        ("text_emotion", TEXT),
        *((f"face_{name}", TEXT) for name in WINDOWS),
        *((f"face_{name}_confidence", F32) for name in WINDOWS),
        ("face_emotion", TEXT),
        ("face_confidence", F32),
        ("face_window", TEXT),  # during | before | after | nearby
        ("listener", TEXT),
        ("listener_emotion", TEXT),
        ("listener_confidence", F32),
        ("conflict", pa.bool_()),
        ("weight_face", F32),  # used for this utterance; null: the channel had no opinion
        ("weight_voice", F32),
        ("weight_text", F32),
        ("dominant", TEXT),
        ("confidence", F32),
        ("scores", schema.rows(("label", TEXT), ("score", F32))),
        ("flags", pa.list_(TEXT)),
    ]
)
"""One row for each segment of a timeline."""


def _last(evidence: Evidence, said: list[dict[str, Any]]) -> float:
    """Time of the last thing that is known of a video."""
    times: list[float] = [one["stop_s"] for one in said]
    times += [turn["stop_s"] for turn in (evidence.turns or {}).get("turns") or []]
    for found in (evidence.signals, evidence.faces, evidence.cuts):
        times += found.time_s[-1:].tolist()
    return float(max(times, default=0.0))


def _speakers(evidence: Evidence, segments: Segments) -> list[dict[str, Any]]:
    """Who speaks, for how long, and which person it is."""
    row = evidence.turns or {}
    speech = {one["speaker"]: one["speech_s"] for one in row.get("speakers") or []}
    measured: dict[str, float] = {}
    turns = row.get("turns") or evidence.exclusive_turns or segments.said
    for turn in turns:
        if turn["speaker"] is not None:
            seconds = turn["stop_s"] - turn["start_s"]
            measured[turn["speaker"]] = measured.get(turn["speaker"], 0.0) + seconds
    names = {*speech, *measured, *segments.speakers} - {None}
    return [
        {
            "speaker": name,
            "person": segments.persons.get(name),
            "speech_s": number(speech.get(name) or measured.get(name, 0.0), 3),
        }
        for name in sorted(names)
    ]


def _segments(found: Segments, duration_s: float) -> Iterator[dict[str, Any]]:
    """The segments, without flags."""
    behaviour = found.behaviour()
    for i, one in enumerate(found.said):
        emotion, contradicts, side = found.emotion(i)
        presence, windows = found.presences[i], found.windows
        start, stop = time(one["start_s"], duration_s), time(one["stop_s"], duration_s)
        face = emotion["by_channel"]["face"]
        sides = {}
        if face is not None:
            seen = windows[presence.person or ""]
            sides = {name: of_label(seen[name].label(i)) for name in WINDOWS}
        odd = notes.incongruence(
            start,
            stop,
            text=side,
            **{name: sides.get(name) for name in WINDOWS},
            confidence=None if face is None else face["confidence"],
        )
        yield {
            "start": start,
            "end": stop,
            "speaker": one["speaker"],
            "person": presence.person,
            "on_screen": presence.on_screen,
            "listener": found.listeners[i],
            "transcript": one["text"],
            "words": [
                {
                    "start": max(start, time(word["start_s"], duration_s)),
                    "end": min(stop, time(word["stop_s"], duration_s)),
                    "word": word["word"],
                    "probability": number(word.get("probability")),
                }
                for word in one["words"]
            ],
            "emotion": emotion,
            "prosody": found.prosody(i),
            "fine_emotions": {
                "face": fine.of_face(
                    found.faces.get(presence.person or ""),
                    one["start_s"] + found.offset_s,
                    one["stop_s"] + found.offset_s,
                ),
                "voice": fine.of_voice(found.evidence, one["start_s"], one["stop_s"]),
            },
            "behavioral_notes": [_note(note, duration_s) for note in [*behaviour[i], *odd]],
            "conflict": contradicts,
            "flags": [],
        }


def _note(note: notes.Note, duration_s: float) -> notes.Note:
    """A note with plain numbers, inside the video."""
    moments = {key: time(note[key], duration_s) for key in _TIMES if key in note}
    return {**plain(note), **moments}


_TIMES = ("start", "end", "timestamp")


def _flag(segments: list[dict[str, Any]], found: Segments, rules: Rules) -> list[dict[str, Any]]:
    """Put each segment's flags into it, and list them all."""
    turns = (found.evidence.turns or {}).get("turns") or []
    shared = flags.overlapped(segments, turns)
    listed = []
    for i, segment in enumerate(segments):
        sure = found.presences[i].confidence
        for kind, confidence, detail in flags.raised(
            segment, rules=rules, overlap_s=float(shared[i]), presence=sure
        ):
            segment["flags"].append(kind)
            listed.append(
                {
                    "type": kind,
                    "start": segment["start"],
                    "end": segment["end"],
                    "segment": i,
                    "confidence": number(confidence),
                    "detail": detail,
                }
            )
    return listed


def _warnings(evidence: Evidence, found: Segments, late_s: float) -> Iterator[str]:
    """What is missing or was corrected, in sentences."""
    video = evidence.video
    alike = Counter((one["stage"], one["error_message"]) for one in evidence.failures)
    for failure in evidence.failures:
        stage, reason = failure["stage"], failure["error_message"]
        span = ""
        if failure.get("start_s") is not None and failure.get("stop_s") is not None:
            span = f" ({failure['start_s']:.1f}-{failure['stop_s']:.1f} s)"
        count = alike.pop((stage, reason), 0)
        if count == 1:
            yield f"{stage} failed{span}: {reason}"
        elif count:
            yield f"{stage} failed in {count} spans: {reason}"
    if video.get("has_audio") is False:
        yield "the video has no sound: no speakers, words or voices"
    elif evidence.turns is None:
        yield "no speaker turns are known"
    if video.get("has_video") is False:
        yield "the file has no picture: no shots, faces or expressions"
    elif not len(evidence.watched):
        yield "nobody watched the picture: no shots, faces or expressions"
    if "warning" in evidence.watched.column_names:
        yield from sorted({text for text in evidence.watched["warning"].to_pylist() if text})
    yield from brief.warnings(evidence)
    if late_s > LATE_S:
        yield f"evidence lies {late_s:.1f} s after the declared end of the video"
    if found.offset_s:
        yield (
            f"the faces begin {found.offset_s:.1f} s after the speech and were moved back by as "
            "much to be matched with it; times of faces in this file are not moved "
            "(`offset_s=inf` turns this off)"
        )
    channel = found.channels["voice"]
    if channel.tier == "degraded":
        yield f"the voice channel is {channel.reason}"


def fuse(evidence: Evidence, rules: Rules = RULES) -> dict[str, Any]:
    """Fuse what is known of one video into its timeline.

    Args:
        evidence: Results of the phases before.
        rules: How to judge.

    Returns:
        The content of `timeline.json`, see `datasets/timeline.py`: plain JSON values, times in
        seconds to the millisecond, `None` for what is unknown.
    """
    said = spoken(evidence, rules)
    faces = faces_of(evidence)
    last_s = _last(evidence, said)
    declared_s = number(evidence.video.get("duration_s"))
    late_s = 0.0 if declared_s is None else last_s - declared_s
    duration_s = round(last_s if declared_s is None or late_s > LATE_S else declared_s, 3)
    found = Segments(evidence=evidence, faces=faces, rules=rules, said=said)
    segments = list(_segments(found, duration_s))
    moved = brief.movements(evidence, faces, duration_s)
    listed = [*_flag(segments, found, rules), *brief.raised(moved)]
    speakers = _speakers(evidence, found)
    weight = weights(found.channels, base=rules.base)
    video = evidence.video
    return {
        "schema": NAME,
        "video_id": video["video_id"],
        "uri": video["uri"],
        "duration": duration_s,
        "video": {
            "fps": number(video.get("fps")),
            **{name: video.get(name) for name in _FACTS},
        },
        "models": [{name: model.get(name) for name in _MODEL} for model in evidence.models],
        "channels": {
            name: {"tier": channel.tier, "weight": number(weight[name]), "reason": channel.reason}
            for name, channel in found.channels.items()
        },
        "people": people(
            faces,
            found.persons,
            {one["speaker"]: one["speech_s"] for one in speakers},
            duration_s,
        ),
        "speakers": speakers,
        "shots": shots(evidence, duration_s),
        "segments": segments,
        "tracks": tracks(faces, duration_s, rules.series_hz),
        "series": [series.expression(face, duration_s, rules.series_hz) for face in faces.values()],
        "voice_series": [
            {
                "start": one["start"],
                "end": one["end"],
                "speaker": one["speaker"],
                "arousal": one["emotion"]["by_channel"]["voice"]["arousal"],
            }
            for one in segments
            if (one["emotion"]["by_channel"]["voice"] or {}).get("arousal") is not None
        ],
        "flags": sorted(listed, key=lambda flag: flag["start"]),
        "actions": actions(evidence, duration_s),
        "micro": moved,
        "notes": remarks(evidence, duration_s),
        "warnings": list(_warnings(evidence, found, late_s)),
    }


_FACTS = ("width", "height", "has_audio", "has_video", "codec")
_MODEL = ("role", "model", "revision", "licence", "quality")


def utterance_rows(timeline: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The segments of a timeline as flat records.

    Args:
        timeline: As `fuse` gives it.

    Returns:
        One record for each segment, with the columns of `UTTERANCES`.
    """
    return [_row(segment) for segment in timeline["segments"]]


def _row(segment: Mapping[str, Any]) -> dict[str, Any]:
    emotion, listener = segment["emotion"], segment["listener"] or {}
    channel = emotion["by_channel"]
    face, voice, text = (channel[name] or {} for name in ("face", "voice", "text"))
    windows, weight = face.get("windows") or {}, emotion.get("weights") or {}
    text_scores = text.get("scores") or {}
    found: dict[str, Any] = {
        "start_s": segment["start"],
        "stop_s": segment["end"],
        "text": segment["transcript"],
        "words": [
            {"start_s": w["start"], "stop_s": w["end"], **{n: w[n] for n in _WORD}}
            for w in segment["words"]
        ],
        **{name: voice.get(name) for name in schema.VOICE_AFFECT.names},
        **{name: (segment["prosody"] or {}).get(name) for name in schema.PROSODY.names},
        "text_polarity": text.get("polarity"),
        "text_emotion": strongest(text_scores or None),
        "face_emotion": face.get("dominant"),
        "face_confidence": face.get("confidence"),
        "face_window": face.get("window"),
        "listener": listener.get("person"),
        "listener_emotion": listener.get("emotion"),
        "listener_confidence": listener.get("confidence"),
        "dominant": emotion["dominant"],
        "confidence": emotion["confidence"],
        "scores": None
        if emotion["scores"] is None
        else [{"label": k, "score": v} for k, v in emotion["scores"].items()],
        **{name: segment[name] for name in _SAME},
        **{f"weight_{name}": weight.get(name) for name in ("face", "voice", "text")},
    }
    for name in WINDOWS:
        seen = windows.get(name) or {}
        found[f"face_{name}"] = seen.get("dominant")
        found[f"face_{name}_confidence"] = seen.get("confidence")
    return {name: found[name] for name in UTTERANCES.names}


_WORD = ("word", "probability")
_SAME = ("speaker", "person", "on_screen", "conflict", "flags")
