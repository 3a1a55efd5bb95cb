"""The scores of `benchmarks/accuracy.py`, on answers whose score is plain."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def accuracy() -> Any:  # noqa: ANN401
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("accuracy")


def test_a_cut_counts_once_and_within_a_frame(accuracy: ModuleType) -> None:
    assert accuracy.matches([9, 30, 52], [10, 50]) == [9]
    assert accuracy.matches([], [10]) == []


def test_only_fades_and_doubtful_frames_are_excused(accuracy: ModuleType) -> None:
    truth = {"fades": ["to white about 71-76"], "uncertain_cut_frames": [356]}
    frames = [60, 70, 73, 77, 79, 355, 356, 359]
    excused = [frame for frame in frames if accuracy.excuse(frame, truth)]
    assert excused == [70, 73, 77, 355, 356]
    assert not accuracy.excuse(73, {})


def test_the_side_of_the_speaker_is_judged_over_all_true_speech(accuracy: ModuleType) -> None:
    def segment(start: float, end: float, person: str | None, seen: bool | None) -> dict[str, Any]:
        return {"start": start, "end": end, "person": person, "on_screen": seen}

    timeline = {
        "video": {"width": 720},
        "tracks": [
            {"person": "A", "samples": [[0.0, 100, 50, 80, 80]]},
            {"person": "B", "samples": [[0.0, 500, 50, 80, 80]]},
        ],
        "segments": [segment(0, 1, "A", True), segment(1, 2, "B", True), segment(2, 3, "A", False)],
    }
    turns = [{"start": 0.0, "end": 4.0, "face": "left half"}]
    right = accuracy.sides(timeline, turns, step_s=1.0)
    assert right == [True, False, False, False]


def test_sentiment_has_vaders_limits(accuracy: ModuleType) -> None:
    said = [accuracy.sentiment(v) for v in (None, 0.0, 0.049, -0.049, 0.05, -0.05)]
    assert said == ["neutral"] * 4 + ["positive", "negative"]


def test_a_folder_without_media_is_skipped_aloud(
    accuracy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = accuracy.Benchmark(data=tmp_path, finder=None, identity=None, analysis=None, quick=True)
    assert list(accuracy.measured(bench)) == []
    assert capsys.readouterr().out.count("skipped, no") == len(accuracy.PARTS)
