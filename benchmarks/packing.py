"""Five models in one memory: one after another, against all at once.

usage: packing.py [--size tiny|full] [--seconds 20] [--json FILE]

Whisper large-v3-turbo, SigLIP2 so400m with LAION's 40 heads, TimeSformer, a wav2vec2 of the large
kind (audeering's) and Qwen2-VL-7B by transformers: the true architectures with random weights, each
through its actor, in a process of its own. First each works alone for a while, then all together.
Together they pay if the shares of their own speed that they keep add up to more than 1.

The memory of each alone goes into the packing plan; beside it stands what all took together. On a
GPU the busy share is NVML's utilisation, sampled. Needs the full environment, and no Ray.

`--size tiny` (the default without a GPU) runs the same on a CPU with tiny models, where the ratio
says little. The full size needs a GPU with about 60 GB. It has not been run yet.
"""

import multiprocessing
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pynvml

from common import arguments, show
from mien.cluster.memory import device_gb, read, tree_gb
from mien.cluster.need import Batch, Machine, Need, Node
from mien.cluster.plan import Plan, plan
from mien.cluster.refusal import RefusedError

os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}  # also for the children
HEADROOM = 0.1
EVERY_S = 0.1
TOKENS = 64
Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model at work.

    Attributes:
        name: For the table.
        unit: What it goes through.
        items: How many in one round, full and tiny.
        build: Loads it, given a folder, the items and whether it is of full size; one call of what
            it returns is a round.
    """

    name: str
    unit: str
    items: tuple[int, int]
    build: Callable[[Path, int, bool], Work]


def whisper(folder: Path, count: int, full: bool) -> Work:
    """Chunks of 30 s of noise."""
    import tiny_speech
    from mien.actors.weights import Weights
    from mien.actors.whisper_transformers import Whisper
    from speed_speech import noise

    turbo = {"width": 1280, "layers": 32, "decoder_layers": 4, "mels": 128}
    tiny_speech.build_whisper(folder, **(turbo if full else {}))
    actor = Whisper(
        checkpoint=Weights(name="whisper", licence="MIT", path=str(folder)),
        max_tokens=100 if full else 10,
        precision="float16" if full else "float32",
    )
    actor.setup()
    sounds = [noise(30, i) for i in range(count)]
    return lambda: actor.transcribe(sounds)


def siglip(folder: Path, count: int, full: bool) -> Work:
    """Crops of faces."""
    import tiny_laion
    from mien.actors.laion_face import ENCODER, HEADS, LaionFace
    from parity_laion import picture, png

    tiny_laion.build_siglip(folder / ENCODER.name, full=full)
    sizes = {"width": 1152, "shrink": 1} if full else {}
    tiny_laion.build_face_heads(folder / HEADS.name, **sizes)
    place = str(folder)
    actor = LaionFace(encoder=replace(ENCODER, dir=place), heads=replace(HEADS, dir=place))
    actor.setup()
    crops = [png(picture(160, seed)) for seed in range(count)]
    return lambda: actor.through(crops, actor.prepared, actor.judged)


def timesformer(folder: Path, count: int, full: bool) -> Work:
    """Clips of 8 pictures."""
    from speed_affect import action

    return action(folder, count, full)[0]


def wav2vec2(folder: Path, count: int, full: bool) -> Work:
    """Utterances of 1-8 s."""
    from speed_affect import voice

    return voice(folder, count, full)[0]


def qwen2_vl(folder: Path, count: int, full: bool) -> Work:
    """Moments of 4 pictures, one by one: transformers does not batch them as an engine does."""
    import tiny_vlm
    from parity_vlm import question, small

    tiny_vlm.build_qwen2_vl(folder / tiny_vlm.NAME, full=full)
    actor = small(folder, precision="bfloat16" if full else "float32")
    model = tiny_vlm.Reference(folder / tiny_vlm.NAME, actor)
    asked, tokens = [question(4, i) for i in range(count)], TOKENS if full else 8
    return lambda: [model(one, tokens, least=tokens) for one in asked]


MODELS = (
    Model(name="whisper", unit="chunk of 30 s", items=(16, 2), build=whisper),
    Model(name="siglip", unit="face", items=(128, 16), build=siglip),
    Model(name="timesformer", unit="clip of 8 pictures", items=(16, 2), build=timesformer),
    Model(name="wav2vec2", unit="utterance of 1-8 s", items=(64, 8), build=wav2vec2),
    Model(name="qwen2_vl", unit="moment of 4 pictures", items=(2, 1), build=qwen2_vl),
)


class Running:
    """A model in a process of its own, loaded and warm, that works when it is told."""

    def __init__(self, model: Model, full: bool, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, model.name, full, seconds))
        self.process.start()
        theirs.close()
        self.load_s: float = self.pipe.recv()  # one at a time: the next is started after this


def _work(pipe: Any, name: str, full: bool, seconds: float) -> None:  # noqa: ANN401
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model = next(one for one in MODELS if one.name == name)
    items = model.items[0 if full else 1]
    with tempfile.TemporaryDirectory(prefix=f"packing-{name}-") as folder:
        began = time.perf_counter()
        work = model.build(Path(folder), items, full)
        work()
        pipe.send(time.perf_counter() - began)
        pipe.recv()
        began, rounds = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            work()
            rounds += 1
        rate = rounds * items / (time.perf_counter() - began)
        reserved = torch.cuda.max_memory_reserved() / 1e9 if torch.cuda.is_available() else None
        pipe.send({"rate": rate, "torch": reserved})


class Watch(threading.Thread):
    """Samples memory (peaks, of processes together) and how busy the GPU is, until it is ended."""

    def __init__(self, pids: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self.host_gb, self.device_gb = 0.0, None
        self.ended = threading.Event()
        self._roots = [psutil.Process(pid) for pid in pids]
        self._busy: list[float] = []

    def run(self) -> None:
        while not self.ended.wait(EVERY_S):
            self.host_gb = max(self.host_gb, sum(map(tree_gb, self._roots)))
            held = device_gb([root.pid for root in self._roots])
            self.device_gb = max((x for x in (held, self.device_gb) if x is not None), default=None)
            self._busy += [x for x in [utilisation()] if x is not None]

    @property
    def busy(self) -> float | None:
        """Share of the time in which the GPU worked."""
        return sum(self._busy) / len(self._busy) if self._busy else None


def utilisation() -> float | None:
    """Share of the last moment in which the first GPU worked; `None` without one."""
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetUtilizationRates(pynvml.nvmlDeviceGetHandleByIndex(0)).gpu / 100
    except pynvml.NVMLError:
        return None


def together(models: Sequence[Model], full: bool, seconds: float) -> tuple[list[dict], Watch]:
    """Load some models, one at a time, and let them work at the same time."""
    running = [Running(model, full, seconds) for model in models]
    watch = Watch([one.process.pid or 0 for one in running])
    watch.start()
    for one in running:
        one.pipe.send(None)
    found = [{**one.pipe.recv(), "load": one.load_s} for one in running]
    watch.ended.set()
    watch.join()
    for one in running:
        one.process.join()
    return found, watch


def planned(alone: Sequence[tuple[Model, dict, Watch]]) -> Plan | str:
    """The packing plan for one worker of each, or why there is none."""
    reading = read()
    own = [one.total_gb for one in reading.devices if one.total_gb is not None]
    node = Node(
        cpus=max(len(alone), os.cpu_count() or 1),  # a core each: it is memory that is planned
        memory_gb=reading.available_gb,
        gpus=len(reading.devices[:1]),
        gpu_memory_gb=own[0] if own and reading.kind == "discrete" else None,
        unified=reading.kind == "unified",
    )
    chain = [
        Need(
            name=model.name,
            batches=(
                Batch(
                    size=1,
                    memory_gb=watch.host_gb * (1 + HEADROOM),
                    gpu_memory_gb=(watch.device_gb or found["torch"] or 0.0) * (1 + HEADROOM),
                ),
            ),
            gpus=0.99 / len(alone) if reading.devices else 0.0,
            environment=model.name,  # or neighbours would share a process
        )
        for model, found, watch in alone
    ]
    try:
        return plan(chain, Machine(nodes=(node,)), blocks=1)
    except RefusedError as error:
        return str(error)


def main() -> None:
    """Print the table."""
    asked = arguments(
        __doc__,
        size={"choices": ("tiny", "full"), "default": None},
        seconds={"type": float, "default": 20.0, "help": "for each model alone, and for all"},
    )
    full = (asked.size or ("full" if read().devices else "tiny")) == "full"
    alone = []
    for model in MODELS:
        (found,), watch = together([model], full, asked.seconds)
        alone.append((model, found, watch))
        print(f"{model.name} alone: {found['rate']:.3g} /s", flush=True)
    packed, watch = together(MODELS, full, asked.seconds)
    rows = [
        {
            "model": model.name,
            "unit": model.unit,
            "load s": before["load"],
            "alone /s": before["rate"],
            "packed /s": after["rate"],
            "kept": after["rate"] / before["rate"],
            "alone GB": own.host_gb,
            "device GB": own.device_gb or before["torch"],
            "GPU busy": own.busy,
        }
        for (model, before, own), after in zip(alone, packed, strict=True)
    ]
    made = planned(alone)
    parts = made.segments if isinstance(made, Plan) else ()
    pools = [pool for segment in parts for pool in segment.pools]
    show(
        f"packed into one memory, {'full' if full else 'tiny'} models",
        rows,
        asked.json,
        gain=sum(row["kept"] for row in rows),
        packed_host_gb=watch.host_gb,
        planned_host_gb=sum(pool.memory_gb for pool in pools) or None,
        packed_device_gb=watch.device_gb,
        planned_device_gb=sum(pool.gpu_memory_gb for pool in pools) or None,
        busy_packed=watch.busy,
        segments=len(parts) or made,
    )


if __name__ == "__main__":
    main()
