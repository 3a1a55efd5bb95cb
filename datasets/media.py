"""Media files: opening them, what they hold, and what is wrong with them.

Times are seconds from the start of the container: a stream that begins late begins late here too.
"""

import errno
import hashlib
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from . import store

SAMPLE_BYTES = 64 * 1024
SAMPLES = 16
BUFFER_BYTES = 2**18
"""Handed to libav at a time, of a file in a store."""
PACKETS = 600
"""Packets read to tell a variable frame rate where the container has no full index."""

S = TypeVar("S", VideoStream, AudioStream)


class MediaError(ValueError):
    """A file cannot be used. Names the file, the reason and the cure."""

    def __init__(self, uri: str, reason: str, cure: str) -> None:
        super().__init__(f"{uri!r} {reason}: {cure}.")

    def __reduce__(self) -> tuple[Any, ...]:  # the message is made, so pickling must not remake it
        return (_rebuilt, (str(self),))


def _rebuilt(message: str) -> MediaError:
    error = MediaError.__new__(MediaError)
    ValueError.__init__(error, message)
    return error


def size_bytes(uri: str) -> int:
    """Size of a file that can be read and is not empty, bytes.

    Raises:
        MediaError: There is no such file, or it cannot be read.
    """
    try:
        size = _remote_size(uri) if store.is_url(uri) else _local_size(uri)
    except FileNotFoundError:
        raise MediaError(
            uri, "does not exist", "check the path, or remove it from the list"
        ) from None
    except PermissionError:
        raise MediaError(uri, "may not be read", "give this user the right to read it") from None
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, MediaError | store.StoreError):
            raise
        if getattr(error, "errno", None) == errno.ELOOP or isinstance(error, RuntimeError):
            raise MediaError(uri, "is a link that leads to itself", "remove it") from None
        raise MediaError(
            uri, f"cannot be opened ({error})", "check the path and the disk"
        ) from None
    if size == 0:
        raise MediaError(uri, "is empty (0 bytes)", "copy or download it again")
    return size


def _local_size(uri: str) -> int:
    path = Path(uri)
    if path.is_dir():
        raise MediaError(uri, "is a folder", "name the files inside it, or the folder's corpus")
    size = path.stat().st_size
    with path.open("rb"):
        pass
    return size


def _remote_size(uri: str) -> int:
    facts = store.info(uri)
    if facts["type"] == "directory":
        raise MediaError(uri, "is a folder", "name the files inside it, or the folder's corpus")
    return facts["size"]


@contextmanager
def opened(uri: str) -> Iterator[InputContainer]:
    """Open a media file with PyAV: a local one by its path, one of a store in blocks.

    Only the file itself is read: a playlist cannot lead to other files or to the network.

    Raises:
        MediaError: It is no media file, or cannot be read.
    """
    size = size_bytes(uri)
    with ExitStack() as stack:
        try:
            container = stack.enter_context(_container(uri, size, stack))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if store.is_url(uri) and not isinstance(error, av.error.FFmpegError):
                raise  # not the file's fault
            raise _refused(uri, size, error) from error
        if container.format.name == "image2" or container.format.name.endswith("_pipe"):
            raise MediaError(uri, "is a still image", "give a video or an audio file")
        if best_video(container) is None and best_audio(container) is None:
            raise MediaError(
                uri, "has no video and no audio stream", "give a video or an audio file"
            )
        yield container


def _container(uri: str, size: int, stack: ExitStack) -> InputContainer:
    if not store.is_url(uri):
        return av.open(f"file:{uri}", options={"protocol_whitelist": "file"})
    file = stack.enter_context(store.opened(uri, size))
    cast(Any, file).name = uri  # its ending tells formats apart
    return av.open(file, "r", options={"protocol_whitelist": "none"}, buffer_size=BUFFER_BYTES)


