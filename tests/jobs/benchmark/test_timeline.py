"""The fusion as something that can be judged and tuned, on made-up evidence."""

from pathlib import Path
from typing import Any

import pytest

from mien.cluster.session import Cluster
from mien.datasets.schema import LABELS
from mien.jobs.benchmark import timeline
from mien.jobs.benchmark.timeline import NONE, Timeline, answered, spans
from mien.jobs.evaluation.predictions import of
from mien.jobs.fusion.evidence import Evidence
from mien.jobs.fusion.rules import Rules

VOICE_ONLY = Rules(face_weight=0.0, voice_weight=1.0, text_weight=0.0)
TEXT_ONLY = Rules(face_weight=0.0, voice_weight=0.0, text_weight=1.0)


AFRAID = {"arousal": 0.95, "dominance": 0.9, "valence": 0.05}


def scored(label: str) -> list[float]:
    return [0.94 if x == label else 0.01 for x in LABELS]


def evidence(name: str) -> Evidence:
    """Ten seconds: happy words in a frightened voice, then speech that tells nothing."""
    happy = [{"label": x, "score": score} for x, score in zip(LABELS, scored("happy"), strict=True)]
    voice: list[dict[str, Any]] = [
        {"start_s": 1.0, "stop_s": 2.5, "text": "what a day", "text_scores": happy, **AFRAID},
        {"start_s": 8.5, "stop_s": 9.5, "text": "nobody"},
    ]
    voice = [{**one, "speaker": "SPEAKER_00", "words": []} for one in voice]
    turns = [{k: one[k] for k in ("start_s", "stop_s", "speaker")} for one in voice]
    known = {"duration_s": 10.0, "has_audio": True, "has_video": True}
    return Evidence(
        video={"video_id": name, "uri": f"{name}.mp4", **known},
        turns={"turns": turns, "exclusive_turns": turns, "speakers": []},
        voice=voice,
    )


def test_a_span_is_answered_by_the_utterance_that_shares_most_time() -> None:
    asked = [
        {"start_s": 0.0, "stop_s": 3.0},
        {"start_s": 2.0, "stop_s": 9.0},  # half a second of each: the earlier one
        {"start_s": 2.2, "stop_s": 9.5},
        {"start_s": 3.0, "stop_s": 8.0},  # of neither
    ]
    assert answered(evidence("v"), TEXT_ONLY, asked) == ["happy", "happy", NONE, NONE]
    assert answered(evidence("v"), VOICE_ONLY, asked)[0] == "fear"


@pytest.fixture
def truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three videos; in the words of two, and in the voice of the third, is the truth."""
    monkeypatch.setattr(
        timeline, "gathered", lambda folder, rules: {name: evidence(name) for name in "abcd"}
    )
    file = tmp_path / "truth.csv"
    lines = [f"{name},1.0,2.5,{'fear' if name == 'c' else 'happy'}" for name in "abc"]
    file.write_text("\n".join(["video,start_s,stop_s,emotion", *lines]))
    return str(file)


def task(truth: str, **more: Any) -> Timeline:  # noqa: ANN401
    made = Timeline(folder="run", truth=truth, parts=3, headline="accuracy", **more)
    made.prepare(Cluster(), Path("run"))
    return made


def test_tuning_does_not_see_the_videos_held_out(truth: str) -> None:
    words, voice = task(truth, rules=TEXT_ONLY), task(truth, rules=VOICE_ONLY)
    held = {fold: words.judge(fold)["group"].to_pylist() for fold in words.folds()}
    assert sorted(held.values()) == [["a"], ["b"], ["c"]]
    for fold, (video,) in held.items():
        others = [name for name in "abc" if name != video]
        expected = sum(name != "c" for name in others) / 2
        assert list(words.tune(fold)) == [expected]
        assert list(voice.tune(fold)) == [1 - expected]


def test_the_fusion_stands_beside_each_of_its_channels(truth: str) -> None:
    found = task(truth).run(Cluster(), Path("run"), None)  # type: ignore[arg-type]
    said = {
        name: of(found.predictions, name)["predicted"].to_pylist()
        for name in (*("fusion", "face alone", "voice alone", "text alone", "most frequent label"),)
    }
    assert said["voice alone"] == ["fear"] * 3
    assert said["text alone"] == said["most frequent label"] == ["happy"] * 3
    assert said["face alone"] == [NONE] * 3
    assert {row["kind"] for row in found.results.to_pylist()} == {"system", "baseline"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start_s,stop_s\na,0,1", "must have the columns .* but lacks emotion"),
        ("video,start_s,stop_s,emotion\na,0,1,joyful", r"'joyful' \(.*line 2\)"),
        ("video,start_s,stop_s,emotion\na,0,1,sad\na,2,2,sad", r"`start_s` \(2\), .*line 3"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "truth.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        spans(str(file), LABELS)


def test_a_video_that_the_run_does_not_have_is_named(truth: str) -> None:
    Path(truth).write_text("video,start_s,stop_s,emotion\nx,0,1,sad\na,0,1,sad")
    with pytest.raises(ValueError, match=r"names 'x', but 'run' has no such video"):
        task(truth)
