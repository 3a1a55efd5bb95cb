"""The loop: its arithmetic against plain torch, going on where it stopped, and leaks."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import drawn
import tiny_training
from mien.actors.nets.network import loss
from mien.jobs.training.augment import Augment
from mien.jobs.training.data import Examples, in_batches, shuffled
from mien.jobs.training.folds import Protocol
from mien.jobs.training.loop import Fit
from mien.jobs.training.model import TrainPhase
from mien.jobs.training.schedule import Schedule

pytestmark = pytest.mark.models

CALM = Augment(share=0)
ONE = {"all": TrainPhase(epochs=1, head_rate=1e-2, backbone_rate=1e-2)}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("loop")
    return tiny_training.training(folder, persons=8, frames=5).examples


def schedule(**more: object) -> Schedule:
    return Schedule(**{"device": "cpu", "augment": CALM, **more})


def trained(examples: Examples, plan: Schedule, batch_size: int, rows: int) -> torch.nn.Module:
    fit = Fit(tiny_training.plain(), ONE, plan, batch_size)
    list(fit.run(examples, np.arange(rows), np.arange(rows, rows + 20)))
    return fit.network


def apart(a: torch.nn.Module, b: torch.nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((x - y).abs().max().detach()) for x, y in pairs)


@pytest.mark.parametrize("balanced", [True, False])
def test_accumulated_steps_are_those_of_one_large_batch(examples: Examples, balanced: bool) -> None:
    """22 rows: two steps of 8 and one of 6, which in batches of 4 is one of 4 and one of 2."""
    large = trained(examples, schedule(balanced=balanced), 8, 22)
    small = trained(examples, schedule(balanced=balanced, accumulation=2), 4, 22)
    assert apart(large, small) < 2e-6
    assert apart(large, tiny_training.plain()) > 1e-2


def test_the_last_partial_step_is_made(examples: Examples) -> None:
    """One batch and an accumulation of four: the seed's loop would make no step at all."""
    found = trained(examples, schedule(accumulation=4), 8, 8)
    assert apart(found, tiny_training.plain()) > 1e-3


