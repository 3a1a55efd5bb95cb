"""Speed of the vision-language model in vLLM: a batch of moments against one after the other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny_vlm
from mien.actors.vllm_engine import VLLM
from mien.actors.vlm import Question
from models import Contest
from parity_vlm import question, small

MOMENTS = {"small": 16, "full": 64}
TOKENS = 128


def contests(size: str) -> list[Contest]:
    """Moments of four pictures, answered to the schema."""
    return [
        Contest(
            actor="qwen2_vl",
            items=MOMENTS[size],
            unit="moment of 4 pictures",
            build=lambda folder: build(folder, size),
            note=f"{TOKENS} tokens each, no schema; the naive side is transformers' generate",
        )
    ]


def build(folder: Path, size: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Both sides on the same random checkpoint; the full one has Qwen2-VL's sizes."""
    models_dir = folder / "models"
    tiny_vlm.build_qwen2_vl(models_dir / tiny_vlm.NAME, full=size == "full")
    cuda: dict[str, Any] = {"precision": "bfloat16", "kv_cache_gb": 8.0, "eager": False}
    actor = small(models_dir, max_seqs=MOMENTS[size], **(cuda if size == "full" else {}))
    actor.setup()
    asked = [question(4, i) for i in range(MOMENTS[size])]
    reference = tiny_vlm.Reference(models_dir / tiny_vlm.NAME, actor)
    naive = lambda: [reference(one, TOKENS, least=TOKENS) for one in asked]  # noqa: E731
    return lambda: batched(actor, asked), naive


def batched(actor: VLLM, questions: list[Question]) -> object:
    """All moments in one call of the engine, without the prefix cache of the last time."""
    from vllm import SamplingParams

    free = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    vars(actor)["_llm"].reset_prefix_cache()
    return actor.generate(questions, [free] * len(questions))