def _refused(uri: str, size: int, error: Exception) -> MediaError:
    """Why a file would not open, from its own bytes."""
    head = store.ranges(uri, [0], 4096)[0]
    if head[4:8] == b"ftyp":
        return MediaError(
            uri,
            "is cut off or damaged: its index (`moov`) cannot be read",
            "download it again, or repair it with a tool such as untrunc",
        )
    if not any(byte < 9 for byte in head):
        return MediaError(uri, "is text, not media", "remove it, or download the video again")
    reason = getattr(error, "strerror", None) or str(error)
    return MediaError(
        uri, f"is not media that can be read ({reason})", f"check its {size} bytes in a player"
    )


def _best(streams: list[S]) -> S | None:
    def rank(stream: S) -> tuple[int, int, int, int]:
        chosen = int(bool(stream.disposition & Disposition.default))
        if isinstance(stream, VideoStream):
            picture = stream.codec_context
            return chosen, picture.width * picture.height, 0, -stream.index
        return chosen, stream.channels or 0, stream.rate or 0, -stream.index

    return max(streams, key=rank, default=None)


def best_video(container: InputContainer) -> VideoStream | None:
    """The video stream to use: marked default, then the largest picture, then the first.

    Cover art is not video, and neither is a stream whose codec is unknown.
    """
    cover = Disposition.attached_pic | Disposition.timed_thumbnails
    return _best(
        [s for s in container.streams.video if not s.disposition & cover and _decodable(s)]
    )


def best_audio(container: InputContainer) -> AudioStream | None:
    """The audio stream to use: marked default, then most channels, highest rate, the first."""
    return _best([s for s in container.streams.audio if _decodable(s)])


def _decodable(stream: VideoStream | AudioStream) -> bool:
    if stream.codec_context is None:
        return False
    if isinstance(stream, VideoStream):
        return stream.codec_context.width > 0
    return (stream.rate or 0) > 0


def origin_s(container: InputContainer) -> float:
    """When the container starts, on the clock of its streams, seconds.

    The earliest of its streams begins here, and a player shows this moment as 0.
    """
    return (container.start_time or 0) / av.time_base


def packets(
    uri: str, container: InputContainer, stream: VideoStream | AudioStream, start_s: float
) -> Iterator[Packet]:
    """Read packets from the last keyframe that is not after `start_s`.

    A seek may land late (an index by decoding time, a format without one), so the keyframe it
    found is looked at, and the seek repeated further back until it is early enough.

    Args:
        uri: Opened again where no seek lands early enough.
        container: Freshly opened.
        stream: Its packets are read, to the end.
        start_s: Seconds from the container's start; 0 or less: from the beginning, no seek.
    """
    base, origin = float(stream.time_base or 0), origin_s(container)
    back_s = 0.0
    while start_s - back_s > 0 and base > 0:
        target = round((start_s - back_s + origin) / base)
        back_s = max(1.0, 2 * back_s)
        try:
            container.seek(target, stream=stream, backward=True)
        except av.error.FFmpegError:
            continue
        source = container.demux(stream)
        try:
            first = next((p for p in source if p.is_keyframe and p.size), None)
        except av.error.FFmpegError:
            first = None
        stamp = None if first is None else first.dts if first.pts is None else first.pts
        if first is not None and stamp is not None and stamp * base - origin <= start_s:
            yield first
            yield from source
            return
    if not back_s:
        yield from container.demux(stream)
        return
    with opened(uri) as fresh:  # a seek to the beginning may land late as well
        yield from fresh.demux(fresh.streams[stream.index])


