"""Leaving one person out: who is seen when, and what choosing by the judged person gains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from mien.jobs.benchmark.loso import (
    Folding,
    Job,
    Step,
    answers,
    chosen,
    counts,
    curve,
    left_out,
    oracle,
)
from mien.jobs.benchmark.micro_samples import Samples
from mien.jobs.evaluation.scores import METRICS

LABELS = ("negative", "positive", "surprise")


def clips(people: int = 24, each: int = 10, seed: int = 0) -> Samples:
    """Clips without content, with random labels."""
    rng, count = np.random.default_rng(seed), people * each
    return Samples(
        labels=LABELS,
        ids=np.array([f"c{i:03d}" for i in range(count)]),
        subjects=np.array([f"s{i // each:02d}" for i in range(count)]),
        parts=np.array(["smic"] * count),
        truth=rng.integers(3, size=count),
        pictures=np.zeros((count, 4, 4, 3), np.uint8),
        strain=np.zeros((count, 4, 4), np.uint8),
        directions=np.zeros((count, 8, 8, 8), np.float32),
        peaks=np.zeros(count, np.float32),
        units=np.zeros((count, 100), bool),
    )


@dataclass(frozen=True, kw_only=True)
class Coin:
    """Answers at random, anew after each epoch."""

    epochs: int = 20
    inputs: str = "none"
    probable: bool = False

    def missing(self) -> None: ...

    def origin(self) -> str:
        return ""

    def steps(self, learn: Samples, judge: Samples, seed: int) -> Iterator[Step]:
        rng = np.random.default_rng(seed)
        for _ in range(self.epochs):
            yield Step(rng.random((len(judge), 3), np.float32))


@dataclass(frozen=True, kw_only=True)
class Peak(Coin):
    """Right after one epoch, wrong after all others."""

    at: int = 3

    def steps(self, learn: Samples, judge: Samples, seed: int) -> Iterator[Step]:
        for epoch in range(1, self.epochs + 1):
            said = judge.truth if epoch == self.at else (judge.truth + 1) % 3
            yield Step(np.eye(3, dtype=np.float32)[said])


@dataclass(frozen=True, kw_only=True)
class Spy(Coin):
    """Remembers whom it was shown."""

    def steps(self, learn: Samples, judge: Samples, seed: int) -> Iterator[Step]:
        SEEN.append((set(learn.subjects), set(judge.subjects)))
        yield from super().steps(learn, judge, seed)


SEEN: list[tuple[set[str], set[str]]] = []


def everybody(system: Coin, samples: Samples, folding: Folding | None = None) -> dict:
    job = Job(system, samples, folding or Folding())
    return {held: left_out(held, job) for held in sorted(set(samples.subjects))}


def judged(folds: dict, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Truth and answers of all folds together."""
    truth = dict(zip(samples.ids, samples.truth, strict=True))
    pairs = [
        (truth[name], said)
        for one in folds.values()
        for name, said in zip(one["id"].to_pylist(), answers(one), strict=True)
    ]
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])


@pytest.fixture(scope="module")
def coin() -> tuple[Samples, dict]:
    samples = clips()
    return samples, everybody(Coin(), samples)


def test_the_metrics_are_scikit_learns_on_the_pooled_answers(coin: tuple[Samples, dict]) -> None:
    samples, done = coin
    truth, said = judged({k: chosen(v) for k, v in done.items()}, samples)
    assert len(truth) == len(samples)
    table = counts(truth, said, 3)
    kept: Any = {"labels": [0, 1, 2], "average": "macro", "zero_division": 0}
    assert METRICS["uf1"](table) == pytest.approx(f1_score(truth, said, **kept))
    assert METRICS["uar"](table) == pytest.approx(recall_score(truth, said, **kept))
    names = dict(zip(samples.ids, samples.truth, strict=True))
    assert curve(done, names, 3, "uf1")[-1] == pytest.approx(f1_score(truth, said, **kept))


