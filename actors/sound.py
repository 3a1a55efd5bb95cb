"""Sound: the samples of rows that are spans of media."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..datasets.audio import RATE_HZ, Sound, read

GAP_S = 10.0
"""Spans of one file that lie closer than this are decoded together."""

Samples = Sound
Span = tuple[float, float]


def runs(spans: Sequence[Span], gap_s: float = GAP_S) -> list[list[int]]:
    """Group spans that are worth one decoding.

    Args:
        spans: Start and stop, in seconds, in any order.
        gap_s: The longest gap that is decoded rather than skipped.

    Returns:
        Indices into `spans`, grouped, by start.

    Example:
        >>> runs([(100, 101), (0, 2), (5, 6)])
        [[1, 2], [0]]
    """
    groups: list[list[int]] = []
    reach_s = -np.inf
    for i in sorted(range(len(spans)), key=lambda i: spans[i]):
        if not groups or spans[i][0] - reach_s > gap_s:
            groups.append([])
        groups[-1].append(i)
        reach_s = max(reach_s, spans[i][1])
    return groups


def sources(rows: pa.Table) -> list[str]:
    """Where the sound of each row is read: enhanced (`sound_uri`) where there is such."""
    uris = rows["uri"].to_pylist()
    if "sound_uri" not in rows.column_names:
        return uris
    enhanced = rows["sound_uri"].to_pylist()
    return [one or uri for one, uri in zip(enhanced, uris, strict=True)]


def listen(rows: pa.Table) -> list[Samples | None]:
    """Read the sound of each row; neighbouring spans of one file are decoded once.

    Args:
        rows: Has `uri`, `start_s`, `stop_s`, and perhaps `sound_uri`; a null bound is the media's
            own.

    Returns:
        Float32 mono at 16 kHz in [-1, 1] for each row, silent where there is no sound; `None` where
        the file has no sound at all.
    """
    spans_s = rows.select(["start_s", "stop_s"]).to_pylist()
    keys = [{**span, "uri": uri} for span, uri in zip(spans_s, sources(rows), strict=True)]
    heard: list[Samples | None] = [None] * len(keys)
    files: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        if key["start_s"] is None or key["stop_s"] is None:
            heard[i] = read(key["uri"], key["start_s"], key["stop_s"])
        else:
            files.setdefault(key["uri"], []).append(i)
    for uri, members in files.items():
        spans = [(keys[i]["start_s"], keys[i]["stop_s"]) for i in members]
        for group in runs(spans):
            start_s = min(spans[j][0] for j in group)
            sound = read(uri, start_s, max(spans[j][1] for j in group))
            for j in group:
                heard[members[j]] = _cut(sound, *spans[j], start_s)
    return heard


def _cut(sound: Samples | None, start_s: float, stop_s: float, origin_s: float) -> Samples | None:
    if sound is None:
        return None
    origin = round(origin_s * RATE_HZ)
    return sound[round(start_s * RATE_HZ) - origin : round(stop_s * RATE_HZ) - origin]