def fingerprint(uri: str) -> str:
    """A hash of size and 16 evenly spaced samples of 64 KiB, first and last bytes among them.

    It tells a changed file without reading all of it; an edit in place that keeps the size and
    lies between the samples of a file over 1 MiB goes unnoticed.
    """
    size = size_bytes(uri)
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    starts = [max(0, size - SAMPLE_BYTES) * i // (SAMPLES - 1) for i in range(SAMPLES)]
    for part in store.ranges(uri, starts, SAMPLE_BYTES):
        digest.update(part)
    return digest.hexdigest()


def probe(uri: str) -> dict[str, Any]:
    """The facts of a file, by the names of `schema.PROBE`; what is unknown is `None`.

    Raises:
        MediaError: The file cannot be used.
    """
    facts: dict[str, Any] = {"size_bytes": size_bytes(uri), "fingerprint": fingerprint(uri)}
    with opened(uri) as container:
        video, audio = best_video(container), best_audio(container)
        facts |= {
            "container": container.format.name,
            "streams": len(container.streams),
            "has_video": video is not None,
            "has_audio": audio is not None,
        }
        if audio is not None:
            facts |= {
                "audio_codec": audio.codec_context.codec.canonical_name,
                "audio_rate_hz": audio.rate,
                "audio_channels": audio.channels,
            }
        if video is not None:
            facts |= _picture(video) | {"variable_fps": _variable_fps(uri)}
        duration = container.duration
    facts["duration_s"] = duration / av.time_base if duration else _measured_s(uri)
    if not 0 < (facts["duration_s"] or 0) < math.inf:
        raise MediaError(
            uri,
            "holds no sound or picture: its duration is zero or unknown",
            "record or download it again, or remove it",
        )
    if video is not None:
        with opened(uri) as container:
            turn = rotation_deg(container)
        facts["rotation_deg"] = turn
        if turn in (90, 270):
            facts["width"], facts["height"] = facts["height"], facts["width"]
    return facts


def _picture(video: VideoStream) -> dict[str, Any]:
    codec, rate = video.codec_context, video.average_rate or video.guessed_rate
    return {
        "codec": codec.codec.canonical_name,
        "pix_fmt": codec.pix_fmt,
        "width": codec.width,
        "height": codec.height,
        "fps": float(rate) if rate else None,
    }


def rotation_deg(container: InputContainer) -> int:
    """How far the stored picture must be turned clockwise to stand upright: 0, 90, 180 or 270.

    Read from the display matrix of the first frame; 0 where no frame decodes.
    """
    video = best_video(container)
    try:
        frame = next(container.decode(video), None) if video else None
    except av.error.FFmpegError:
        return 0
    return 0 if frame is None else round(-frame.rotation / 90) % 4 * 90


def _variable_fps(uri: str) -> bool | None:
    """Whether frames are unevenly spaced; `None` where too few carry a time."""
    with opened(uri) as container:
        video = best_video(container)
        if video is None:
            return None
        if len(video.index_entries) == video.frames > 2:
            stamps = [entry.timestamp for entry in video.index_entries]
        else:
            stamps = []
            try:
                for packet in container.demux(video):
                    if packet.pts is not None:
                        stamps.append(packet.pts)
                    if len(stamps) == PACKETS:
                        break
            except av.error.FFmpegError:
                pass
            stamps = sorted(stamps)[: -16 if len(stamps) == PACKETS else None]  # reordered frames
        steps = sorted(b - a for a, b in pairwise(stamps))
        if len(steps) < 2:
            return None
        middle = steps[len(steps) // 2]
        tick = 0.0015 / float(video.time_base or 1)  # containers may count in whole milliseconds
        return max(steps[-1] - middle, middle - steps[0]) > max(0.05 * middle, tick)


def _measured_s(uri: str) -> float | None:
    """Duration by reading every packet, for containers that do not say."""
    stop_s = None
    with opened(uri) as container:
        origin = origin_s(container)
        chosen = [s for s in (best_video(container), best_audio(container)) if s is not None]
        count = 0
        try:
            for packet in container.demux(chosen):
                count += bool(packet.size)
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is None or packet.time_base is None:
                    continue
                end = float((stamp + (packet.duration or 0)) * packet.time_base) - origin
                stop_s = max(stop_s or 0.0, end)
        except av.error.FFmpegError:
            pass
        rate = (
            chosen[0].average_rate or chosen[0].guessed_rate
            if isinstance(chosen[0], VideoStream)
            else None
        )
    if stop_s is None and rate:
        return count / float(rate)
    return stop_s or None
