"""What a network costs: parameters, operations, and the memory that training it takes."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet, finalize

import torch
from torch import Tensor, UntypedStorage
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from .network import Network, loss

STEPS = 2
"""Of training, measured: the optimiser's own state is there from the second on."""


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """What a network costs.

    Attributes:
        parameters: All of them.
        trainable: Those that training changes, as the network stands.
        frozen: The others.
        flops: Floating-point operations of one forward pass over one row; a multiplication and
            an addition are two. Papers that count multiply-adds state half of it.
        training_gb: Peak memory of a step of training (forward, backward, AdamW): weights,
            gradients, the optimiser's state and all tensors between, GB.
        rows: Of the batch that `training_gb` was measured with.
        device: On which it was measured.
    """

    parameters: int
    trainable: int
    frozen: int
    flops: int
    training_gb: float
    rows: int
    device: str


def complexity(network: Network, *, rows: int, device: str = "cpu") -> Complexity:
    """Count and measure a network; it is left as it was.

    Args:
        network: Any of the catalogue.
        rows: Of the batch to measure memory with.
        device: As torch names it.
    """
    total = sum(parameter.numel() for parameter in network.parameters())
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Complexity(
        parameters=total,
        trainable=trainable,
        frozen=total - trainable,
        flops=flops(network),
        training_gb=training_gb(network, rows=rows, device=device),
        rows=rows,
        device=device,
    )


def flops(network: Network) -> int:
    """Operations of one forward pass over one row, `2` for each multiply-add.

    Matrix products, convolutions and attention are counted, as torch's counter knows them; norms,
    activations and additions, a percent or so, are not. Nothing is computed: the network is
    copied without its values.
    """
    empty = deepcopy(network).to("meta").train()  # in training no layer takes the fast path,
    batch = {name: tensor.to("meta") for name, tensor in network.example(1).items()}
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():  # which hides what it computes
        empty(batch)
    return counter.get_total_flops()


def training_gb(network: Network, *, rows: int, device: str = "cpu") -> float:
    """Peak memory of training, GB: measured in two real steps on a copy.

    On CUDA as its allocator counts it; elsewhere the same is counted here, each tensor's memory
    from when it is made to when the last who needs it lets it go. Neither counts the libraries,
    nor what a single operation takes and gives back within itself.
    """
    place = torch.device(device)
    before = torch.cuda.memory_allocated(place) if place.type == "cuda" else 0
    trained = deepcopy(network).to(place).train()
    batch = {name: tensor.to(place) for name, tensor in network.example(rows).items()}
    truth = torch.zeros(rows, dtype=torch.int64, device=place)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
        _train(trained, batch, truth)
        return (torch.cuda.max_memory_allocated(place) - before) / 1e9
    with Held([*trained.parameters(), *trained.buffers(), *batch.values(), truth]) as held:
        _train(trained, batch, truth)
    return held.most / 1e9


class Held(TorchDispatchMode):
    """Counts the memory of all tensors that are made under it.

    Attributes:
        now: Bytes at present.
        most: At any time since it began.
    """

    def __init__(self, known: Sequence[Tensor]) -> None:
        """Begin with tensors that are there already."""
        super().__init__()
        self.now = self.most = 0
        self._seen: WeakSet[UntypedStorage] = WeakSet()
        for tensor in known:
            self._count(tensor)

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Run an operation and count what it made."""
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return found

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen.add(storage)
            self._add(storage.nbytes())
            finalize(storage, self._add, -storage.nbytes())

    def _add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


def _train(network: Network, batch: dict[str, Tensor], truth: Tensor) -> None:
    changed = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(changed)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss(network(batch), truth).backward()
        optimiser.step()
