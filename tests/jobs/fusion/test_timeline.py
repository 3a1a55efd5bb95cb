"""The fusion on made-up evidence whose truth is known."""

import copy
import json
from dataclasses import replace
from math import inf
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mien.datasets.schema import LABELS, MEASURES, PROSODY
from mien.datasets.timeline import validate
from mien.jobs.fusion.evidence import WATCH_READ, Evidence
from mien.jobs.fusion.expression import POPULATION
from mien.jobs.fusion.rules import Rules
from mien.jobs.fusion.timeline import UTTERANCES, fuse, utterance_rows
from mien.jobs.fusion.utterances import utterances_of

Json = dict[str, Any]
TURN_S = 5.0
VIDEO: Json = {
    "video_id": "v1",
    "uri": "talk.mp4",
    "duration_s": 60.0,
    "fps": 25.0,
    "width": 640,
    "height": 360,
    "has_audio": True,
    "has_video": True,
    "codec": "h264",
}


def calm(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Signals of a face at rest."""
    means = {name: mean for name, (mean, _) in POPULATION.items()}
    means |= {"eye_left": 0.28, "eye_right": 0.28, "gaze_h": 0.5, "gaze_v": 0.5}
    return {name: means.get(name, 0.0) + rng.normal(0, 0.002, n) for name in MEASURES}


def talk(duration_s: float = 60.0, rate_hz: float = 10.0, span_s: float = 60.0) -> Evidence:
    """Two people, both in the picture, who talk in turn for `TURN_S` each.

    SPEAKER_00 is the left face (PERSON_00) and has the even turns; it smiles in the third turn,
    while its words are negative. The words of the last turn were not recognised.
    """
    rng = np.random.default_rng(0)
    starts = np.arange(0.0, duration_s, TURN_S)
    turns = [
        {"start_s": float(s), "stop_s": float(s + TURN_S), "speaker": f"SPEAKER_0{k % 2}"}
        for k, s in enumerate(starts)
    ]
    words = [
        {
            "start_s": s + 0.3 + 0.5 * k,
            "stop_s": s + 0.7 + 0.5 * k,
            "word": f"w{k}",
            "probability": 0.8,
        }
        for s in starts[:-1].tolist()
        for k in range(9)
    ]
    watch = [
        span(rng, float(low), min(float(low) + span_s, duration_s), rate_hz)
        for low in np.arange(0.0, duration_s, span_s)
    ]
    said = utterances_of({"exclusive_turns": turns, "words": words})
    return Evidence(
        video={**VIDEO, "duration_s": duration_s},
        turns={
            "turns": turns,
            "exclusive_turns": turns,
            "speakers": [
                {"speaker": f"SPEAKER_0{k}", "speech_s": duration_s / 2, "embedding": None}
                for k in range(2)
            ],
        },
        speech=[{"language": "en", "segments": [], "words": words}],
        watch=watch,
        voice=[voice(one, k) for k, one in enumerate(said)],
        models=[
            {"role": "transcribe", "model": "m", "revision": "1", "licence": "MIT", "quality": ""}
        ],
    )


def voice(one: Json, k: int) -> Json:
    """A row of table `voice` for an utterance."""
    prosody = dict.fromkeys(PROSODY.names, 1.0) | {"pitch_hz": 120.0, "speech_rate_hz": 1.8}
    prosody |= {"pauses": 2, "pause_ratio": 0.1}
    affect = {"arousal": 0.3 + 0.04 * (k % 10), "dominance": None, "valence": None}
    text = {"text_polarity": None if one["text"] is None else -0.6, "text_scores": None}
    return {**one, **prosody, **affect, **text}


def span(rng: np.random.Generator, low: float, high: float, rate_hz: float) -> Json:
    """A row of table `watch`: two faces over the whole span, and a cut in its middle."""
    t = np.arange(low, high, 1 / rate_hz)
    turn = (t // TURN_S).astype(int)
    signals = []
    for who in (0, 1):
        face = calm(len(t), rng)
        speaks = turn % 2 == who
        face["mouth_open"] += np.where(speaks, 0.25 * rng.random(len(t)), 0)
        if who == 0:
            face["smile"] += np.where(turn == 2, 0.09, 0)
            face["mouth_width"] += np.where(turn == 2, 0.2, 0)
        box = {"x": 100.0 + 300 * who, "y": 50.0, "w": 80.0, "h": 80.0}
        columns = {"time_s": t, **{name: face[name] for name in MEASURES}}
        signals += [
            {"track": who, **box, **dict(zip(columns, row, strict=True))}
            for row in zip(*(column.tolist() for column in columns.values()), strict=True)
        ]
    sampled = np.arange(low, high, 1.0).tolist()
    faces = [
        {"frame": k, "time_s": s, "x": 100.0 + 300 * who, "y": 50.0, "w": 80.0, "h": 80.0}
        | {"score": 0.9, "track": who, "quality": 0.5 + 0.4 * (s == low + 3)}
        for k, s in enumerate(sampled)
        for who in (0, 1)
    ]
    return {
        "start_s": low,
        "stop_s": high,
        "cuts": [
            {"time_s": (low + high) / 2 + d, "detector": "content", "score": 1.0} for d in (0, 0.04)
        ],
        "frames": [{"time_s": s, "reason": "base", "motion": 0.0} for s in sampled],
        "faces": faces,
        "signals": signals,
        "face_embeddings": [[1.0, 0.0] if f["track"] == 0 else [0.0, 1.0] for f in faces],
        "n_frames": len(t),
        "warning": None,
    }


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return talk()


@pytest.fixture(scope="module")
def timeline(evidence: Evidence) -> Json:
    return fuse(evidence)


def test_is_valid_json_without_nan(timeline: Json) -> None:
    assert validate(timeline) == []
    assert json.loads(json.dumps(timeline, allow_nan=False)) == timeline


def test_voices_meet_their_faces(timeline: Json) -> None:
    who = [(one["speaker"], one["person"], one["on_screen"]) for one in timeline["segments"]]
    assert who == [(f"SPEAKER_0{k % 2}", f"PERSON_0{k % 2}", True) for k in range(12)]
    assert [(s["speaker"], s["person"]) for s in timeline["speakers"]] == [
        ("SPEAKER_00", "PERSON_00"),
        ("SPEAKER_01", "PERSON_01"),
    ]
    assert {p["person"]: p["speaker"] for p in timeline["people"]} == {
        "PERSON_00": "SPEAKER_00",
        "PERSON_01": "SPEAKER_01",
    }


def test_the_other_face_listens(timeline: Json) -> None:
    listeners = [one["listener"]["person"] for one in timeline["segments"]]
    assert listeners == [f"PERSON_0{1 - k % 2}" for k in range(12)]


def test_a_smile_over_negative_words_is_a_conflict(timeline: Json) -> None:
    third = timeline["segments"][2]
    assert third["emotion"]["by_channel"]["face"]["dominant"] == "happy"
    assert third["emotion"]["by_channel"]["face"]["window"] == "during"
    assert third["conflict"] is True
    assert {"conflict", "potential_incongruence"} <= set(third["flags"])
    assert "emotion_speech_mismatch" in {n["type"] for n in third["behavioral_notes"]}
    assert [one["conflict"] for one in timeline["segments"]] == [
        True if k == 2 else None if k == 11 else False for k in range(12)
    ]
    flagged = [f for f in timeline["flags"] if f["type"] == "conflict"]
    assert [(f["segment"], f["start"], f["end"]) for f in flagged] == [(2, 10.3, 14.7)]


def test_unrecognised_speech_is_kept(timeline: Json) -> None:
    last = timeline["segments"][-1]
    assert (last["start"], last["end"], last["speaker"]) == (55.0, 60.0, "SPEAKER_01")
    assert (last["transcript"], last["words"]) == (None, [])
    assert last["emotion"]["by_channel"]["text"] is None
    assert "no_transcript" in last["flags"]


def test_people_tracks_and_series(timeline: Json) -> None:
    for one in timeline["people"]:
        assert one["on_screen_s"] == pytest.approx(60, abs=0.11)
        assert one["thumbnail_time"] == 3.0
    assert timeline["people"][0]["box"] == [100, 50, 80, 80]
    assert timeline["shots"] == [{"start": 0.0, "end": 30.0}, {"start": 30.0, "end": 60.0}]
    for track in timeline["tracks"]:
        steps = np.diff([sample[0] for sample in track["samples"]])
        assert steps.min() > 0.19
    for one in timeline["series"]:
        assert len(one["time"]) == 300
        assert np.diff(one["time"]).min() > 0.19
    happy = [
        t
        for t, e in zip(*(timeline["series"][0][k] for k in ("time", "expression")), strict=True)
        if e == "happy"
    ]
    assert min(happy) == pytest.approx(10, abs=0.21)
    assert max(happy) == pytest.approx(15, abs=0.21)


def test_prosody_and_arousal_are_passed_on(timeline: Json) -> None:
    assert timeline["segments"][0]["prosody"]["pitch_hz"] == 120
    assert timeline["segments"][0]["prosody"]["pauses"] == 2
    assert [round(v["arousal"], 2) for v in timeline["voice_series"][:3]] == [0.3, 0.34, 0.38]
    assert timeline["channels"]["voice"]["tier"] == "partial"
    assert sum(c["weight"] for c in timeline["channels"].values()) == pytest.approx(1, abs=1e-3)


def test_voice_without_valence_takes_no_side(timeline: Json) -> None:
    for one in timeline["segments"]:
        assert one["emotion"]["by_channel"]["voice"]["valence"] is None
        assert one["emotion"]["weights"] == {"face": 1.0, "voice": None, "text": None}


def test_the_order_of_the_evidence_does_not_matter(evidence: Evidence, timeline: Json) -> None:
    assert evidence.turns is not None
    watch = [dict(row) for row in copy.deepcopy(list(evidence.watch))]
    for row in watch:
        row["signals"] = row["signals"][::-1]
        keep = np.random.default_rng(1).permutation(len(row["faces"]))
        row["faces"] = [row["faces"][k] for k in keep]
        row["face_embeddings"] = [row["face_embeddings"][k] for k in keep]
    speech = [{**evidence.speech[0], "words": evidence.speech[0]["words"][::-1]}]
    turns = {k: v[::-1] for k, v in evidence.turns.items()}
    shuffled = replace(
        evidence, watch=watch, speech=speech, turns=turns, voice=evidence.voice[::-1]
    )
    assert fuse(shuffled) == timeline


def test_a_table_and_records_are_the_same(evidence: Evidence, timeline: Json) -> None:
    table = pa.Table.from_pylist(list(evidence.watch), schema=WATCH_READ)
    assert fuse(replace(evidence, watch=table)) == timeline


def test_spans_do_not_matter_to_persons_and_segments(timeline: Json) -> None:
    cut = fuse(talk(span_s=20.0))
    assert validate(cut) == []
    assert [p["person"] for p in cut["people"]] == ["PERSON_00", "PERSON_01"]
    assert len(cut["tracks"]) == 6
    for one, two in zip(cut["segments"], timeline["segments"], strict=True):
        for key in ("speaker", "person", "on_screen", "conflict", "transcript"):
            assert one[key] == two[key]


def test_without_sound(evidence: Evidence) -> None:
    video = {**VIDEO, "has_audio": False}
    found = fuse(replace(evidence, video=video, turns=None, speech=(), voice=()))
    assert validate(found) == []
    assert found["segments"] == found["speakers"] == found["voice_series"] == []
    assert len(found["people"]) == 2
    assert {p["speech_s"] for p in found["people"]} == {None}
    assert found["channels"]["voice"] | {"reason": ""} == {
        "tier": "absent",
        "weight": None,
        "reason": "",
    }
    assert any("no sound" in text for text in found["warnings"])


def test_without_faces(evidence: Evidence) -> None:
    empty = {"faces": [], "signals": [], "face_embeddings": []}
    found = fuse(replace(evidence, watch=[{**row, **empty} for row in evidence.watch]))
    assert validate(found) == []
    assert found["people"] == found["tracks"] == found["series"] == []
    for one in found["segments"]:
        assert one["emotion"]["dominant"] is None
        assert one["emotion"]["scores"] is None
        assert one["emotion"]["confidence"] is None
        assert one["conflict"] is None  # the words alone contradict nobody
        assert one["on_screen"] is False  # somebody looked, and nobody was there


def test_without_pictures_nobody_can_tell_who_is_on_screen(evidence: Evidence) -> None:
    found = fuse(replace(evidence, watch=()))
    assert validate(found) == []
    assert {one["on_screen"] for one in found["segments"]} == {None}
    assert found["shots"] == []


def test_faces_that_nod_while_nobody_speaks_are_still_a_timeline(evidence: Evidence) -> None:
    row = copy.deepcopy(evidence.watch[0])
    for one in row["signals"]:
        if 10 < one["time_s"] < 11.5:
            one["pitch"] = 6 * np.sin(2 * np.pi * 2 * one["time_s"])
    silent = {**(evidence.turns or {}), "speech": [], "turns": [], "exclusive_turns": []}
    found = fuse(replace(evidence, turns=silent, speech=(), voice=(), watch=[row]))
    assert validate(found) == []
    assert found["segments"] == []
    assert len(found["people"]) == 2


def test_failed_rows_are_warnings(evidence: Evidence) -> None:
    failure = {"stage": "watch", "start_s": 0.0, "stop_s": 60.0, "error_message": "cannot decode"}
    found = fuse(replace(evidence, watch=(), voice=(), failures=[failure]))
    assert validate(found) == []
    assert "watch failed (0.0-60.0 s): cannot decode" in found["warnings"]
    assert {one["prosody"] for one in found["segments"]} == {None}
    assert {one["emotion"]["by_channel"]["voice"] for one in found["segments"]} == {None}


def test_without_identity_each_track_is_a_person(evidence: Evidence) -> None:
    found = fuse(replace(evidence, watch=[{**r, "face_embeddings": None} for r in evidence.watch]))
    assert validate(found) == []
    assert len(found["people"]) == 2


def test_faces_without_signals_are_shown_and_unknown(evidence: Evidence) -> None:
    found = fuse(replace(evidence, watch=[{**row, "signals": []} for row in evidence.watch]))
    assert validate(found) == []
    assert len(found["people"]) == len(found["tracks"]) == 2
    assert {one["on_screen"] for one in found["segments"]} == {None}
    assert found["channels"]["face"]["tier"] == "absent"


def test_one_word() -> None:
    word = {"start_s": 1.0, "stop_s": 1.2, "word": "yes", "probability": None}
    found = fuse(Evidence(video=VIDEO, speech=[{"words": [word]}]))
    assert validate(found) == []
    assert found["segments"][0]["words"] == [
        {"start": 1.0, "end": 1.2, "word": "yes", "probability": None}
    ]
    assert found["segments"][0]["speaker"] is None
    assert found["speakers"] == []


def test_nothing_at_all() -> None:
    found = fuse(Evidence(video={"video_id": "v", "uri": "u", "duration_s": None}))
    assert validate(found) == []
    assert found["duration"] == 0
    assert set(found["video"].values()) == {None}
    assert utterance_rows(found) == []


def test_overlapping_turns_are_flagged(evidence: Evidence) -> None:
    assert evidence.turns is not None
    both = [*evidence.turns["turns"], {"start_s": 1.0, "stop_s": 2.5, "speaker": "SPEAKER_01"}]
    found = fuse(replace(evidence, turns={**evidence.turns, "turns": both}))
    assert validate(found) == []
    flagged = [k for k, s in enumerate(found["segments"]) if "overlapping_speech" in s["flags"]]
    assert flagged == [0]


def test_evidence_beyond_the_declared_end(evidence: Evidence) -> None:
    found = fuse(replace(evidence, video={**VIDEO, "duration_s": 30.0}))
    assert validate(found) == []
    assert found["duration"] == 60
    assert any("after the declared end" in text for text in found["warnings"])
    little = fuse(replace(evidence, video={**VIDEO, "duration_s": 59.5}))
    assert validate(little) == []
    assert little["duration"] == 59.5
    assert little["segments"][-1]["end"] == 59.5


def shifted(evidence: Evidence, by: float) -> Evidence:
    """The same with all pictures later."""
    watch = [dict(row) for row in copy.deepcopy(list(evidence.watch))]
    for row in watch:
        row["start_s"] += by
        row["stop_s"] += by
        for name in ("cuts", "frames", "faces", "signals"):
            for item in row[name]:
                item["time_s"] += by
    return replace(evidence, watch=watch, video={**evidence.video, "duration_s": 60 + by})


def test_faces_on_another_clock_are_matched_and_reported(evidence: Evidence) -> None:
    late = shifted(evidence, 200.3)
    found = fuse(late)
    assert validate(found) == []
    assert any("were moved back" in text for text in found["warnings"])
    assert [s["person"] for s in found["segments"]] == [f"PERSON_0{k % 2}" for k in range(12)]
    assert found["segments"][2]["emotion"]["by_channel"]["face"]["dominant"] == "happy"
    assert found["series"][0]["time"][0] >= 200.3  # what was seen stays where it was seen
    off = fuse(late, Rules(offset_s=inf))
    assert validate(off) == []
    assert {s["person"] for s in off["segments"]} == {None}
    assert not any("were moved back" in text for text in off["warnings"])


def test_a_flat_voice_is_switched_off() -> None:
    long = talk(duration_s=120.0)
    flat = [{**row, "arousal": 0.5, "valence": 0.9} for row in long.voice]
    found = fuse(replace(long, voice=flat))
    assert found["channels"]["voice"]["weight"] == 0
    assert any("switched off" in text for text in found["warnings"])
    assert found["segments"][0]["emotion"]["weights"]["voice"] is None
    lively = [
        {**row, "arousal": 0.1 + 0.03 * k, "valence": 0.9} for k, row in enumerate(long.voice)
    ]
    found = fuse(replace(long, voice=lively))
    assert found["channels"]["voice"]["tier"] == "reliable"
    assert found["segments"][0]["emotion"]["weights"]["voice"] > 0


def test_text_classes_join_the_vote(evidence: Evidence) -> None:
    sad = [{"label": label, "score": 0.94 if label == "sad" else 0.01} for label in LABELS]
    rows = [{**row, "text_scores": sad} for row in evidence.voice]
    found = fuse(replace(evidence, voice=rows))
    assert validate(found) == []
    first = found["segments"][0]["emotion"]
    assert first["dominant"] == "sad"
    assert first["weights"]["text"] > first["weights"]["face"]
    assert first["by_channel"]["text"]["scores"]["sad"] == pytest.approx(0.94, abs=1e-3)
    half = [{"label": label, "score": 0.5} for label in LABELS[:2]]
    rows = [{**row, "text_scores": half} for row in evidence.voice]
    partly = fuse(replace(evidence, voice=rows))["segments"][0]["emotion"]["by_channel"]["text"]
    assert partly["scores"] is None  # five labels are unknown, not zero


def test_deviations_refer_to_the_speakers_own_baseline(evidence: Evidence) -> None:
    fast = {**evidence.voice[4], "speech_rate_hz": 3.6, "pitch_hz": 240.0}
    rows = [fast if k == 4 else row for k, row in enumerate(evidence.voice)]
    found = fuse(replace(evidence, voice=rows))
    assert validate(found) == []
    noted = {n["type"]: n for n in found["segments"][4]["behavioral_notes"]}
    assert noted["speech_rate"]["change"] == "+100%"
    assert noted["speech_rate"]["baseline_ref"] == "0:00-0:54"
    assert "stress_indicators" in found["segments"][4]["flags"]
    others = [
        n["type"] for k, s in enumerate(found["segments"]) if k != 4 for n in s["behavioral_notes"]
    ]
    assert "speech_rate" not in others
    assert "pitch_changes" not in others


def test_rows_fit_their_schema(timeline: Json) -> None:
    rows = utterance_rows(timeline)
    table = pa.Table.from_pylist(rows, schema=UTTERANCES)
    assert len(table) == len(timeline["segments"])
    assert set(rows[0]) == set(UTTERANCES.names)
    third = rows[2]
    assert third["face_during"] == "happy"
    assert third["face_before"] == "neutral"
    assert third["weight_face"] == 1
    assert third["weight_text"] is None
    assert third["conflict"] is True
    assert table["text"].null_count == 1
    assert table["valence"].null_count == len(rows)


def test_an_hour_takes_two_seconds(evidence: Evidence) -> None:
    minute = pa.Table.from_pylist(list(evidence.watch), schema=WATCH_READ)
    tables = []
    for k in range(60):
        columns = {}
        for f in WATCH_READ:
            column = minute[f.name].combine_chunks()
            if f.name in ("start_s", "stop_s"):
                column = pc.add(column, 60.0 * k)
            elif f.name in ("cuts", "faces", "signals"):
                items = column.flatten()
                parts = [items.field(n) for n in items.type.names]
                at = items.type.get_field_index("time_s")
                parts[at] = pc.add(parts[at], 60.0 * k)
                record = pa.StructArray.from_arrays(parts, fields=list(items.type))
                column = pa.ListArray.from_arrays(column.offsets, record)
            columns[f.name] = column
        tables.append(pa.table(columns, schema=WATCH_READ))
    watch = pa.concat_tables(tables)
    assert pc.sum(pc.list_value_length(watch["signals"])).as_py() == 72_000
    turns = [
        {"start_s": s, "stop_s": s + TURN_S, "speaker": f"SPEAKER_0{k % 2}"}
        for k, s in enumerate(np.arange(0.0, 3600.0, TURN_S).tolist())
    ]
    words = [
        {**word, "start_s": word["start_s"] + 60 * k, "stop_s": word["stop_s"] + 60 * k}
        for k in range(60)
        for word in evidence.speech[0]["words"]
    ]
    said = utterances_of({"exclusive_turns": turns, "words": words})
    hour = Evidence(
        video={**VIDEO, "duration_s": 3600.0},
        turns={"turns": turns, "exclusive_turns": turns, "speakers": None},
        speech=[{"words": words}],
        watch=watch,
        voice=[voice(one, k) for k, one in enumerate(said)],
    )
    begin = process_time()
    found = fuse(hour)
    assert process_time() - begin < 4  # 2 s on an idle core
    assert len(found["segments"]) == 720
    assert {s["person"] for s in found["segments"]} == {"PERSON_00", "PERSON_01"}


def test_rules_are_checked() -> None:
    with pytest.raises(ValueError, match="`dead_zone` must be at most 1, but is 2"):
        Rules(dead_zone=2)
    with pytest.raises(ValueError, match="`assignment` must be 'overlap' or 'midpoint'"):
        Rules(assignment="best")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`window_s` must be at least 0, but is -1"):
        Rules(window_s=-1)
