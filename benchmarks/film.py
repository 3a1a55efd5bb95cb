"""A film made by code: textured shots that pan and zoom, with hard cuts, for the benchmarks."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

FPS = 25
SHOT_S = 4.0
Image = NDArray[np.uint8]


def texture(rng: np.random.Generator, *, width: int, height: int) -> Image:
    """A picture with detail at every scale, `(height, width, 3)`: noise in octaves."""
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 9):
        cells = rng.standard_normal((2**octave, 2**octave, 3), np.float32)
        cells = 0.75 * cells.mean(axis=2, keepdims=True) + 0.25 * cells
        total += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) / octave
    level = rng.uniform(70, 190, 3)
    return np.clip(level + 45 * total / total.std(), 0, 255).astype(np.uint8)


def pictures(seconds: float, *, width: int, height: int, seed: int = 0) -> Iterator[Image]:
    """The frames of the film: a new texture every `SHOT_S` seconds, panned and zoomed."""
    rng = np.random.default_rng(seed)
    per_shot = round(SHOT_S * FPS)
    for index in range(round(seconds * FPS)):
        at = index % per_shot
        if at == 0:
            still = texture(rng, width=width * 3 // 2, height=height * 3 // 2)
            grain = rng.normal(0, 2, (4, height, width, 1))
            pan, zoom = rng.uniform(-1.5, 1.5, 2), rng.uniform(-0.001, 0.001)
        scale = 1 + zoom * at
        shift = (-width / 4 + pan[0] * at, -height / 4 + pan[1] * at)
        move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        moved = cv2.warpAffine(still, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        yield np.clip(moved + grain[index % 4], 0, 255).astype(np.uint8)


def make(path: Path, *, seconds: float = 300.0, width: int = 1280, height: int = 720) -> Path:
    """Write an H.264 film; its first minute is encoded, and repeated by copying packets.

    Args:
        path: An `.mp4` file to write.
        seconds: Length; a whole number of minutes where longer than one.
        width: Of the picture, px.
        height: Of the picture, px.
    """
    minutes = max(1, round(seconds / 60))
    minute = path.with_suffix(".part.mp4")
    with av.open(str(minute), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "fast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures(min(seconds, 60.0), width=width, height=height):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        out.mux(stream.encode())
    with av.open(str(path), "w") as out:
        copy = None
        for repeat in range(minutes):
            with av.open(str(minute)) as part:
                source = part.streams.video[0]
                copy = copy or out.add_stream_from_template(source)
                base = source.time_base or Fraction(1, 1000)
                for packet in part.demux(source):
                    if packet.dts is None or packet.pts is None:
                        continue  # the end
                    offset = round(repeat * min(seconds, 60.0) / base)
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = copy
                    out.mux(packet)
    minute.unlink()
    return path
