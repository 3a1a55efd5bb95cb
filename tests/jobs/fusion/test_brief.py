"""Brief movements on the timeline."""

from typing import Any

import numpy as np
import pytest

from mien.datasets.schema import MEASURES, WATCH
from mien.datasets.timeline import validate
from mien.jobs.fusion.evidence import Evidence
from mien.jobs.fusion.timeline import fuse

BOX = {"x": 10.0, "y": 10.0, "w": 90.0, "h": 90.0}
SLOW = "30 frames per second are few for micro-expressions"


def span(start_s: float, *tracks: int) -> dict[str, Any]:
    """Five seconds in which faces are measured."""
    signals = [
        {"time_s": start_s + t, "track": track, **BOX, **dict.fromkeys(MEASURES, 0.3)}
        for t in np.arange(0, 5, 0.1).tolist()
        for track in tracks
    ]
    looks = {"frame": 0, "score": 0.9, "quality": 0.9, "crop": None}
    faces = [{**looks, "time_s": start_s + 1.0, "track": track, **BOX} for track in tracks]
    known = dict.fromkeys(WATCH.names) | {"cuts": [], "frames": [], "faces": faces}
    return known | {"id": str(start_s), "start_s": start_s, "signals": signals}


def candidate(track: int, onset_s: float, region: str = "mouth") -> dict[str, Any]:
    times = {"onset_s": onset_s, "apex_s": onset_s + 0.1, "offset_s": onset_s + 0.2}
    return {"track": track, **times, "region": region, "part": "lip_upper", "peak": 0.03} | {
        "clear": 6.0,
        **BOX,
    }


def fused(*rows: dict[str, Any]) -> dict[str, Any]:
    video = {"video_id": "v", "uri": "v.mp4", "duration_s": 10.0, "fps": 30.0, "has_audio": False}
    watch = [span(0.0, 0), span(5.0, 0, 1)]
    made = fuse(Evidence(video=video | {"has_video": True}, watch=watch, micro=rows))
    assert validate(made) == []
    return made


def row(start_s: float, *candidates: dict[str, Any], warning: str | None = None) -> dict[str, Any]:
    return {"start_s": start_s, "candidates": list(candidates), "micro_warning": warning}


def test_each_candidate_is_somebodys_and_flagged() -> None:
    made = fused(row(5.0, candidate(1, 8.0, "brows")), row(0.0, candidate(0, 2.0)))
    first, second = made["micro"]
    assert (first["start"], first["apex"], first["end"]) == (2.0, 2.1, 2.2)
    assert [one["region"] for one in made["micro"]] == ["mouth", "brows"]
    people = {one["person"] for one in made["people"]}
    assert first["person"] != second["person"]
    assert {first["person"], second["person"]} <= people
    flags = [one for one in made["flags"] if one["type"] == "brief_facial_movement"]
    assert [one["start"] for one in flags] == [2.0, 8.0]
    assert all(one["segment"] is None and one["confidence"] is None for one in flags)
    assert flags[1]["detail"] == "brows moved for 0.20 s and returned; its meaning is open"


def test_a_track_that_is_nobodys_has_no_person() -> None:
    (one,) = fused(row(0.0, candidate(7, 2.0)))["micro"]
    assert one["person"] is None


def test_without_candidates_nothing_is_said() -> None:
    for made in (fused(), fused(row(0.0))):
        assert made["micro"] == []
        assert not any(one["type"] == "brief_facial_movement" for one in made["flags"])


def test_a_warning_is_said_once() -> None:
    made = fused(row(0.0, warning=SLOW), row(5.0, warning=SLOW))
    assert made["warnings"].count(SLOW) == 1


def test_one_reason_for_many_spans_is_said_once() -> None:
    failed = [
        {"stage": "micro", "start_s": 60.0 * i, "stop_s": 60.0 * (i + 1), "error_message": "slow"}
        for i in range(3)
    ]
    video = {"video_id": "v", "uri": "v.mp4", "duration_s": 180.0}
    made = fuse(Evidence(video=video, failures=failed))
    assert [one for one in made["warnings"] if "failed" in one] == ["micro failed in 3 spans: slow"]


def test_an_apex_outside_is_a_problem() -> None:
    made = fused(row(0.0, candidate(0, 2.0)))
    made["micro"][0]["apex"] = 3.0
    assert validate(made) == ["micro[0].apex must lie in 2.0-2.2 s, but is 3.0."]


@pytest.mark.parametrize("many", [0, 2])
def test_a_lane_of_their_own(many: int) -> None:
    from mien.jobs.pages.lanes import Lanes, flag_row, micro_row

    made = fused(row(0.0, *(candidate(0, 2.0 + i) for i in range(many))))
    lanes = Lanes()
    flag_row(lanes, made["flags"])
    assert lanes.rows == []
    micro_row(lanes, made["micro"])
    assert [one["name"] for one in lanes.rows] == ["Brief movements"] * bool(many)
    assert len(lanes.cells) == many
