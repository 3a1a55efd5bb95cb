"""Action: how spans become clips and clips become frames, without the network."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.actors.action import Action, clips, spread


@given(
    st.floats(0, 100),
    st.floats(0.1, 100),
    st.lists(st.floats(-10, 250), max_size=9),
    st.floats(0.5, 30),
)
def test_clips_fill_the_span_and_end_at_every_cut(
    start: float, length: float, cuts: list[float], clip_s: float
) -> None:
    stop = start + length
    made = clips((start, stop), cuts, clip_s)
    assert made[0][0] == start
    assert made[-1][1] == stop
    assert all(a[1] == b[0] for a, b in pairwise(made))
    assert all(0 < b - a <= clip_s * (1 + 1e-6) for a, b in made)
    assert {cut for cut in cuts if start < cut < stop} <= {b for _, b in made}


def test_a_span_of_just_the_longest_clip_is_one_clip() -> None:
    assert clips((0.1, 10.1), [], 10.0) == [(0.1, 10.1)]


@given(
    st.lists(st.floats(0, 10, exclude_max=True), min_size=1, max_size=40, unique=True),
    st.sampled_from([4, 8, 16]),
)
def test_frames_repeat_only_where_there_are_too_few(times: list[float], count: int) -> None:
    ordered = np.sort(times)
    chosen = spread(ordered, (0.0, 10.0), count)
    assert len(chosen) == count
    assert (np.diff(chosen) >= 0).all()
    _, uses = np.unique(chosen, return_counts=True)
    assert uses.max() <= -(-count // len(times))


def test_frames_are_spread_evenly_and_are_not_the_first_ones() -> None:
    times = np.arange(0, 10, 0.25, np.float64)
    chosen = times[spread(times, (0.0, 10.0), 8)]
    assert np.abs(chosen - (np.arange(8) + 0.5) * 1.25).max() <= 0.125
    assert not np.array_equal(chosen, times[:8])  # as the seed did


def test_a_burst_of_frames_does_not_draw_all_looks_to_itself() -> None:
    times: Any = np.sort(np.concatenate([np.arange(0, 10, 1.25) + 0.6, 5 + np.arange(30) / 100]))
    chosen = times[spread(times, (0.0, 10.0), 8)]
    assert ((chosen >= 5) & (chosen < 5.3)).sum() <= 1


def row(times: list[float], cuts_s: tuple[float, ...] = (), **values: Any) -> dict[str, Any]:  # noqa: ANN401
    frames = [{"time_s": t, "thumbnail": f"{t:g}".encode()} for t in times]
    known = {"start_s": 0.0, "stop_s": 20.0, "frames": frames}
    return known | {"cuts": [{"time_s": t} for t in cuts_s]} | values


class Eight:
    num_frames = 8


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Action:
    made = Action(clip_s=10.0, min_frames=3)
    monkeypatch.setattr(made, "_config", Eight)
    return made


def test_no_look_crosses_a_cut(actor: Action) -> None:
    looks = actor.looks(0, row(np.arange(0, 20, 0.5).tolist(), (4.0, 13.0)))
    assert [look.span for look in looks] == [(0, 4), (4, 13), (13, 20)]
    for look in looks:
        assert len(look.pictures) == 8
        times = [float(picture) for picture in look.pictures]
        assert times == sorted(times)
        assert look.span[0] <= times[0]
        assert times[-1] < look.span[1]


def test_a_clip_with_too_few_frames_is_left_out(actor: Action) -> None:
    looks = actor.looks(0, row([0.0, 1.0, 11.0, 12.0, 13.0]))
    assert [look.span for look in looks] == [(10, 20)]
    assert set(looks[0].pictures) == {b"11", b"12", b"13"}


def test_frames_without_a_picture_do_not_count(actor: Action) -> None:
    known = row([0.0, 1.0, 2.0])
    known["frames"][1]["thumbnail"] = None
    assert actor.looks(0, known) == []


def test_a_row_without_bounds_reaches_from_start_to_last_frame(actor: Action) -> None:
    (look,) = actor.looks(0, row([1.0, 2.0, 4.0], start_s=None, stop_s=None))
    assert look.span == pytest.approx((0.0, 4.0))
    assert b"4" in look.pictures


@pytest.mark.parametrize("missing", [{"frames": None}, {"frames": []}, {"cuts": None}])
def test_what_is_not_there_is_no_error(actor: Action, missing: dict[str, Any]) -> None:
    assert isinstance(actor.looks(0, row([], **missing)), list)


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("clip_s", 0, "greater than 0"),
        ("std", 0, "greater than 0"),
        ("min_frames", 0, "at least 1"),
        ("top_k", 0, "at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: Any, limit: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=f"`{name}` must be {limit}"):
        Action(**{name: value})
