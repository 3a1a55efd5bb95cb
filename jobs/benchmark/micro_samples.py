"""Micro-expression clips as systems read them: pictures, directions of motion, action units."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...actors.clip_flow import unpacked
from ...datasets.micro import unit_numbers
from ...datasets.table import Table

UNITS = 100
"""Action units are numbered below this."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Clips in memory, one entry of each array for each.

    Attributes:
        labels: Names of the classes, in order.
        ids: Of the rows.
        subjects: The persons, who never stand on both sides of a split.
        parts: The data set that each comes from.
        truth: Index of the class, int64.
        pictures: `(clip, side, side, 3)` uint8: grey apex, flow onset to apex, offset to apex.
        strain: `(clip, side, side)` uint8, 0 to the clip's own peak.
        directions: `(clip, 8, 8, 8)` float32, px, as `actors.flow.directions`.
        peaks: The clip's largest strain, px per px.
        units: `(clip, 100)` bool: the action units that were coded; none where none were.
    """

    labels: tuple[str, ...]
    ids: NDArray[np.str_]
    subjects: NDArray[np.str_]
    parts: NDArray[np.str_]
    truth: NDArray[np.int64]
    pictures: NDArray[np.uint8]
    strain: NDArray[np.uint8]
    directions: NDArray[np.float32]
    peaks: NDArray[np.float32]
    units: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, which: NDArray) -> "Samples":
        """Some of the clips, by index or by a mask."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "labels"}
        return Samples(labels=self.labels, **{name: one[which] for name, one in arrays.items()})

    def split(self, held: Sequence[str]) -> tuple["Samples", "Samples"]:
        """The clips of all other persons, and those of the persons who are held out.

        Raises:
            ValueError: Nobody is left on one side.
        """
        out = np.isin(self.subjects, list(held))
        if not out.any() or out.all():
            raise ValueError(
                f"holding out {', '.join(map(repr, held))} must leave clips on both sides, but "
                f"{out.sum()} of {len(out)} are held out."
            )
        learn, judge = self.of(~out), self.of(out)
        both = set(learn.subjects) & set(judge.subjects)
        if both:
            raise ValueError(f"a person must stand on one side, but {min(both)!r} does not.")
        return learn, judge


def gathered(clips: pa.Table, features: Table, labels: Sequence[str]) -> Samples:
    """Put clips and what was made of them together.

    Args:
        clips: `datasets.micro.CLIPS`.
        features: The table of `actors.clip_flow.ClipFlow` over them; rows that failed are left out.
        labels: The classes, in order.

    Raises:
        ValueError: No clip can be used, or all are of one person.
    """
    names = ["id", "flow_input", "flow_strain", "flow_directions", "strain_peak"]
    read = features.read(names, ids=clips["id"].to_pylist(), status="ok").to_pylist()
    made = {row["id"]: row for row in read}
    rows = [row for row in clips.to_pylist() if row["id"] in made]
    people = {row["subject"] for row in rows}
    if len(people) < 2:
        raise ValueError(
            f"leaving one person out needs usable clips of at least 2 persons, but there are "
            f"{len(people)}, of {len(rows)} clips: is `benchmark.path` the released folder?"
        )
    found = [made[row["id"]] for row in rows]
    units = np.zeros((len(rows), UNITS), bool)
    for at, row in enumerate(rows):
        units[at, [unit for unit in unit_numbers(row["aus"]) if unit < UNITS]] = True
    place = {label: number for number, label in enumerate(labels)}
    return Samples(
        labels=tuple(labels),
        ids=np.array([row["id"] for row in rows]),
        subjects=np.array([row["subject"] for row in rows]),
        parts=np.array([row["dataset"] for row in rows]),
        truth=np.array([place[row["label"]] for row in rows], np.int64),
        pictures=np.stack([unpacked(one["flow_input"]) for one in found]),
        strain=np.stack([unpacked(one["flow_strain"]) for one in found]),
        directions=np.array([one["flow_directions"] for one in found], np.float32).reshape(
            len(rows), 8, 8, 8
        ),
        peaks=np.array([one["strain_peak"] for one in found], np.float32),
        units=units,
    )
