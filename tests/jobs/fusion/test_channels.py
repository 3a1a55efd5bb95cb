import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.datasets.schema import LABELS
from mien.jobs.fusion.channels import (
    Channel,
    Tier,
    face_channel,
    pooled,
    text_channel,
    tier,
    voice_channel,
    weights,
)
from mien.jobs.fusion.rules import Rules

NAMES = ("face", "voice", "text")
TIERS: tuple[Tier, ...] = ("reliable", "partial", "degraded", "absent")
NEUTRAL = LABELS.index("neutral")


def channels(
    face: Tier = "reliable",
    voice: Tier = "reliable",
    text: Tier = "reliable",
    *,
    voice_on: bool = True,
) -> dict[str, Channel]:
    made: dict[str, Tier] = {"face": face, "voice": voice, "text": text}
    return {k: Channel(tier=t, reason="", on=voice_on or k != "voice") for k, t in made.items()}


@pytest.mark.parametrize(
    ("confidence", "neutral", "wanted"),
    [
        *[(0.41, 0.72, "partial"), (0.5, 0.6, "reliable"), (0.9, 0.61, "partial")],
        *[(0.49, 0.1, "partial"), (0.3, 0.85, "partial"), (0.29, 0.1, "degraded")],
        (0.9, 0.86, "degraded"),
    ],
)
def test_tiers(confidence: float, neutral: float, wanted: str) -> None:
    assert tier(confidence, neutral) == wanted


def test_face_channel_ignores_unknown_samples() -> None:
    scores = np.eye(7)[[NEUTRAL, 3, 3, 3]]
    scores[0] = np.nan
    found = face_channel(scores, np.array([0.0, 0.8, 0.8, 0.8]))
    assert found.tier == "reliable"
    assert "0%" in found.reason
    assert face_channel(np.full((2, 7), np.nan), np.ones(2)).tier == "absent"
    assert face_channel(np.zeros((0, 7)), np.zeros(0)).tier == "absent"


def test_a_flat_voice_is_switched_off_after_twenty_utterances() -> None:
    flat, unknown = np.linspace(0.4, 0.59, 20), np.full(20, np.nan)
    found = voice_channel(flat, unknown, Rules())
    assert (found.tier, found.on) == ("degraded", False)
    assert "0.19 over 20 utterances" in found.reason
    assert voice_channel(flat[:19], unknown[:19], Rules()).on
    assert voice_channel(np.linspace(0.4, 0.61, 20), unknown, Rules()).on
    assert voice_channel(np.append(flat, np.nan), np.append(unknown, np.nan), Rules()).on is False


def test_arousal_alone_is_partial() -> None:
    assert voice_channel(np.array([0.1, 0.9]), np.full(2, np.nan), Rules()).tier == "partial"
    assert voice_channel(np.array([0.1, 0.9]), np.array([0.5, np.nan]), Rules()).tier == "reliable"
    assert voice_channel(np.full(3, np.nan), np.full(3, np.nan), Rules()).tier == "absent"


def test_text_channel() -> None:
    assert text_channel(np.array([0.9]), affect=False, classes=False).tier == "absent"
    assert text_channel(np.array([0.9]), affect=True, classes=True).tier == "reliable"
    assert text_channel(np.array([0.9]), affect=True, classes=False).tier == "partial"
    assert text_channel(np.array([0.1]), affect=True, classes=True).tier == "degraded"
    assert text_channel(np.array([np.nan]), affect=True, classes=True).tier == "partial"


def test_published_weights_are_renormalised() -> None:
    found = weights(channels())
    wanted = {"text": 0.471, "face": 0.412, "voice": 0.118}
    assert {k: round(v or 0, 3) for k, v in found.items()} == wanted


@given(st.tuples(*[st.sampled_from(TIERS)] * 3), st.booleans(), st.tuples(*[st.booleans()] * 3))
def test_weights_sum_to_one_over_what_counts(
    tiers: tuple[Tier, Tier, Tier], on: bool, available: tuple[bool, bool, bool]
) -> None:
    here: dict[str, bool] = dict(zip(NAMES, available, strict=True))
    found = weights(channels(*tiers, voice_on=on), here)
    known = [w for w in found.values() if w]
    assert sum(known) == pytest.approx(1 if known else 0)
    for name, t in zip(NAMES, tiers, strict=True):
        assert (found[name] is None) == (not here[name] or t == "absent")


@given(st.sampled_from(("voice", "text")))
def test_a_worse_face_weighs_less(other: str) -> None:
    falling = [weights(channels(t))["face"] or 0 for t in TIERS]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) == len(TIERS)
    rising = [weights(channels(t))[other] or 0 for t in TIERS]
    assert rising == sorted(rising)


def test_switched_off_weighs_nothing_and_is_not_absent() -> None:
    assert weights(channels(voice_on=False))["voice"] == 0


def test_pooled_scores() -> None:
    happy, sad = np.eye(7)[3], np.eye(7)[4]
    weight = {"face": 0.25, "text": 0.75, "voice": None}
    found = pooled({"face": happy, "text": sad, "voice": None}, weight)
    assert found is not None
    assert (found[3], found[4]) == pytest.approx((0.25, 0.75))
    only = pooled({"face": happy * 0.5, "text": None, "voice": None}, weight)
    assert only is not None
    assert only.tolist() == happy.tolist()
    assert pooled({"face": None, "text": None, "voice": None}, weight) is None
    assert pooled({"face": np.full(7, np.nan), "text": None, "voice": None}, weight) is None
