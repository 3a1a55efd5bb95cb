"""Frames: every frame of a span of video, once, with its exact time.

A frame's time is its presentation time minus the start of the container, never less than 0.
Spans tile: a frame belongs to the one half-open span that holds its time, and reading a span
decodes from the keyframe before it, so that frames are the same however a video is cut. The span
that ends where the container says it ends also holds what comes after.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from typing import Any, Literal, Protocol

import av
import av.error
import numpy as np
from av import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from .media import MediaError, best_video, opened, origin_s, packets
from .store import is_url

Image = NDArray[np.uint8]
Format = Literal["bgr24", "rgb24", "gray"]
BACKENDS = ("pyav", "decord", "torchcodec")
END_S = 0.5
"""Frames that stop this much before the stream should end are a truncated end."""


def spans(duration_s: float, max_s: float = 60.0) -> list[tuple[float, float]]:
    """Cut a video into half-open tiles of equal length, the fewest of at most `max_s`.

    Example:
        >>> spans(150.0)
        [(0.0, 50.0), (50.0, 100.0), (100.0, 150.0)]
    """
    if not 0 < duration_s < math.inf:
        raise ValueError(f"`duration_s` must be greater than 0 and finite, but is {duration_s:g}.")
    if max_s <= 0:
        raise ValueError(f"`max_s` must be greater than 0, but is {max_s:g}.")
    count = math.ceil(duration_s / max_s)
    edges = [duration_s * i / count for i in range(count)] + [duration_s]
    return list(pairwise(edges))


class Frame(Protocol):
    """A decoded frame whose pixels are converted only when asked for."""

    time_s: float
    inside: bool  # the span; False: it belongs to the lead or the tail

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture, px."""
        ...

    def small(self, width: int, height: int, format: Format = "bgr24") -> Image:  # noqa: A002
        """The upright picture at another size, fast; `(height, width[, 3])` uint8."""
        ...

    def rgb(self) -> Image:
        """The upright picture, `(height, width, 3)` uint8."""
        ...


class _Scaler:
    """swscale contexts, kept from frame to frame: making one costs more than using it."""

    def __init__(self, turn_deg: int) -> None:
        self.turns = turn_deg // 90  # quarter turns clockwise
        self._scalers: defaultdict[tuple[int, int, str], VideoReformatter] = defaultdict(
            VideoReformatter
        )

    def small(self, frame: VideoFrame, width: int, height: int, pixels: str) -> Image:
        if self.turns % 2:
            width, height = height, width
        scaler = self._scalers[width, height, pixels]
        made = scaler.reformat(
            frame, width, height, pixels, interpolation="FAST_BILINEAR", threads=1
        )
        return self._upright(np.asarray(made.to_ndarray(), np.uint8))

    def full(self, frame: VideoFrame) -> Image:
        scaler = self._scalers[0, 0, "rgb24"]
        made = scaler.reformat(frame, format="rgb24", threads=1)
        return self._upright(np.asarray(made.to_ndarray(), np.uint8))

    def _upright(self, image: Image) -> Image:
        return np.ascontiguousarray(np.rot90(image, -self.turns)) if self.turns else image


@dataclass(slots=True)
class DecodedFrame:
    """A frame as PyAV decodes it; see `Frame`."""

    time_s: float
    inside: bool
    _frame: VideoFrame
    _scaler: _Scaler

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture, px."""
        width, height = self._frame.width, self._frame.height
        return (height, width) if self._scaler.turns % 2 else (width, height)

    def small(self, width: int, height: int, format: Format = "bgr24") -> Image:  # noqa: A002
        """The upright picture at another size, fast; `(height, width[, 3])` uint8."""
        return self._scaler.small(self._frame, width, height, format)

    def rgb(self) -> Image:
        """The upright picture, `(height, width, 3)` uint8."""
        return self._scaler.full(self._frame)


@dataclass(slots=True)
class ArrayFrame:
    """A frame that another library has decoded to RGB already; see `Frame`."""

    time_s: float
    inside: bool
    image: Image

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture, px."""
        return self.image.shape[1], self.image.shape[0]

    def small(self, width: int, height: int, format: Format = "bgr24") -> Image:  # noqa: A002
        """The upright picture at another size; `(height, width[, 3])` uint8."""
        import cv2

        made = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        if format != "rgb24":
            code = cv2.COLOR_RGB2BGR if format == "bgr24" else cv2.COLOR_RGB2GRAY
            made = cv2.cvtColor(made, code)
        return np.asarray(made, np.uint8)

    def rgb(self) -> Image:
        """The upright picture, `(height, width, 3)` uint8."""
        return self.image


