"""Sound through a model window by window: overlapping, cross-faded, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.audio import Sound

FAINT = 1e-6
"""Weight of what counts only where nothing else is known."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How sound is cut for a model, and its answers joined: their weighted mean.

    Attributes:
        length: Of a window, samples; at least two.
        overlap: Of a window with the next one, samples; less than `length`.
        weight: Of each sample of an answer, `(length,)`, greater than 0.
        padded: Whether the model takes windows of one length only. Then shorter sound, the last
            one's, is centred in it, between what comes before it and silence; and a window starts
            in the overlap at the very end too, both as demucs does.
    """

    length: int
    overlap: int
    weight: Sound
    padded: bool

    @property
    def stride(self) -> int:
        """From the start of a window to the start of the next."""
        return self.length - self.overlap

    @classmethod
    def triangular(cls, length: int, overlap: int) -> "Windows":
        """Windows of one length, that count most in their middle.

        The cut of `demucs.apply.apply_model`, with its `transition_power` of 1.
        """
        half = length // 2
        weight = np.concatenate([np.arange(1, half + 1), np.arange(length - half, 0, -1)])
        weight = (weight / weight.max()).astype(np.float32)
        return cls(length=length, overlap=overlap, weight=weight, padded=True)

    @classmethod
    def led(cls, length: int, lead: int, fade: int) -> "Windows":
        """Windows whose first samples only warm the model up, then fade in.

        Args:
            length: Of a window.
            lead: That does not count, where a window before it does.
            fade: From the window before it.
        """
        rise = np.linspace(0, 1, fade + 2, dtype=np.float32)[1:-1]
        weight = np.ones(length, np.float32)
        weight[:lead] = FAINT
        weight[lead : lead + fade] = rise
        weight[length - fade :] = rise[::-1]
        return cls(length=length, overlap=lead + fade, weight=weight, padded=False)

    def offsets(self, total: int) -> range:
        """Where windows start in a sound of `total` samples."""
        if self.padded:
            return range(0, total, self.stride)
        return range(0, min(total, max(1, total - self.overlap)), self.stride)


def overlapped(
    sound: Iterable[Sound],
    clean: Callable[[Sequence[Sound]], Sequence[Sound]],
    windows: Windows,
    batch: int,
) -> Iterator[Sound]:
    """Send sound that comes in pieces through a model.

    No more than `batch + 2` windows are held at any time.

    Args:
        sound: Pieces of any length.
        clean: Answers windows of `windows.length` samples, the last one of which may be shorter
            unless `windows.padded`, with as many samples each.
        windows: How to cut.
        batch: Windows given to `clean` at once.

    Yields:
        As many samples as came.
    """
    join = _Join(windows)
    held, start, offset = np.zeros(0, np.float32), 0, 0  # `held[0]` is sample `start`

    def answered(count: int, total: int | None) -> Iterator[Sound]:
        """Clean the next windows; `total` is known once the sound has ended."""
        nonlocal held, start, offset
        offsets = [offset + i * windows.stride for i in range(count)]
        cuts = [_cut(held, start, at, windows, total) for at in offsets]
        for at, answer in zip(offsets, clean([window for window, _, _ in cuts]), strict=True):
            _, skip, length = cuts[offsets.index(at)]
            join.add(at, answer[skip : skip + length])
        offset += count * windows.stride
        yield join.take(offset if total is None else min(offset, total))
        spare = max(0, offset - windows.length - start)  # what a last window may look back to
        held, start = held[spare:], start + spare

    for piece in sound:
        held = np.concatenate([held, piece])
        while start + len(held) >= offset + (batch - 1) * windows.stride + windows.length:
            yield from answered(batch, None)
    total = start + len(held)
    left = [at for at in windows.offsets(total) if at >= offset]
    for i in range(0, len(left), batch):
        yield from answered(len(left[i : i + batch]), total)
    yield join.take(total)


def _cut(
    held: Sound, start: int, offset: int, windows: Windows, total: int | None
) -> tuple[Sound, int, int]:
    """A window, and where in it lie how many samples of its own."""
    length = windows.length if total is None else min(windows.length, total - offset)
    if length == windows.length or not windows.padded:
        return held[offset - start :][:length], 0, length
    before = (windows.length - length) // 2
    known = min(before, offset - start)
    window = np.zeros(windows.length, np.float32)
    part = held[offset - start - known :][: known + length]
    window[before - known :][: len(part)] = part
    return window, before, length


class _Join:
    """The weighted mean of answers that overlap, given out in order."""

    def __init__(self, windows: Windows) -> None:
        self._weight = windows.weight
        self._sums = np.zeros((2, 0), np.float32)  # of weighted answers, of weights
        self._done = 0

    def add(self, offset: int, answer: Sound) -> None:
        stop = offset - self._done + len(answer)
        if stop > self._sums.shape[1]:
            self._sums = np.pad(self._sums, ((0, 0), (0, stop - self._sums.shape[1])))
        weight, place = self._weight[: len(answer)], slice(offset - self._done, stop)
        self._sums[0, place] += weight * answer
        self._sums[1, place] += weight

    def take(self, upto: int) -> Sound:
        """The samples before `upto`, to which nothing is added any more."""
        count = max(0, min(upto - self._done, self._sums.shape[1]))
        ready, self._sums = self._sums[:, :count], self._sums[:, count:]
        self._done += count
        return ready[0] / ready[1]
