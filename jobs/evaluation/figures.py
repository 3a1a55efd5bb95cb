"""What a page of results shows beside its table; the page draws it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of answers, a row for each true label.

    Attributes:
        title: Above it.
        labels: Of rows and columns.
        matrix: `(label, label)` counts.
        note: Below it.
    """

    title: str
    labels: Sequence[str]
    matrix: NDArray
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Lines over one axis.

    Attributes:
        title: Above them.
        x: Where, in ascending order.
        lines: Values by name, each as long as `x`; NaN where there is none.
        x_name: What `x` is, with its unit.
        y_name: What the values are.
        note: Below them.
    """

    title: str
    x: Sequence[float]
    lines: Mapping[str, Sequence[float]]
    x_name: str = ""
    y_name: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name, values in self.lines.items():
            if len(values) != len(self.x):
                raise ValueError(
                    f"the line {name!r} must have {len(self.x)} values, as `x` has, but has "
                    f"{len(values)} (figure {self.title!r})."
                )


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of `Bars`.

    Attributes:
        name: Of the system.
        value: Where its mark stands.
        low: The interval's lower end, if there is one.
        high: Its upper end.
        kind: A `results.Kind`; decides how it is marked.
        note: Behind the name.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str = "system"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Values with their intervals, one below the other (a forest plot).

    Attributes:
        title: Above them.
        bars: From above.
        x_name: What the values are.
        note: Below them.
    """

    title: str
    bars: Sequence[Bar]
    x_name: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture with its words.

    Attributes:
        title: Above it.
        png: Its bytes, PNG or JPEG.
        caption: Below it.
    """

    title: str
    png: bytes
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures side by side.

    Attributes:
        title: Above them.
        pictures: In order.
        note: Below them.
    """

    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A table.

    Attributes:
        title: Above it.
        table: Numbers are shown with four digits, nulls as a dash.
        note: Below it.
    """

    title: str
    table: pa.Table
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of `Parallel`: of numbers, or of names.

    Attributes:
        name: Above it.
        low: Its lower end.
        high: Its upper end.
        log: Whether each factor has the same length; `low` is then greater than 0.
        names: Places from below; empty where it is of numbers.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One line of `Parallel`.

    Attributes:
        name: Shown when it is pointed at.
        values: A number or a name for each axis; `None` ends the line.
        strength: How dark it is, from 0 to 1.
        kind: `chosen` is drawn thick, `ended` dashed.
    """

    name: str
    values: Sequence[float | str | None]
    strength: float = 1.0
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Parallel coordinates: an axis for each quantity, a line across them for each thing.

    Attributes:
        title: Above them.
        axes: From the left.
        traces: Later ones lie above earlier ones.
        note: Below them.
    """

    title: str
    axes: Sequence[Axis]
    traces: Sequence[Trace]
    note: str = ""


Figure = Confusion | Curves | Bars | Pictures | Rows | Parallel
