"""Sound: what a file sounds like, as mono float32, at 16 kHz where nothing else is asked.

Sample `i` is at `i / RATE_HZ` seconds from the start of the container, wherever the sound begins:
before it, in gaps and where packets are broken there is silence.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import av
import av.error
import numpy as np
from av import AudioFrame, AudioResampler
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from .media import best_audio, opened, origin_s, packets

RATE_HZ = 16_000
LEAD_S = 1.0
"""Read before a span, so that codec and resampler have settled where it starts."""
SLACK_S = 0.03
"""Sound that comes this little early or late follows on what came before it."""
Sound = NDArray[np.float32]


def read(uri: str, start_s: float | None = None, stop_s: float | None = None) -> Sound | None:
    """Read the sound of a file, or of a span of it.

    Args:
        uri: File; its best audio stream is read (`media.best_audio`), the mean of its channels.
        start_s: Start of the span; `None`: the start of the file.
        stop_s: End of the span; `None`: the end of the sound.

    Returns:
        Float32 in about [-1, 1] at `RATE_HZ`; of a span exactly `round(stop_s * RATE_HZ) -
        round(start_s * RATE_HZ)` samples, silent where there is no sound. `None` where the file
        has no audio stream.

    Raises:
        MediaError: The file cannot be used.
    """
    first = round((start_s or 0.0) * RATE_HZ)
    stop = None if stop_s is None else round(stop_s * RATE_HZ)
    if first < 0 or (stop is not None and stop <= first):
        raise ValueError(
            f"`stop_s` must be greater than `start_s` ({start_s or 0:g}, at least 0), "
            f"but is {stop_s} (file {uri!r})."
        )
    with opened(uri) as container:
        stream = best_audio(container)
        if stream is None:
            return None
        stream.codec_context.thread_count = 1
        lead_s = first / RATE_HZ - LEAD_S
        clock = _Clock(uri, stream, origin_s(container))
        line = _Line(rate_hz=stream.rate, first_s=max(0.0, lead_s))
        end_s = math.inf if stop is None else stop / RATE_HZ + 0.1
        for at, samples in _decoded(stream, packets(uri, container, stream, lead_s), clock):
            if at / stream.rate > end_s:
                break
            line.add(at, samples)
    sound = line.finish()
    skip = first - line.origin
    if stop is None:
        return sound[skip:]
    made = np.zeros(stop - first, np.float32)
    part = sound[skip : skip + len(made)]
    made[: len(part)] = part
    return made


def pieces(uri: str, rate_hz: int = RATE_HZ, piece_s: float = 10.0) -> Iterator[Sound]:
    """Read the whole sound of a file piece by piece, however long it is.

    Args:
        uri: File; its best audio stream is read, the mean of its channels.
        rate_hz: Of the samples.
        piece_s: Length of a piece, about.

    Yields:
        Float32 in about [-1, 1], one after the other from the start of the container; together
        what `read` gives at that rate. Nothing where the file has no audio stream.

    Raises:
        MediaError: The file cannot be used.
    """
    with opened(uri) as container:
        stream = best_audio(container)
        if stream is None:
            return
        stream.codec_context.thread_count = 1
        clock = _Clock(uri, stream, origin_s(container))
        line = _Line(rate_hz=stream.rate, first_s=0.0, to_hz=rate_hz)
        for at, samples in _decoded(stream, packets(uri, container, stream, -LEAD_S), clock):
            line.add(at, samples)
            if line.ready >= piece_s * rate_hz:
                yield line.take()
        yield line.finish()


def resampled(sound: Iterable[Sound], from_hz: int, to_hz: int = RATE_HZ) -> Iterator[Sound]:
    """Change the rate of a sound that comes in pieces; nothing is shifted in time.

    Yields:
        Together `n * to_hz / from_hz` samples, rounded up or down, for `n` that came.
    """
    line = _Line(rate_hz=from_hz, first_s=0.0, to_hz=to_hz)
    for samples in sound:
        line.feed(samples)
        yield line.take()
    yield line.finish()


def write(path: Path, sound: Iterable[Sound]) -> None:
    """Write a sound as FLAC: 16 kHz, mono, 16 bit; it appears whole or not at all.

    Args:
        path: File, in a folder that exists.
        sound: Pieces at `RATE_HZ`; what lies beyond [-1, 1] is clipped.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with av.open(str(part), "w", format="flac") as container:
            stream = container.add_stream("flac", rate=RATE_HZ, layout="mono", format="s16")
            at = 0
            for samples in sound:
                if not len(samples):
                    continue
                steps = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)
                frame = AudioFrame.from_ndarray(steps[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE_HZ, at
                at += len(steps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Clock:
    """Where a decoded frame stands, counted in samples of the source from the container's start.

    Containers that count in milliseconds blur this by up to 48 samples; codecs with frames of one
    size allow to undo it, so that a span starts on the very sample that the whole file has there.
    """

    def __init__(self, uri: str, stream: AudioStream, origin_s: float) -> None:
        self._rate = stream.rate
        self._base = float(stream.time_base or 0)
        self._origin_s = origin_s
        self._next = self._edge = self._index(stream.start_time or 0)
        self._step = 0
        if self._base * self._rate > 1:  # blurred
            first, self._step = _frame_sizes(uri, stream.index)
            self._edge += first

    def _index(self, stamp: int) -> float:
        return (stamp * self._base - self._origin_s) * self._rate

    def place(self, frame: AudioFrame) -> int:
        stamp = frame.dts if frame.pts is None else frame.pts
        at = self._next if stamp is None else self._index(stamp)
        if self._step:  # frames may be cut at their front, so it is their ends that are regular
            frames = round((at + frame.samples - self._edge) / self._step)
            snapped = self._edge + frames * self._step - frame.samples
            if abs(snapped - at) <= 0.0011 * self._rate:
                at = snapped
        self._next = at + frame.samples
        return round(at)


def _frame_sizes(uri: str, index: int) -> tuple[int, int]:
    """Samples of the first two frames: codecs with a delay cut the first one short."""
    with opened(uri) as container:
        try:
            stream = next(s for s in container.streams.audio if s.index == index)
            frames = container.decode(stream)
            sizes = [frame.samples for frame, _ in zip(frames, range(2), strict=False)]
        except av.error.FFmpegError:
            sizes = []
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (0, 0)


def _decoded(
    stream: AudioStream, source: Iterator[av.Packet], clock: _Clock
) -> Iterator[tuple[int, Sound]]:
    """Decode to mono at the source's rate; what is broken is left out."""
    mixer = AudioResampler(format="fltp")
    shape: tuple[str, str, int] | None = None
    while True:
        try:
            packet = next(source, None)
        except av.error.FFmpegError:
            packet = None
        if packet is None:
            return
        try:
            frames = stream.codec_context.decode(packet if packet.size else None)
        except av.error.FFmpegError:
            continue
        for frame in frames:
            seen = (frame.format.name, frame.layout.name, frame.sample_rate)
            if seen[2] != stream.rate:
                continue  # a stream that changes its rate half-way is broken
            if seen != shape:
                mixer, shape = AudioResampler(format="fltp"), seen
            at = clock.place(frame)
            frame.pts = None
            for channels in mixer.resample(frame):
                yield at, channels.to_ndarray().mean(axis=0)
                at += channels.samples


@dataclass(kw_only=True)
class _Line:
    """An unbroken line of samples, resampled as it grows; gaps become silence."""

    rate_hz: int
    first_s: float
    to_hz: int = RATE_HZ
    origin: int = field(init=False)
    """The first sample, counted at `to_hz`: on a sample of both rates, so that the resampler's
    phase does not depend on where a span starts."""

    def __post_init__(self) -> None:
        common = math.gcd(self.rate_hz, self.to_hz)
        step = self.to_hz // common
        self.origin = math.floor(self.first_s * self.to_hz / step) * step
        self._at = self._start = self.origin // step * (self.rate_hz // common)
        self._resampler = AudioResampler(format="flt", layout="mono", rate=self.to_hz)
        self._parts: list[Sound] = []
        self._begun = False

    def add(self, at: int, samples: Sound) -> None:
        """Add what begins at sample `at` of the source; overlaps are cut."""
        if self._begun and abs(at - self._at) <= SLACK_S * self.rate_hz:
            at = self._at
        samples = samples[max(0, self._at - at) :]
        if not len(samples):
            return
        silence = at - self._at
        while silence > 0:
            step = min(silence, self.rate_hz)
            self.feed(np.zeros(step, np.float32))
            silence -= step
        self.feed(samples)
        self._begun = True

    @property
    def ready(self) -> int:
        """How many samples can be taken."""
        return sum(len(part) for part in self._parts)

    def take(self) -> Sound:
        """The samples that are ready: from `origin` on, or from where the last were taken."""
        parts, self._parts = self._parts, []
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def finish(self) -> Sound:
        """The last samples."""
        if self._at > self._start:
            self._parts += [f.to_ndarray()[0] for f in self._resampler.resample(None)]
        return self.take()

    def feed(self, samples: Sound) -> None:
        """Add what follows on what came before."""
        if not len(samples):
            return
        frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self.rate_hz
        self._parts += [f.to_ndarray()[0] for f in self._resampler.resample(frame)]
        self._at += len(samples)
