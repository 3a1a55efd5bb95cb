"""Micro-batches, precision and devices, with torch."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch")

from mien.actors import devices  # noqa: E402
from mien.actors.neural import CALM, Neural, out_of_memory  # noqa: E402


@dataclass(kw_only=True)
class Net(Neural):
    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("y", pa.float32())])

    device: str = "cpu"

    def process(self, rows: pa.Table) -> pa.Table:
        return rows


def stacked(items: Sequence[int]) -> Any:  # noqa: ANN401
    return torch.tensor(items)


def bounded(limit: int, sizes: list[int]) -> Callable[[Any], list[int]]:
    """An `infer` that runs out of memory beyond `limit` items, and notes every size it is given."""

    def infer(batch: Any) -> list[int]:  # noqa: ANN401
        sizes.append(len(batch))
        if len(batch) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return (2 * batch).tolist()

    return infer


@pytest.mark.parametrize("count", [0, 1, 7, 8, 20])
def test_answers_come_in_order_whatever_the_batch(count: int) -> None:
    sizes: list[int] = []
    net = Net(micro_batch=8)
    answers = net.through(list(range(count)), stacked, bounded(8, sizes))
    assert answers == [2 * i for i in range(count)]
    assert sizes == [8] * (count // 8) + ([count % 8] if count % 8 else [])


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("count", [1, 15, 33])
def test_a_micro_batch_is_halved_where_memory_runs_out(limit: int, count: int) -> None:
    sizes: list[int] = []
    net = Net(micro_batch=16)
    answers = net.through(list(range(count)), stacked, bounded(limit, sizes))
    assert answers == [2 * i for i in range(count)]
    assert net.micro_batch <= limit or count <= limit
    failures = [size for size in sizes if size > limit]
    assert len(failures) == len(set(failures))  # what failed once is not tried at that size again


def test_later_micro_batches_begin_at_the_size_that_fits() -> None:
    sizes: list[int] = []
    net = Net(micro_batch=16)
    net.through(list(range(64)), stacked, bounded(4, sizes))
    assert sizes == [16, 8, *[4] * 16]
    sizes.clear()
    net.through(list(range(8)), stacked, bounded(4, sizes))
    assert sizes == [4, 4]


def test_a_micro_batch_grows_back_when_it_has_gone_well_for_a_while() -> None:
    """Another process took the memory for a time."""
    sizes: list[int] = []
    net = Net(micro_batch=16)
    net.through(list(range(16)), stacked, bounded(4, sizes))
    assert net.micro_batch == 4
    free = bounded(1000, sizes)
    net.through(list(range(4 * (CALM - 4))), stacked, free)  # four went well before
    assert net.micro_batch == 4
    net.through(list(range(8 * CALM)), stacked, free)
    sizes.clear()
    net.through(list(range(33)), stacked, free)
    assert sizes == [16, 16, 1]  # and no further: it is what was asked for


def test_growing_where_there_is_no_room_becomes_ever_rarer() -> None:
    sizes: list[int] = []
    net = Net(micro_batch=8)
    failed = []
    for call in range(8 * CALM):
        sizes.clear()
        net.through(list(range(8)), stacked, bounded(4, sizes))
        failed += [call] if 8 in sizes else []
    assert failed == [0, 16, 48, 112, 240]  # after 32, 64, 128, ... micro-batches, two a call


def test_short_micro_batches_prove_nothing() -> None:
    sizes: list[int] = []
    net = Net(micro_batch=8)
    net.through(list(range(8)), stacked, bounded(4, sizes))
    for _ in range(3 * CALM):
        net.through([1, 2], stacked, bounded(4, sizes))
    assert net.micro_batch == 4


def test_a_micro_batch_that_was_set_stays() -> None:
    net = Net(micro_batch=16)
    net.micro_batch = 2
    for _ in range(3 * CALM):
        net.through([1, 2], stacked, bounded(2, []))
    assert net.micro_batch == 2


class FakeCuda:
    """A CUDA with one device of 100 GB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fractions: list[tuple[float, int]] = []
        properties = SimpleNamespace(total_memory=100 * 10**9)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", self._bound)
        monkeypatch.setattr(devices, "_GRANTED_GB", {})

    def _bound(self, fraction: float, device: int) -> None:
        self.fractions.append((fraction, device))


