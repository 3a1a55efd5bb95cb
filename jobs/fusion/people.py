"""Who appears in a video: tracks of faces joined to persons across cuts and spans."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""The person of a track without any embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The persons of one video.

    Attributes:
        keys: `(track, 2)` int64: span (row of the watch table) and track within it, sorted.
        person: `(track,)` int32: index of the person, by first appearance; `UNKNOWN`.
        face: `(face,)` int32: the same for each face that was given.
    """

    keys: NDArray[np.int64]
    person: NDArray[np.int32]
    face: NDArray[np.int32]

    @property
    def count(self) -> int:
        """Number of persons."""
        return int(self.person.max(initial=UNKNOWN)) + 1

    def of(self, span: int, track: int) -> int:
        """The person of a track; `UNKNOWN` for a track that had no face."""
        hit = np.flatnonzero((self.keys == np.array([span, track])).all(axis=1))
        return int(self.person[hit[0]]) if len(hit) else UNKNOWN


def name(person: int) -> str | None:
    """`PERSON_00` for 0; `None` for `UNKNOWN`."""
    return None if person == UNKNOWN else f"PERSON_{person:02d}"


def people(
    *,
    span: NDArray[np.integer],
    track: NDArray[np.integer],
    time_s: NDArray[np.floating],
    embedding: NDArray[np.floating],
    weight: NDArray[np.floating] | None = None,
    likeness: float = 0.5,
) -> People:
    """Join the tracks of one video to persons.

    The faces of a track are averaged first; then the most alike groups of tracks are joined, by
    average linkage, as long as they are alike enough. Tracks that overlap in time are never one
    person.

    Args:
        span: `(face,)` index of the span a face comes from.
        track: `(face,)` track within the span.
        time_s: `(face,)` seconds from the start of the media.
        embedding: `(face, d)`, rows of length 1; NaN rows where there is none.
        weight: `(face,)` how much a face counts in its track's mean, for example its quality.
        likeness: Least mean cosine between two groups that are joined.
    """
    if not -1 <= likeness <= 1:
        raise ValueError(f"`likeness` must be between -1 and 1, but is {likeness:g}.")
    pairs = np.column_stack([span, track]).astype(np.int64).reshape(-1, 2)
    keys, index = np.unique(pairs, axis=0, return_inverse=True)
    index = index.ravel()
    count = len(keys)
    first_s, last_s = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first_s, index, time_s)
    np.maximum.at(last_s, index, time_s)

    seen = np.asarray(np.isfinite(embedding).all(axis=1))
    share = np.where(seen, np.maximum(1.0 if weight is None else weight, 1e-3), 0.0)
    mean = np.zeros((count, embedding.shape[1]))
    np.add.at(mean, index, share[:, None] * np.where(seen[:, None], embedding, 0.0))
    length = np.linalg.norm(mean, axis=1)
    known = np.flatnonzero(length > 0)
    mean = mean[known] / length[known, None]

    apart = (first_s[known, None] <= last_s[None, known]) & (
        first_s[None, known] <= last_s[known, None]
    )
    group = join(mean @ mean.T, apart, likeness)
    person = np.full(count, UNKNOWN, np.int32)
    person[known] = rank(group, first_s[known])
    return People(keys=keys, person=person, face=person[index])


def join(alike: NDArray[np.float64], apart: NDArray[np.bool_], least: float) -> NDArray[np.int64]:
    """Average linkage under constraints.

    Args:
        alike: `(n, n)` symmetric likeness.
        apart: `(n, n)` symmetric: pairs that may not be joined; the diagonal is ignored.
        least: Least mean likeness of two groups that are joined.

    Returns:
        `(n,)` int64: the group of each, named by one of its members.
    """
    count = len(alike)
    group = np.arange(count)
    if count < 2:
        return group
    size = np.ones(count)
    table = np.where(apart, -np.inf, alike)
    np.fill_diagonal(table, -np.inf)
    best = table.argmax(axis=1)
    while True:
        one = int(table[np.arange(count), best].argmax())
        other = int(best[one])
        if table[one, other] < least:
            return group
        # -inf stays -inf: a group inherits whom its members cannot be.
        row = (size[one] * table[one] + size[other] * table[other]) / (size[one] + size[other])
        row[[one, other]] = -np.inf
        table[one], table[:, one] = row, row
        table[other], table[:, other] = -np.inf, -np.inf
        size[one] += size[other]
        group[group == other] = one
        stale = np.flatnonzero((best == one) | (best == other))
        stale = np.union1d(stale, [one, other])
        best[stale] = table[stale].argmax(axis=1)
        better = row > table[np.arange(count), best]
        best[better] = one


def rank(group: NDArray[np.integer], first_s: NDArray[np.floating]) -> NDArray[np.int32]:
    """Number groups 0, 1, ... by when they are first seen; ties by the order given."""
    names, index = np.unique(group, return_inverse=True)
    start = np.full(len(names), np.inf)
    np.minimum.at(start, index, first_s)
    place = np.full(len(names), len(group))
    np.minimum.at(place, index, np.arange(len(group)))
    order = np.lexsort((place, start))
    number = np.empty(len(names), np.int32)
    number[order] = np.arange(len(names), dtype=np.int32)
    return number[index]
