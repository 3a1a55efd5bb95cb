"""What an API's tokens cost: a dated table, and the arithmetic of a bill."""

import json
import math
import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

TABLE = Path(__file__).with_name("prices.json")
PATCH_PX = 28
IMAGE_RULES = ("patches_28", "legacy_750")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one call, as the server counted them; no token stands in two of them.

    Attributes:
        input: Read at the full price.
        output: Written by the model.
        write: Put into the prompt cache, by the time they are kept for (`5m`, `1h`).
        read: Taken from the prompt cache.
    """

    input: int = 0
    output: int = 0
    write: dict[str, int] = field(default_factory=dict)
    read: int = 0

    @property
    def prompt(self) -> int:
        """All tokens that went in, at whatever price."""
        return self.input + self.read + sum(self.write.values())


@dataclass(frozen=True, kw_only=True)
class Price:
    """Of one model.

    Attributes:
        input: Dollars per million tokens.
        output: Dollars per million tokens.
        cache_read: Of the price of input.
        most_input: Longest prompt, in tokens, that the price is known for.
    """

    input: float
    output: float
    cache_read: float = 0.1
    most_input: int | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cache_read"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must be at least 0, but is {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class Prices:
    """A table of prices.

    Attributes:
        as_of: The day on which it was true.
        models: Price by model, without the date that an exact id ends with.
        cache_write: What a token put into the cache costs, of the price of input, by its time.
        batch: What a batch costs, of the price of single messages.
        end_of_life: The day on which a deprecated model ends.
    """

    as_of: date
    models: dict[str, Price]
    cache_write: dict[str, float]
    batch: float
    end_of_life: dict[str, date]

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Prices":
        """Read a table: by default the one that comes with the package."""
        found = json.loads(Path(path or TABLE).expanduser().read_text())
        return cls(
            as_of=date.fromisoformat(found["as_of"]),
            models={name: Price(**price) for name, price in found["models"].items()},
            cache_write=found["cache_write"],
            batch=found["batch"],
            end_of_life={n: date.fromisoformat(day) for n, day in found["end_of_life"].items()},
        )

    def of(self, model: str) -> Price:
        """Price of a model.

        Raises:
            ValueError: The table does not have it, so that no budget could be kept.
        """
        name = bare(model)
        if name not in self.models:
            raise ValueError(
                f"`name` must be a model whose price is known ({', '.join(self.models)}), but is "
                f"{model!r}. Copy {TABLE.name}, add its price and name the file in `prices`."
            )
        return self.models[name]

    def ends(self, model: str) -> date | None:
        """The day on which a model ends; `None` where no end is announced."""
        return self.end_of_life.get(bare(model))

    def dollars(self, model: str, usage: Usage, *, batch: bool = False) -> float:
        """What a call has cost.

        Example:
            >>> Prices.load().dollars("claude-sonnet-5-5", Usage(input=100_000, output=10_000))
            0.3
        """
        price = self.of(model)
        read_in = usage.input + price.cache_read * usage.read
        written = sum(self.cache_write[ttl] * count for ttl, count in usage.write.items())
        cost = (read_in + written) * price.input + usage.output * price.output
        return cost * (self.batch if batch else 1.0) / 1e6

    def worst(
        self, model: str, tokens: int, most_output: int, *, ttl: str | None, batch: bool = False
    ) -> float:
        """The most that a call can cost: all of its prompt written to the cache, and a full answer.

        Args:
            model: As the API names it.
            tokens: Of the prompt.
            most_output: Tokens at which the answer is cut.
            ttl: How long the prompt is kept in the cache; `None`: it is not.
            batch: Whether it goes into a batch.

        Raises:
            ValueError: The prompt is longer than the price is known for.
        """
        most = self.of(model).most_input
        if most is not None and tokens > most:
            raise ValueError(
                f"the prompt must have at most {most} tokens, as far as the price of {model} is "
                f"known, but has {tokens}. Send fewer or smaller pictures."
            )
        # A cache that is read is cheaper than none, so writing is the worst that it can do.
        usage = Usage(input=tokens) if ttl is None else Usage(write={ttl: tokens})
        out = Usage(output=most_output)
        return self.dollars(model, usage, batch=batch) + self.dollars(model, out, batch=batch)


def bare(model: str) -> str:
    """A model's name without the date of an exact id.

    Example:
        >>> bare("claude-haiku-4-5-20251001")
        'claude-haiku-4-5'
    """
    return re.sub(r"(-\d{8}|-latest)$", "", model)


def image_tokens(width: int, height: int, rule: str = "patches_28") -> int:
    """Tokens of one picture.

    Args:
        width: Pixels, as sent.
        height: Pixels, as sent.
        rule: `patches_28` counts patches of 28 x 28 pixels, each begun one whole: it fits the
            published measurements of current models exactly. `legacy_750` is the older
            approximation, width x height / 750.

    Example:
        >>> image_tokens(1920, 1080), image_tokens(1000, 1000, "legacy_750")
        (2691, 1334)
    """
    if rule == "legacy_750":
        return math.ceil(width * height / 750)
    if rule == "patches_28":
        return math.ceil(width / PATCH_PX) * math.ceil(height / PATCH_PX)
    raise ValueError(f"`rule` must be one of {', '.join(IMAGE_RULES)}, but is {rule!r}.")