@dataclass(kw_only=True)
class Clip:
    """The frames of one span of a video. Iterate it once; then `warning` is known.

    Attributes:
        uri: File to read; its best video stream is used (`media.best_video`).
        start_s: Start of the span, seconds from the start of the container.
        stop_s: End of the span (exclusive).
        lead_s: Frames this long before the span are delivered as well, `inside` being False.
        tail: Frames after the span that are delivered as well.
        backend: `pyav`; or `decord` or `torchcodec` where installed. Both give the same frames
            at the same times, but no warnings, shrink pictures with another filter, and refuse
            damaged files in their own words. decord chooses the stream itself, cannot read AV1,
            and its colours of MPEG-1 and 10-bit video differ by about 1 %; torchcodec cannot
            read MPEG program streams.
        threads: Decoding threads; 0: as many as there are cores.
        fps: Average frame rate, known once the first frame is there; `None`: unknown.
        frames: Frames of the span delivered so far.
        warning: What was wrong and survived, `None` where nothing was.

    Raises:
        MediaError: While iterating: the file has no video stream, or nothing of it decodes.
    """

    uri: str
    start_s: float = 0.0
    stop_s: float = math.inf
    lead_s: float = 0.0
    tail: int = 0
    backend: str = "pyav"
    threads: int = 1
    fps: float | None = field(default=None, init=False)
    frames: int = field(default=0, init=False)
    warning: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.stop_s <= self.start_s:
            raise ValueError(
                f"`stop_s` must be greater than `start_s` ({self.start_s:g}), "
                f"but is {self.stop_s:g} (video {self.uri!r})."
            )
        if self.backend not in BACKENDS:
            raise ValueError(f"`backend` must be one of {BACKENDS}, but is {self.backend!r}.")

    def __iter__(self) -> Iterator[Frame]:
        source = {"pyav": self._pyav, "decord": self._decord, "torchcodec": self._torchcodec}
        for frame in source[self.backend]():
            self.frames += frame.inside
            yield frame

    @property
    def _from_s(self) -> float:
        return max(0.0, self.start_s - self.lead_s)

    def _pyav(self) -> Iterator[Frame]:
        with opened(self.uri) as container:
            stream = best_video(container)
            if stream is None:
                raise MediaError(self.uri, "has no video stream", "watch only files with video")
            stream.codec_context.thread_count = self.threads
            stream.codec_context.thread_type = "AUTO"
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            decoder = _Decoder(stream, origin_s(container), self.fps)
            length_s = (container.duration or 0) / av.time_base
            stop_s, edge_s = self.stop_s, length_s - 0.001
            if 0 < edge_s <= stop_s:  # what comes after the declared end is the last span's
                stop_s = math.inf if self.start_s < edge_s else self.start_s
            source = decoder.frames(packets(self.uri, container, stream, self._from_s))
            try:
                yield from self._chosen(source, stop_s)
                if decoder.ended:
                    self._check_end(decoder, length_s)
            finally:
                self._report(decoder)

    def _chosen(self, source: Iterator[tuple[float, VideoFrame]], stop_s: float) -> Iterator[Frame]:
        scaler, left = None, self.tail
        for time_s, frame in source:
            if time_s >= stop_s:
                if left == 0:
                    return
                left -= 1
            elif time_s < self._from_s:
                continue
            scaler = scaler or _Scaler(round(-frame.rotation / 90) % 4 * 90)
            yield DecodedFrame(time_s, self.start_s <= time_s < stop_s, frame, scaler)

    def _check_end(self, decoder: "_Decoder", container_s: float) -> None:
        """Say so where frames end early, and refuse where there are none at all."""
        stream = decoder.stream
        end_s = container_s
        if stream.duration and stream.time_base:
            start = (stream.start_time or 0) + stream.duration
            end_s = float(start * stream.time_base) - decoder.origin_s
        end_s = min(end_s, self.stop_s)
        if decoder.last_s is None:
            if self.start_s <= 0:
                raise MediaError(
                    self.uri, "holds no frame that decodes", "download it again, or re-encode it"
                )
            decoder.trouble.append(f"no frame decodes from {self.start_s:.2f} s on")
        elif end_s - decoder.last_s > max(END_S, 2 / (self.fps or 2)):
            decoder.trouble.append(
                f"frames end at {decoder.last_s:.2f} s, {end_s - decoder.last_s:.2f} s early"
            )

    def _report(self, decoder: "_Decoder") -> None:
        trouble = list(decoder.trouble)
        if decoder.broken:
            trouble.append(f"{decoder.broken} packets or frames are damaged")
        self.warning = "; ".join(trouble) or None

    def _decord(self) -> Iterator[Frame]:
        decord = _package("decord")
        origin, begin, _ = self._layout("decord")
        reader = decord.VideoReader(self.uri, num_threads=self.threads)
        self.fps = float(reader.get_avg_fps()) or None
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        times = np.maximum(times + begin - origin, 0)  # decord counts from the stream's start
        last = np.searchsorted(times, self.stop_s) + self.tail
        for index in range(int(np.searchsorted(times, self._from_s)), min(int(last), len(times))):
            yield self._array(float(times[index]), reader[int(index)].asnumpy())

    def _torchcodec(self) -> Iterator[Frame]:
        decoders = _package("torchcodec.decoders")
        origin, _, stream = self._layout("torchcodec")
        reader = decoders.VideoDecoder(
            self.uri,
            stream_index=stream,
            dimension_order="NHWC",
            num_ffmpeg_threads=self.threads,
        )
        self.fps = reader.metadata.average_fps
        left = self.tail
        for index in range(len(reader)):
            frame = reader.get_frame_at(index)
            time_s = max(0.0, float(frame.pts_seconds) - origin)
            if time_s >= self.stop_s:
                left -= 1
            if left < 0:
                return
            if time_s >= self._from_s:
                yield self._array(time_s, frame.data.numpy())

    def _layout(self, backend: str) -> tuple[float, float, int]:
        """Start of the container and, as declared, of the best video stream, and its index."""
        if is_url(self.uri):
            raise MediaError(
                self.uri, f"is in a store, which {backend} cannot read", "use `backend` 'pyav'"
            )
        with opened(self.uri) as container:
            stream = best_video(container)
            if stream is None:
                raise MediaError(self.uri, "has no video stream", "watch only files with video")
            if backend == "torchcodec" and container.format.name == "mpeg":
                raise MediaError(
                    self.uri,
                    "is an MPEG program stream, whose first frames torchcodec loses",
                    "use `backend` 'pyav'",
                )
            begin = float((stream.start_time or 0) * (stream.time_base or 0))
            return origin_s(container), begin, stream.index

    def _array(self, time_s: float, image: Image) -> ArrayFrame:
        return ArrayFrame(time_s, self.start_s <= time_s < self.stop_s, image)


