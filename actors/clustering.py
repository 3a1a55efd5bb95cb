"""Clustering of voices: from one embedding per window to turns.

Pure: no audio and no model. Spans are `(n, 2)` float64, start and stop in seconds, in order.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

SAMPLE = 2000
"""Windows that the first, quadratic clustering looks at; the others join the nearest cluster."""


class Turn(NamedTuple):
    """Somebody speaks, from `start_s` to `stop_s`."""

    start_s: float
    stop_s: float
    speaker: int


class Likelihood(NamedTuple):
    """Whether two clusters are two speakers: the two-covariance model, with equal variances.

    A speaker's voice is normal with variance `between` about the recording's. The mean of a cluster
    of `t` seconds is normal about it, with variance `within * (1 + short_s / t)`: manner and
    sentence shift a voice however long it is heard, and a short piece holds few sounds.

    Attributes:
        between: Variance of voices, per coordinate.
        within: Variance of one voice from occasion to occasion, per coordinate.
        short_s: Speech at which chance doubles `within`.
    """

    between: float
    within: float
    short_s: float

    def of_two(self, means: Floats, speech_s: Floats) -> Floats:
        """Log likelihood ratio of two speakers against one, `(k, k)`, for each pair of clusters.

        Args:
            means: `(k, d)`.
            speech_s: `(k,)`, greater than 0.
        """
        variance = self.within * (1 + self.short_s / speech_s)
        one = variance[:, None] + variance
        two = one + 2 * self.between
        squared = _squared_distances(means, means)
        return (squared * (1 / one - 1 / two) - means.shape[1] * np.log(two / one)) / 2


def windows(spans: Floats, *, length_s: float, hop_s: float) -> tuple[Floats, Ints]:
    """Cut spans into windows of equal length that overlap.

    Args:
        spans: Speech; windows never reach out of their span.
        length_s: Of a window; a shorter span is one window.
        hop_s: Most between two windows' starts.

    Returns:
        Windows `(n, 2)`, in order, and for each the index of its span.

    Example:
        >>> cut, span = windows(np.array([[0.0, 2.0], [3.0, 3.5]]), length_s=1.0, hop_s=0.5)
        >>> cut.tolist(), span.tolist()
        ([[0.0, 1.0], [0.5, 1.5], [1.0, 2.0], [3.0, 3.5]], [0, 0, 0, 1])
    """
    starts, stops, owners = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, np.int64)]
    for i, (start, stop) in enumerate(spans):
        slack = max(stop - start - length_s, 0.0)
        first = start + np.linspace(0, slack, int(np.ceil(slack / hop_s - 1e-9)) + 1)
        starts.append(first)
        stops.append(np.minimum(first + length_s, stop))
        owners.append(np.full(len(first), i))
    return np.stack([np.concatenate(starts), np.concatenate(stops)], 1), np.concatenate(owners)


def shares(cut: Floats, span: Ints) -> Floats:
    """Share the length of each span out among its windows, `(n,)`, in seconds.

    Example:
        >>> shares(np.array([[0.0, 1.0], [1.0, 2.0], [3.0, 3.5]]), np.array([0, 0, 1]))
        array([1. , 1. , 0.5])
    """
    _, first, inverse, count = np.unique(
        span, return_index=True, return_inverse=True, return_counts=True
    )
    length_s = cut[first + count - 1, 1] - cut[first, 0]
    return (length_s / count)[inverse]


def smooth(scores: Floats, switch_cost: Floats) -> Ints:
    """Find the best sequence of states where changing state costs something (Viterbi).

    Args:
        scores: `(n, k)`, higher is better.
        switch_cost: `(n,)`, the cost of leaving the state of the step before; the first is unused.

    Returns:
        One state per step, `(n,)`.
    """
    n, k = scores.shape
    came_from = np.zeros((n, k), np.int64)
    states = np.arange(k)
    best = scores[0].astype(np.float64)
    for i in range(1, n):
        top = int(best.argmax())
        jump = best[top] - switch_cost[i]
        came_from[i] = np.where(best >= jump, states, top)
        best = np.maximum(best, jump) + scores[i]
    path = np.empty(n, np.int64)
    path[-1] = best.argmax()
    for i in range(n - 1, 0, -1):
        path[i - 1] = came_from[i, path[i]]
    return path


def cluster(
    embeddings: Floats,
    span: Ints,
    seconds: Floats,
    *,
    likelihood: Likelihood,
    switch_cost: float,
    min_speech_s: float = 0.0,
    min_speakers: int = 1,
    max_speakers: int = 10,
) -> Ints:
    """Say which windows one speaker spoke.

    Starts with too many clusters (Ward), then in turn smooths over time and merges the two that
    are likeliest one speaker, until all are likelier two, none is smaller than `min_speech_s` and
    no more than `max_speakers` are left. Smoothing before each merge keeps windows that straddle a
    change from bridging two speakers. Time grows linearly with the number of windows.

    Args:
        embeddings: `(n, d)`.
        span: For each window the index of its span; changing speaker between spans is free.
        seconds: For each window the speech it stands for, see `shares`.
        likelihood: Of two speakers.
        switch_cost: Of changing speaker within a span, in halves of a squared distance.
        min_speech_s: A cluster with less joins the likeliest other.
        min_speakers: Merging stops here; there may still be fewer, if fewer are found.
        max_speakers: Merging goes on down to here.

    Returns:
        A cluster per window, `(n,)`, numbered from 0 in order of appearance.
    """
    if not len(embeddings):
        return np.zeros(0, np.int64)
    cost = np.where(np.diff(span, prepend=span[:1]) == 0, switch_cost, 0.0)
    means = _first_means(embeddings, 2 * max_speakers)
    while True:
        _, means = _assign(embeddings, means, cost)
        labels, means = _assign(embeddings, means, cost)
        if len(means) <= min_speakers:
            return by_appearance(labels)
        speech_s = np.bincount(labels, seconds).astype(np.float64)
        two = likelihood.of_two(means, speech_s)
        np.fill_diagonal(two, np.inf)
        a, b = np.unravel_index(two.argmin(), two.shape)
        if two[a, b] > 0 and len(means) <= max_speakers:
            b = speech_s.argmin()
            if speech_s[b] >= min_speech_s:
                return by_appearance(labels)
            a = two[b].argmin()
        _, means = _means(embeddings, np.where(labels == b, a, labels))


def by_appearance(labels: Ints) -> Ints:
    """Number labels from 0 in the order in which they first appear.

    Example:
        >>> by_appearance(np.array([7, 7, 2, 7, 5])).tolist()
        [0, 0, 1, 0, 2]
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def label_spans(spans: Floats, cut: Floats, span: Ints, labels: Ints) -> list[Turn]:
    """Split spans where the label of their windows changes.

    Args:
        spans: As given to `windows`.
        cut: The windows.
        span: Their spans.
        labels: Their speakers.

    Returns:
        Turns that cover the spans exactly; a change lies midway between the windows' centres.
    """
    centres = cut.mean(1)
    turns = []
    for i, (start, stop) in enumerate(spans):
        mine = np.arange(*np.searchsorted(span, [i, i + 1]))
        changes = [(a, b) for a, b in pairwise(mine) if labels[a] != labels[b]]
        edges = [start, *((centres[a] + centres[b]) / 2 for a, b in changes), stop]
        speakers = [labels[mine[0]], *(labels[b] for _, b in changes)]
        turns += [
            Turn(float(a), float(b), int(s))
            for (a, b), s in zip(pairwise(edges), speakers, strict=True)
        ]
    return turns


