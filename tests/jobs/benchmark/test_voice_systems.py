from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mien.jobs.benchmark.voice_systems import Voices, VoiceSystem

EVERY = {"lda": [0.1, 0.6], "logistic": [0.01, 0.1], "rbf": [3.0, 10.0], "svm": [0.01, 0.1]}
RANDOM = np.random.default_rng(0)
ROWS = 96


def voices(distance: float = 2.0, shift: float = 0.0) -> Voices:
    """Four speakers with three labels each; speakers differ by `shift`."""
    random = np.random.default_rng(1)
    truth = np.tile([0, 1, 2], ROWS // 3)
    speaker = np.repeat([0, 1, 2, 3], ROWS // 4)
    centres = random.normal(size=(3, 6)) * distance
    own = random.normal(size=(4, 6)) * shift
    found = centres[truth] + own[speaker] + random.normal(size=(ROWS, 6))
    return Voices(
        columns={"a": found[:, :4], "b": found[:, 4:]},
        truth=truth,
        speakers=np.array(["s0", "s1", "s2", "s3"])[speaker],
        labels=3,
    )


def judged(system: VoiceSystem, data: Voices, speaker: str = "s0") -> np.ndarray:
    held = data.speakers == speaker
    return system.scores(data, ~held, held)[0]


def system(**change: Any) -> VoiceSystem:  # noqa: ANN401
    return VoiceSystem(**({"features": ["a", "b"], "members": EVERY} | change))


@pytest.mark.parametrize("name", EVERY)
def test_every_member_learns(name: str) -> None:
    data = voices()
    found = judged(system(members={name: EVERY[name]}), data)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == data.truth[data.speakers == "s0"]).mean() > 0.85


def test_nothing_is_learnt_where_there_is_nothing() -> None:
    data, linear = voices(distance=0.0), system(members={"svm": [0.01, 0.1]})
    right = [
        (judged(linear, data, s).argmax(axis=1) == data.truth[data.speakers == s]).mean()
        for s in np.unique(data.speakers)
    ]
    assert np.mean(right) < 0.5


@pytest.mark.parametrize("by_speaker", [False, True])
def test_labels_of_the_speaker_who_is_judged_do_not_enter(by_speaker: bool) -> None:
    data = voices(distance=0.7)
    held = data.speakers == "s0"
    other = replace(data, truth=np.where(held, (data.truth + 1) % 3, data.truth))
    one = system(by_speaker=by_speaker)
    np.testing.assert_array_equal(judged(one, data), judged(one, other))


def test_only_transductive_systems_look_at_the_speakers_other_clips() -> None:
    data = voices(distance=0.7, shift=1.0)
    first = np.flatnonzero(data.speakers == "s0")[0]
    others = (data.speakers == "s0") & (np.arange(ROWS) != first)
    moved = {k: v + others[:, None] * RANDOM.normal(3, 1, v.shape) for k, v in data.columns.items()}
    changed = replace(data, columns=moved)
    plain, transductive = (system(members={"lda": [0.1]}, by_speaker=x) for x in (False, True))
    np.testing.assert_allclose(judged(plain, data)[0], judged(plain, changed)[0])
    assert np.abs(judged(transductive, data)[0] - judged(transductive, changed)[0]).max() > 0.01


def test_normalising_by_speaker_takes_away_who_speaks() -> None:
    data = voices(distance=1.0, shift=5.0)
    truth = data.truth[data.speakers == "s0"]
    plain, even = (
        (judged(system(by_speaker=flag), data).argmax(axis=1) == truth).mean()
        for flag in (False, True)
    )
    assert even > plain
    features = data.features(["a"], by_speaker=True)
    np.testing.assert_allclose(features[data.speakers == "s1"].mean(axis=0), 0, atol=1e-9)


def test_unknown_numbers_are_taken_as_average() -> None:
    data = voices()
    holes = {name: values.copy() for name, values in data.columns.items()}
    holes["a"][::5, 1] = np.nan
    holes["b"][:, 1] = np.nan
    for flag in (False, True):
        found = judged(system(by_speaker=flag), replace(data, columns=holes))
        assert np.isfinite(found).all()


def test_a_label_that_was_not_learnt_has_no_score() -> None:
    data = voices()
    train = (data.speakers != "s0") & (data.truth != 2)
    found, _ = system().scores(data, train, data.speakers == "s0")
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_speaker_on_both_sides_is_refused() -> None:
    data = voices()
    rows = np.arange(ROWS) % 2 == 0
    with pytest.raises(ValueError, match="'s0' is both learnt from and judged"):
        system().scores(data, rows, ~rows)


def test_a_choice_needs_somebody_to_choose_by() -> None:
    data = voices()
    with pytest.raises(ValueError, match="only one speaker to learn from"):
        system().scores(data, data.speakers == "s1", data.speakers == "s0")
    fixed = system(members={"svm": [0.01]})
    assert len(fixed.scores(data, data.speakers == "s1", data.speakers == "s0")[0]) == ROWS // 4


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "`members` must be some of lda, logistic, rbf, svm"),
        ({"tree": [1.0]}, "but are .'tree'"),
        ({"svm": []}, r"`members.svm` must be values above 0"),
        ({"lda": [1.5]}, r"`members.lda` must be values above 0, at most 1"),
    ],
)
def test_members_that_do_not_exist_are_refused(members: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        system(members=members)
