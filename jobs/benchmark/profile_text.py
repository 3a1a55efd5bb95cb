"""What the profile's own model says of the emotion of a text, without training."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...datasets.meld import EMOTIONS
from ...datasets.schema import KEY, LABELS, TEXT
from ..evaluation.extract import Extraction
from ..profile import Profile

MELD_NAMES: Mapping[str, str] = {
    **{label: label for label in LABELS},
    "angry": "anger",
    "happy": "joy",
    "sad": "sadness",
}
"""MELD's name of each canonical emotion."""
TOWARDS = 0.05
"""From which polarity on a text is positive or negative: the limit that VADER's authors give."""


@dataclass(frozen=True, kw_only=True)
class ProfileText:
    """The answers of the role `text_affect`.

    Attributes:
        model: Who answered.
        scores: `(row, label)` in the order of `EMOTIONS`; `None` where the model knows no classes.
        sentiment: `positive`, `negative` or `neutral` by the polarity, a word for each row.
        silent: How many rows have no answer; they count as neutral.
    """

    model: str
    scores: NDArray[np.float64] | None
    sentiment: list[str]
    silent: int


def asked(extraction: Extraction, rows: pa.Table, models: Profile) -> ProfileText | None:
    """Ask the profile's model about texts.

    Args:
        extraction: Runs the actor.
        rows: Utterances.
        models: The profile.

    Returns:
        What it says; `None` where the profile does not fill the role `text_affect`.
    """
    stages = models.stages(["text_affect"]) if models.roles.get("text_affect") else ()
    if not stages:
        return None
    table = extraction.table("text_affect", {"text_affect": stages[0].actor}, manifest(rows))
    ids = rows["id"].to_pylist()
    columns = ["id", "text_polarity", "text_scores"]
    found = {row["id"]: row for row in table.read(columns, ids=ids, status="ok").to_pylist()}
    polarity = [found[name]["text_polarity"] if name in found else None for name in ids]
    given = [found[name]["text_scores"] if name in found else None for name in ids]
    return ProfileText(
        model=stages[0].provenance()["model"],
        scores=_scores(given) if any(given) else None,
        sentiment=[sentiment(one) for one in polarity],
        silent=sum(one is None for one in polarity),
    )


def manifest(rows: pa.Table) -> pa.Table:
    """Utterances as rows for an actor that reads `text`."""
    count = len(rows)
    columns = {
        "id": rows["id"],
        "video_id": rows["group"],
        "uri": rows["group"],
        "start_s": pa.nulls(count, pa.float64()),
        "stop_s": pa.nulls(count, pa.float64()),
        "text": rows["text"],
    }
    return pa.table(columns, schema=pa.schema([*KEY, ("text", TEXT)]))


def sentiment(polarity: float | None) -> str:
    """A polarity from -1 to 1 as one of three words; an unknown one is neutral.

    Example:
        >>> [sentiment(x) for x in (0.05, -0.05, 0.049, None)]
        ['positive', 'negative', 'neutral', 'neutral']
    """
    if polarity is None or abs(polarity) < TOWARDS:
        return "neutral"
    return "positive" if polarity > 0 else "negative"


def _scores(given: list[list[dict] | None]) -> NDArray[np.float64]:
    """In the order of `EMOTIONS`; a row without an answer is surely neutral."""
    scores = np.zeros((len(given), len(EMOTIONS)))
    for row, one in zip(scores, given, strict=True):
        if not one:
            row[EMOTIONS.index("neutral")] = 1.0
        for item in one or ():
            row[EMOTIONS.index(MELD_NAMES[item["label"]])] = item["score"]
    return scores
