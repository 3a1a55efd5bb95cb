"""Speed: each actor, batched, against the naive one-by-one loop of the same model.

Weights are random. On a GPU the models are of full size, in their declared precision; on a CPU
`--size small` (the default there) takes smaller ones of the same architecture. Every contest runs
in a process of its own, so that its peak memory is its own. Needs the full environment.

With `--declare` the peak memory of full-size models on a GPU is written into `conf/actor/`.

    python benchmarks/models.py [--only TOPIC] [--size small|full] [--declare] [--json FILE]
"""

import importlib
import json
import math
import multiprocessing
import re
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import arguments, show

HERE = Path(__file__).parent
TOPICS = sorted(path.stem.removeprefix("speed_") for path in HERE.glob("speed_*.py"))
"""A module `speed_TOPIC.py` has `contests(size) -> list[Contest]`, `size` being small or full."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One actor against the loop that a newcomer would write.

    Attributes:
        actor: Its name in `conf/actor/`.
        items: How many items (`unit`) both sides go through.
        unit: For example `face`, `segment of 10 s`.
        build: Makes the two sides, given a folder for checkpoints: the actor's way, batched, and
            the reference's, one by one. Loading happens here, outside the clock.
        note: What is to be known to read the ratio.
    """

    actor: str
    items: int
    unit: str
    build: Callable[[Path], tuple[Callable[[], object], Callable[[], object]]]
    note: str = ""


def measured(topic: str, index: int, size: str) -> dict[str, Any]:
    """Run one contest here."""
    warnings.simplefilter("ignore")
    contest: Contest = importlib.import_module(f"speed_{topic}").contests(size)[index]
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        began = time.perf_counter()
        batched, naive = contest.build(Path(folder))
        load_s = time.perf_counter() - began
        batched()  # warm up
        times = {"batched": [], "naive": []}
        for _ in range(2):  # in turn, so that both see the same machine
            for name, side in (("batched", batched), ("naive", naive)):
                began = time.perf_counter()
                side()
                times[name].append(time.perf_counter() - began)
    fast, slow = min(times["batched"]), min(times["naive"])
    return {
        "actor": contest.actor,
        "items": f"{contest.items} x {contest.unit}",
        "batched /s": contest.items / fast,
        "naive /s": contest.items / slow,
        "ratio": slow / fast,
        "load s": load_s,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "GPU GB": gpu_gb(),
        "note": contest.note,
    }


def gpu_gb() -> float | None:
    """Peak memory that torch reserved on the GPU; `None` without one."""
    import torch

    return torch.cuda.max_memory_reserved() / 1e9 if torch.cuda.is_available() else None


def declared(text: str, gb: float, where: str) -> str:
    """An actor's configuration with its `memory_gb` measured, a tenth added, rounded up to 0.1.

    Args:
        text: Of `conf/actor/NAME.yaml`.
        gb: Peak, GB.
        where: The device, for the comment.

    Raises:
        ValueError: The file declares no memory.
    """
    need = math.ceil(gb * 1.1 * 10) / 10
    line = f"memory_gb: {need} # measured on {where} by benchmarks/models.py, and a tenth"
    made, count = re.subn(r"^memory_gb:.*$", line, text, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError("the configuration must have a line `memory_gb: ...`, but has none.")
    return made


def _declare(rows: list[dict[str, Any]]) -> None:
    import torch

    where = torch.cuda.get_device_name()
    for row in rows:
        path = HERE.parent / "conf" / "actor" / f"{row['actor']}.yaml"
        if path.exists() and row.get("GPU GB"):
            path.write_text(declared(path.read_text(), row["GPU GB"], where))
            print(f"{path.name}: {row['GPU GB']:.1f} GB")


def _child(topic: str, index: int, size: str, to: str) -> None:
    Path(to).write_text(json.dumps(measured(topic, index, size)))


def main() -> None:
    """Print the table."""
    asked = arguments(
        __doc__,
        only={"choices": TOPICS, "help": "one topic"},
        size={"choices": ("small", "full"), "default": None},
        declare={"action": "store_true", "help": "write the memory into conf/actor/"},
    )
    import torch

    size = asked.size or ("full" if torch.cuda.is_available() else "small")
    if asked.declare and (size != "full" or not torch.cuda.is_available()):
        raise SystemExit("--declare needs a GPU and models of full size")
    context, rows = multiprocessing.get_context("spawn"), []
    for topic in [asked.only] if asked.only else TOPICS:
        for index in range(len(importlib.import_module(f"speed_{topic}").contests(size))):
            with tempfile.NamedTemporaryFile(suffix=".json") as file:
                child = context.Process(target=_child, args=(topic, index, size, file.name))
                child.start()
                child.join()
                text = Path(file.name).read_text()
            rows.append(
                json.loads(text) if text else {"actor": f"{topic}[{index}]", "note": "died"}
            )
            print(rows[-1], flush=True)
    if asked.declare:
        _declare(rows)
    show(f"batched against one by one, {size} models", rows, asked.json)


if __name__ == "__main__":
    main()
