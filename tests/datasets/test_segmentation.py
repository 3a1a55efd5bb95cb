"""How sound is cut into segments."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.datasets.segmentation import MODES, segment

MOMENTS = st.floats(0, 5000)
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS).map(lambda p: (min(p), max(p))), max_size=8)


@pytest.mark.parametrize(
    ("pps", "duration_s", "spans"),
    [
        (0.2, 12.5, [(0, 5), (5, 10), (10, 12.5)]),
        (0.2, 10.9, [(0, 5), (5, 10)]),  # a tail of less than a second is dropped
        (0.2, 11.0, [(0, 5), (5, 10), (10, 11)]),
        (4, 3.5, [(0, 1), (1, 2), (2, 3)]),  # no segment is shorter than a second
        (0.01, 65, [(0, 30), (30, 60), (60, 65)]),  # nor longer than 30 s
        (1e-320, 31.5, [(0, 30), (30, 31.5)]),
        (0, 12, [(0, 12)]),  # the whole file
        (-1, 95, [(0, 30)]),  # up to 30 s
        (0, 0.5, []),
        (1, 0, []),
    ],
)
def test_fixed_segments(pps: float, duration_s: float, spans: list) -> None:
    assert segment("fixed", duration_s=duration_s, pps=pps) == spans


def test_times_never_drift() -> None:
    """A step of whole frames, int(29.97 / 4) = 7, is 7 s early after two minutes."""
    spans = segment("fixed", duration_s=7200.0, pps=0.7)
    assert len(spans) == 5040
    for i, (start_s, _) in enumerate(spans):
        assert abs(start_s - i / 0.7) < 1e-9
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert spans[-1][1] == 7200.0


def test_frames_of_a_broadcast_do_not_move_them() -> None:
    duration_s = 215784 * 1001 / 30000  # two hours at 29.97
    spans = segment("fixed", duration_s=duration_s, pps=4)
    assert spans[7000] == (7000.0, 7001.0)


@pytest.mark.parametrize(
    ("mode", "given"),
    [
        ("turns", {"turns": [(50.0, 60.0), (1.0, 3.0)]}),
        ("voice_activity", {"speech": [(1.0, 3.0), (50.0, 60.0)]}),
    ],
)
def test_spans_come_in_order_as_they_are(mode: str, given: dict) -> None:
    assert segment(mode, duration_s=60.0, **given) == [(1.0, 3.0), (50.0, 60.0)]


def test_long_turns_are_cut_into_equal_parts() -> None:
    spans = segment("turns", duration_s=100.0, turns=[(10.0, 40.0), (40.0, 80.5)])
    assert spans == [(10.0, 40.0), (40.0, 60.25), (60.25, 80.5)]


def test_a_turn_that_two_tell_of_is_judged_once() -> None:
    assert segment("turns", duration_s=9.0, turns=[(1.0, 3.0), (1.0, 3.0)]) == [(1.0, 3.0)]


def test_scenes_lie_between_cuts() -> None:
    spans = segment("scenes", duration_s=50.0, cuts=[12.0, 5.0, 0.0, 50.0, 99.0])
    assert spans == [(0.0, 5.0), (5.0, 12.0), (12.0, 31.0), (31.0, 50.0)]
    assert segment("scenes", duration_s=20.0, cuts=[]) == [(0.0, 20.0)]


def test_a_breath_does_not_end_a_segment_of_speech() -> None:
    speech = [(0.0, 2.0), (2.2, 4.0), (4.6, 5.0), (5.1, 30.0), (30.2, 40.0)]
    spans = segment("voice_activity", duration_s=60.0, speech=speech)
    assert spans == [(0.0, 4.0), (4.6, 30.0), (30.2, 40.0)]


def test_speech_is_what_was_found_to_be_speech() -> None:
    """VideoAnnotator's `vad` takes what is louder than half the mean for speech."""
    assert segment("voice_activity", duration_s=60.0, speech=[]) == []


@given(mode=st.sampled_from(MODES), duration_s=MOMENTS, pps=st.floats(-1, 50), spans=SPANS)
def test_segments_are_in_order_and_never_too_long(
    mode: str, duration_s: float, pps: float, spans: list
) -> None:
    cuts = [start for start, _ in spans]
    found = segment(mode, duration_s=duration_s, pps=pps, turns=spans, cuts=cuts, speech=spans)
    assert found == sorted(found)
    for start_s, stop_s in found:
        assert 0 <= start_s < stop_s <= start_s + 30 + 1e-6
    if mode in ("fixed", "scenes"):
        assert all(a[1] == b[0] for a, b in pairwise(found))
        assert not found or found[-1][1] <= duration_s


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("vad", "`mode` must be one of fixed, turns, scenes, voice_activity, but is 'vad'"),
        ("", "`mode` must be one of"),
        ("turns", "`mode` turns needs `turns`: run an actor of the role `diarize`, or choose"),
        ("scenes", "`mode` scenes needs `cuts`: watch the video, or choose the mode `fixed`"),
        ("voice_activity", "needs `speech`: run an actor of the role `voice_activity`"),
    ],
)
def test_a_mode_that_cannot_be_is_an_error_and_no_recursion(mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        segment(mode, duration_s=10.0)
    assert sum(one.name == "segment" for one in error.traceback) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"duration_s": -1.0}, "`duration_s` must be at least 0 and finite, but is -1"),
        ({"duration_s": float("nan")}, "`duration_s` must be at least 0 and finite, but is nan"),
        ({"duration_s": 1.0, "pps": float("nan")}, "`pps` must be finite, but is nan"),
    ],
)
def test_times_that_are_none_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segment("fixed", **given)
