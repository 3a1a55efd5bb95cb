"""Where questions go out to Claude and answers come in: paid for, parsed, kept."""

from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .answers import Answers
from .budget import Budget, Wish
from .claude_question import Question
from .prices import Prices, Usage
from .prompts import MalformedAnswerError, parsed

ASKED_TWICE = 2
"""A question whose answer is malformed is asked once more."""
UNCLEAR = (408, 504, 524)
"""Statuses of a gateway that gave up waiting: the model may have answered all the same."""
UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
"""Errors of the HTTP client before anything was sent."""


class RefusedError(RuntimeError):
    """The model declined to answer."""


class CutAnswerError(RuntimeError):
    """The answer was cut off at `max_tokens`, or the prompt fills the context window."""


@dataclass(kw_only=True)
class Desk:
    """What a worker asks Claude through.

    Attributes:
        client: The SDK's.
        model: As the API names it, and as it is priced.
        max_tokens: Of an answer.
        ttl: How long the system prompt is kept in the API's cache; `None`: it is not.
        margin: By how much the counted tokens are raised before money is promised for them.
        bought: Dollars that this worker has spent, by the question's digest.
    """

    client: Any
    model: str
    max_tokens: int
    ttl: str | None
    margin: float
    budget: Budget
    answers: Answers
    prices: Prices
    bought: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: bool = True

    def recall(self, asked: Question) -> dict[str, Any] | None:
        """The answer that was paid for before; settles its bill where a crash came in between."""
        record = self.answers.get(asked.digest)
        if record is not None:
            call = record["call"]
            if self.budget.states([call]).get(call) not in (None, "settled"):
                self._settle(record)
        return record

    def ask(self, asked: Question) -> dict[str, Any]:
        """Ask now, and once more where the answer is malformed.

        Returns:
            The record of the answer, which stands on disk.

        Raises:
            BudgetError: It does not fit in the budget; nothing was sent.
            RefusedError: The model declines.
            CutAnswerError: The answer has no end.
            MalformedAnswerError: Twice.
            anthropic.AnthropicError: The API failed, also after the SDK's own retries.
        """
        for last in range(1, ASKED_TWICE + 1):
            try:
                return self.collect(asked, *self._sent(asked))
            except MalformedAnswerError:
                if last == ASKED_TWICE:
                    raise
        raise AssertionError

    def wish(self, asked: Question, *, batch: bool = False) -> Wish:
        """What a question can cost at the most; counts its tokens.

        Raises:
            BudgetError: No question fits any more; nothing was sent, not even to be counted.
        """
        worst = self.prices.worst
        self.budget.check(worst(self.model, 0, self.max_tokens, ttl=None, batch=batch))
        tokens = round(self._counted(asked) * self.margin)
        dollars = worst(self.model, tokens, self.max_tokens, ttl=self.ttl, batch=batch)
        return Wish(dollars=dollars, digest=asked.digest, row=asked.row, model=self.model)

    def collect(
        self,
        asked: Question,
        call: str,
        message: Any,  # noqa: ANN401
        *,
        batch: bool = False,
    ) -> dict[str, Any]:
        """Read an answer: keep it, settle its bill, return its record.

        Raises:
            RefusedError: As `ask`; the bill is settled all the same, and so below.
            CutAnswerError: As `ask`.
            MalformedAnswerError: The text is not what was asked for.
        """
        usage = usage_of(message, self.ttl)
        dollars = self.prices.dollars(self.model, usage, batch=batch)
        self.bought[asked.digest] += dollars
        record = {
            "call": call,
            "prompt": asked.prompt.title,
            "model": message.model,
            "request_id": getattr(message, "_request_id", None) or message.id,
            "dollars": dollars,
            **asdict(usage),
        }
        try:
            record["answer"] = parsed(asked.prompt, text_of(message))
        except Exception:
            self._settle(record)
            raise
        self.answers.put(asked.digest, record)
        self._settle(record)
        return record

    def _settle(self, record: dict[str, Any]) -> None:
        usage = Usage(**{f.name: record[f.name] for f in fields(Usage)})
        rest = (record["dollars"], record["model"], record["request_id"])
        self.budget.settle(record["call"], usage, *rest)

    def _sent(self, asked: Question) -> tuple[str, Any]:
        """Send a question; every attempt of the SDK's has its own promise."""
        from anthropic.types import Message

        wish = self.wish(asked)
        answered: list[str] = []

        def attempt(request: Any, call_next: Any) -> Any:  # noqa: ANN401
            call = self.budget.promise(wish)
            try:
                response = call_next(request)
            except BaseException as error:
                unsent = type(error.__cause__).__name__ in UNSENT
                (self.budget.release if unsent else self.budget.lose)([call])
                raise
            if response.status_code < 400:
                answered.append(call)
            else:
                unclear = response.status_code in UNCLEAR
                (self.budget.lose if unclear else self.budget.release)([call])
            return response

        try:
            client = self.client.with_options(middleware=[attempt])
            message = client.messages.create(**asked.params)
            if not isinstance(message, Message) or not message.usage:
                raise TypeError(f"it is {message!r:.200}")
        except BaseException as error:
            self.budget.lose(answered)  # paid for, and nobody can read it
            if answered and isinstance(error, TypeError | ValueError | AttributeError):
                raise MalformedAnswerError(
                    f"the server's answer is no message: {error}."
                ) from error
            raise
        return answered[-1], message

    def _counted(self, asked: Question) -> int:
        """Tokens of the prompt, by the API; by our own estimate where it does not say."""
        from anthropic import AnthropicError, NotFoundError

        if self.counts:
            wanted = {k: v for k, v in asked.params.items() if k != "max_tokens"}
            try:
                client = self.client.with_options(max_retries=1)  # there is a way without it
                return int(client.messages.count_tokens(**wanted).input_tokens)
            except NotFoundError:  # a gateway that cannot count
                self.counts = False
            except (AnthropicError, ValueError, TypeError, AttributeError):
                pass
        return asked.tokens


def text_of(message: Any) -> str:  # noqa: ANN401
    """The words of a message.

    Raises:
        RefusedError: It is a refusal.
        CutAnswerError: It has no end.
    """
    if message.stop_reason == "refusal":
        details = message.stop_details
        why = (details and (details.explanation or details.category)) or "no reason given"
        raise RefusedError(f"the model declined to answer ({why}).")
    if message.stop_reason in ("max_tokens", "model_context_window_exceeded"):
        raise CutAnswerError(
            f"the answer was cut off after {message.usage.output_tokens} tokens "
            f"({message.stop_reason}): raise `max_tokens`, then `mien retry`."
        )
    return "".join(block.text for block in message.content if block.type == "text")


def usage_of(message: Any, ttl: str | None) -> Usage:  # noqa: ANN401
    """Tokens of a message; what was written to the cache counts as `ttl` where nobody says."""
    usage = message.usage
    write, kept = {"5m": 0, "1h": 0}, usage.cache_creation
    if kept is not None:
        write = {"5m": kept.ephemeral_5m_input_tokens, "1h": kept.ephemeral_1h_input_tokens}
    unsaid = (usage.cache_creation_input_tokens or 0) - sum(write.values())
    write[ttl or "5m"] += max(0, unsaid)
    return Usage(
        input=usage.input_tokens,
        output=usage.output_tokens,
        write={name: count for name, count in write.items() if count},
        read=usage.cache_read_input_tokens or 0,
    )
