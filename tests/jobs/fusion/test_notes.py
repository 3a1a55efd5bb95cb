from dataclasses import replace

import numpy as np
import pytest

from mien.jobs.fusion.notes import PAUSES, SPEECH_RATE, Measure, Note, deviations, incongruence
from mien.jobs.fusion.rules import Rules

START = np.linspace(0.0, 45.0, 10, dtype=np.float64)
STOP = np.add(START, 4.0, dtype=np.float64)


def noted(values: np.ndarray, measure: Measure = SPEECH_RATE, **rules: float) -> dict[int, Note]:
    return dict(deviations(measure, values, START, STOP, replace(Rules(), **rules)))


def test_one_fast_utterance() -> None:
    rate = np.full(10, 2.0)
    rate[4] = 3.0
    found = noted(rate)
    assert list(found) == [4]
    assert found[4]["change"] == "+50%"
    assert (found[4]["value"], found[4]["baseline"]) == (3.0, 2.0)
    assert (found[4]["start"], found[4]["end"]) == (20.0, 24.0)
    assert found[4]["baseline_ref"] == "0:00-0:49"


def test_a_baseline_needs_enough_that_is_known() -> None:
    rate = np.full(10, np.nan)
    rate[:4] = [2, 2, 2, 4]
    assert noted(rate) == {}
    assert list(noted(rate, baseline_count=4)) == [3]
    assert noted(np.full(10, np.nan)) == {}


def test_pauses_are_noted_only_where_they_rise() -> None:
    pauses = np.full(10, 0.3)
    pauses[[2, 7]] = [0.0, 0.6]
    assert list(noted(pauses, PAUSES)) == [7]
    assert sorted(noted(pauses, SPEECH_RATE, deviation_share=0.0)) == [2, 7]


def test_a_stricter_rule_notes_less() -> None:
    rate = np.random.default_rng(0).normal(2, 0.3, 10)
    rate[3] = 4
    loose, strict = (set(noted(rate, deviation_z=z)) for z in (1.0, 3.0))
    assert strict < loose


@pytest.mark.parametrize(
    ("text", "before", "during", "after", "wanted"),
    [
        (1, None, -1, None, ["emotion_speech_mismatch"]),
        (-1, 0, 0, -1, ["timing_delays"]),
        (-1, -1, 0, -1, []),  # the face was there before
        (1, None, 1, 1, []),
        (0, 1, -1, 1, []),
        (None, 1, -1, 1, []),
        (1, None, None, 1, []),
    ],
)
def test_incongruence(
    text: int | None, before: int | None, during: int | None, after: int | None, wanted: list[str]
) -> None:
    sides = {"text": text, "before": before, "during": during, "after": after}
    assert [n["type"] for n in incongruence(0.0, 1.0, **sides, confidence=0.5)] == wanted
