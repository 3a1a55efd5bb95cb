"""LLaVA-NeXT-Video and its like through SGLang's engine, inside the worker.

SGLang and vLLM clash by exact pins, so this actor runs in an environment of its own; the other way
to reach SGLang is its server, with `OpenAIServer`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from string import Template
from typing import Any

from .actor import MACHINE
from .openai_server import data_url
from .vlm import NoteTaker, Question, Reply
from .weights import Weights


@dataclass(kw_only=True)
class SGLang(NoteTaker):
    """Notes by a model that SGLang runs: greedy, and bound to the schema token by token.

    Written to SGLang 0.5.23's `Engine`; it has not been run on these machines.

    Attributes:
        checkpoint: Folder of the model.
        tokenizer: Folder of its tokenizer and processor, where that is another.
        template: Of a conversation: `$system`, `$question`, and `$pictures`, each as `picture`.
        picture: What stands for one picture.
        precision: SGLang's `dtype`.
        max_model_len: Tokens of a question with its answer, at most.
        memory_share: Of the device, for weights and cache (`mem_fraction_static`).
        engine: More of SGLang's own arguments (`ServerArgs`), which win over all above.
    """

    model = "vision-language model through SGLang"
    licence = "as its checkpoint"
    packages = ("sglang",)

    checkpoint: Weights
    tokenizer: Weights | None = None
    template: str = "$system USER: $pictures$question ASSISTANT:"
    picture: str = "<image>\n"
    precision: str = "bfloat16"
    most_pictures: int = 32  # evenly spread, as LLaVA-NeXT-Video was trained
    max_model_len: int = 16384
    memory_share: float = field(default=0.5, metadata=MACHINE)
    engine: dict[str, Any] = field(default_factory=dict)
    gpus: float = field(default=1.0, metadata=MACHINE)
    memory_gb: float = field(default=28.0, metadata=MACHINE)
    _engine: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.memory_share < 1:
            raise ValueError(
                f"`memory_share` must be between 0 and 1, but is {self.memory_share:g}."
            )

    def missing(self) -> str | None:
        """Why it cannot work here, and the cure."""
        reasons = [weights.missing() for weights in self.weights()]
        if self.environment is None and find_spec("sglang") is None:
            reasons.insert(
                0,
                "needs the package sglang, which clashes with vLLM: install it in an environment "
                "of its own and name that in `environment`, or start SGLang's server and use the "
                "actor sglang_server",
            )
        return "; ".join(reason for reason in reasons if reason) or None

    def setup(self) -> None:
        """Load the model."""
        super().setup()
        self._engine = import_module("sglang").Engine(**self.arguments())

    def close(self) -> None:
        """End the engine's processes."""
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    def arguments(self) -> dict[str, Any]:
        """What SGLang's engine is started with."""
        tokenizer = self.tokenizer or self.checkpoint
        return {
            "model_path": str(self.checkpoint.resolved()),
            "tokenizer_path": str(tokenizer.resolved()),
            "dtype": self.precision,
            "context_length": self.max_model_len,
            "mem_fraction_static": self.memory_share,
            "grammar_backend": "xgrammar",
            "random_seed": 0,
            "log_level": "warning",
            **self.engine,
        }

    def ask(self, questions: Sequence[Question]) -> Sequence[Reply | Exception]:
        """Answer questions in one call of the engine."""
        answers = self._engine.generate(
            prompt=[self.prompt(question) for question in questions],
            sampling_params=[self.sampling(question) for question in questions],
            image_data=[[data_url(jpeg) for jpeg in question.jpegs] for question in questions],
        )
        return [self.reply(one) for one in answers]

    def sampling(self, question: Question) -> dict[str, Any]:
        """SGLang's sampling parameters for a question."""
        return {
            "temperature": 0,
            "max_new_tokens": self.max_tokens,
            "json_schema": json.dumps(question.prompt.schema),
        }

    def reply(self, said: Mapping[str, Any]) -> Reply:
        """SGLang's answer to one question, as ours."""
        meta = said["meta_info"]
        return Reply(
            text=said["text"],
            model=self.checkpoint.name,
            cut=(meta.get("finish_reason") or {}).get("type") == "length",
            input_tokens=meta.get("prompt_tokens"),
            output_tokens=meta.get("completion_tokens"),
            cached_tokens=meta.get("cached_tokens"),
            dollars=0.0,
        )

    def prompt(self, question: Question) -> str:
        """The words of a question, with a placeholder for each picture."""
        return Template(self.template).substitute(
            system=question.prompt.system,
            pictures=self.picture * len(question.jpegs),
            question=f"{question.text}\n\n{question.again}".rstrip(),
        )
