"""The adaptive sampler: which frames of a span are worth a closer look.

Nothing here decodes anything: the sampler is told what is known of each frame and answers why it
should be kept, if it should.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Reason = Literal["start", "cut", "base", "face", "speech", "action"]
CLOSE_S = 1e-6


@dataclass(kw_only=True)
class Sampler:
    """Samples a base rate, and more while there are faces, speech or action.

    A rate rises at once, and falls only `hold_s` after its cause was last seen. The first frame
    and the first frame of every shot are always sampled.

    Attributes:
        base_hz: Frames per second where nothing happens.
        face_hz: While a face is on screen.
        speech_hz: While somebody speaks.
        action_hz: While much moves.
        hold_s: How long a rate outlives its cause.
        budget: Most frames per span; see `trim`.
    """

    base_hz: float = 0.2
    face_hz: float = 1.0
    speech_hz: float = 2.0
    action_hz: float = 4.0
    hold_s: float = 1.0
    budget: int = 150
    _until: dict[Reason, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    _last_s: float | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.base_hz <= 0:
            raise ValueError(f"`base_hz` must be greater than 0, but is {self.base_hz:g}.")
        for name in ("face_hz", "speech_hz", "action_hz"):
            if getattr(self, name) < self.base_hz:
                raise ValueError(
                    f"`{name}` must be at least `base_hz` ({self.base_hz:g}), "
                    f"but is {getattr(self, name):g}."
                )
        if self.hold_s < 0:
            raise ValueError(f"`hold_s` must be at least 0, but is {self.hold_s:g}.")
        if self.budget < 1:
            raise ValueError(f"`budget` must be at least 1, but is {self.budget}.")

    def reset(self) -> None:
        """Forget everything: a new span begins."""
        self._until, self._last_s = {}, None

    def offer(
        self,
        time_s: float,
        *,
        cut: bool = False,
        face: bool = False,
        speech: bool = False,
        action: bool = False,
    ) -> Reason | None:
        """Decide on the next frame; frames come in the order of time.

        Args:
            time_s: When the frame is shown.
            cut: It is the first of a shot.
            face: A face is, or was last seen, on screen.
            speech: Somebody speaks.
            action: Much moves.

        Returns:
            Why the frame is to be sampled; `None`: it is not.
        """
        seen: dict[Reason, bool] = {"face": face, "speech": speech, "action": action}
        for reason, active in seen.items():
            if active:
                self._until[reason] = time_s + self.hold_s
        reason, rate_hz = self._rate(time_s)
        if self._last_s is None:
            reason = "start"
        elif cut:
            reason = "cut"
        elif time_s - self._last_s < 1 / rate_hz - CLOSE_S:
            return None
        self._last_s = time_s
        return reason

    def _rate(self, time_s: float) -> tuple[Reason, float]:
        rates: list[tuple[float, Reason]] = [(self.base_hz, "base")]
        for reason, until_s in self._until.items():
            if time_s <= until_s:
                rates.append((getattr(self, f"{reason}_hz"), reason))
        rate_hz, reason = max(rates, key=lambda pair: pair[0])
        return reason, rate_hz


def trim(times_s: Sequence[float], reasons: Sequence[Reason], budget: int) -> list[int]:
    """Choose which samples to keep where a span has more than its budget.

    The rule: the start and the shot boundaries come first; where even they are too many, they are
    thinned evenly. What is left of the budget goes, one by one, to the sample that is farthest in
    time from all that are kept (the earlier of two equally far), so that coverage stays even.

    Args:
        times_s: Of the samples, ascending.
        reasons: Of the samples.
        budget: Most samples to keep, at least 1.

    Returns:
        Indices of the kept samples, ascending.

    Example:
        >>> trim([0, 1, 2, 3, 4], ["start", "base", "cut", "base", "base"], 3)
        [0, 2, 4]
    """
    if budget < 1:
        raise ValueError(f"`budget` must be at least 1, but is {budget}.")
    if len(times_s) <= budget:
        return list(range(len(times_s)))
    first = [i for i, reason in enumerate(reasons) if reason in ("start", "cut")] or [0]
    if len(first) >= budget:
        return [first[i * len(first) // budget] for i in range(budget)]
    kept = set(first)
    gaps = [min((abs(t - times_s[k]) for k in first), default=math.inf) for t in times_s]
    while len(kept) < budget:
        far = max((i for i in range(len(times_s)) if i not in kept), key=lambda i: (gaps[i], -i))
        kept.add(far)
        gaps = [min(gap, abs(t - times_s[far])) for gap, t in zip(gaps, times_s, strict=True)]
    return sorted(kept)