def test_an_epoch_is_that_of_a_plain_loop(examples: Examples) -> None:
    plan, rows = schedule(balanced=False, seed=3), np.arange(24)
    ours = trained(examples, plan, 6, 24)
    network = tiny_training.plain()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.01)
    for batch in shuffled(rows, 6, seed=3, epoch=1):
        shown = examples.batch(batch)
        loss(network(shown), shown["truth"]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert apart(ours, network) < 1e-6


def test_a_training_goes_on_as_if_it_had_not_stopped(examples: Examples, tmp_path: Path) -> None:
    plan = schedule(augment=Augment(), accumulation=2, patience=10)
    phases = {
        "head": TrainPhase(epochs=2, head_rate=1e-2, backbone_rate=0),
        "all": TrainPhase(epochs=4, head_rate=1e-2, backbone_rate=1e-3),
    }

    def fit() -> Fit:
        network = tiny_training.plain(dropout=0.5, norm=True)
        network.trunk.origin = "elsewhere"  # so that the first phase freezes it
        return Fit(network, phases, plan, 8)

    learn, stop = np.arange(60), np.arange(60, 100)
    whole = fit()
    epochs = list(whole.run(examples, learn, stop))
    assert [epoch.phase for epoch in epochs] == ["head"] * 2 + ["all"] * 4
    for cut in (1, 2, 4):
        first = fit()
        states: list[dict] = []
        for epoch in first.run(examples, learn, stop, states.append):
            if epoch.number == cut:
                torch.save(states[-1], tmp_path / "state.pt")
                break
        torch.rand(7)  # the caller's random numbers do not matter
        again = fit()
        again.restore(torch.load(tmp_path / "state.pt", weights_only=True))
        rest = list(again.run(examples, learn, stop))
        assert [e.number for e in rest] == list(range(cut + 1, 7))
        for one, other in zip(rest, epochs[cut:], strict=True):
            assert one.train_loss == other.train_loss
            assert one.validation_loss == other.validation_loss
        assert apart(again.network, whole.network) == 0.0


def test_a_frozen_phase_changes_the_head_alone(examples: Examples) -> None:
    phases = {"head": TrainPhase(epochs=1, head_rate=1e-2, backbone_rate=0)}
    for origin, frozen in (("weights.pth", True), ("random", False)):
        network = tiny_training.plain(norm=True)
        network.trunk.origin = origin
        before = [p.detach().clone() for p in network.backbone()]
        fit = Fit(network, phases, schedule(), 8)
        list(fit.run(examples, np.arange(40), np.arange(40, 60)))
        same = all(torch.equal(a, b) for a, b in zip(before, network.backbone(), strict=True))
        assert same == frozen


def test_it_stops_when_nothing_gets_better(examples: Examples) -> None:
    phases = {"all": TrainPhase(epochs=30, head_rate=1e-12, backbone_rate=1e-12)}
    fit = Fit(tiny_training.plain(), phases, schedule(patience=2, least_rate=0), 8)
    epochs = list(fit.run(examples, np.arange(16), np.arange(16, 32)))
    assert [epoch.best for epoch in epochs] == [True, False, False]


def test_a_training_that_diverges_says_so(examples: Examples) -> None:
    network = tiny_training.plain()
    torch.nn.init.constant_(network.head()[0], float("nan"))
    fit = Fit(network, ONE, schedule(), 8)
    with pytest.raises(ArithmeticError, match="no epoch had a finite validation loss: lower"):
        list(fit.run(examples, np.arange(16), np.arange(16, 32)))


def test_the_rate_follows_cosines_with_restarts(examples: Examples) -> None:
    phases = {"all": TrainPhase(epochs=7, head_rate=1e-2, backbone_rate=1e-2)}
    plan = schedule(restart_epochs=2, patience=7, least_rate=1e-6)
    fit = Fit(tiny_training.plain(), phases, plan, 8)
    rates = [epoch.rate for epoch in fit.run(examples, np.arange(8), np.arange(8, 16))]
    half = 1e-6 + (1e-2 - 1e-6) / 2
    assert rates[:3] == pytest.approx([1e-2, half, 1e-2])
    assert rates[4] == pytest.approx(half)
    assert rates[6] == pytest.approx(1e-2)


def test_mixed_precision_learns_alike(examples: Examples) -> None:
    plain = trained(examples, schedule(), 8, 24)
    mixed = trained(examples, schedule(amp=True), 8, 24)
    assert 0 < apart(plain, mixed) < 3e-2


def test_batches_hold_each_row_once(examples: Examples) -> None:
    batches = shuffled(np.arange(10), 4, seed=0, epoch=1)
    assert sorted(chain(*batches)) == list(range(10))
    assert batches != shuffled(np.arange(10), 4, seed=0, epoch=2)
    ranks = [shuffled(np.arange(10), 4, seed=0, epoch=1, rank=r, ranks=3) for r in range(3)]
    assert {len(list(chain(*one))) for one in ranks} == {4}
    assert set(chain(*chain(*ranks))) == set(range(10))
    batch = examples.batch([5, 2])
    np.testing.assert_array_equal(
        batch["frames"].permute(0, 2, 3, 1).numpy(), examples.frames.pixels[[5, 2]]
    )


def test_augmentation_is_of_whole_persons_and_of_colour_alone() -> None:
    pictures = torch.randint(0, 255, (6, 3, 4, 4), dtype=torch.uint8)
    persons = [0, 0, 1, 1, 2, 2]
    augment = Augment(share=1.0, brighter=0.5)
    made = augment(pictures, persons, epoch=1, seed=0)
    again = augment(pictures, persons, epoch=1, seed=0)
    assert torch.equal(made, again)
    assert made.dtype == torch.uint8
    for person in range(3):
        alone = augment(pictures[2 * person :][:1], [person], epoch=1, seed=0)
        assert torch.equal(alone[0], made[2 * person])
    assert torch.equal(Augment(share=0.0)(pictures, persons, epoch=1, seed=0), pictures)


def test_frames_of_the_same_people_on_both_sides_measure_memory() -> None:
    """Seed 001: 20 frames and 80 variants of them, split by frame. Random labels, so chance is 1/2.

    By frame the network seems to be nearly perfect; by person it is at chance.
    """
    random = np.random.default_rng(0)
    sources = [drawn.face("happy", person, frame, 16) for person in range(10) for frame in range(2)]
    pictures = torch.from_numpy(np.repeat(np.stack(sources), 5, axis=0)).permute(0, 3, 1, 2).clone()
    one = Augment(share=1.0, brighter=0.15, contrast=0.15, hue=0.02, darker=0.15)
    for variant in range(1, 5):
        rows = np.arange(variant, 100, 5)
        pictures[rows] = one(pictures[rows], rows.tolist(), epoch=variant, seed=0)
    names = [f"p{row // 10}" for row in range(100)]
    by_frame, by_person = [], []
    for draw in range(2):
        labels = np.repeat(random.permutation(np.arange(20) % 2), 5)
        order = random.permutation(100)
        by_frame.append(_accuracy(pictures, labels, order[:80], order[80:]))
        protocol = Protocol(folds=4, seed=draw)
        by_person += [
            _accuracy(pictures, labels, *protocol.outer(fold, labels, names))
            for fold in protocol.names(names)
        ]
    assert np.mean(by_frame) > 0.95
    assert 0.25 < np.mean(by_person) < 0.75


def _accuracy(
    pictures: torch.Tensor, labels: np.ndarray, learn: np.ndarray, judge: np.ndarray
) -> float:
    network = tiny_training.plain(2, 16)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    truth = torch.from_numpy(labels)
    for epoch in range(25):
        for batch in in_batches(np.random.default_rng(epoch).permutation(learn), 16):
            loss(network({"frames": pictures[batch]}), truth[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
    network.eval()
    said = network({"frames": pictures[judge]})[:, 0] > 0
    return float((said.numpy() == labels[judge].astype(bool)).mean())
