"""Five models in one memory: one after another, against all at once.

usage: packing.py [--size tiny|full] [--seconds 20] [--json FILE]

Whisper large-v3-turbo, SigLIP2 so400m with LAION's 40 heads, TimeSformer, a wav2vec2 of the large
kind (audeering's) and Qwen2-VL-7B by transformers (the others by their actors): the true
architectures with random weights, each in a process of its own. First each works alone for a while,
then all together: that pays if the shares of their speed that they keep add up to more than 1.

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
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pynvml
import torch
from PIL import Image
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

import tiny_laion
import tiny_speech
import tiny_vlm
from common import arguments, show
from mien.actors.laion_face import ENCODER, HEADS, LaionFace
from mien.actors.weights import Weights
from mien.actors.whisper_transformers import Whisper
from mien.cluster.memory import device_gb, read, tree_gb
from mien.cluster.need import Batch, Machine, Need, Node
from mien.cluster.plan import Plan, plan
from mien.cluster.refusal import RefusedError
from parity_laion import picture, png
from speed_affect import action, voice
from speed_speech import noise

os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}  # also for the children
HEADROOM = 0.1
EVERY_S = 0.1
Work = Callable[[], object]


def whisper(folder: Path, count: int, full: bool) -> Work:
    """Chunks of 30 s of noise."""
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
    tiny_laion.build_siglip(folder / ENCODER.name, full=full)
    sizes = {"width": 1152, "shrink": 1} if full else {}
    tiny_laion.build_face_heads(folder / HEADS.name, **sizes)
    place = str(folder)
    actor = LaionFace(encoder=replace(ENCODER, dir=place), heads=replace(HEADS, dir=place))
    actor.setup()
    crops = [png(picture(160, seed)) for seed in range(count)]
    return lambda: actor.through(crops, actor.prepared, actor.judged)


def qwen2_vl(folder: Path, count: int, full: bool) -> Work:
    """Moments of 4 pictures, by transformers' own `generate`."""
    tiny_vlm.build_qwen2_vl(folder, full=full)
    kind: Any = Qwen2VLForConditionalGeneration
    model = kind.from_pretrained(folder, dtype="bfloat16" if full else "float32").eval()
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    processor: Any = Qwen2VLProcessor.from_pretrained(folder)
    asked = [*({"type": "image"} for _ in range(4)), {"type": "text", "text": "What happens?"}]
    text = processor.apply_chat_template([{"role": "user", "content": asked}])
    shown = [Image.open(BytesIO(one["jpeg"])) for one in tiny_vlm.pictures(4 * count)]
    inputs = processor(text=[text] * count, images=shown, padding=True, return_tensors="pt")
    inputs, tokens = inputs.to(model.device), 64 if full else 8
    return lambda: model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens)


MODELS: dict[str, tuple[Callable[[Path, int, bool], Work], int, int]] = {
    "whisper": (whisper, 16, 2),
    "siglip": (siglip, 128, 16),
    "timesformer": (lambda *asked: action(*asked)[0], 16, 2),
    "wav2vec2": (lambda *asked: voice(*asked)[0], 64, 8),
    "qwen2_vl": (qwen2_vl, 8, 1),
}
"""What loads each and returns what does a round; the items of a round, full and tiny."""


class Running:
    """A model in a process of its own, loaded and warm, that works when it is told."""

    def __init__(self, name: str, full: bool, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, name, full, seconds))
        self.process.start()
        theirs.close()
        self.load_s: float = self.pipe.recv()  # one at a time: the next is started after this


def _work(pipe: Any, name: str, full: bool, seconds: float) -> None:  # noqa: ANN401
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    build, many, few = MODELS[name]
    items = many if full else few
    with tempfile.TemporaryDirectory(prefix=f"packing-{name}-") as folder:
        began = time.perf_counter()
        work = build(Path(folder), items, full)
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
        """Sample."""
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


def together(names: Sequence[str], full: bool, seconds: float) -> tuple[list[dict], Watch]:
    """Load some models, one at a time, and let them work at the same time."""
    running = [Running(name, full, seconds) for name in names]
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


def planned(memory_gb: dict[str, tuple[float, float]]) -> Plan | str:
    """The packing plan for one worker of each, given host and device GB; or why there is none."""
    reading = read()
    device = next(iter(reading.devices), None)
    node = Node(
        cpus=len(memory_gb),  # a core each: it is memory that is planned
        memory_gb=reading.available_gb,
        gpus=1 if device else 0,
        gpu_memory_gb=device.total_gb if device else None,
        unified=reading.kind == "unified",
    )
    more, share = 1 + HEADROOM, 0.99 / len(memory_gb) if device else 0.0
    chain = []
    for name, (host, own) in memory_gb.items():
        batch = Batch(size=1, memory_gb=more * host, gpu_memory_gb=more * own)
        # an environment each: neighbours would share a process
        chain.append(Need(name=name, batches=(batch,), gpus=share, environment=name))
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
    rows, memory_gb = [], {}
    for name in MODELS:
        (found,), own = together([name], full, asked.seconds)
        memory_gb[name] = own.host_gb, own.device_gb or found["torch"] or 0.0
        rows.append({"model": name, "load s": found["load"], "alone /s": found["rate"]})
        rows[-1] |= {"host GB": own.host_gb, "device GB": own.device_gb, "GPU busy": own.busy}
        print(f"{name} alone: {found['rate']:.3g} /s", flush=True)
    packed, watch = together(list(MODELS), full, asked.seconds)
    for row, after in zip(rows, packed, strict=True):
        row |= {"packed /s": after["rate"], "kept": after["rate"] / row["alone /s"]}
    made = planned(memory_gb)
    parts = made.segments if isinstance(made, Plan) else ()
    pools = [pool for segment in parts for pool in segment.pools]
    show(
        f"packed into one memory, {'full' if full else 'tiny'} models",
        rows,
        asked.json,
        gain=sum(row["kept"] for row in rows),
        packed_host_gb=watch.host_gb,
        planned_host_gb=sum(pool.memory_gb for pool in pools) or None,
        packed_device_gb=watch.device_gb or sum(after["torch"] or 0.0 for after in packed) or None,
        planned_device_gb=sum(pool.gpu_memory_gb for pool in pools) or None,
        busy_packed=watch.busy,
        segments=len(parts) or made,
    )


if __name__ == "__main__":
    main()
