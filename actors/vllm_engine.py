"""Qwen2-VL and its like through vLLM, inside the worker.

The engine is our own actor around `vllm.LLM`, not the processor of `ray.data.llm`. That one is a
chain of five dataset stages, outside of what `Host` promises for each row (bisection, quarantine,
provenance, resuming); its engine has processes of its own, which outlive a killed worker; and in
`benchmarks/vlm_engine.py`, which runs both, it took longer from start to end.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .actor import MACHINE
from .vlm import NoteTaker, Question, Reply, opened
from .weights import Weights

PATCH = 28
"""Side of the square of pixels that becomes one token of Qwen2-VL."""


@dataclass(kw_only=True)
class VLLM(NoteTaker):
    """Notes by a model that vLLM runs: greedy, and bound to the schema token by token.

    Attributes:
        checkpoint: Folder of the model, its tokenizer and its processor.
        precision: vLLM's `dtype`.
        clip: Whether the pictures are one clip rather than pictures of their own: half the tokens.
        max_model_len: Tokens of a question with its answer, at most.
        max_pixels: Of a picture; a larger one is made smaller. 28 x 28 of them are a token.
        max_seqs: Questions that the engine works on at once.
        kv_cache_gb: Set aside for them. vLLM then measures nothing; what it checks on a GPU is that
            `memory_gb` is free, which must hold weights, cache and about 6 GB of its own.
        in_process: Whether the engine shares the worker's process. It then ends with the worker,
            however that ends; an engine with a process of its own outlives a killed worker.
        eager: Whether to run without compiled graphs: a faster start, slower answers.
        engine: More of vLLM's own arguments (`EngineArgs`), which win over all above.
    """

    model = "vision-language model through vLLM"
    licence = "as its checkpoint"
    packages = ("vllm", "PIL")

    checkpoint: Weights
    precision: str = "bfloat16"
    clip: bool = False
    max_model_len: int = 16384
    max_pixels: int = 512 * PATCH**2
    max_seqs: int = field(default=16, metadata=MACHINE)
    kv_cache_gb: float = field(default=4.0, metadata=MACHINE)
    in_process: bool = field(default=True, metadata=MACHINE)
    eager: bool = field(default=False, metadata=MACHINE)
    engine: dict[str, Any] = field(default_factory=dict)
    gpus: float = field(default=1.0, metadata=MACHINE)
    memory_gb: float = field(default=28.0, metadata=MACHINE)
    batch_size: int = field(default=32, metadata=MACHINE)
    _llm: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_model_len <= self.max_tokens:
            raise ValueError(
                "`max_model_len` must be greater than `max_tokens` "
                f"({self.max_tokens}), but is {self.max_model_len}."
            )
        if self.max_pixels < PATCH**2:
            raise ValueError(f"`max_pixels` must be at least {PATCH**2}, but is {self.max_pixels}.")
        if self.max_seqs < 1:
            raise ValueError(f"`max_seqs` must be at least 1, but is {self.max_seqs}.")
        if self.kv_cache_gb <= 0:
            raise ValueError(f"`kv_cache_gb` must be greater than 0, but is {self.kv_cache_gb:g}.")

    def setup(self) -> None:
        """Load the model."""
        super().setup()
        self._load()

    def forget(self) -> None:
        """Forget all answers, and what the engine keeps of prompts and pictures."""
        super().forget()
        if self._llm is not None:
            self._llm.reset_prefix_cache()
            self._llm.reset_mm_cache()

    def close(self) -> None:
        """End the engine, also one that is broken."""
        if self._llm is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        llm, self._llm = self._llm, None
        with suppress(Exception):  # a broken engine can fail at this too
            llm.llm_engine.engine_core.shutdown()
        del llm
        with suppress(Exception):  # else no other engine could start in this process
            cleanup_dist_env_and_memory()

    def arguments(self) -> dict[str, Any]:
        """What vLLM's engine is started with."""
        some = {"image": self.most_pictures, "video": 0}
        return {
            "dtype": self.precision,
            "seed": 0,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_seqs,
            "limit_mm_per_prompt": {"image": 0, "video": 1} if self.clip else some,
            "mm_processor_kwargs": {
                "size": {"shortest_edge": 4 * PATCH**2, "longest_edge": self.max_pixels}
            },
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            "kv_cache_memory_bytes": int(self.kv_cache_gb * 1e9),
            "enforce_eager": self.eager,
            **self._share(),
            **self.engine,
        }

    def ask(self, questions: Sequence[Question]) -> Sequence[Reply | Exception]:
        """Answer questions in one call of the engine.

        Raises:
            ValueError: A picture cannot be decoded.
            VLLMValidationError: A question is longer than `max_model_len`.
            RuntimeError: The engine broke off; it is loaded anew for the next questions.
        """
        params = [self.sampling(question) for question in questions]
        return [self._reply(output) for output in self.generate(questions, params)]

    def generate(self, questions: Sequence[Question], params: Sequence[Any]) -> Sequence[Any]:
        """What the engine itself says, for other sampling parameters than `ask` takes.

        Args:
            questions: Any number.
            params: vLLM's `SamplingParams` for each.

        Returns:
            vLLM's `RequestOutput` for each.
        """
        prompts = [self.prompt(question) for question in questions]
        if self._llm is None:
            self._load()
        llm: Any = self._llm
        try:
            return llm.generate(prompts, params, use_tqdm=False)
        except Exception as error:
            if well(llm, error):
                raise
            problem = f"{type(error).__name__}: {error}"
        # Outside of `except`: a traceback that is kept would keep the engine's memory.
        del llm
        self.close()
        raise RuntimeError(f"vLLM's engine broke off and was ended: {problem}")

    def _load(self) -> None:
        os.environ.update(
            HF_HUB_OFFLINE="1",
            VLLM_NO_USAGE_STATS="1",
            VLLM_ENABLE_V1_MULTIPROCESSING=str(int(not self.in_process)),
        )
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        from transformers import AutoProcessor
        from vllm import LLM

        folder = str(self._roomy(self.checkpoint.resolved()))
        self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        self._llm = LLM(folder, **self.arguments())

    def _roomy(self, folder: Path) -> Path:
        """A checkpoint that `memory_gb` can hold: with a cache that is given, vLLM checks nothing.

        Raises:
            ValueError: It cannot.
        """
        weights_gb = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e9
        if self.memory_gb <= weights_gb + self.kv_cache_gb:
            raise ValueError(
                f"`memory_gb` must be greater than the weights ({weights_gb:.1f}) and "
                f"`kv_cache_gb` ({self.kv_cache_gb:g}) together, and leave about 6 to the engine, "
                f"but is {self.memory_gb:g} ('{folder}')."
            )
        return folder

    def _share(self) -> dict[str, float]:
        """The share of the device that vLLM must find free before it loads: `memory_gb`."""
        import torch

        if not torch.cuda.is_available():
            return {}
        total = torch.cuda.get_device_properties(0).total_memory / 1e9
        return {"gpu_memory_utilization": min(0.95, self.memory_gb / total)}

    def prompt(self, question: Question) -> dict[str, Any]:
        """A question as vLLM takes it: words with placeholders, pictures, and their digests."""
        images = opened(question)
        if self.clip:
            shown, shas = [{"type": "video"}], [clip_key(question)]
            data = {"video": [(frames(images), clip_metadata(question.times))]}
        else:
            shown, shas = [{"type": "image"}] * len(images), list(question.shas)
            data = {"image": images}
        return {
            "prompt": self._processor.apply_chat_template(
                question.messages(shown), tokenize=False, add_generation_prompt=True
            ),
            "multi_modal_data": data,
            "multi_modal_uuids": {next(iter(data)): shas},
        }

    def sampling(self, question: Question) -> Any:  # noqa: ANN401
        """Sampling parameters of vLLM: the likeliest token that the schema allows."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        schema = StructuredOutputsParams(json=dict(question.prompt.schema))
        return SamplingParams(
            temperature=0.0, max_tokens=self.max_tokens, structured_outputs=schema
        )

    def _reply(self, output: Any) -> Reply:  # noqa: ANN401
        said = output.outputs[0]
        return Reply(
            text=said.text,
            model=self.checkpoint.name,
            cut=said.finish_reason == "length",
            input_tokens=len(output.prompt_token_ids),
            output_tokens=len(said.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            dollars=0.0,
        )


def well(llm: Any, error: Exception) -> bool:  # noqa: ANN401
    """Whether an engine can go on: it only refused a question, and dropped those before it."""
    from vllm.v1.engine.exceptions import EngineDeadError

    dead = isinstance(error, EngineDeadError)
    return not dead and not llm.llm_engine.has_unfinished_requests()


def frames(images: Sequence[Any]) -> NDArray[np.uint8]:
    """Pillow's images as one clip, `(time, height, width, 3)` RGB, in the size of the first."""
    size = images[0].size
    return np.stack([np.asarray(i if i.size == size else i.resize(size)) for i in images])


def clip_metadata(times: Sequence[float]) -> dict[str, Any]:
    """What vLLM wants to know of a clip beside its frames.

    Qwen2-VL takes frames alone and ignores this; Qwen2.5-VL and Qwen3-VL refuse frames alone, in
    the versions of vLLM since July 2026.

    Args:
        times: Of the frames, seconds; taken as evenly spread.
    """
    length = times[-1] - times[0]
    fps = (len(times) - 1) / length if length > 0 else 1.0
    return {
        "fps": fps,
        "duration": len(times) / fps,
        "total_num_frames": len(times),
        "frames_indices": list(range(len(times))),
        "video_backend": "opencv",
        "do_sample_frames": False,
    }


def clip_key(question: Question) -> str:
    """A digest of a clip: its pictures and their times."""
    return "-".join((*(sha[:16] for sha in question.shas), *(f"{t:.3f}" for t in question.times)))
