"""What an hour of video costs in tokens and dollars, by tier: nothing is asked to know it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..actors.prices import Prices, Usage, image_tokens
from ..actors.prompts import PROMPTS, prompt_for
from .moments import Choice


@dataclass(frozen=True, kw_only=True)
class Words:
    """How long questions and answers are, until a run has notes whose tokens were counted.

    Attributes:
        bytes_per_token: Of a prompt's text.
        overhead: Tokens that the API adds to a question: roles, its own words on the schema.
        transcript: Characters that are said in a moment.
        context: Characters of what the other models found there.
        answer: Length of an answer, as a share of the longest that its schema allows.
        thinking: Tokens that the model thinks before it answers; they are billed as output.
    """

    bytes_per_token: float = 3.5
    overhead: float = 100.0
    transcript: int = 120
    context: int = 220
    answer: float = 0.6
    thinking: float = 0.0

    def __post_init__(self) -> None:
        if not self.bytes_per_token > 0:
            raise ValueError(
                f"`bytes_per_token` must be greater than 0, but is {self.bytes_per_token:g}."
            )
        if not 0 <= self.answer <= 1:
            raise ValueError(f"`answer` must be from 0 to 1, but is {self.answer:g}.")
        for name in ("overhead", "transcript", "context", "thinking"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, but is {getattr(self, name):g}.")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Questions of one kind.

    Attributes:
        kind: Of the question; see `actors.prompts`.
        per_hour: How many for an hour of video.
        pictures: In each.
        size: Width and height of a picture as it is sent, pixels.
        usage: Tokens of one, as they were counted in notes of the run; `None`: not counted yet.
    """

    kind: str
    per_hour: float
    pictures: float
    size: tuple[int, int]
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What an hour of video costs in one tier.

    Attributes:
        tier: Its name.
        model: Who is asked; `None`: nobody who is paid.
        questions: For an hour of video.
        pictures: For an hour of video.
        image_tokens: Of the pictures; part of `input_tokens`.
        input_tokens: All that goes in.
        output_tokens: All that comes out.
        dollars: For an hour of video.
        batch: The same, asked in batches.
        most: The same, if every answer were as long as it may be.
    """

    tier: str
    model: str | None = None
    questions: float = 0.0
    pictures: float = 0.0
    image_tokens: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    dollars: float = 0.0
    batch: float | None = None
    most: float = 0.0

    def plus(self, dollars: float) -> "Bill":
        """The same, with more dollars for an hour of video."""
        batch = None if self.batch is None else self.batch + dollars
        return replace(self, dollars=self.dollars + dollars, batch=batch, most=self.most + dollars)


def text_tokens(kind: str, pictures: int, words: Words) -> float:
    """Tokens of a question's text: what is asked, in which form, and what is known of the moment.

    Args:
        kind: Of the question.
        pictures: Shown with it; their times stand in the text.
        words: How long the parts are that differ between moments.
    """
    prompt = PROMPTS[kind]
    moment = {
        "reason": "incongruence: " + "x" * 60,
        "speaker": "SPEAKER_00",
        "text": "x" * words.transcript,
        "context": "x" * words.context,
        "start_s": 1800.0,
        "stop_s": 1806.0,
        "pictures": [{"time_s": 1800.0 + i} for i in range(pictures)],
    }
    # The schema goes in twice: in words, and as the format that the API enforces.
    whole = prompt.system + prompt.text(moment) + json.dumps(prompt.schema)
    return len(whole.encode()) / words.bytes_per_token + words.overhead


def answer_tokens(kind: str, words: Words) -> float:
    """Tokens of an answer, and of the thinking before it."""
    longest = len(json.dumps(_longest(prompt_for(kind).schema)))
    return words.answer * longest / words.bytes_per_token + words.thinking


def _longest(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The longest value that a schema allows."""
    if "anyOf" in schema:
        return max((_longest(one) for one in schema["anyOf"]), key=lambda v: len(json.dumps(v)))
    if "enum" in schema:
        return max(schema["enum"], key=len)
    if schema["type"] == "object":
        return {name: _longest(one) for name, one in schema["properties"].items()}
    if schema["type"] == "array":
        return [_longest(schema["items"])] * schema["maxItems"]
    letters = "x" * schema.get("maxLength", 0)
    values = {"string": letters, "number": 0.25, "integer": 10, "boolean": False, "null": None}
    return values[schema["type"]]


