"""All heads at once against one after the other, at their published sizes."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_laion  # noqa: E402
from mien.actors.laion_net import Heads, View, pooled, product, read_head, shapes  # noqa: E402
from mien.datasets.laion import LAION_FACE_NAMES, file_of  # noqa: E402

CPU = torch.device("cpu")


def files(folder: Path, names: Sequence[str] = LAION_FACE_NAMES) -> list[Path]:
    return [folder / file_of(name) for name in names]


def identity(width: int) -> dict[int, View]:
    return {width: View(torch.nn.Flatten(), torch.float32)}


@pytest.mark.parametrize(("size", "count"), [("small", 151_745), ("large", 1_837_057)])
def test_stacked_heads_equal_looped_ones_at_true_size(
    tmp_path: Path, size: str, count: int
) -> None:
    heads = tiny_laion.build_face_heads(tmp_path, size, width=1152, shrink=1)
    assert sum(p.numel() for p in heads["anger"].parameters()) == count
    stacked = Heads(files(tmp_path), identity(1152), CPU)
    inputs = torch.nn.functional.normalize(torch.randn(9, 1152), dim=-1)
    with torch.inference_mode():
        looped = torch.stack([head(inputs) for head in heads.values()], dim=1)
        scale = float(looped.abs().max())
        torch.testing.assert_close(stacked(inputs), looped, atol=1e-6 * scale, rtol=0)
    assert looped.std(dim=0).min() > 1e-4 * scale


@pytest.mark.parametrize(("size", "count"), [("small", 6_150_849), ("large", 12_315_009)])
def test_a_head_for_voices_at_its_true_hidden_sizes(tmp_path: Path, size: str, count: int) -> None:
    """Of 64 of the 768 channels: the whole one has 282 MB. Small's sizes do not fit Large."""
    width = 1500 * 64
    head = tiny_laion.voice_head(width, tiny_laion.TAILS[size])
    torch.save(head.state_dict(), tmp_path / "model_x_best.pth")
    stacked = Heads([tmp_path / "model_x_best.pth"], identity(width), CPU)
    states = torch.randn(3, 1500, 64)
    with torch.inference_mode():
        torch.testing.assert_close(stacked(states)[:, 0], head(states), atol=1e-5, rtol=0)
    assert sum(p.numel() for p in head.parameters()) == count


def test_the_published_numbers_of_parameters_are_those_of_the_sizes() -> None:
    def count(width: int, tail: Sequence[int]) -> int:
        sizes = (width, *tail, 1)
        return sum(a * b + b for a, b in pairwise(sizes))

    small, large = ((64, *(64, 32, 16)), (128, *(128, 64, 32)))
    assert (small, large) == (tiny_laion.TAILS["small"], tiny_laion.TAILS["large"])
    assert count(1_152_000, small) == 73_734_849
    assert count(1_152_000, large) == 147_483_009
    assert count(3072, small) == 203_457


def test_heads_of_several_shapes_keep_their_order(tmp_path: Path) -> None:
    kinds = [(40, (4, 4, 3)), (8, (4, 4, 3)), (40, (6, 6, 2)), (40, (4, 4, 3)), (8, (5, 5, 2))]
    paths = []
    for i, (width, tail) in enumerate(kinds):
        paths.append(tmp_path / f"model_{i}_best.pth")
        torch.save(tiny_laion.voice_head(width, tail).state_dict(), paths[-1])
    views = {**identity(40), 8: View(pooled, torch.float32)}
    states = torch.randn(6, 20, 2)
    with torch.inference_mode():
        found = Heads(paths, views, CPU)(states)
        for i, (width, tail) in enumerate(kinds):
            head = tiny_laion.voice_head(width, tail)
            head.load_state_dict(torch.load(paths[i], weights_only=True))
            read = states if width == 40 else pooled(states)
            torch.testing.assert_close(found[:, i], head(read), atol=1e-6, rtol=0)


def test_pooling_is_mean_least_largest_and_deviation() -> None:
    states = torch.tensor([[[1.0, 10.0], [3.0, 10.0], [8.0, 40.0]]])
    expected = [4.0, 20.0, 1.0, 10.0, 8.0, 40.0, 13**0.5, 300**0.5]
    assert pooled(states)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_are_float32_whatever_the_weights(dtype: Any) -> None:  # noqa: ANN401
    """Summed in half precision a million terms are off by whole units."""
    torch.manual_seed(0)
    inputs, weight = torch.rand(2, 200_000).to(dtype), torch.rand(3, 200_000).to(dtype)
    found = product(inputs, weight)
    assert found.dtype == torch.float32
    exact = (inputs.double() @ weight.double().T).float()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)
    assert not torch.allclose((inputs @ weight.T).float(), exact, rtol=1e-5, atol=0)


@pytest.mark.gpu
def test_sums_are_float32_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    inputs = torch.rand(2, 200_000, device="cuda").half()
    weight = torch.rand(3, 200_000, device="cuda").half()
    exact = (inputs.double() @ weight.double().T).float()
    torch.testing.assert_close(product(inputs, weight), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_checkpoints_are_read_as_they_come(tmp_path: Path, zipped: bool, nested: bool) -> None:
    """Of a compiled head or not, wrapped or not, in torch's new format or its old one."""
    head = tiny_laion.voice_head(12, (4, 4, 3, 2))
    state = {f"_orig_mod.{key}": value for key, value in head.state_dict().items()}
    file = tmp_path / "model_x_best.pth"
    whole = {"state_dict": state} if nested else state
    torch.save(whole, file, _use_new_zipfile_serialization=zipped)
    weights = [tuple(weight.shape) for weight, _ in read_head(file)]
    assert weights == [(4, 12), (4, 4), (3, 4), (2, 3), (1, 2)]
    assert shapes([file], {}) == [(12, 4, 4, 3, 2, 1)]


def test_more_than_ten_layers_stay_in_order(tmp_path: Path) -> None:
    """Sorted as text, layer 12 comes before layer 3."""
    sizes = (9, 8, 7, 6, 5, 4, 3)
    torch.save(tiny_laion.face_head(sizes).state_dict(), tmp_path / "model_x_best.pth")
    assert shapes([tmp_path / "model_x_best.pth"], {}) == [(*sizes, 1)]


MEMORY = r"""
import re, sys
from pathlib import Path
from typing import Any
import torch
from mien.actors.laion_net import Heads, View
files = sorted(Path(sys.argv[1]).glob("*.pth"))
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
Heads(files, {200_000: View(torch.nn.Flatten(), torch.float32)}, torch.device("cpu"))
print((peak() - before) * 1024 / 1e6)
"""


def test_building_the_matrix_takes_no_second_copy(tmp_path: Path) -> None:
    head = tiny_laion.voice_head(200_000, (16, 4))
    for i in range(20):  # of 12.8 MB each
        torch.save(head.state_dict(), tmp_path / f"model_{i:02d}_best.pth")
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    whole_mb = 20 * 12.8
    assert whole_mb * 0.9 < float(run.stdout) < whole_mb + 4 * 12.8
