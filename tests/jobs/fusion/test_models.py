"""What trained models say of faces, voices and moments, and how the fusion takes it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from mien.datasets.laion import LAION_FACE_NAMES, LAION_VOICE_NAMES
from mien.datasets.schema import LABELS, MEASURES, WATCH
from mien.datasets.timeline import validate
from mien.jobs.fusion.evidence import Evidence
from mien.jobs.fusion.faces import usual
from mien.jobs.fusion.timeline import fuse

ANGRY, HAPPY = LABELS.index("angry"), LABELS.index("happy")
MOUTH = ("mouth_open", "jaw_drop")


def face(time_s: float, track: int, x: float) -> dict[str, Any]:
    box = {"x": x, "y": 10.0, "w": 50.0, "h": 50.0}
    known = {"frame": 0, "score": 0.9, "quality": 0.9, "crop": None}
    return {**known, **box, "time_s": time_s, "track": track}


def signal(time_s: float, track: int, x: float, *, speaks: bool) -> dict[str, Any]:
    """A mouth that moves, or does not; the rest of the face is at rest."""
    box = {"x": x, "y": 10.0, "w": 50.0, "h": 50.0}
    open_ = 0.3 * abs(np.sin(time_s * 20)) if speaks else 0.0
    measures = dict.fromkeys(MEASURES, 0.3) | {"mouth_open": open_, "yaw": 0.0, "pitch": 0.0}
    return {"time_s": time_s, "track": track, **box, **measures}


def probabilities(label: int) -> list[float]:
    return [0.88 if i == label else 0.02 for i in range(len(LABELS))]


def row(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Ten seconds, two faces: the left one talks and is angry, the right one is happy."""
    times = np.arange(0.0, 10.0, 0.5).tolist()
    dense = np.arange(0.0, 10.0, 0.1).tolist()
    faces = [face(t, k, 10.0 + 200 * k) for t in times for k in (0, 1)]
    emotions = [probabilities(ANGRY if f["track"] == 0 else HAPPY) for f in faces]
    found: dict[str, Any] = dict.fromkeys(WATCH.names)
    found |= {
        "id": "span",
        "start_s": 0.0,
        "stop_s": 10.0,
        "cuts": [],
        "frames": [],
        "faces": faces,
        "signals": [signal(t, k, 10.0 + 200 * k, speaks=k == 0) for t in dense for k in (0, 1)],
        "face_embeddings": [[1.0, 0.0] if f["track"] == 0 else [0.0, 1.0] for f in faces],
        "face_emotions": emotions,
    }
    return {**found, **more}


def evidence(watch: Mapping[str, Any], **more: Any) -> Evidence:  # noqa: ANN401
    turns = [{"start_s": 1.0, "stop_s": 9.0, "speaker": "SPEAKER_00"}]
    voice = [{**turns[0], "text": "good morning", "words": []}]
    return Evidence(
        video={"video_id": "v", "uri": "v.mp4", "duration_s": 10.0, "has_audio": True},
        turns={"turns": turns, "exclusive_turns": turns, "speakers": []},
        watch=[watch],
        voice=voice,
        **more,
    )


