"""Where a network looked: attention from its own layers, and Grad-CAM where it has none.

Both are read off the network at work, by hooks; nothing is computed beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Network

Batch = Mapping[str, Tensor]


def looked(network: Network, batch: Batch, target: int) -> Tensor:
    """Which parts of its pictures a network judged by, whichever network it is.

    Args:
        network: Any of the catalogue.
        batch: Its inputs.
        target: Class that Grad-CAM asks about; attention knows no class.

    Returns:
        `(n, side, side)`, or `(n, time, side, side)` for clips; at least 0, sums to 1 over each
        picture (or is 0 throughout, where Grad-CAM finds nothing that speaks for the class).
    """
    patches = network.trunk.maps is None
    found = seen(network, batch) if patches else cam(network, batch, target)
    found = found / found.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    time = batch["clip"].shape[1] if "clip" in batch else None
    return found if time is None else found.unflatten(0, (-1, time))


def seen(network: Network, batch: Batch, *, layer: int | None = -1) -> Tensor:
    """Attention of the class token to the patches, the mean of the heads.

    Args:
        network: Whose trunk is a vision transformer.
        batch: Its inputs.
        layer: Which one; `None`: all, by `rollout`.

    Returns:
        `(n, side, side)` of patches; the token's attention to itself is left out, so that a
        picture's sum is below 1.
    """
    layers = [weights.mean(dim=1) for weights in attention(network, batch)]
    tokens = rollout(layers) if layer is None else layers[layer]
    patches = tokens[:, 0, 1:]
    side = round(patches.shape[1] ** 0.5)
    return patches.unflatten(1, (side, side))


def attention(network: Network, batch: Batch) -> list[Tensor]:
    """Attention weights of each layer of the trunk, `(n, heads, tokens, tokens)`, rows sum to 1.

    Raises:
        ValueError: The trunk has no attention.
    """
    with _listening(network.trunk) as found, torch.no_grad(), _answering(network):
        network(batch)
    if not found:
        raise ValueError("the network's trunk must have attention, but is made of convolutions.")
    return found


def rollout(layers: Sequence[Tensor]) -> Tensor:
    """Attention through all layers (Abnar and Zuidema, 2020).

    A layer passes on half of what it attends to and half of what came in, for it has a shortcut
    around it; the layers are multiplied.

    Args:
        layers: Mean of the heads of each, `(n, tokens, tokens)`, first layer first.

    Returns:
        `(n, tokens, tokens)`, rows sum to 1.
    """
    own = torch.eye(layers[0].shape[-1], device=layers[0].device)
    found = own.expand_as(layers[0])
    for weights in layers:
        found = (weights + own) / 2 @ found
    return found


def cam(network: Network, batch: Batch, target: int) -> Tensor:
    """Grad-CAM (Selvaraju et al., 2017).

    The last maps of the trunk, each weighted by the mean of the gradient of the class's logit
    with respect to it; what is left below 0 speaks for other classes and is cut off.

    Args:
        network: Whose trunk is made of convolutions.
        batch: Its inputs.
        target: The class.

    Returns:
        `(n, side, side)`, at least 0.

    Raises:
        ValueError: The trunk has no maps, or there is no such class.
    """
    if network.trunk.maps is None:
        raise ValueError("Grad-CAM needs a trunk of convolutions, but it is made of attention.")
    if not 0 <= target < network.classes:
        raise ValueError(f"`target` must be from 0 to {network.classes - 1}, but is {target}.")
    maps: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        maps.append(output.detach().requires_grad_())  # the trunk may be frozen
        return maps[0]

    hook = network.trunk.maps.register_forward_hook(keep)
    try:
        with torch.enable_grad(), _answering(network):
            logits = network(batch)
            speaks = logits[:, target] if network.outputs > 1 else logits[:, 0] * (2 * target - 1)
            [gradient] = torch.autograd.grad(speaks.sum(), maps)
    finally:
        hook.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return functional.relu((weights * maps[0].detach()).sum(dim=1))


@contextmanager
def _answering(network: nn.Module) -> Iterator[None]:
    """Without dropout, and afterwards as before."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@contextmanager
def _listening(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the weights of all attention inside a module, in order of their use.

    The layers do not ask for their weights, and torch's fast path goes round them: both are
    changed meanwhile.
    """
    found: list[Tensor] = []

    def ask(layer: nn.Module, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return inputs, named | {"need_weights": True, "average_attn_weights": False}

    def keep(layer: nn.Module, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        found.append(output[1].detach())

    layers = [part for part in module.modules() if isinstance(part, nn.MultiheadAttention)]
    hooks = [layer.register_forward_pre_hook(ask, with_kwargs=True) for layer in layers]
    hooks += [layer.register_forward_hook(keep) for layer in layers]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield found
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
