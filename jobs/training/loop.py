"""Training a network, epoch by epoch, so that it can stop and go on after any of them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from ...actors.nets.network import Network, loss, probabilities
from ..evaluation.scores import balanced_accuracy
from .data import Examples, in_batches, loader, shuffled
from .folds import Rows
from .model import TrainPhase
from .schedule import Schedule

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What an epoch came to.

    Attributes:
        number: Counted from 1, over all phases.
        phase: Name of the phase.
        rate: Learning rate of the head.
        train_loss: Mean over the epoch, with dropout and augmentation.
        validation_loss: Afterwards, on the rows that training stops by.
        score: Balanced accuracy on those.
        best: Whether the validation loss was the lowest so far.
        rows: Examples that were shown.
        wall_s: Time of the training alone, validation excluded.
    """

    number: int
    phase: str
    rate: float
    train_loss: float
    validation_loss: float
    score: float
    best: bool
    rows: int
    wall_s: float


class Judged(NamedTuple):
    """What a network says of some rows.

    Attributes:
        probabilities: `(n, classes)` float32.
        loss: Mean cross-entropy, with the training's weights of the labels.
    """

    probabilities: NDArray[np.float32]
    loss: float


class Fit:
    """A network in training.

    The phases follow each other; each ends when its epochs are done or its patience is at an end,
    and the next one begins from the weights that were best so far. A trunk of random weights has
    nothing to protect: no phase freezes it, and it learns at the head's rate.

    In several processes (`torch.distributed`) gradients are averaged and each process is shown its
    share of the rows; `batch_size` is that of one process.
    """

    def __init__(
        self,
        network: Network,
        phases: Mapping[str, TrainPhase],
        schedule: Schedule,
        batch_size: int,
    ) -> None:
        """Begin at the first phase.

        Args:
            network: Is trained in place.
            phases: By name, in order.
            schedule: All that the phases do not say.
            batch_size: Rows of a batch.
        """
        self.device = device_of(schedule)
        self.network = network.to(self.device)
        self.history: list[Epoch] = []
        self._phases, self._schedule, self._batch_size = phases, schedule, batch_size
        self._rank, self._ranks = _ranks()
        self._amp = self.device.type == "cuda" if schedule.amp is None else schedule.amp
        self._best: State = {"loss": float("inf"), "weights": _copied(network.state_dict())}
        self._begin(0)

    @property
    def done(self) -> bool:
        """Whether all phases are over."""
        return self._phase >= len(self._phases)

    def run(
        self,
        examples: Examples,
        learn: Rows,
        stop: Rows,
        keep: Callable[[State], None] | None = None,
    ) -> Iterator[Epoch]:
        """Train to the end, and leave the network with the weights that were best.

        Args:
            examples: All of them.
            learn: Those to learn from.
            stop: Those that training stops by.
            keep: Given the state after each epoch, for `restore`.

        Yields:
            Each epoch, when it is over.

        Raises:
            ArithmeticError: Training diverged from the first epoch on.
        """
        weights = self._weights(examples, learn)
        while not self.done:
            epoch = self._epoch(examples, learn, stop, weights)
            self.history.append(epoch)
            self._advance(epoch)
            if keep:
                keep(self.state())
            yield epoch
        if self._best["loss"] == float("inf"):
            raise ArithmeticError(
                "no epoch had a finite validation loss: lower `head_rate` and `backbone_rate` of "
                "`model.phases`."
            )
        self.network.load_state_dict(self._best["weights"])
        self.network.freeze(False)
        self.network.eval()

    def state(self) -> State:
        """All that the rest of the training depends on: tensors, numbers, names.

        Random numbers are no part of it: those of an epoch follow from the seed and its number.
        """
        state = {
            "phase": self._phase,
            "phase_epoch": self._phase_epoch,
            "waited": self._waited,
            "history": [asdict(epoch) for epoch in self.history],
            "weights": self.network.state_dict(),
            "best": self._best,
        }
        if not self.done:
            state |= {
                "optimizer": self._optimizer.state_dict(),
                "scheduler": self._scheduler.state_dict(),
                "scaler": self._scaler.state_dict(),
            }
        return state

    def restore(self, state: State) -> None:
        """Go on where `state` was taken."""
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self._best = state["best"]
        self._begin(state["phase"])
        self.network.load_state_dict(state["weights"])
        self._phase_epoch, self._waited = state["phase_epoch"], state["waited"]
        if not self.done:
            self._optimizer.load_state_dict(state["optimizer"])
            self._scheduler.load_state_dict(state["scheduler"])
            self._scaler.load_state_dict(state["scaler"])

    def judge(self, examples: Examples, rows: Rows, *, weights: Tensor | None = None) -> Judged:
        """Ask the network about rows; each process asks about all of them."""
        self.network.eval()
        found, total, weighed = [], 0.0, 0.0
        batches = in_batches(rows, self._batch_size)
        with torch.inference_mode():
            for batch in self._loaded(examples, batches):
                with self._precision():
                    logits = self.network(batch)
                found.append(probabilities(logits).cpu().numpy())
                share = _weight(batch["truth"], weights)
                total += float(loss(logits.float(), batch["truth"], weight=weights)) * share
                weighed += share
        return Judged(np.concatenate(found), total / weighed)

    def _begin(self, phase: int) -> None:
        """Set up a phase: what learns, and how fast."""
        self._phase, self._phase_epoch, self._waited = phase, 0, 0
        if self.done:
            return
        chosen = self._chosen
        random = self.network.trunk.origin == "random"
        self.network.freeze(chosen.frozen and not random)
        groups = [{"params": self.network.head(), "lr": chosen.head_rate}]
        if random or not chosen.frozen:
            rate = chosen.head_rate if random else chosen.backbone_rate
            groups.append({"params": self.network.backbone(), "lr": rate})
        plan = self._schedule
        self._optimizer = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
        self._scheduler = CosineAnnealingWarmRestarts(
            self._optimizer, plan.restart_epochs, plan.restart_factor, plan.least_rate
        )
        scaled = self._amp and self.device.type == "cuda"
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self._module: nn.Module = self.network
        if self._ranks > 1:
            self._module = DistributedDataParallel(self.network)

    @property
    def _chosen(self) -> TrainPhase:
        return list(self._phases.values())[self._phase]

    def _advance(self, epoch: Epoch) -> None:
        """Keep the best, and move on to the next epoch, phase, or the end."""
        self._scheduler.step()
        self._phase_epoch += 1
        self._waited += 1
        if epoch.best:
            self._waited = 0
            weights = _copied(self.network.state_dict())
            self._best = {"loss": epoch.validation_loss, "weights": weights}
        if self._waited >= self._schedule.patience or self._phase_epoch >= self._chosen.epochs:
            self.network.load_state_dict(self._best["weights"])
            self._begin(self._phase + 1)

    def _epoch(self, examples: Examples, learn: Rows, stop: Rows, weights: Tensor | None) -> Epoch:
        number = len(self.history) + 1
        rate = self._optimizer.param_groups[0]["lr"]
        began = time.perf_counter()
        with self._seeded(number):
            train_loss, rows = self._train(examples, learn, number, weights)
        wall_s = time.perf_counter() - began
        self._agree(list(self.network.buffers()))
        judged = self.judge(examples, stop, weights=weights)
        counts = np.zeros((len(examples.labels),) * 2)
        np.add.at(counts, (examples.truth[stop], judged.probabilities.argmax(1)), 1)
        said = torch.tensor(
            [train_loss, judged.loss, float(balanced_accuracy(counts))], device=self.device
        )
        self._agree([said])
        train_loss, validation_loss, score = said.tolist()
        return Epoch(
            number=number,
            phase=list(self._phases)[self._phase],
            rate=rate,
            train_loss=train_loss,
            validation_loss=validation_loss,
            score=score,
            best=validation_loss < self._best["loss"] - self._schedule.min_delta,
            rows=rows,
            wall_s=wall_s,
        )

    def _train(
        self, examples: Examples, learn: Rows, number: int, weights: Tensor | None
    ) -> tuple[float, int]:
        """Show the rows once.

        The gradient of a step is that of the mean over all its rows, also where the last batches
        are fewer or smaller: each batch counts by its share of the step.
        """
        plan, total, rows = self._schedule, 0.0, 0
        batches = shuffled(
            learn,
            self._batch_size,
            seed=plan.seed,
            epoch=number,
            rank=self._rank,
            ranks=self._ranks,
        )
        shares = self._shares(examples, batches, weights)
        self._module.train()
        for at, batch in enumerate(self._loaded(examples, batches)):
            last = (at + 1) % plan.accumulation == 0 or at + 1 == len(batches)
            shown = self._altered(batch, number)
            with self._alone(not last):
                with self._precision():
                    logits = self._module(shown)
                found = loss(
                    logits.float(), shown["truth"], weight=weights, smoothing=plan.smoothing
                )
                self._scaler.scale(found * shares[at]).backward()
            if last:
                self._step()
            total += float(found.detach()) * len(batch["truth"])
            rows += len(batch["truth"])
        return total / rows, rows

    def _step(self) -> None:
        if self._schedule.clip_norm:
            self._scaler.unscale_(self._optimizer)
            learning = [p for group in self._optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(learning, self._schedule.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def _shares(
        self, examples: Examples, batches: Sequence[Sequence[int]], weights: Tensor | None
    ) -> list[float]:
        """Of each batch: its weight among those that make one step with it."""
        step = self._schedule.accumulation
        each = [
            _weight(torch.from_numpy(examples.truth[rows]).to(self.device), weights)
            for rows in batches
        ]
        sums = [sum(each[first : first + step]) for first in range(0, len(each), step)]
        return [weight / sums[at // step] for at, weight in enumerate(each)]

    def _loaded(
        self, examples: Examples, batches: Sequence[Sequence[int]]
    ) -> Iterator[dict[str, Tensor]]:
        cuda = self.device.type == "cuda"
        for batch in loader(examples, batches, workers=self._schedule.workers, pin=cuda):
            yield {name: part.to(self.device, non_blocking=True) for name, part in batch.items()}

    def _altered(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        plan = self._schedule
        if not plan.augment.share:
            return batch
        name = "frames" if "frames" in batch else "clip"
        persons = batch["person"].tolist()
        altered = plan.augment(batch[name], persons, epoch=number, seed=plan.seed)
        return batch | {name: altered}

    def _alone(self, alone: bool) -> AbstractContextManager[None]:
        """Whether gradients stay in this process: those of a step are averaged once."""
        if alone and isinstance(self._module, DistributedDataParallel):
            return self._module.no_sync()
        return nullcontext()

    def _agree(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes what the first one has, so that they decide alike."""
        if self._ranks > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    @contextmanager
    def _seeded(self, number: int) -> Iterator[None]:
        """Random numbers of an epoch, for dropout; the caller's are left as they are."""
        seeds = np.random.SeedSequence([self._schedule.seed, number, self._rank])
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(seeds.generate_state(1)[0]))
            yield

    def _precision(self) -> torch.autocast:
        kind = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, kind, enabled=self._amp)

    def _weights(self, examples: Examples, learn: Rows) -> Tensor | None:
        """Of each label, so that all weigh the same; one that does not occur weighs as the mean."""
        if not self._schedule.balanced:
            return None
        counts = np.bincount(examples.truth[learn], minlength=len(examples.labels))
        known = counts > 0
        weights = np.ones(len(counts))
        weights[known] = len(learn) / known.sum() / counts[known]
        return torch.tensor(weights, dtype=torch.float32, device=self.device)


def device_of(schedule: Schedule) -> torch.device:
    """Where to train.

    Raises:
        ValueError: A GPU is asked for, but there is none.
    """
    if schedule.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("`schedule.device` is cuda, but torch finds no GPU: take auto or cpu.")
    if schedule.device != "auto":
        return torch.device(schedule.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _weight(truth: Tensor, weights: Tensor | None) -> float:
    return float(len(truth)) if weights is None else float(weights[truth].sum())


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def _ranks() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