def fused(watch: Mapping[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    made = fuse(evidence(watch, **more))
    assert validate(made) == []
    return made


def test_a_model_of_expression_takes_the_place_of_the_rules() -> None:
    segment = fused(row())["segments"][0]
    assert segment["person"] == "PERSON_00"
    assert segment["emotion"]["by_channel"]["face"]["dominant"] == "angry"
    assert segment["emotion"]["by_channel"]["face"]["confidence"] == pytest.approx(0.88)
    assert segment["listener"]["emotion"] == "happy"
    ruled = fused(row(face_emotions=None))["segments"][0]["emotion"]["by_channel"]["face"]
    assert ruled is None or ruled["dominant"] != "angry"


def test_the_lane_of_an_expression_still_knows_the_mouth() -> None:
    lanes = {one["person"]: one for one in fused(row())["series"]}
    assert set(lanes["PERSON_00"]["expression"]) == {"angry"}
    assert max(lanes["PERSON_00"]["mouth"]) > max(lanes["PERSON_01"]["mouth"])


def test_a_face_without_an_answer_has_no_vote() -> None:
    watch = row()
    watch["face_emotions"] = [
        None if i % 4 == 0 else e for i, e in enumerate(watch["face_emotions"])
    ]
    segment = fused(watch)["segments"][0]
    assert segment["emotion"]["by_channel"]["face"]["scores"]["angry"] == pytest.approx(0.88)


def test_the_gallery_names_a_person() -> None:
    watch = row()
    known = {"name": "Anna", "distance": 0.1}
    watch["face_matches"] = [known if f["track"] == 0 else None for f in watch["faces"]]
    names = {one["person"]: one["name"] for one in fused(watch)["people"]}
    assert names == {"PERSON_00": "Anna", "PERSON_01": None}


def test_a_name_needs_half_of_the_faces() -> None:
    assert usual(["Anna", "Anna", None, "Ben"]) == "Anna"
    assert usual(["Anna", None, None]) is None
    assert usual([]) is None


def test_embeddings_are_joined_by_the_likeness_of_their_model() -> None:
    near = [[1.0, 0.0] if f["track"] == 0 else [0.6, 0.8] for f in row()["faces"]]
    watch = row(face_embeddings=near)
    watch["faces"] = [f | {"time_s": f["time_s"] + 10 * f["track"]} for f in watch["faces"]]
    watch["signals"] = []
    assert len(fused(watch, likeness=0.5)["people"]) == 1
    assert len(fused(watch, likeness=0.7)["people"]) == 2


def test_fine_emotions_of_the_speaker_stand_with_the_utterance() -> None:
    watch = row()
    scores = np.zeros((len(watch["faces"]), 40))
    left = np.array([f["track"] == 0 for f in watch["faces"]])
    scores[left, 3], scores[~left, 7] = 5.0, 6.0
    segment = fused(row(laion_face=scores.tolist()))["segments"][0]
    best = segment["fine_emotions"]["face"][0]
    assert best == {"label": LAION_FACE_NAMES[3], "score": 5.0}
    adjusted = fused(row(laion_face=scores.tolist(), laion_face_adjusted=(scores - 1).tolist()))
    assert adjusted["segments"][0]["fine_emotions"]["face"][0]["score"] == 4.0


def test_the_voice_of_segments_that_lie_in_an_utterance_counts() -> None:
    heard = [
        {"start_s": 1.0, "stop_s": 5.0, "laion_voice": [0.0] * 39 + [3.0]},
        {"start_s": 5.0, "stop_s": 9.0, "laion_voice": [0.0] * 39 + [1.0]},
        {"start_s": 8.9, "stop_s": 10.0, "laion_voice": [9.0] * 40},  # mostly after it
        {"start_s": 2.0, "stop_s": 3.0, "laion_voice": None},
    ]
    segment = fused(row(), segments=heard)["segments"][0]
    assert segment["fine_emotions"]["voice"][0] == {"label": LAION_VOICE_NAMES[39], "score": 2.0}


def test_nobody_asked_is_null() -> None:
    assert fused(row())["segments"][0]["fine_emotions"] == {"face": None, "voice": None}


def test_actions_and_notes_are_listed_in_order() -> None:
    clips = [
        {"start_s": 0.0, "stop_s": 5.0, "labels": [{"label": "singing", "score": 0.5}]},
        {"start_s": 5.0, "stop_s": 10.0, "labels": []},
    ]
    note = {"kind": "flag", "reason": "conflict", "summary": "She smiles.", "answered_by": "m"}
    later = {**note, "start_s": 4.0, "stop_s": 5.0, "emotion": "happy", "confidence": 0.7}
    first = {**note, "start_s": 1.0, "stop_s": 2.0, "emotion": None, "confidence": None}
    said = [{**one, "answer": "{}"} for one in (later, first)]
    made = fused(row(actions=clips), notes=said)
    assert [one["labels"] for one in made["actions"]] == [[{"label": "singing", "score": 0.5}], []]
    assert [one["start"] for one in made["notes"]] == [1.0, 4.0]
    assert made["notes"][1]["emotion"] == "happy"
