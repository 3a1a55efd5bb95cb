import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.actors.sampler import Reason, Sampler, trim


def run(sampler: Sampler, seconds: float, fps: float, **when: tuple[float, float]) -> list[tuple]:
    """Offer frames; each keyword is active in its half-open span."""
    sampler.reset()
    kept = []
    for i in range(round(seconds * fps)):
        t = i / fps
        now = {name: start <= t < stop for name, (start, stop) in when.items()}
        reason = sampler.offer(t, **now)
        if reason:
            kept.append((round(t, 3), reason))
    return kept


def test_base_rate_is_one_in_five_seconds() -> None:
    assert run(Sampler(), 12, 25) == [(0, "start"), (5, "base"), (10, "base")]


@pytest.mark.parametrize(("name", "rate"), [("face", 1), ("speech", 2), ("action", 4)])
def test_rates_of_the_seed(name: str, rate: int) -> None:
    kept = run(Sampler(), 10, 20, **{name: (0, 10)})
    assert len(kept) == 10 * rate
    assert {reason for _, reason in kept[1:]} == {name}


def test_the_highest_rate_wins() -> None:
    kept = run(Sampler(), 3, 20, face=(0, 3), speech=(0, 3), action=(1, 2))
    assert [t for t, _ in kept if t < 1] == [0, 0.5]
    assert [t for t, _ in kept if 1 <= t < 2] == [1, 1.25, 1.5, 1.75]


def test_a_rate_rises_at_once_and_falls_after_the_hold() -> None:
    kept = run(Sampler(hold_s=2.0), 12, 20, speech=(3.05, 3.1))
    assert kept[:6] == [(0, "start"), *((t, "speech") for t in (3.05, 3.55, 4.05, 4.55, 5.05))]
    assert kept[6] == (10.05, "base")


def test_every_boundary_is_sampled() -> None:
    sampler = Sampler()
    reasons = [sampler.offer(i / 25, cut=i in (1, 2, 77)) for i in range(100)]
    assert [i for i, reason in enumerate(reasons) if reason == "cut"] == [1, 2, 77]


steps = st.lists(st.tuples(st.floats(0.01, 0.5), *[st.booleans()] * 4), min_size=1, max_size=80)


@given(steps, st.floats(0, 3))
def test_gaps_are_never_longer_than_the_rate_asks(steps: list[tuple], hold_s: float) -> None:
    sampler, t, last = Sampler(hold_s=hold_s), 0.0, 0.0
    for i, (step, cut, face, speech, action) in enumerate(steps):
        t += step
        reason = sampler.offer(t, cut=cut, face=face, speech=speech, action=action)
        rate = max(0.2, face * 1.0, speech * 2.0, action * 4.0)
        if reason is None:
            assert not cut
            assert i > 0
            assert t - last < 1 / rate
        else:
            assert i == 0 or cut or t - last >= 0.25 - 1e-5  # never above the highest rate
            last = t


@given(
    st.lists(st.floats(0, 60), min_size=1, max_size=60, unique=True).map(sorted),
    st.integers(1, 70), st.data(),
)  # fmt: skip
def test_trim_keeps_the_budget_and_the_boundaries(
    times: list[float], budget: int, draw: st.DataObject
) -> None:
    names: list[Reason] = ["base", "cut", "speech"]
    reasons: list[Reason] = [draw.draw(st.sampled_from(names)) for _ in times]
    kept = trim(times, reasons, budget)
    assert len(kept) == min(budget, len(times))
    assert kept == sorted(set(kept))
    cuts = {i for i, reason in enumerate(reasons) if reason == "cut"}
    assert cuts <= set(kept) if len(cuts) <= budget else set(kept) <= cuts


def test_trim_covers_evenly() -> None:
    reasons: list[Reason] = ["start", *["speech"] * 100]  # type: ignore[list-item]
    assert trim(range(101), reasons, 5) == [0, 25, 50, 75, 100]


def test_wrong_rates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`face_hz` must be at least `base_hz` \(0.2\)"):
        Sampler(face_hz=0.1)
    with pytest.raises(ValueError, match="`budget` must be at least 1, but is 0"):
        Sampler(budget=0)
