"""What a parameter may be, and how that is written."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """A real number.

    Attributes:
        low: The least.
        high: The most.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)

    def ends(self) -> Sequence[float]:
        """Both borders."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:  # noqa: ANN401
        """Whether a number lies between the borders."""
        return _is_number(value) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class LogUniform(Uniform):
    """A positive real number, each factor of which is as likely as any other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"`low` of a LogUniform must be greater than 0, but is {self.low:g}.")


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number.

    Attributes:
        low: The least.
        high: The most; it may be taken, too.
        log: Whether each factor is as likely as any other.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)
        if self.log and self.low < 1:
            raise ValueError(f"`low` must be at least 1 where `log` is true, but is {self.low}.")

    def ends(self) -> Sequence[int]:
        """Both borders."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:  # noqa: ANN401
        """Whether it is a whole number between the borders."""
        return _is_number(value) and value == int(value) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values: text, numbers, true or false, null, lists of them.

    Attributes:
        of: The values.
    """

    of: Sequence[Any]

    def __post_init__(self) -> None:
        if len(set(self.names)) < max(2, len(self.of)):
            raise ValueError(
                f"`of` must hold at least 2 values, each once, but is {written(list(self.of))}."
            )

    @property
    def names(self) -> list[str]:
        """The values as they are written."""
        return [written(value) for value in self.of]

    def ends(self) -> Sequence[Any]:
        """All of them."""
        return self.of

    def holds(self, value: Any) -> bool:  # noqa: ANN401
        """Whether it is one of them."""
        return written(value) in self.names


Domain = Uniform | Integer | Choice
"""The values that a parameter may take."""


def flattened(space: Mapping[str, Any], prefix: str = "") -> dict[str, Domain]:
    """The domains of a nested space, by dotted key.

    Raises:
        ValueError: Something in it is no domain, or there is none.

    Example:
        >>> flattened({"benchmark": {"text": {"c": Choice(of=[1, 2])}}})
        {'benchmark.text.c': Choice(of=[1, 2])}
    """
    found: dict[str, Domain] = {}
    for name, node in space.items():
        key = f"{prefix}{name}"
        if isinstance(node, Mapping):
            found |= flattened(node, f"{key}.")
        elif isinstance(node, Domain):
            found[key] = node
        else:
            raise ValueError(
                f"`sweep.space.{key}` must be a Uniform, LogUniform, Integer or Choice "
                f"(`_target_: mien.jobs.sweep.domains.Uniform`), but is {node!r}."
            )
    if not found and not prefix:
        raise ValueError("`sweep.space` must hold at least one parameter, but is empty.")
    return found


def written(value: Any) -> str:  # noqa: ANN401
    """A value as it is written on the command line.

    Example:
        >>> written(None), written(True), written(0.25), written(["text", "audio"]), written("a b")
        ('null', 'true', '0.25', '[text,audio]', "'a b'")
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{','.join(map(written, value))}]"
        case str():
            plain = value.isascii() and all(char.isalnum() or char in "_-./" for char in value)
            word = value and plain and value.lower() not in ("null", "true", "false", "nan", "inf")
            return value if word and not _reads_as_number(value) else f"'{_escaped(value)}'"
        case _:
            return repr(value)


def override(key: str, value: Any) -> str:  # noqa: ANN401
    """A parameter as a word of the command line.

    Example:
        >>> override("benchmark.text.c", 0.5)
        'benchmark.text.c=0.5'
    """
    return f"{key}={written(value)}"


def brief(parameters: Mapping[str, Any]) -> str:
    """Parameters to be read by people: numbers with four digits.

    Example:
        >>> brief({"benchmark.c": 0.123456, "benchmark.kind": "l2"})
        'benchmark.c=0.1235 benchmark.kind=l2'
    """
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else override(key, value)
        for key, value in parameters.items()
    )


def _escaped(text: str) -> str:
    """As Hydra reads it between quotes: a backslash counts only before a quote, or at the end."""
    return re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", text))


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _ordered(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"`low` and `high` must be finite, but are {low:g} and {high:g}.")
    if low >= high:
        raise ValueError(f"`low` must be less than `high` ({high:g}), but is {low:g}.")