def merge(turns: Iterable[Turn], max_gap_s: float) -> list[Turn]:
    """Join turns of one speaker with a gap of at most `max_gap_s`, whoever speaks in between.

    Returns:
        In order of start, then stop; turns of different speakers may overlap.

    Example:
        >>> merge([Turn(0, 1, 0), Turn(1, 1.2, 1), Turn(1.2, 2, 0)], 0.5)
        [Turn(start_s=0, stop_s=2, speaker=0), Turn(start_s=1, stop_s=1.2, speaker=1)]
    """
    joined: list[Turn] = []
    last: dict[int, int] = {}  # speaker -> index of their last turn
    for turn in sorted(turns):
        i = last.get(turn.speaker)
        if i is not None and turn.start_s - joined[i].stop_s <= max_gap_s:
            joined[i] = joined[i]._replace(stop_s=max(joined[i].stop_s, turn.stop_s))
        else:
            last[turn.speaker] = len(joined)
            joined.append(turn)
    return sorted(joined)  # a turn that grew may now follow one with the same start


def exclusive(turns: Iterable[Turn]) -> list[Turn]:
    """Resolve overlaps: at any time the turn that started last speaks.

    So an interjection cuts the longer turn in which it falls, and what remains of that goes on
    after it.

    Returns:
        Turns in order, without overlap, that cover exactly what `turns` cover; pieces of one
        speaker that touch are joined.

    Example:
        >>> exclusive([Turn(0, 3, 0), Turn(1, 2, 1)])  # doctest: +NORMALIZE_WHITESPACE
        [Turn(start_s=0, stop_s=1, speaker=0), Turn(start_s=1, stop_s=2, speaker=1),
         Turn(start_s=2, stop_s=3, speaker=0)]
    """
    ordered = sorted(turns)
    edges = sorted({edge for turn in ordered for edge in turn[:2]})
    pieces: list[Turn] = []
    active: list[Turn] = []
    following = 0
    for start, stop in pairwise(edges):
        active = [turn for turn in active if turn.stop_s > start]
        while following < len(ordered) and ordered[following].start_s <= start:
            if ordered[following].stop_s > start:
                active.append(ordered[following])
            following += 1
        if not active:
            continue
        speaker = active[-1].speaker
        if pieces and pieces[-1].stop_s == start and pieces[-1].speaker == speaker:
            pieces[-1] = pieces[-1]._replace(stop_s=stop)
        else:
            pieces.append(Turn(start, stop, speaker))
    return pieces


def _means(embeddings: Floats, labels: Ints) -> tuple[Ints, Floats]:
    """Number the labels that occur from 0, and average the embeddings of each."""
    kinds, labels = np.unique(labels, return_inverse=True)
    return labels, np.stack([embeddings[labels == k].mean(0) for k in range(len(kinds))])


def _assign(embeddings: Floats, means: Floats, switch_cost: Floats) -> tuple[Ints, Floats]:
    """Give each window to a near mean, steadily over time, and average again."""
    return _means(embeddings, smooth(-_squared_distances(embeddings, means) / 2, switch_cost))


def _squared_distances(a: Floats, b: Floats) -> Floats:
    return np.stack([np.square(a - one).sum(1) for one in b], 1)


def _first_means(embeddings: Floats, count: int) -> Floats:
    """Means of at most `count` clusters by Ward's method, of a sample of evenly spaced windows."""
    from sklearn.cluster import AgglomerativeClustering

    chosen = np.linspace(0, len(embeddings) - 1, min(SAMPLE, len(embeddings))).astype(int)
    sample = embeddings[chosen]
    if len(sample) <= count:
        return sample
    ward = AgglomerativeClustering(n_clusters=count, linkage="ward")
    return _means(sample, ward.fit_predict(sample))[1]
