"""The schedule and the augmentation refuse what cannot be."""

import pytest

from mien.jobs.training.augment import VARIANTS, Augment
from mien.jobs.training.schedule import Schedule


@pytest.mark.parametrize(
    "wrong",
    [
        *({"accumulation": 0}, {"patience": 0}, {"clip_norm": -1.0}, {"smoothing": 1.0}),
        *({"device": "tpu"}, {"restart_epochs": 0}, {"seed": -1}),
    ],
)
def test_a_wrong_schedule_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"`schedule.{next(iter(wrong))}` must be"):
        Schedule(**wrong)


@pytest.mark.parametrize("wrong", [{"share": 1.1}, {"hue": 0.6}, {"darker": 2.0}, {"contrast": -1}])
def test_a_wrong_augmentation_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"`augment.{next(iter(wrong))}` must be from 0"):
        Augment(**wrong)


def test_a_person_looks_the_same_throughout_an_epoch_and_else_not() -> None:
    augment = Augment()
    drawn = {(p, e): augment.variant(p, e, seed=0) for p in range(20) for e in range(20)}
    assert all(augment.variant(p, e, seed=0) == one for (p, e), one in drawn.items())
    names = [one[0] if one else None for one in drawn.values()]
    assert set(names) == {*VARIANTS, None}
    assert names.count(None) / len(names) == pytest.approx(0.2, abs=0.06)
    assert [augment.variant(0, e, seed=1) for e in range(20)] != [drawn[0, e] for e in range(20)]
    assert all(one is None or -0.05 <= one[1] <= 0.3 for one in drawn.values())