def test_a_process_is_bound_to_what_its_actors_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    net = Net(device="cuda", memory_gb=8.0)
    net.bound()
    net.bound()  # a second network of the same actor
    assert cuda.fractions == [(0.08, 0)]
    Net(device="cuda:0", memory_gb=24.0).bound()  # a neighbour in the same process
    assert cuda.fractions[1:] == [(0.32, 0)]
    Net(device="cuda:1", memory_gb=24.0).bound()
    assert cuda.fractions[2:] == [(0.24, 1)]
    Net(device="cuda", memory_gb=float("inf")).bound()
    assert cuda.fractions[3:] == [(1.0, 0)]


def test_without_a_device_nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    Net(device="cpu").placed(torch.nn.Identity())
    assert cuda.fractions == []


@pytest.mark.gpu
def test_on_a_gpu_a_process_cannot_take_more_than_it_was_granted() -> None:
    """In a process of its own: the bound cannot be lifted again."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    code = (
        "import torch\n"
        "from mien.actors.devices import grant\n"
        "from mien.actors.neural import out_of_memory\n"
        "grant(torch.device('cuda'), 1.0)\n"
        "held = torch.empty(700_000_000, dtype=torch.uint8, device='cuda')\n"
        "try:\n    torch.empty(700_000_000, dtype=torch.uint8, device='cuda')\n"
        "except Exception as error:\n    print(out_of_memory(error))\n"
        "grant(torch.device('cuda'), 1.0)\n"
        "torch.empty(700_000_000, dtype=torch.uint8, device='cuda')\n"
        "print('then it fits')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["True", "then it fits", ""]


def test_a_single_item_that_never_fits_is_an_error() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        Net(micro_batch=4).through(list(range(4)), stacked, bounded(0, []))


def test_other_errors_pass_without_another_try() -> None:
    tried: list[int] = []

    def infer(batch: Any) -> list[int]:  # noqa: ANN401
        tried.append(len(batch))
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    net = Net(micro_batch=4)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        net.through(list(range(8)), stacked, infer)
    assert tried == [4]
    assert net.micro_batch == 4


def test_an_answer_for_each_item_is_held() -> None:
    with pytest.raises(ValueError, match="must answer 3 items, but answered 2"):
        Net().through([1, 2, 3], stacked, lambda batch: batch.tolist()[:2])


def test_no_gradient_is_kept() -> None:
    grown = torch.nn.Linear(2, 2)
    answers = Net().through([torch.ones(2)], torch.stack, lambda batch: list(grown(batch)))
    assert not answers[0].requires_grad


def test_torchs_own_word_for_a_full_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert out_of_memory(error.value)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_network_is_placed_in_its_precision(precision: str) -> None:
    net = Net(precision=precision, threads=1)
    network = net.placed(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)))
    assert not network.training
    for weight in network.parameters():
        assert weight.dtype == getattr(torch, precision)
        assert not weight.requires_grad
    assert torch.get_num_threads() == 1
    batch = torch.ones(3, 2)
    assert torch.equal(network(net.moved(batch)), network(net.moved(batch)))


def test_numbers_that_count_are_not_rounded_on_their_way() -> None:
    net = Net(precision="bfloat16")
    assert net.moved(torch.tensor([257])).dtype == torch.int64
    assert net.moved(torch.tensor([True])).dtype == torch.bool
    assert net.moved(torch.tensor([1.0])).dtype == torch.bfloat16


def test_a_device_is_found_or_named() -> None:
    found = Net(device="auto").place.type
    assert found == ("cuda" if torch.cuda.is_available() else "cpu")
    assert str(Net(device="cuda:1").place) == "cuda:1"


@pytest.mark.gpu
def test_on_a_gpu_tensors_go_there_and_come_back_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net = Net(device="cuda")
    network = net.placed(torch.nn.Identity())
    sent = torch.arange(1_000_000, dtype=torch.float32)
    assert torch.equal(network(net.moved(sent)).cpu(), sent)
