"""LAION's networks: the encoders without what is not needed, and all heads run at once."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import is_zipfile

import torch
from torch import Tensor
from transformers import SiglipVisionModel, WhisperModel

BLOCK = 8192
"""Columns of half-precision weights that a CPU widens at a time."""

_LAYER = re.compile(r"proj|(?:layers|mlp)\.(\d+)")


class Vision(SiglipVisionModel):
    """SigLIP's picture half, read from a checkpoint of both halves without a word on the other.

    Its `pooler_output` is what `get_image_features` of the whole model gives (transformers 5) or
    holds (4).
    """

    _keys_to_ignore_on_load_unexpected = [r"^text_model\.", r"^logit_"]  # noqa: RUF012


def vision(folder: Path) -> Vision:
    """Load the picture half of a SigLIP checkpoint."""
    return Vision.from_pretrained(folder, local_files_only=True)


def whisper(folder: Path) -> Any:  # noqa: ANN401
    """Load the encoder of a Whisper checkpoint, whichever of Whisper's classes wrote it."""
    return WhisperModel.from_pretrained(folder, local_files_only=True).get_encoder()


def pooled(states: Tensor) -> Tensor:
    """Mean, least, largest and standard deviation over time: `(n, t, c)` to `(n, 4 c)`."""
    states = states.float()
    parts = (states.mean(1), states.amin(1), states.amax(1), states.std(1))
    return torch.cat(parts, dim=1)


class View(NamedTuple):
    """What heads of one width read.

    Attributes:
        make: Makes it of what the encoder gives: `(n, ...)` to `(n, width)`.
        dtype: Of the first layer's weights.
    """

    make: Callable[[Tensor], Tensor]
    dtype: torch.dtype


Views = Mapping[int, View]


class Heads:
    """Heads of any shapes, each a chain of linear layers with ReLU between them.

    Those of one shape are stacked: the first layers make one matrix product, for all read the
    same, and each later layer is one batched product.

    Args:
        files: One checkpoint per head.
        views: What a head reads, by the width of its first layer.
        device: Where the weights are kept.
    """

    def __init__(self, files: Sequence[Path], views: Views, device: torch.device) -> None:
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, sizes in enumerate(shapes(files, views)):
            groups.setdefault(sizes, []).append(i)
        self._views = views
        self._stacks = [
            (members, Stack([files[i] for i in members], sizes, device, views[sizes[0]].dtype))
            for sizes, members in groups.items()
        ]
        self._count = len(files)

    def __call__(self, states: Tensor) -> Tensor:
        """Scores `(n, heads)` float32, in the order of the files."""
        scores = torch.empty(len(states), self._count, device=states.device)
        widths = {stack.width for _, stack in self._stacks}
        made = {width: self._views[width].make(states) for width in widths}
        for members, stack in self._stacks:
            scores[:, members] = stack(made[stack.width])
        return scores


