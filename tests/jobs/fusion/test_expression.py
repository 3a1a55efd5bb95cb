import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mien.datasets.schema import LABELS, MEASURES
from mien.jobs.fusion import expression
from mien.jobs.fusion.expression import POPULATION, UNITS

Array = NDArray[np.float64]


def calm(count: int, hz: float = 25.0) -> dict[str, Array]:
    """Signals of a face that has the population's calm values."""
    signals = {name: np.zeros(count) for name in MEASURES}
    for name, (mean, _) in POPULATION.items():
        if name != "eye":
            signals[name][:] = mean
    signals["eye_left"][:] = signals["eye_right"][:] = POPULATION["eye"][0]
    signals["gaze_h"][:] = signals["gaze_v"][:] = 0.5
    signals["time_s"] = np.arange(count) / hz
    return signals


def judge(signals: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    person = np.zeros(len(signals["time_s"]), int)
    base = expression.baseline(signals, person)
    units = expression.action_units(signals, base)
    return expression.scores(units), dict(zip(UNITS, units.T, strict=True))


FACES = {
    "happy": {"mouth_width": 0.2, "smile": 0.08, "eye_left": -0.08, "eye_right": -0.08},
    "sad": {"smile": -0.05, "brow_inner": 0.08},
    "surprise": {"brow_inner": 0.08, "brow_outer": 0.08, "eye_left": 0.15, "eye_right": 0.15},
    "angry": {"brow_inner": -0.07, "brow_gap": -0.04, "lip_height": -0.06},
    "disgust": {"nose_wrinkle": -0.09, "lip_raise": -0.07},
    "fear": {
        "brow_inner": 0.08,
        "brow_outer": 0.0,
        "mouth_width": 0.16,
        "eye_left": 0.15,
        "eye_right": 0.15,
        "brow_gap": -0.04,
    },
}


@pytest.mark.parametrize(("label", "change"), FACES.items())
@pytest.mark.parametrize("count", [1, 100])
def test_textbook_faces(label: str, change: dict[str, float], count: int) -> None:
    signals = calm(count)
    for name, value in change.items():
        signals[name][-max(count // 4, 1) :] += value
    scores, _ = judge(signals)
    assert LABELS[scores[-1].argmax()] == label
    if count > 1:
        assert scores[0, LABELS.index("neutral")] > 0.95


@given(st.integers(0, 10_000))
def test_scores_are_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = expression.scores(rng.random((20, len(UNITS))))
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_unmeasured_faces_have_no_scores_and_no_confidence() -> None:
    signals = calm(10)
    for name in MEASURES:
        signals[name][3] = np.nan
    scores, _ = judge(signals)
    base = expression.baseline(signals, np.zeros(10, int))
    confidence = expression.confidence(signals, base)
    assert np.isnan(scores[3]).all()
    assert np.isfinite(np.delete(scores, 3, axis=0)).all()
    assert confidence[3] == 0
    assert (np.delete(confidence, 3) > 0.5).all()


def test_a_person_is_compared_with_the_own_calm_face() -> None:
    signals = calm(200)
    signals["smile"] += 0.04  # corners that always point up
    signals["mouth_width"] += 0.09
    person = np.repeat([0, 1], 100)
    signals["smile"][100:] -= 0.04
    signals["mouth_width"][100:] -= 0.09
    base = expression.baseline(signals, person)
    smile = expression.action_units(signals, base)[:, UNITS.index("AU12")]
    stranger = expression.baseline(signals, np.full(200, -1))
    unknown = expression.action_units(signals, stranger)[:, UNITS.index("AU12")]
    assert smile.max() < 0.2
    assert unknown[:100].min() > 0.4
    assert (stranger["samples"] == 0).all()
    # Shrinkage in closed form: the calmest 30 of 100 samples against a prior of 15.
    assert base["smile"][0] == pytest.approx(0.01 + 0.04 * 30 / 45)


def test_who_smiles_most_of_the_time_is_not_neutral_when_smiling() -> None:
    signals = calm(100)
    signals["smile"][30:] += 0.09
    signals["mouth_width"][30:] += 0.2
    scores, _ = judge(signals)
    assert (scores[:30].argmax(axis=1) == LABELS.index("neutral")).all()
    assert (scores[30:].argmax(axis=1) == LABELS.index("happy")).all()


def test_confidence_falls_with_yaw_quality_and_few_samples() -> None:
    signals = calm(4)
    signals["yaw"][:] = (0, 30, 60, -30)
    base = expression.baseline(signals, np.zeros(4, int))
    front, side, profile, other = expression.confidence(signals, base)
    assert front > side > profile
    assert profile == pytest.approx(0, abs=1e-9)
    assert side == pytest.approx(other)
    halved = expression.confidence(signals, base, np.full(4, 0.5))
    np.testing.assert_allclose(halved, 0.5 * np.array([front, side, profile, other]))
    many = calm(400)
    long = expression.confidence(many, expression.baseline(many, np.zeros(400, int)))
    assert long[0] > 0.9 > front


def test_blinks_of_known_times() -> None:
    signals = calm(100, hz=25)
    for name in ("eye_left", "eye_right"):
        signals[name][20:24] = 0.08  # 160 ms
        signals[name][50:75] = 0.08  # a second: closed, no blink
    found = expression.blinks(signals, np.zeros(100, int))
    assert found is not None
    assert [(blink["start_s"], blink["stop_s"]) for blink in found] == [
        (pytest.approx(0.78), pytest.approx(0.94))
    ]
    slow = {name: values[::2] for name, values in signals.items()}  # 12.5 Hz
    assert expression.blinks(slow, np.zeros(50, int)) is None


def test_gaze_aversion_must_last() -> None:
    signals = calm(100, hz=10)
    signals["gaze_h"][20:30] = 0.72
    signals["gaze_h"][50:52] = 0.9  # 0.2 s
    signals["gaze_h"][70:75] = 0.25
    found = expression.gaze_aversions(signals, np.zeros(100, int))
    assert [round(event["value"], 3) for event in sorted(found, key=lambda e: e["start_s"])] == [
        0.22,
        -0.25,
    ]
    assert min(event["start_s"] for event in found) == pytest.approx(1.95)


@pytest.mark.parametrize(("angle", "kind"), [("pitch", "nod"), ("yaw", "shake")])
def test_head_gestures(angle: str, kind: str) -> None:
    signals = calm(100, hz=20)
    swing = (signals["time_s"] > 1) & (signals["time_s"] < 2.5)
    signals[angle][swing] = 6 * np.sin(2 * np.pi * 2 * signals["time_s"][swing])
    found = expression.head_gestures(signals, np.zeros(100, int))
    assert [event["type"] for event in found] == [kind]
    assert 1 <= found[0]["start_s"] < found[0]["stop_s"] <= 2.5
    assert found[0]["value"] == pytest.approx(12, abs=0.6)
    signals[angle] *= 0.1
    assert expression.head_gestures(signals, np.zeros(100, int)) == []


def test_a_crooked_smile_is_an_event_unless_the_head_is_turned() -> None:
    signals = calm(60, hz=20)
    signals["smile_skew"][20:40] = 0.1
    found = expression.asymmetries(signals, np.zeros(60, int))
    assert [event["type"] for event in found] == ["asymmetric_expression"]
    assert found[0]["start_s"] == pytest.approx(0.975)
    signals["yaw"][:] = 40
    assert expression.asymmetries(signals, np.zeros(60, int)) == []


def test_events_know_their_person_and_are_in_order() -> None:
    signals = calm(100, hz=25)
    signals["time_s"] = np.tile(np.arange(50) / 25, 2)
    person = np.repeat([4, 2], 50)
    signals["eye_left"][70:74] = signals["eye_right"][70:74] = 0.05
    signals["gaze_h"][5:20] = 0.8
    found = expression.events(signals, person)
    assert [(event["type"], event["person"]) for event in found] == [
        ("gaze_aversion", 4),
        ("blink", 2),
    ]


def test_mouth_activity_is_a_local_deviation_of_each_group() -> None:
    count = 80
    signals = calm(count, hz=25)
    signals["time_s"] = np.repeat(np.arange(40) / 25, 2)
    group = np.tile([0, 1], 40)  # two faces at once, samples interleaved
    rng = np.random.default_rng(0)
    signals["mouth_open"] = np.where(group == 0, rng.random(count), 0.2)
    signals["jaw_drop"] = np.where(group == 0, rng.random(count), 0.7)
    signals["mouth_open"][16] = np.nan
    found = expression.mouth_activity(signals, group)
    np.testing.assert_allclose(found[group == 1], 0, atol=1e-9)
    time_s = signals["time_s"][group == 0]
    opened, jaw = signals["mouth_open"][group == 0], signals["jaw_drop"][group == 0]
    expected = [
        np.nanstd(opened[near]) + 3 * np.std(jaw[near])
        for near in (np.abs(time_s - now) <= 0.2 + 1e-9 for now in time_s)
    ]
    np.testing.assert_allclose(found[group == 0], expected)
    assert np.isnan(expression.mouth_activity(calm(1), np.zeros(1, int))).all()


def test_empty_signals() -> None:
    signals, nobody = calm(0), np.zeros(0, int)
    base = expression.baseline(signals, nobody)
    units = expression.action_units(signals, base)
    assert expression.scores(units).shape == (0, 7)
    assert expression.confidence(signals, base).shape == (0,)
    assert expression.events(signals, nobody) == []
    assert expression.mouth_activity(signals, nobody).shape == (0,)
