"""What a benchmark or a training comes to."""

from dataclasses import dataclass, field

import pyarrow as pa

from .figures import Figure


@dataclass(kw_only=True)
class Outcome:
    """Predictions, the results drawn from them, and what has to be said with them.

    Attributes:
        title: Of the page.
        benchmark: Its name.
        labels: In the order of the predictions' scores.
        headline: The metric that ranks, a key of `scores.METRICS`.
        predictions: `PREDICTIONS`.
        results: `RESULTS`, anchors included.
        notes: The protocol, a sentence each: no number stands without them.
        figures: What else the page shows.
    """

    title: str
    benchmark: str
    labels: tuple[str, ...]
    headline: str
    predictions: pa.Table
    results: pa.Table
    notes: list[str]
    figures: list[Figure] = field(default_factory=list)
