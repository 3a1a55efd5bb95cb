"""What all vision-language models share that take notes on moments, wherever they run."""

import hashlib
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa

from ..datasets.schema import NOTE
from .actor import MACHINE, Actor, answer
from .prompts import PROMPTS, MalformedAnswerError, Prompt, note, parsed, prompt_for


@dataclass(frozen=True, kw_only=True)
class Question:
    """One moment, as a model is asked about it.

    Attributes:
        prompt: Of its kind.
        text: The prompt, filled.
        times: Of the pictures, seconds.
        jpegs: The pictures, in order of time.
        rejected: The last answer and what is wrong with it, where the question is asked again.
    """

    prompt: Prompt
    text: str
    times: tuple[float, ...]
    jpegs: tuple[bytes, ...]
    rejected: tuple[str, str] | None = None

    @cached_property
    def shas(self) -> tuple[str, ...]:
        """A digest of each picture."""
        return tuple(hashlib.sha256(jpeg).hexdigest() for jpeg in self.jpegs)

    @cached_property
    def key(self) -> str:
        """A digest of all that is asked."""
        parts = (self.prompt.digest, self.text, str(self.times), *self.shas)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def again(self) -> str:
        """What is said to a model whose answer could not be used; empty the first time."""
        if self.rejected is None:
            return ""
        return (
            f"That could not be used: {self.rejected[1]} Give the whole answer again, shorter if "
            "it was cut off, as one JSON object that is valid against the schema."
        )

    def messages(self, shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The conversation, as chat templates and servers take it.

        Args:
            shown: The parts that stand for the pictures: before the words, as models prefer.
        """
        turns = [
            ("system", [_words(self.prompt.system)]),
            ("user", [*shown, _words(self.text)]),
        ]
        if self.rejected is not None:
            turns += [("assistant", [_words(self.rejected[0])]), ("user", [_words(self.again)])]
        return [{"role": role, "content": content} for role, content in turns]


SHOWN = 1000
"""Characters of a bad answer that the model is shown again."""


def _words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model said.

    Attributes:
        text: Its words.
        model: As the one who ran it names it.
        cut: Whether it was stopped at `max_tokens`.
        input_tokens: Read, pictures included.
        output_tokens: Written.
        cached_tokens: Those of `input_tokens` that stood in a cache.
        dollars: Paid for it; `None`: unknown.
        request_id: The server's.
    """

    text: str
    model: str
    cut: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    dollars: float | None = None
    request_id: str | None = None


@dataclass(kw_only=True)
class NoteTaker(Actor):
    """A vision-language model that answers the question of a moment.

    A malformed answer is asked for once more, with what was wrong; then the row fails. Answers and
    failures of the last batches are kept by content, so that the bisection of a failing batch
    finds the good answers where they are and asks nobody twice.

    Attributes:
        max_tokens: Of an answer; one that is longer is cut, hence malformed.
        most_pictures: Shown of a moment, evenly spread over those there are.
    """

    reads = ("kind", "reason", "speaker", "text", "context", "start_s", "stop_s", "pictures")
    adds = NOTE
    quality = "Not measured here: its answers are checked for form, not for truth."

    max_tokens: int = 1536
    most_pictures: int = 8
    batch_size: int = field(default=8, metadata=MACHINE)

    def __post_init__(self) -> None:
        for name in ("max_tokens", "most_pictures", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")

    @abstractmethod
    def ask(self, questions: Sequence[Question]) -> Sequence[Reply | Exception]:
        """Put questions to the model.

        Returns:
            For each question the reply, or why there is none where that is its own fault.

        Raises:
            Exception: Where no question could be answered.
        """

    def identity(self) -> dict[str, Any]:
        """What changes the answer: the parameters, the model, and the prompts."""
        return super().identity() | {"prompts": {k: p.digest for k, p in PROMPTS.items()}}

    def setup(self) -> None:
        """Forget all answers."""
        self._kept: OrderedDict[str, dict[str, Any] | Exception] = OrderedDict()

    def forget(self) -> None:
        """Forget all answers: the same question is asked again."""
        self._kept.clear()

    def process(self, rows: pa.Table) -> pa.Table:
        """Take a note on each moment; null where it has no picture, and is asked about some.

        Raises:
            Exception: The first failure in the batch; the other answers are kept.
        """
        asked = [self._question(row) for row in rows.select(self.reads).to_pylist()]
        while len(self._kept) > 4 * max(self.batch_size, len(asked)):
            self._kept.popitem(last=False)
        new = {q.key: q for q in asked if q is not None and q.key not in self._kept}
        if new:
            self._answer(list(new.values()))
        notes: list[dict[str, Any]] = []
        for question in asked:
            one = {} if question is None else self._kept[question.key]
            if isinstance(one, Exception):
                if len(asked) == 1 and question is not None:  # its row fails now: forget it
                    del self._kept[question.key]
                raise one
            notes.append(one)
        return answer({name: [one.get(name) for one in notes] for name in NOTE.names}, NOTE)

    def _question(self, row: Mapping[str, Any]) -> Question | None:
        pictures = [p for p in row["pictures"] or () if p["jpeg"]]
        prompt = prompt_for(row["kind"])
        if prompt.pictures and not pictures:
            return None
        shown = spread(pictures, self.most_pictures)
        return Question(
            prompt=prompt,
            text=prompt.text({**row, "pictures": shown}),
            times=tuple(p["time_s"] for p in shown),
            jpegs=tuple(p["jpeg"] for p in shown),
        )

    def _answer(self, questions: Sequence[Question]) -> None:
        """Fill `_kept`: ask all, and those whose answer is malformed once more."""
        again: dict[str, tuple[Question, Reply]] = {}
        for question, reply in zip(questions, self.ask(questions), strict=True):
            outcome = self._judged(question, [reply])
            if isinstance(reply, Reply) and isinstance(outcome, MalformedAnswerError):
                rejected = (reply.text[:SHOWN], str(outcome))
                again[question.key] = (replace(question, rejected=rejected), reply)
            else:
                self._kept[question.key] = outcome
        if not again:
            return
        seconds = self.ask([question for question, _ in again.values()])
        for (key, (question, first)), reply in zip(again.items(), seconds, strict=True):
            self._kept[key] = self._judged(question, [first, reply])

    def _judged(
        self, question: Question, replies: Sequence[Reply | Exception]
    ) -> dict[str, Any] | Exception:
        """The note that the last reply makes, with what all of them cost; or what is wrong."""
        last = replies[-1]
        if isinstance(last, Exception):
            return last
        try:
            if last.cut:
                raise MalformedAnswerError(
                    f"the answer to prompt '{question.prompt.title}' was cut off at `max_tokens` "
                    f"({self.max_tokens})."
                )
            found = note(parsed(question.prompt, last.text))
        except MalformedAnswerError as error:
            return error
        heard = [reply for reply in replies if isinstance(reply, Reply)]
        return {
            **found,
            **{name: total([getattr(reply, name) for reply in heard]) for name in COSTS},
            "prompt": question.prompt.title,
            "request_id": last.request_id,
            "answered_by": last.model,
        }


COSTS = ("input_tokens", "output_tokens", "cached_tokens", "dollars")


def total(values: Sequence[Any]) -> Any:  # noqa: ANN401
    """The sum; `None` where a part is unknown."""
    return None if None in values else sum(values)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many items, evenly spread, the first and the last among them.

    Example:
        >>> spread("abcdefg", 3)
        ['a', 'd', 'g']
    """
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def opened(question: Question) -> list[Any]:
    """The pictures of a question as RGB images of Pillow.

    Raises:
        ValueError: One cannot be decoded; names its time.
    """
    from PIL import Image

    images = []
    for time_s, jpeg in zip(question.times, question.jpegs, strict=True):
        try:
            images.append(Image.open(BytesIO(jpeg)).convert("RGB"))
        except (OSError, SyntaxError) as error:
            raise ValueError(f"the picture at {time_s:.2f} s cannot be decoded: {error}") from error
    return images