class Stack:
    """Heads of one shape.

    Weights are read head by head into their place, so that there is never a second copy. Of the
    55 heads for voices the first layers alone are 16 GB in float32.

    Args:
        files: One checkpoint per head.
        sizes: Of the input, of each layer's output.
        device: Where the weights are kept.
        dtype: Of the first layer; what follows is float32.
    """

    def __init__(
        self,
        files: Sequence[Path],
        sizes: Sequence[int],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.width, count = sizes[0], len(files)
        self._first = torch.empty(count, sizes[1], sizes[0], device=device, dtype=dtype)
        self._later = [torch.empty(count, a, b, device=device) for a, b in pairwise(sizes[1:])]
        self._biases = [torch.empty(count, 1, size, device=device) for size in sizes[1:]]
        for i, file in enumerate(files):
            layers = read_head(file)
            self._first[i].copy_(layers[0][0])
            for stacked, (weight, _) in zip(self._later, layers[1:], strict=True):
                stacked[i].copy_(weight.T)
            for stacked, (_, bias) in zip(self._biases, layers, strict=True):
                stacked[i, 0].copy_(bias)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Scores `(n, heads)` float32 of inputs `(n, width)`."""
        count, wide, _ = self._first.shape
        first = product(inputs.to(self._first.dtype), self._first.flatten(0, 1))
        found = first.view(-1, count, wide).transpose(0, 1) + self._biases[0]
        for weight, bias in zip(self._later, self._biases[1:], strict=True):
            found = torch.baddbmm(bias, found.relu(), weight)
        return found[..., 0].T


def batched(states: Sequence[Tensor]) -> Tensor:
    """One batch of what the encoder gave one by one."""
    return torch.stack(list(states))


def product(inputs: Tensor, weight: Tensor) -> Tensor:
    """`inputs @ weight.T`, summed and answered in float32 whatever both are stored in.

    A head for voices sums over a million terms, of which half precision would keep three digits.
    """
    if weight.dtype == torch.float32:
        return inputs @ weight.T
    if inputs.is_cuda:
        return torch.mm(inputs, weight.T, out_dtype=torch.float32)
    found = torch.zeros(len(inputs), len(weight))
    for at in range(0, weight.shape[1], BLOCK):
        part = slice(at, at + BLOCK)
        found.addmm_(inputs[:, part].float(), weight[:, part].float().T)
    return found


def shapes(files: Iterable[Path], views: Views) -> list[tuple[int, ...]]:
    """Layer sizes of heads, read from the checkpoints; weights stay on disk.

    Args:
        files: One checkpoint per head.
        views: See `Heads`; `{}` lets any width pass.

    Raises:
        FileNotFoundError: Files are missing; names them all.
        ValueError: Files are no heads, or read what there is not; names them all, with the reason.
    """
    files = list(files)
    absent = [file for file in files if not file.is_file()]
    if absent:
        names = ", ".join(file.name for file in absent)
        raise FileNotFoundError(
            f"{len(absent)} of {len(files)} heads are missing: {names} (in {absent[0].parent}); "
            "`mien fetch` brings what is missing."
        )
    found, faults = [], []
    for file in files:
        try:
            layers = read_head(file)
        except ValueError as error:
            faults.append(str(error))
            continue
        sizes = (layers[0][0].shape[1], *(weight.shape[0] for weight, _ in layers))
        if views and sizes[0] not in views:
            widths = " or ".join(str(width) for width in views)
            faults.append(
                f"{file.name} reads {sizes[0]} numbers, but the encoder gives {widths}: "
                "it was made for another encoder"
            )
        found.append(sizes)
    if faults:
        raise ValueError(f"heads cannot be used: {'; '.join(faults)} (in {files[0].parent}).")
    return found


def read_head(file: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of a head's linear layers, first to last.

    Faces have `layers.0`, `layers.3`, ...; voices `proj`, then `mlp.2`, `mlp.5`, .... A checkpoint
    of a compiled head has `_orig_mod.` before each.

    Raises:
        ValueError: The file is no such checkpoint; names it.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zipfile(file))
        state = state.get("state_dict", state)
        state = {key.replace("_orig_mod.", ""): value for key, value in state.items()}
        names = sorted({key.rpartition(".")[0] for key in state}, key=_order)
        layers = [(state.pop(f"{name}.weight"), state.pop(f"{name}.bias")) for name in names]
    except Exception as error:  # whatever a torn or foreign file makes torch say
        raise ValueError(f"{file.name} is no head's checkpoint ({_brief(error)})") from error
    sizes = [tuple(weight.shape) for weight, _ in layers]
    fits = all(
        len(size) == 2 and bias.shape == size[:1]
        for size, (_, bias) in zip(sizes, layers, strict=True)
    )
    chained = fits and all(b[1] == a[0] for a, b in pairwise(sizes))
    if state or len(layers) < 2 or not chained or sizes[-1][0] != 1:
        raise ValueError(
            f"{file.name} is no chain of linear layers down to one score, but has {sizes}"
        )
    return layers


def _order(name: str) -> int:
    layer = _LAYER.fullmatch(name)
    if layer is None:
        raise KeyError(name)
    return -1 if layer[1] is None else int(layer[1])


def _brief(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"
