"""Notes by any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama.

Whoever runs the server starts it, for example with

    vllm serve Qwen/Qwen2-VL-7B-Instruct --limit-mm-per-prompt '{"image": 8}'
    python -m sglang.launch_server --model-path lmms-lab/llava-onevision-qwen2-7b-ov --port 30000

the latter in an environment of its own, for SGLang clashes with vLLM by exact pins.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from .actor import MACHINE
from .answers import keyless
from .vlm import NoteTaker, Question, Reply

MODALITIES = ("image", "multi-images", "video")
"""As SGLang names them; nobody else wants them named."""


@dataclass(kw_only=True)
class OpenAIServer(NoteTaker):
    """Notes by the model behind a server.

    Attributes:
        base_url: Of the server, with the version: `http://127.0.0.1:8000/v1`.
        served: The model, as the server names it; null: the only one that it serves.
        licence: Of the model; one that forbids commercial use needs `licence.allow_nc=true`.
        api_key_env: Environment variable that holds the key; null: the server wants none.
        timeout_s: For one answer.
        retries: After a refusal for load (429), an error of the server (5xx) or of the connection,
            each after a longer wait, or the one that the server asks for.
        concurrency: Questions under way at once, per worker: a server batches what it has.
        structured: Whether the server is told the schema (`response_format`); one that cannot
            follow it answers as well as the prompt tells it to.
        modalities: What SGLang is told that the pictures are, `video` for LLaVA-NeXT-Video and its
            like; null: nothing, which every other server wants.
        dollars_per_mtok: Price of a million tokens read and written; null: unknown.
        extra: More fields of the request's body, which win over all above.
    """

    model = "vision-language model through a server"
    packages = ("openai",)
    remote = True

    base_url: str
    served: str | None = None
    licence: str = "as the model served"  # pyright: ignore[reportIncompatibleVariableOverride]
    api_key_env: str | None = None
    timeout_s: float = field(default=300.0, metadata=MACHINE)
    retries: int = field(default=5, metadata=MACHINE)
    concurrency: int = field(default=8, metadata=MACHINE)
    structured: bool = True
    modalities: str | None = None
    dollars_per_mtok: tuple[float, float] | None = field(default=(0.0, 0.0), metadata=MACHINE)
    extra: dict[str, Any] = field(default_factory=dict)
    cpus: float = field(default=0.5, metadata=MACHINE)
    memory_gb: float = field(default=0.3, metadata=MACHINE)
    batch_size: int = field(default=32, metadata=MACHINE)
    _name: str = field(default="", init=False, repr=False, compare=False, metadata=MACHINE)
    _client: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(
                "`base_url` must begin with http:// or https://, as http://127.0.0.1:8000/v1, "
                f"but is {self.base_url!r}."
            )
        keyless(self.base_url)
        if self.modalities is not None and self.modalities not in MODALITIES:
            raise ValueError(
                f"`modalities` must be one of {', '.join(MODALITIES)}, or null, "
                f"but is {self.modalities!r}."
            )
        if self.concurrency < 1:
            raise ValueError(f"`concurrency` must be at least 1, but is {self.concurrency}.")
        if self.retries < 0:
            raise ValueError(f"`retries` must not be negative, but is {self.retries}.")
        if self.timeout_s <= 0:
            raise ValueError(f"`timeout_s` must be greater than 0, but is {self.timeout_s:g}.")
        if self.dollars_per_mtok is not None:
            read, written = self.dollars_per_mtok
            self.dollars_per_mtok = (read, written)

    def missing(self) -> str | None:
        """Why the server cannot be asked; it is not called here."""
        reasons = [super().missing()]
        if self.api_key_env is not None and not os.environ.get(self.api_key_env):
            reasons.append(f"needs the key of {self.base_url} in the variable {self.api_key_env}")
        return "; ".join(reason for reason in reasons if reason) or None

    def identity(self) -> dict[str, Any]:
        """What changes the answer: where it is asked only while nobody says which model it is."""
        own = super().identity()
        without = {"api_key_env", "licence", *(["base_url"] if self.served else [])}
        return {name: value for name, value in own.items() if name not in without}

    def provenance(self) -> dict[str, str]:
        """The model, as the server names it, and where it was asked."""
        return {
            "model": self.served or "the server's",
            "revision": self.base_url,
            "licence": self.licence,
        }

    def setup(self) -> None:
        """Find the server and its model.

        Raises:
            RuntimeError: The server does not answer, or does not serve the model.
        """
        super().setup()
        import openai

        key = os.environ.get(self.api_key_env, "") if self.api_key_env else "EMPTY"
        self._client = openai.OpenAI(
            base_url=self.base_url,
            api_key=key,
            timeout=self.timeout_s,
            max_retries=self.retries,
        )
        try:
            names: list[str] = [model.id for model in self._client.models.list()]
        except openai.OpenAIError as error:
            raise RuntimeError(
                f"the server at {self.base_url} does not say what it serves: {reason(error)}"
            ) from error
        if self.served is None and len(names) == 1:
            self._name = names[0]
        elif self.served is not None and self.served in names:
            self._name = self.served
        else:
            raise RuntimeError(
                f"`served` must be one of the models of {self.base_url} "
                f"({', '.join(map(repr, names)) or 'none'}), but is {self.served!r}."
            )

    def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(self, questions: Sequence[Question]) -> Sequence[Reply | Exception]:
        """Ask all, `concurrency` at a time; each fails on its own."""
        with ThreadPoolExecutor(max_workers=min(self.concurrency, len(questions))) as threads:
            return list(threads.map(self._asked, questions))

    def _asked(self, question: Question) -> Reply | Exception:
        import openai

        try:
            return self._reply(self._client.chat.completions.create(**self.body(question)))
        except openai.OpenAIError as error:
            return RuntimeError(f"{self.base_url} did not answer: {reason(error)}")

    def body(self, question: Question) -> dict[str, Any]:
        """The request for one question."""
        schema = {"name": question.prompt.name, "schema": dict(question.prompt.schema)}
        return {
            "model": self._name,
            "messages": question.messages([self._shown(jpeg) for jpeg in question.jpegs]),
            "max_tokens": self.max_tokens,
            "temperature": 0.0,
            "seed": 0,
            **(
                {"response_format": {"type": "json_schema", "json_schema": schema}}
                if self.structured
                else {}
            ),
            "extra_body": self.extra,
        }

    def _shown(self, jpeg: bytes) -> dict[str, Any]:
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": data_url(jpeg)}}
        return part if self.modalities is None else part | {"modalities": self.modalities}

    def _reply(self, completion: Any) -> Reply | Exception:  # noqa: ANN401
        if not completion.choices:
            return RuntimeError(f"{self.base_url} answered without a choice.")
        choice, usage = completion.choices[0], completion.usage
        tokens = {} if usage is None else usage.model_dump()
        refusal = getattr(choice.message, "refusal", None)
        if refusal:
            return RuntimeError(f"{completion.model} refused: {refusal[:500]}")
        return Reply(
            text=choice.message.content or "",
            model=completion.model or self._name,
            cut=choice.finish_reason == "length",
            input_tokens=tokens.get("prompt_tokens"),
            output_tokens=tokens.get("completion_tokens"),
            cached_tokens=(tokens.get("prompt_tokens_details") or {}).get("cached_tokens"),
            dollars=self._dollars(tokens),
            request_id=completion.id,
        )

    def _dollars(self, tokens: Mapping[str, Any]) -> float | None:
        if self.dollars_per_mtok is None or "prompt_tokens" not in tokens:
            return None
        read, written = self.dollars_per_mtok
        return (read * tokens["prompt_tokens"] + written * tokens["completion_tokens"]) / 1e6


def data_url(jpeg: bytes) -> str:
    """A picture as a URL that holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def reason(error: Exception) -> str:
    """An error of the client with its cause, which a "Connection error" hides."""
    cause = "" if error.__cause__ is None else f" ({error.__cause__})"
    return f"{type(error).__name__}: {error}{cause}"[:1000]
