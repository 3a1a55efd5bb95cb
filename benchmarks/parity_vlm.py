"""Parity of the vision-language model in vLLM with transformers: the greedy tokens."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tiny_vlm
from mien.actors.prompts import KINDS, prompt_for
from mien.actors.vllm_engine import VLLM
from mien.actors.vlm import Question
from mien.actors.weights import Weights

TOKENS = 64


def small(models_dir: Path, **parameters: Any) -> VLLM:  # noqa: ANN401
    """The actor, small enough for a CPU."""
    weights = Weights(name=tiny_vlm.NAME, licence="Apache-2.0", dir=str(models_dir))
    settings = {"precision": "float32", "kv_cache_gb": 0.5, "max_model_len": 8192, "eager": True}
    return VLLM(checkpoint=weights, **settings | parameters)


def question(pictures: int, seed: int) -> Question:
    """A question about a moment of so many pictures."""
    shown = tiny_vlm.pictures(pictures, seed=seed)
    prompt = prompt_for(KINDS[seed % len(KINDS)])
    return Question(
        prompt=prompt,
        text=prompt.text({"pictures": shown, "text": f"Moment {seed}."}),
        times=tuple(picture["time_s"] for picture in shown),
        jpegs=tuple(picture["jpeg"] for picture in shown),
    )


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """Tokens that differ, over batches of one and of several numbers of pictures."""
    models_dir = tiny_vlm.build_all(folder / "models")
    for name, clip in (("pictures", False), ("one clip", True)):
        actor = small(models_dir, clip=clip)
        actor.setup()
        yield {
            "actor": "qwen2_vl",
            "reference": "transformers.Qwen2VLForConditionalGeneration.generate",
            "compared": f"greedy tokens that differ, of {8 * TOKENS} ({name})",
            "batched": differing(actor, models_dir, [question(2, i) for i in range(8)]),
            "ragged": differing(actor, models_dir, [question(1 + i % 4, 8 + i) for i in range(8)]),
            "tolerance": 0,
        }
        actor.close()


def differing(actor: VLLM, models_dir: Path, questions: Sequence[Question]) -> int:
    """How many tokens of a batch are not those of the reference."""
    from vllm import SamplingParams

    free = SamplingParams(temperature=0.0, max_tokens=TOKENS)
    reference = tiny_vlm.Reference(models_dir / tiny_vlm.NAME, actor)
    outputs = actor.generate(questions, [free] * len(questions))
    count = 0
    for asked, output in zip(questions, outputs, strict=True):
        ours, theirs = list(output.outputs[0].token_ids), reference(asked, TOKENS)
        count += sum(a != b for a, b in zip(ours, theirs, strict=False))
        count += abs(len(ours) - len(theirs))
    return count
