"""What the page of EmoDB says beside its results."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..evaluation.figures import Figure, Rows
from ..evaluation.intervals import interval
from ..evaluation.predictions import of, systems
from ..evaluation.scores import scores
from .comparisons import compared, tabled
from .voice_systems import Voices, VoiceSystem

FEW = 20
"""With fewer speakers a bootstrap by speaker is too narrow."""


def notes(voices: Voices, shown: Mapping[str, VoiceSystem]) -> Iterator[str]:
    """The protocol, and what it cannot tell."""
    speakers = len(np.unique(voices.speakers))
    yield (
        f"{len(voices.truth)} clips of {speakers} speakers. Each speaker is held out once, and the "
        "answers are pooled. The emotions are acted: real voices are harder."
    )
    yield (
        "How strongly a classifier may fit is chosen on the other speakers, each of them left out "
        "in turn. Features and kinds of classifiers are those of the configuration."
    )
    if speakers < FEW:
        yield (
            f"Intervals draw whole speakers. There are only {speakers}: such an interval is too "
            "narrow, and says little about other speakers. The intervals by clip take clips as "
            "independent, which they are not."
        )
    if any(system.by_speaker for system in shown.values()):
        yield (
            "Transductive systems normalise each speaker's features over that "
            "speaker's own clips, without labels. That needs many clips of one speaker, with about "
            "the same mix of emotions as in training: do not compare them with the others."
        )
    unknown = sum(np.isnan(values).all(axis=1).sum() for values in voices.columns.values())
    if unknown:
        yield f"{unknown} descriptions of clips are missing, and taken as average ones."


def figures(
    table: pa.Table,
    labels: Sequence[str],
    metric: str,
    chosen: Sequence[Mapping[str, object]],
) -> list[Figure]:
    """Recall by speaker, intervals by clip, differences, and what was chosen.

    Args:
        table: `PREDICTIONS` of all systems; the others are compared with the first.
        labels: All there are, in their order.
        metric: The one that ranks.
        chosen: A line for each system and speaker held out.
    """
    names = systems(table)
    pairs = [compared(table, name, names[0], labels, metric) for name in names[1:]]
    held = {name: pa.string() for name in ("system", "held out")}
    strengths = dict.fromkeys(name for line in chosen for name in line if name not in held)
    schema = pa.schema({**held, **dict.fromkeys(strengths, pa.float64())})
    return [
        Rows(
            title="Mean recall by speaker",
            table=pa.Table.from_pylist([_by_speaker(of(table, name), labels) for name in names]),
            note="Over the labels that the speaker has.",
        ),
        Rows(
            title="Intervals by clip",
            table=pa.Table.from_pylist(
                [_by_clip(of(table, name), labels, metric) for name in names]
            ),
            note="As if clips of a speaker were independent of each other.",
        ),
        Rows(
            title=f"Differences to {names[0]}",
            table=tabled(pairs),
            note=f"Of the metric {metric}, with intervals by speaker; McNemar's test is by clip.",
        ),
        Rows(
            title="What was chosen on the other speakers",
            table=pa.Table.from_pylist(list(chosen), schema=schema),
            note="C of logistic, rbf and svm; shrinkage of lda.",
        ),
    ]


def _by_speaker(rows: pa.Table, labels: Sequence[str]) -> dict[str, object]:
    line: dict[str, object] = {"system": rows["system"][0].as_py()}
    for speaker in sorted(pc.unique(rows["group"]).to_pylist()):
        own = rows.filter(pc.equal(rows["group"], speaker))
        truth, given = own["truth"].to_pylist(), own["predicted"].to_pylist()
        line[speaker] = scores(truth, given, labels).balanced_accuracy
    return line


def _by_clip(rows: pa.Table, labels: Sequence[str], metric: str) -> dict[str, object]:
    truth, given, ids = (rows[name].to_pylist() for name in ("truth", "predicted", "id"))
    found = interval(truth, given, ids, labels, metric)
    return {
        "system": rows["system"][0].as_py(),
        metric: found.value,
        "low": found.low,
        "high": found.high,
    }