def asks(choice: Choice, moments: Mapping[str, float], size: tuple[int, int]) -> tuple[Ask, ...]:
    """The questions that a choice of moments leads to, for an hour of video.

    Args:
        choice: Which moments.
        moments: How many there are of each kind, for an hour of video.
        size: Width and height of a picture as it is sent, pixels.
    """
    return tuple(
        Ask(
            kind=kind,
            per_hour=min(moments[kind], choice.most_per_hour),
            pictures=choice.frames,
            size=size,
        )
        for kind in choice.kinds
    )


def bill(
    tier: str,
    questions: Sequence[Ask],
    *,
    model: str,
    prices: Prices,
    words: Words,
    max_tokens: int,
    rule: str = "patches_28",
) -> Bill:
    """Sum up what the questions of an hour cost.

    The API's cache does not count: it keeps a system prompt from 1024 tokens on, and ours are
    shorter.

    Args:
        tier: Its name.
        questions: All that is asked.
        model: As the API names it.
        prices: Of tokens.
        words: How long questions and answers are that nobody has counted.
        max_tokens: At which an answer is cut.
        rule: How pictures are counted; see `image_tokens`.

    Raises:
        ValueError: The price of the model is not known.

    Example:
        >>> one = Ask(kind="flag", per_hour=100, pictures=4, size=(448, 252))
        >>> made = bill("hybrid", [one], model="claude-sonnet-5-5", prices=Prices.load(),
        ...             words=Words(), max_tokens=2000)
        >>> made.image_tokens, made.dollars < 1
        (57600.0, True)
    """
    shown = read = written = 0.0
    for one in questions:
        seen = one.pictures * image_tokens(*one.size, rule)
        if one.usage is None:
            text = text_tokens(one.kind, math.ceil(one.pictures), words)
            each = (seen + text, min(answer_tokens(one.kind, words), max_tokens))
        else:
            each = (float(one.usage.prompt), float(one.usage.output))
        shown += one.per_hour * seen
        read += one.per_hour * each[0]
        written += one.per_hour * each[1]
    count = sum(one.per_hour for one in questions)

    def dollars(output: float) -> float:
        return prices.dollars(model, Usage(input=round(read), output=round(output)))

    return Bill(
        tier=tier,
        model=model,
        questions=count,
        pictures=sum(one.per_hour * one.pictures for one in questions),
        image_tokens=shown,
        input_tokens=read,
        output_tokens=written,
        dollars=dollars(written),
        batch=dollars(written) * prices.batch,
        most=dollars(count * max_tokens),
    )


def electricity(hours: float | None, watts: float | None, usd_per_kwh: float | None) -> float:
    """Dollars for the current of a machine; 0 where its power and the price are not given.

    Args:
        hours: That it works for an hour of video; `None`: unknown.
        watts: That it draws.
        usd_per_kwh: Price of current.
    """
    if hours is None or watts is None or usd_per_kwh is None:
        return 0.0
    return hours * watts / 1e3 * usd_per_kwh


def sent(size: tuple[int, int] | None, *edges_px: int) -> tuple[int, int]:
    """Size of a picture as it is sent: within some longest edges, never enlarged.

    Args:
        size: Of the video, width and height; `None`: unknown, taken as 16:9 and large.
        edges_px: Longest edges that are allowed.

    Example:
        >>> sent(None, 448, 1568), sent((1080, 1920), 448), sent((320, 240), 448)
        ((448, 252), (252, 448), (320, 240))
    """
    width, height = size or (3840, 2160)
    scale = min(1.0, *(edge / max(width, height) for edge in edges_px))
    return max(1, round(width * scale)), max(1, round(height * scale))
