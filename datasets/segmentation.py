"""How sound is cut for models that judge segments rather than utterances."""

from collections.abc import Iterable
from itertools import pairwise
from math import ceil, isfinite

Span = tuple[float, float]

MODES = ("fixed", "turns", "scenes", "voice_activity")
MIN_S, MAX_S = 1.0, 30.0
"""Of a segment: the encoder hears up to 30 s."""
PAUSE_S = 0.5
"""A shorter pause does not end a segment of voice activity."""
EVIDENCE = {
    "turns": ("turns", "run an actor of the role `diarize`"),
    "scenes": ("cuts", "watch the video"),
    "voice_activity": ("speech", "run an actor of the role `voice_activity`"),
}


def segment(
    mode: str,
    *,
    duration_s: float,
    pps: float = 0.2,
    turns: Iterable[Span] | None = None,
    cuts: Iterable[float] | None = None,
    speech: Iterable[Span] | None = None,
) -> list[Span]:
    """Cut sound into segments of at most 30 s.

    Args:
        mode: `fixed`: a segment every `1 / pps` seconds, at least 1 and at most 30, the last one
            dropped where it is shorter than a second; with `pps` 0 or less the file as a whole, up
            to 30 s. `turns`: one for each turn. `scenes`: one between each two cuts.
            `voice_activity`: one for each span of speech, across pauses below half a second.
            What is longer than 30 s is cut into equal parts.
        duration_s: Of the sound.
        pps: Predictions per second.
        turns: Start and stop of each, in any order; empty where nobody speaks.
        cuts: Times of the cuts.
        speech: Start and stop of each span.

    Returns:
        Start and stop of each segment, in seconds, in order.

    Raises:
        ValueError: An unknown mode, or one without what it cuts by.

    Example:
        >>> segment("fixed", duration_s=12.5, pps=0.2)
        [(0.0, 5.0), (5.0, 10.0), (10.0, 12.5)]
        >>> segment("turns", duration_s=70.0, turns=[(4.0, 44.0), (1.0, 3.0)])
        [(1.0, 3.0), (4.0, 24.0), (24.0, 44.0)]
    """
    given = {"turns": turns, "cuts": cuts, "speech": speech}
    if mode not in MODES:
        raise ValueError(f"`mode` must be one of {', '.join(MODES)}, but is {mode!r}.")
    if mode in EVIDENCE and given[EVIDENCE[mode][0]] is None:
        name, cure = EVIDENCE[mode]
        raise ValueError(f"`mode` {mode} needs `{name}`: {cure}, or choose the mode `fixed`.")
    if not 0 <= duration_s < float("inf"):
        raise ValueError(f"`duration_s` must be at least 0 and finite, but is {duration_s:g}.")
    if mode == "fixed":
        return _fixed(duration_s, pps)
    if mode == "turns":
        return _at_most(turns or ())
    if mode == "voice_activity":
        return _at_most(_joined(speech or ()))
    edges_s = [0.0, *sorted(t for t in cuts or () if 0 < t < duration_s), float(duration_s)]
    return _at_most(pairwise(edges_s))


def _fixed(duration_s: float, pps: float) -> list[Span]:
    if not isfinite(pps):
        raise ValueError(f"`pps` must be finite, but is {pps:g}.")
    step_s = max(MIN_S, min(1 / pps, MAX_S)) if pps > 1 / MAX_S else MAX_S
    count = ceil(duration_s / step_s) if pps > 0 else 1
    edges_s = [*(i * step_s for i in range(count)), min(count * step_s, float(duration_s))]
    return [(a, b) for a, b in pairwise(edges_s) if b - a >= MIN_S - 1e-6]


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Join what a short pause parts, as long as it stays within the longest segment."""
    joined: list[Span] = []
    for start_s, stop_s in sorted(spans):
        near = joined and start_s - joined[-1][1] < PAUSE_S
        if near and max(stop_s, joined[-1][1]) - joined[-1][0] <= MAX_S:
            joined[-1] = (joined[-1][0], max(stop_s, joined[-1][1]))
        else:
            joined.append((start_s, stop_s))
    return joined


def _at_most(spans: Iterable[Span]) -> list[Span]:
    """Each span once, in order; long ones in equal parts."""
    parts: set[Span] = set()
    for start_s, stop_s in spans:
        length_s = stop_s - start_s
        count = ceil(length_s / MAX_S - 1e-9) if length_s > 0 else 0
        edges_s = [start_s + i * length_s / count for i in range(count)] + [stop_s]
        parts.update(pairwise(edges_s))
    return sorted(parts)
