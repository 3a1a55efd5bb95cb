"""Which moments are asked about: chosen from the fused evidence, shown by frames that exist."""

import json
from typing import Any

import pyarrow as pa
import pytest

from mien.actors.prompts import KINDS
from mien.datasets.schema import LABELS, WATCH
from mien.jobs.fusion.evidence import Evidence
from mien.jobs.fusion.rules import Rules
from mien.jobs.moments import MOMENTS, Choice, chosen

RULES = Rules()


def frame(time_s: float) -> dict[str, Any]:
    return {"time_s": time_s, "reason": "base", "motion": 0.0, "thumbnail": b"jpeg"}


def face(time_s: float) -> dict[str, Any]:
    box = {"x": 10.0, "y": 10.0, "w": 50.0, "h": 50.0}
    return {
        "frame": 0,
        "time_s": time_s,
        **box,
        "score": 0.9,
        "track": 0,
        "quality": 0.9,
        "crop": b"",
    }


def said(start_s: float, stop_s: float, text: str, **more: object) -> dict[str, Any]:
    row = {"start_s": start_s, "stop_s": stop_s, "speaker": "SPEAKER_00", "text": text, "words": []}
    return {**row, **more}


def scored(label: str) -> list[dict[str, Any]]:
    return [{"label": x, "score": 0.94 if x == label else 0.01} for x in LABELS]


def evidence(**more: Any) -> Evidence:  # noqa: ANN401
    """Ten seconds: happy words over an angry face, then speech without a face."""
    angry = [0.94 if label == "angry" else 0.01 for label in LABELS]
    times = [1.0, 1.5, 2.0]
    row = dict.fromkeys(WATCH.names)
    row |= {
        "id": "span",
        "start_s": 0.0,
        "stop_s": 10.0,
        "cuts": [{"time_s": 5.0, "detector": "content", "score": 1.0}],
        "frames": [frame(t) for t in (0.0, 1.0, 1.5, 2.0, 4.0, 7.0, 9.0)],
        "faces": [face(t) for t in times],
        "face_embeddings": [[1.0, 0.0]] * 3,
        "face_emotions": [angry] * 3,
    }
    voice = [
        said(1.0, 2.5, "what a lovely day", text_polarity=0.8, text_scores=scored("happy")),
        said(6.5, 8.0, "nobody sees me"),
    ]
    turns = [
        {"start_s": v["start_s"], "stop_s": v["stop_s"], "speaker": "SPEAKER_00"} for v in voice
    ]
    known = {
        "video_id": "v",
        "uri": "v.mp4",
        "duration_s": 10.0,
        "has_audio": True,
        "has_video": True,
    }
    return Evidence(
        video=known,
        turns={"turns": turns, "exclusive_turns": turns, "speakers": []},
        watch=[row],
        voice=voice,
        **more,
    )


def test_speech_without_a_face_is_a_moment_for_the_fallback_detector() -> None:
    found = chosen(evidence(), RULES, Choice(kinds=("no_face",), margin_s=1.5))
    assert [(m["start_s"], m["stop_s"], m["kind"]) for m in found] == [(6.5, 8.0, "no_face")]
    assert [f["time_s"] for f in found[0]["frames"]] == [7.0, 9.0]
    assert all(f["id"] == "span" for f in found[0]["frames"])


def test_a_flagged_utterance_is_a_moment_and_says_why() -> None:
    found = chosen(evidence(), RULES, Choice(kinds=("flag",)))
    assert found
    assert all(m["reason"] for m in found)
    assert json.loads(found[0]["context"])["speaker"] == "SPEAKER_00"


def test_facs_asks_only_where_a_face_is_known() -> None:
    flags = chosen(evidence(), RULES, Choice(kinds=("flag",)))
    faces = chosen(evidence(), RULES, Choice(kinds=("facs",)))
    assert {m["start_s"] for m in faces} <= {m["start_s"] for m in flags}
    assert 6.5 not in {m["start_s"] for m in faces}


def test_keyframes_cover_the_video_and_end_at_its_cuts() -> None:
    choice = Choice(kinds=("keyframe",), every_s=3.0, margin_s=0.0, most_per_hour=3600)
    found = chosen(evidence(), RULES, choice)
    edges = [(m["start_s"], m["stop_s"]) for m in found]
    assert edges == [(0.0, 2.5), (2.5, 5.0), (5.0, 7.5), (7.5, 10.0)]
    assert found[0]["text"] == "what a lovely day" or found[0]["text"] is None


def test_the_frames_of_a_moment_are_few_and_spread() -> None:
    choice = Choice(kinds=("keyframe",), every_s=60.0, frames=3)
    first = chosen(evidence(), RULES, choice)[0]
    assert [f["index"] for f in first["frames"]] == [0, 2, 4]


def test_no_more_moments_than_asked_for() -> None:
    choice = Choice(kinds=("keyframe",), every_s=1.0, most_per_hour=3600 / 5)
    assert len(chosen(evidence(), RULES, choice)) == 2


def test_nothing_watched_makes_no_moments() -> None:
    blind = Evidence(video={"video_id": "v", "uri": "v.mp4", "duration_s": 10.0})
    assert chosen(blind, RULES, Choice(kinds=KINDS)) == []


def test_moments_fit_their_table() -> None:
    found = chosen(evidence(), RULES, Choice(kinds=KINDS))
    pa.Table.from_pylist([{"moments": found}], schema=MOMENTS).validate(full=True)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kinds": ("flags",)}, "flags"),
        ({"frames": 0}, "frames"),
        ({"every_s": 0.0}, "every_s"),
        ({"most_per_hour": -1.0}, "most_per_hour"),
        ({"margin_s": -1.0}, "margin_s"),
    ],
)
def test_a_wrong_choice_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Choice(**wrong)
