"""vLLM's engine in our own actor against the processor of `ray.data.llm`, on real Ray.

Both run the same tiny random Qwen2-VL on the CPU, over the same moments with pictures, bound to the
same schemas. The clock of the start runs until the first batch is out; the rate counts what comes
after, where it comes out bit by bit (`ray.data.llm` gives all of a short run at once: compare the
whole). What is compared is everything around the engine, for the engine is the same. Needs the full
environment.

    python benchmarks/vlm_engine.py [--moments 64] [--batch 16] [--only own|ray] [--json FILE]
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",
    RAY_AUTH_MODE="disabled",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_LOGGING_LEVEL="ERROR",
    VLLM_NO_USAGE_STATS="1",
)
os.environ["PYTHONPATH"] = str(Path(__file__).parent)

import pyarrow as pa
import ray

import tiny_vlm
from common import arguments, show
from mien.actors.openai_server import data_url
from mien.actors.prompts import KINDS, MalformedAnswerError, parsed, prompt_for
from mien.actors.vllm_engine import VLLM
from mien.actors.vlm import NoteTaker
from mien.actors.weights import Weights
from mien.datasets.schema import PICTURES

SETTINGS: dict[str, Any] = {"precision": "float32", "max_model_len": 8192, "eager": True}


def actor(models_dir: Path, batch: int) -> VLLM:
    """Our actor, small enough for a CPU."""
    weights = Weights(name=tiny_vlm.NAME, licence="Apache-2.0", dir=str(models_dir))
    return VLLM(checkpoint=weights, kv_cache_gb=1.0, max_seqs=batch, batch_size=batch, **SETTINGS)


def moments(count: int) -> pa.Table:
    """Moments of all kinds with two pictures each, every one another."""
    shown = [tiny_vlm.pictures(2, seed=i) for i in range(count)]
    columns: dict[str, Any] = {name: [None] * count for name in NoteTaker.reads}
    columns |= {
        "id": list(range(count)),
        "kind": [KINDS[i % len(KINDS)] for i in range(count)],
        "text": [f"Moment {i}." for i in range(count)],
        "start_s": [float(i) for i in range(count)],
        "stop_s": [i + 1.0 for i in range(count)],
        "pictures": pa.array(shown, PICTURES.field("pictures").type),
    }
    texts = {name: pa.string() for name in ("reason", "speaker", "context")}
    return pa.table({k: pa.array(v, texts[k]) if k in texts else v for k, v in columns.items()})


class Worker:
    """Our actor as a worker of a pool has it."""

    def __init__(self, made: VLLM) -> None:
        self._actor = made
        made.setup()

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Take notes; when they were ready stands in `ready`."""
        notes = self._actor.process(rows)
        ready = pa.array([time.time()] * len(rows))
        return (
            notes.select(["answer"]).append_column("ready", ready).append_column("id", rows["id"])
        )


def own(models_dir: Path, count: int, batch: int) -> Any:  # noqa: ANN401
    """The dataset of our own actor."""
    return ray.data.from_arrow(moments(count)).map_batches(
        Worker,
        fn_constructor_kwargs={"made": actor(models_dir, batch)},
        batch_size=batch,
        batch_format="pyarrow",
        num_cpus=1,
        num_gpus=1,
        compute=ray.data.ActorPoolStrategy(size=1),
    )


def theirs(models_dir: Path, count: int, batch: int) -> Any:  # noqa: ANN401
    """The dataset of `ray.data.llm`."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    given = actor(models_dir, batch).arguments()
    given["distributed_executor_backend"] = "mp"
    config = vLLMEngineProcessorConfig(
        model_source=str(models_dir / tiny_vlm.NAME),
        engine_kwargs=given,
        batch_size=batch,
        concurrency=1,
        prepare_multimodal_stage={"enabled": True},
        log_engine_metrics=False,
    )
    processor = build_processor(config, preprocess=asked, postprocess=answered)
    return processor(ray.data.from_arrow(moments(count)))


def asked(row: dict[str, Any]) -> dict[str, Any]:
    """A moment as `ray.data.llm` takes it."""
    prompt = prompt_for(row["kind"])
    shown = [
        {"type": "image_url", "image_url": {"url": data_url(picture["jpeg"])}}
        for picture in row["pictures"]
    ]
    return {
        "id": row["id"],
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": [*shown, {"type": "text", "text": prompt.text(row)}]},
        ],
        "sampling_params": {
            "temperature": 0.0,
            "max_tokens": 1536,
            "structured_outputs": {"json": json.dumps(prompt.schema)},
        },
    }


def answered(row: dict[str, Any]) -> dict[str, Any]:
    """An answer of `ray.data.llm`, and when it was ready."""
    return {"id": row["id"], "answer": row["generated_text"], "ready": time.time()}


def timed(name: str, dataset: Any, began: float, batch: int) -> tuple[dict, dict]:  # noqa: ANN401
    """A row of the table, and the answers by id."""
    rows = sorted(dataset.take_all(), key=lambda row: row["ready"])
    first, last = rows[batch - 1]["ready"], rows[-1]["ready"]
    answers = {int(row["id"]): row["answer"] for row in rows}
    valid = sum(is_valid(prompt_for(KINDS[i % len(KINDS)]), text) for i, text in answers.items())
    return {
        "engine": name,
        "start s": first - began,
        "moments /s after": (len(rows) - batch) / (last - first) if last - first > 0.5 else None,
        "whole s": last - began,
        "valid": f"{valid} of {len(rows)}",
    }, answers


def is_valid(prompt: Any, text: str) -> bool:  # noqa: ANN401
    """Whether an answer is as asked."""
    try:
        parsed(prompt, text)
    except MalformedAnswerError:
        return False
    return True


def main() -> None:
    """Print the table."""
    given = arguments(
        __doc__,
        moments={"type": int, "default": 64},
        batch={"type": int, "default": 16},
        only={"choices": ("own", "ray"), "default": None},
    )
    sides = {"own": ("own actor", own), "ray": ("ray.data.llm", theirs)}
    rows, answers = [], []
    with tempfile.TemporaryDirectory(prefix="vlm-") as folder:
        models_dir = tiny_vlm.build_all(Path(folder) / "models")
        for name in [given.only] if given.only else sides:
            title, build = sides[name]
            ray.init(num_cpus=8, num_gpus=1, include_dashboard=False, _temp_dir=f"{folder}/r")
            try:
                began = time.time()
                dataset = build(models_dir, given.moments, given.batch)
                row, found = timed(title, dataset, began, given.batch)
            finally:
                ray.shutdown()
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
            answers.append(found)
    same = [i for i in answers[0] if len(answers) == 2 and answers[0][i] == answers[1].get(i)]
    show(f"{given.moments} moments of 2 pictures", rows, given.json, same_answers=len(same))


if __name__ == "__main__":
    main()