class _Decoder:
    """Turns packets into timed frames, and survives those that are damaged."""

    def __init__(self, stream: VideoStream, origin_s: float, fps: float | None) -> None:
        self.stream, self.origin_s = stream, origin_s
        self.step_s = 1 / fps if fps else 0.04
        self.last_s: float | None = None
        self.broken = 0
        self.ended = False
        self.trouble: list[str] = []

    def frames(self, source: Iterable[av.Packet]) -> Iterator[tuple[float, VideoFrame]]:
        for packet in self._survive(source):
            try:
                decoded = self.stream.codec_context.decode(packet if packet.size else None)
            except av.error.EOFError:
                continue
            except av.error.FFmpegError:
                self.broken += 1
                continue
            for frame in decoded:
                self.broken += frame.is_corrupt
                self.last_s = self._time_s(frame)
                yield self.last_s, frame
        self.ended = True

    def _survive(self, source: Iterable[av.Packet]) -> Iterator[av.Packet]:
        try:
            yield from source
        except av.error.FFmpegError as error:
            self.trouble.append(f"reading stopped ({error.strerror})")
            yield av.Packet()  # what the decoder still holds

    def _time_s(self, frame: VideoFrame) -> float:
        stamp = frame.dts if frame.pts is None else frame.pts
        base = self.stream.time_base
        if stamp is None or base is None:
            return 0.0 if self.last_s is None else self.last_s + self.step_s
        return max(0.0, float(stamp * base) - self.origin_s)


def _package(name: str) -> Any:  # noqa: ANN401
    """Import a backend that is not part of the default environment."""
    try:
        return import_module(name)
    except ImportError as error:
        root = name.partition(".")[0]
        raise ImportError(
            f"`backend` {root!r} needs the package {root}, which is not installed here: "
            "install it, or use `backend` 'pyav'."
        ) from error
