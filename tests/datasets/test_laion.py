"""Names and scales of LAION's heads, and what is computed of their scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from mien.datasets.laion import (
    LAION_ALIASES,
    LAION_BASIC,
    LAION_FACE_NAMES,
    LAION_VOICE_ATTRIBUTES,
    LAION_VOICE_NAMES,
    LAION_VOICE_QUALITY,
    LAION_VOICE_RANGES,
    Statistics,
    basic,
    basic_scores,
    file_of,
    named,
    read_statistics,
    relative,
    statistics,
    top_k,
)
from mien.datasets.schema import LABELS

PLACE = {name: i for i, name in enumerate(LAION_FACE_NAMES)}


def scored(**scores: float) -> np.ndarray:
    """One row of 40 scores, 0 but for some."""
    row = np.zeros((1, 40))
    for name, score in scores.items():
        row[0, PLACE[name]] = score
    return row


def test_there_are_heads_for_40_emotions_of_faces_and_no_others() -> None:
    """VideoAnnotator lists 43, of which three have no file."""
    assert len(LAION_FACE_NAMES) == len(set(LAION_FACE_NAMES)) == 40
    assert not {"neutral", "arousal", "dominance", "emotional_vulnerability"} & {*LAION_FACE_NAMES}
    assert sorted(LAION_FACE_NAMES) == list(LAION_FACE_NAMES)


def test_voices_have_the_same_40_emotions_and_15_attributes() -> None:
    assert {name.lower() for name in LAION_VOICE_NAMES} == {*LAION_FACE_NAMES}
    assert len(LAION_VOICE_NAMES) == 40
    assert len(LAION_VOICE_ATTRIBUTES) == 15
    assert len(LAION_VOICE_QUALITY) == 4
    assert not {*LAION_VOICE_NAMES} & {*LAION_VOICE_ATTRIBUTES}


def test_names_are_those_of_the_files() -> None:
    assert file_of("jealousy_&_envy") == "model_jealousy_&_envy_best.pth"
    files = [
        *map(file_of, (*LAION_FACE_NAMES, *LAION_VOICE_NAMES, *LAION_VOICE_ATTRIBUTES)),
        *map(file_of, LAION_VOICE_QUALITY),
    ]
    for file in files:  # the rule by which LAION's own code names the labels
        name = "_".join(Path(file).stem.split("_")[1:-1])
        assert file_of(name) == file


def test_each_attribute_has_a_range_of_its_own() -> None:
    assert LAION_VOICE_RANGES["Age"] == (0, 6)
    assert LAION_VOICE_RANGES["Background_Noise"] == (0, 3)
    assert LAION_VOICE_RANGES["Valence"] == LAION_VOICE_RANGES["Submissive_vs._Dominant"] == (-3, 3)
    two = {name for name, span in LAION_VOICE_RANGES.items() if span == (-2, 2)}
    assert two == {"Gender", "Soft_vs._Harsh", "Warm_vs._Cold"}
    assert sum(span == (0, 4) for span in LAION_VOICE_RANGES.values()) == 8


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("impatience_irritability", "impatience_and_irritability"),
        ("jealousy_envy", "jealousy_&_envy"),
        ("intoxication_altered_states", "intoxication_altered_states_of_consciousness"),
        ("model_anger_best.pth", "anger"),
        ("model_Anger_best", "anger"),
        ("Hope/Enthusiasm/Optimism", "hope_enthusiasm_optimism"),
        ("Jealousy & Envy", "jealousy_&_envy"),
    ],
)
def test_a_head_is_known_by_its_aliases(label: str, name: str) -> None:
    assert named(label) == name
    assert named(label, LAION_VOICE_NAMES).lower() == name


def test_an_alias_leads_to_a_head_and_nothing_else_does() -> None:
    assert {*LAION_ALIASES.values()} <= {*LAION_FACE_NAMES}
    with pytest.raises(KeyError, match="no head is called 'dominance'"):
        named("dominance")


def test_the_core_map_names_only_heads_that_are() -> None:
    assert [*LAION_BASIC] == [*(label for label in LABELS if label != "neutral"), "contempt"]
    used = [name for group in LAION_BASIC.values() for name in group]
    assert len(used) == len(set(used))
    assert {*used} <= {*LAION_FACE_NAMES}
    assert len(LAION_BASIC["happy"]) == 10


@pytest.mark.parametrize(
    ("scores", "label"),
    [
        ({"anger": 3}, "angry"),
        ({"impatience_and_irritability": 3, "disgust": 2}, "angry"),
        ({"relief": 2, "sadness": 1.5}, "happy"),
        ({"helplessness": 2, "relief": 1.5}, "sad"),
        ({"astonishment_surprise": 4}, "surprise"),
        ({"fear": 1.0}, "fear"),
        ({"fear": 0.99}, "neutral"),
        ({"contempt": 3, "disgust": 2}, "contempt"),
        ({"teasing": 6}, "neutral"),  # is not in the core map
    ],
)
def test_the_strongest_basic_emotion_wins_or_it_is_neutral(
    scores: dict[str, float], label: str
) -> None:
    assert basic(scored(**scores)) == [label]


def test_the_canonical_seven_have_no_contempt() -> None:
    row = scored(contempt=3, disgust=2)
    assert basic(row, contempt=False) == ["disgust"]
    assert basic_scores(row).shape == (1, 7)
    assert basic(row, neutral_below=5) == ["neutral"]


def test_voices_are_mapped_by_their_own_order() -> None:
    row = np.zeros((1, 40))
    row[0, LAION_VOICE_NAMES.index("Sadness")] = 2
    assert basic(row, LAION_VOICE_NAMES) == ["sad"]


def test_what_is_unknown_has_no_label() -> None:
    row = scored(anger=2)
    assert basic(np.concatenate([row, row * np.nan])) == ["angry", None]


def test_relative_shares_are_a_softmax_and_only_of_emotions() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(3, 40)) * 300
    shares = relative(scores, temperature=2.0)
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    ratio = np.log(shares[0, 0] / shares[0, 1])
    np.testing.assert_allclose(ratio, (scores[0, 0] - scores[0, 1]) / 2)
    for wrong in (43, 55):  # with arousal and dominance among them, or with all attributes
        with pytest.raises(ValueError, match=f"must be of the 40 emotions, but are {wrong}"):
            relative(np.zeros((1, wrong)))
    with pytest.raises(ValueError, match="`temperature` must be greater than 0, but is 0"):
        relative(scores, temperature=0)


def test_the_strongest_come_first_and_the_unknown_not_at_all() -> None:
    row = scored(anger=3, fear=2, awe=4)[0]
    row[PLACE["triumph"]] = np.nan
    assert top_k(row, k=3) == [("awe", 4.0), ("anger", 3.0), ("fear", 2.0)]
    assert len(top_k(row, k=99)) == 39
    with pytest.raises(ValueError, match="`k` must be at least 1, but is 0"):
        top_k(row, k=0)


def test_z_scores_are_of_the_corpus_and_leave_the_unknown_out() -> None:
    scores = np.random.default_rng(1).normal(3, 2, size=(50, 40))
    scores[:, 5] = 0.1  # a head that never moves
    scores[7] = np.nan
    found = statistics(scores).adjusted(scores, scaled=True)
    known = np.delete(found, 7, axis=0)
    assert np.isnan(found[7]).all()
    assert (known[:, 5] == 0).all()
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.delete(known.std(axis=0), 5), 1)


def test_z_scores_lift_what_all_faces_hide() -> None:
    """An emotion whose head speaks low is found against the corpus, not against other heads."""
    scores = np.repeat(scored(contentment=2.0), 9, axis=0)
    scores[:, PLACE["anger"]] = [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.9]
    assert basic(scores)[8] == "happy"
    assert basic(statistics(scores).adjusted(scores, scaled=True))[8] == "angry"


def test_statistics_need_something_known() -> None:
    with pytest.raises(ValueError, match="need at least one row"):
        statistics(np.full((2, 40), np.nan))
    with pytest.raises(ValueError, match="needs a standard deviation"):
        Statistics(mean=np.zeros(40)).adjusted(np.zeros((1, 40)), scaled=True)


@pytest.mark.parametrize("std", [True, False])
def test_neutral_statistics_are_read_in_both_forms(tmp_path: Path, std: bool) -> None:
    labels = [*LAION_FACE_NAMES[:39], "model_Triumph_best"]
    given = {n: {"mean": i, "std": 2.0} if std else i for i, n in enumerate(labels)}
    file = tmp_path / "neutral_stats.json"
    file.write_text(json.dumps(dict(reversed(given.items()))))
    found = read_statistics(file)
    assert found.mean.tolist() == list(range(40))
    assert (found.std is not None) == std
    assert found.adjusted(np.full((1, 40), 1.0))[0, 3] == -2
    if std:
        assert found.adjusted(np.full((1, 40), 1.0), scaled=True)[0, 3] == -1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must be .*neutral_stats.json is not"),
        ("{", "must be .*neutral_stats.json is not"),
        ('{"anger": {"average": 1}}', "must be .*neutral_stats.json is not"),
        ('{"anger": 1}', "must name all 40 heads, but neutral_stats.json lacks affection, "),
    ],
)
def test_other_statistics_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "neutral_stats.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_statistics(file)
