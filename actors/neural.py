"""What all actors share whose model is a torch network: device, precision, batches, memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from . import devices
from .actor import MACHINE, Actor

Item = TypeVar("Item")
Batch = TypeVar("Batch")
Answer = TypeVar("Answer")

PRECISIONS = ("float32", "bfloat16", "float16")

CALM = 32
"""Micro-batches that must go well before one that was halved is doubled again."""

_STATE: dict[str, Any] = {"init": False, "repr": False, "compare": False, "metadata": MACHINE}


@dataclass(kw_only=True)
class Neural(Actor):
    """An actor around a torch network.

    A row can hold many items (faces, segments); `micro_batch` bounds how many the network sees at
    a time, whatever `batch_size` is.

    Attributes:
        device: As torch names it; `auto` takes a GPU where there is one.
        precision: Of the weights and the arithmetic; anything but `float32` needs a GPU, or a CPU
            that has it, to be faster.
        compile: Whether to run the network through `torch.compile`.
        threads: Of torch, on a CPU.
        micro_batch: Items through the network at once, at most; halved where memory runs out, and
            doubled again, up to what it was, when it has gone well for a while.
    """

    packages = ("torch",)

    device: str = field(default="auto", metadata=MACHINE)
    precision: str = "float32"
    compile: bool = field(default=False, metadata=MACHINE)
    threads: int = field(default=1, metadata=MACHINE)
    micro_batch: int = field(default=16, metadata=MACHINE)
    _bounded: bool = field(default=False, **_STATE)
    _most: int = field(default=0, **_STATE)  # micro-batch before it was first halved
    _well: int = field(default=0, **_STATE)  # micro-batches since its last change
    _calm: int = field(default=CALM, **_STATE)
    _grown: bool = field(default=False, **_STATE)  # its last change was a doubling

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"`precision` must be one of {', '.join(PRECISIONS)}, but is {self.precision!r}."
            )
        for name in ("threads", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")

    @property
    def place(self) -> Any:  # noqa: ANN401
        """The torch device."""
        import torch

        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def dtype(self) -> Any:  # noqa: ANN401
        """The torch type of `precision`."""
        import torch

        return getattr(torch, self.precision)

    def bound(self) -> None:
        """Hold this process to `memory_gb` on a GPU, beside what its other actors may take."""
        if not self._bounded:
            devices.grant(self.place, self.memory_gb)
            self._bounded = True

    def placed(self, network: Any) -> Any:  # noqa: ANN401
        """A network ready to answer: on its device, in its precision, without dropout."""
        import torch

        self.bound()
        torch.set_num_threads(self.threads)
        network = network.to(device=self.place, dtype=self.dtype).eval().requires_grad_(False)
        return torch.compile(network) if self.compile else network

    def moved(self, tensor: Any) -> Any:  # noqa: ANN401
        """A tensor on the device; through pinned memory, and floats in the precision."""
        if self.place.type == "cuda":
            tensor = tensor.pin_memory()
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.to(device=self.place, dtype=dtype, non_blocking=True)

    def through(
        self,
        items: Sequence[Item],
        prepare: Callable[[Sequence[Item]], Batch],
        infer: Callable[[Batch], Sequence[Answer]],
    ) -> list[Answer]:
        """Send items through the network in micro-batches.

        The next micro-batch is prepared in a thread while the network works on this one. Where
        the network runs out of memory the micro-batch is halved, down to one item, and so are
        those after it in this call; see `grow`.

        Args:
            items: Any number.
            prepare: Makes a batch of items ready on the CPU (decoding, resizing, padding); in
                another thread, but one batch at a time.
            infer: One answer per item, in order; runs under `torch.inference_mode`.

        Raises:
            Exception: What `prepare` or `infer` raise; of `infer`, out of memory only with a
                single item.
            ValueError: `infer` did not give one answer per item.
        """
        import torch

        self.grow()
        alone = Lock()

        def prepared(some: Sequence[Item]) -> Batch:  # halves are prepared while the thread works
            with alone:
                return prepare(some)

        parts = [items[at : at + self.micro_batch] for at in range(0, len(items), self.micro_batch)]
        answers: list[Answer] = []
        with torch.inference_mode():
            for part, batch in ahead(parts, prepared):
                answers += self._halved(part, batch, prepared, infer)
        return answers

    def _halved(
        self,
        part: Sequence[Item],
        batch: Batch,
        prepare: Callable[[Sequence[Item]], Batch],
        infer: Callable[[Batch], Sequence[Answer]],
    ) -> list[Answer]:
        if len(part) <= self.micro_batch:
            try:
                answers = self._answers(part, infer(batch))
            except Exception as error:
                if len(part) == 1 or not out_of_memory(error):
                    raise
            else:
                self._well += len(part) == self.micro_batch
                return answers
            self.shrink(len(part) // 2)
        del batch
        release()
        half = len(part) // 2
        return [
            answer
            for some in (part[:half], part[half:])
            for answer in self._halved(some, prepare(some), prepare, infer)
        ]

    def shrink(self, micro_batch: int) -> None:
        """Take fewer items at once from now on, for memory ran out."""
        if self._grown:  # too early, or never to be: the next doubling waits twice as long
            self._calm *= 2
        self._most = max(self._most, self.micro_batch)
        self._well, self._grown = 0, False
        self.micro_batch = micro_batch

    def grow(self) -> None:
        """Double a micro-batch that was halved, when `CALM` of them have gone well.

        What took the memory may have been another process, or one large input.
        """
        if self.micro_batch < self._most and self._well >= self._calm:
            self.micro_batch = min(self._most, 2 * self.micro_batch)
            self._well, self._grown = 0, True

    @staticmethod
    def _answers(part: Sequence[Item], answers: Sequence[Answer]) -> list[Answer]:
        found = list(answers)
        if len(found) != len(part):
            raise ValueError(f"`infer` must answer {len(part)} items, but answered {len(found)}.")
        return found


def ahead(
    parts: Sequence[Sequence[Item]], prepare: Callable[[Sequence[Item]], Batch]
) -> Iterator[tuple[Sequence[Item], Batch]]:
    """Prepare each part one ahead, in a thread."""
    if len(parts) < 2:
        yield from ((part, prepare(part)) for part in parts)
        return
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(prepare, parts[0])
        for i, part in enumerate(parts):
            batch = coming.result()
            if i + 1 < len(parts):
                coming = thread.submit(prepare, parts[i + 1])
            yield part, batch


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed")
"""What CUDA, torch on a CPU, and cuBLAS and cuDNN say."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or the host."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY)


def release() -> None:
    """Give back to the device what torch keeps for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