def test_the_oracle_is_selection(coin: tuple[Samples, dict]) -> None:
    """Random labels, random answers: fixed is chance, the oracle far above, and never below."""
    samples, done = coin
    names = dict(zip(samples.ids, samples.truth, strict=True))
    for one in done.values():
        fixed, best = judged({"": chosen(one)}, samples), judged({"": oracle(one, names)}, samples)
        assert np.mean(best[0] == best[1]) >= np.mean(fixed[0] == fixed[1])
    fixed = METRICS["uf1"](counts(*judged({k: chosen(v) for k, v in done.items()}, samples), 3))
    best = METRICS["uf1"](
        counts(*judged({k: oracle(v, names) for k, v in done.items()}, samples), 3)
    )
    assert fixed == pytest.approx(1 / 3, abs=0.09)
    assert best > 0.55


def test_inner_choice_is_no_oracle(coin: tuple[Samples, dict]) -> None:
    """What is chosen on training persons stays at chance where there is nothing to learn."""
    samples, _ = coin
    done = everybody(Coin(), samples, Folding(choice="inner"))
    inner = METRICS["uf1"](counts(*judged({k: chosen(v) for k, v in done.items()}, samples), 3))
    assert inner == pytest.approx(1 / 3, abs=0.09)


def test_inner_choice_finds_the_epoch() -> None:
    done = everybody(Peak(epochs=5), clips(4, 6), Folding(choice="inner"))
    assert {epoch for one in done.values() for epoch in chosen(one)["epoch"].to_pylist()} == {3}
    done = everybody(Peak(epochs=5), clips(4, 6), Folding())
    assert {epoch for one in done.values() for epoch in chosen(one)["epoch"].to_pylist()} == {5}


def test_of_several_best_epochs_the_oracle_takes_the_first() -> None:
    samples = clips(3, 6)
    names = dict(zip(samples.ids, samples.truth, strict=True))
    (one, *_) = everybody(Peak(epochs=4, at=9), samples).values()  # never right
    assert set(oracle(one, names)["epoch"].to_pylist()) == {1}


@pytest.mark.parametrize("choice", ["fixed", "inner"])
def test_the_held_out_person_is_never_learnt_from(choice: str) -> None:
    SEEN.clear()
    everybody(Spy(epochs=2), clips(5, 3), Folding(choice=choice))  # type: ignore[arg-type]
    outer = [pair for pair in SEEN if len(pair[1]) == 1 and len(pair[0]) == 4]
    assert sorted(min(judge) for _, judge in outer) == [f"s{i:02d}" for i in range(5)]
    assert all(not learn & judge for learn, judge in SEEN)
    if choice == "inner":  # three groups of four persons each, before the fold itself
        for held, at in zip(sorted(f"s{i:02d}" for i in range(5)), range(0, 20, 4), strict=True):
            assert all(held not in learn | judge for learn, judge in SEEN[at : at + 3])


def test_tuning_sees_training_persons_only() -> None:
    samples = clips(5, 3)
    learn, _ = samples.split(["s02"])
    SEEN.clear()
    scores = list(Folding(inner=2).within(Spy(epochs=3), learn, 0))
    assert len(scores) == 3
    assert set.union(*(a | b for a, b in SEEN)) == {"s00", "s01", "s03", "s04"}


def test_two_persons_are_too_few_to_choose_on() -> None:
    job = Job(Peak(epochs=3), clips(2, 6), Folding(choice="inner"))
    with pytest.raises(ValueError, match="at least 2 of them, but there is only 's00'"):
        left_out("s01", job)


def test_a_fold_does_not_depend_on_the_others() -> None:
    samples = clips(4, 6)
    alone = left_out("s02", Job(Coin(), samples, Folding()))
    assert alone.equals(everybody(Coin(), samples)["s02"])
    assert not alone.equals(left_out("s02", Job(Coin(), samples, Folding(seed=1))))


def test_a_split_without_a_side_is_refused() -> None:
    with pytest.raises(ValueError, match="must leave clips on both sides, but 0 of 12"):
        clips(2, 6).split(["s77"])
    with pytest.raises(ValueError, match="12 of 12 are held out"):
        clips(2, 6).split(["s00", "s01"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"choice": "best"}, "`choice` must be fixed or inner, but is 'best'"),
        ({"inner": 1}, "`inner` must be at least 2, but is 1"),
        ({"metric": "f9"}, "`metric` must be one of .* but is 'f9'"),
    ],
)
def test_bad_folding_is_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Folding(**parameters)
