"""The sample clip of the demo: faces, two voices in turns, hard cuts; made by code.

Pictures are scikit-image's `astronaut` (NASA) and `rocket` (SpaceX), both in the public domain; the
portrait is animated (`puppet`) and the voices are synthetic (`voice`): nobody ever said this. The
packages it needs are in the extra `demo`. It is the same, byte for byte, every time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from .puppet import Image, Look, Puppet, somebody_else
from .voice import RATE_HZ, Line, Spoken, speak

WIDTH, HEIGHT, FPS = 640, 360, 25
PAUSE_S = 0.5  # before and after each line
NOISE = 25.0  # rms of the room, of 32767; speech recognition is poor in digital silence
LEVEL = 0.5  # of the voices, against clipping

VOICES = {
    "ann": {"voice": "en-us+f5", "pitch": 70, "rate_wpm": 130},
    "ben": {"voice": "en-us", "pitch": 20, "rate_wpm": 140},
}
BLINKS_S = (1.3, 4.1, 6.0, 9.7, 12.4, 15.2, 17.3, 19.6)
BLINK_S = 0.28


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Who is in one part of the picture, and how close.

    Attributes:
        who: A name of `VOICES`, or "" for the rocket.
        width_px: Of the still picture, at the start of the shot; `zoom` times that at its end.
        centre: Of the view, in pixels of the still picture.
        look: Rest of the face; the mouth follows the voice.
    """

    who: str
    width_px: float
    zoom: float = 0.95
    centre: tuple[float, float] = (225.0, 125.0)
    look: Look = field(default_factory=Look)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A shot: one view, or two side by side, and what is said in it."""

    views: tuple[View, ...]
    lines: tuple[tuple[str, str], ...]


SERIOUS, SMILING = Look(smile=-0.7), Look(smile=0.0)
SURPRISED = Look(smile=-0.2, brow=1.0)
SCRIPT = (
    Shot(
        views=(View(who="ann", width_px=250, look=SERIOUS),),
        lines=(("ann", "How are you today?"),),
    ),
    Shot(
        views=(View(who="ben", width_px=270, zoom=1.05, look=SMILING),),
        lines=(("ben", "I am really well, thank you."),),
    ),
    Shot(  # nobody on the screen
        views=(View(who="", width_px=300, zoom=0.9, centre=(320, 200)),),
        lines=(("ann", "What do you see out of the window?"),),
    ),
    Shot(
        views=(
            View(who="ann", width_px=170, zoom=1.0, look=SMILING),
            View(who="ben", width_px=170, zoom=1.0, look=SERIOUS),
        ),
        lines=(
            ("ben", "That is wonderful news."),
            ("ann", "Are you ready to go?"),
            ("ben", "Yes, I am ready."),
        ),
    ),
    Shot(
        views=(View(who="ann", width_px=400, zoom=0.8, centre=(230, 150), look=SURPRISED),),
        lines=(("ann", "That is wonderful news. Thank you!"),),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Said:
    """A line in time.

    Attributes:
        start_s: Of the first sample.
        samples: `(samples,)` int16 mono at `RATE_HZ`.
        words: Word, start, stop; seconds from the start of the clip.
    """

    who: str
    text: str
    start_s: float
    samples: NDArray[np.int16]
    words: list[tuple[str, float, float]]

    @cached_property
    def mouth(self) -> NDArray[np.floating]:
        """How far the mouth is open, 0 to 1, one value per video frame from `start_s` on."""
        step = RATE_HZ // FPS
        padded = np.pad(self.samples.astype(np.float64), (0, -len(self.samples) % step))
        level = np.sqrt((padded.reshape(-1, step) ** 2).mean(1))
        return np.clip(level / np.percentile(level, 90), 0, 1).round(1)


def make(path: Path) -> Path:
    """Make the clip, and beside it what is true of it, as `<stem>.truth.json`.

    Args:
        path: Where to; ends with `.mp4`.

    Returns:
        `path`: about 20 s of H.264 and AAC, 640 x 360 at 25 frames per second.

    Raises:
        RuntimeError: A package of the extra `demo` is not installed.
    """
    for name in ("skimage", "espeakng_loader"):
        if find_spec(name) is None:
            raise RuntimeError(
                f"the sample clip needs the package {name!r}: `make demo` and `make setup` install "
                f"it (the extra `demo`)."
            )
    said, bounds = _timeline()
    part = path.with_name(f".{path.name}.part")
    try:
        _encode(part, said, bounds)
        truth = json.dumps(_truth(path.name, said, bounds), indent=1)
        path.with_suffix(".truth.json").write_text(truth)
        return part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(path: Path, said: list[list[Said]], bounds: list[int]) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        options = {"crf": "20", "preset": "veryfast", "threads": "1"}  # one: the same bytes always
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for image in _pictures(said, bounds):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(_sound(said, bounds[-1])[None], "s16", "mono")
        sound.sample_rate = RATE_HZ
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def _timeline() -> tuple[list[list[Said]], list[int]]:
    """What is said in each shot, and at which frames shots begin; the last bound is the end."""
    lines = [(who, text) for shot in SCRIPT for who, text in shot.lines]
    spoken = iter(speak([Line(text=text, **VOICES[who]) for who, text in lines]))
    said, bounds = [], [0]
    for shot in SCRIPT:
        time_s, shot_lines = bounds[-1] / FPS, []
        for who, text in shot.lines:
            shot_lines.append(_place(next(spoken), who, text, time_s + PAUSE_S))
            time_s += PAUSE_S + len(shot_lines[-1].samples) / RATE_HZ
        said.append(shot_lines)
        bounds.append(round((time_s + PAUSE_S) * FPS))
    return said, bounds


def _place(spoken: Spoken, who: str, text: str, start_s: float) -> Said:
    words = [(word, round(start_s + a, 3), round(start_s + b, 3)) for a, b, word in spoken.words]
    return Said(who=who, text=text, start_s=start_s, samples=spoken.samples, words=words)


def _sound(said: list[list[Said]], frames: int) -> NDArray[np.int16]:
    room = np.random.default_rng(1).normal(0, NOISE, frames * RATE_HZ // FPS)
    for line in (line for shot in said for line in shot):
        start = round(line.start_s * RATE_HZ)
        room[start : start + len(line.samples)] += LEVEL * line.samples
    return np.clip(room, -32768, 32767).astype(np.int16)


def _pictures(said: list[list[Said]], bounds: list[int]) -> Iterator[Image]:
    from skimage import data

    portrait = data.astronaut()
    puppets = {"ann": Puppet(portrait), "ben": Puppet(somebody_else(portrait))}
    rocket = data.rocket()
    for shot, lines, start, stop in zip(SCRIPT, said, bounds[:-1], bounds[1:], strict=True):
        for frame in range(start, stop):
            progress = (frame - start) / (stop - start)
            parts = []
            for view in shot.views:
                image = (
                    rocket if not view.who else puppets[view.who].draw(_look(view, lines, frame))
                )
                parts.append(_camera(image, view, progress, WIDTH // len(shot.views)))
            yield np.ascontiguousarray(np.concatenate(parts, axis=1))


def _look(view: View, lines: list[Said], frame: int) -> Look:
    """The face at one frame: its rest, the open mouth of who speaks, and blinks."""
    mouth = 0.0
    for line in lines:
        at = frame - round(line.start_s * FPS)
        if line.who == view.who and 0 <= at < len(line.mouth):
            mouth = float(line.mouth[at])
    own_s = frame / FPS - (0.9 if view.who == "ben" else 0.0)  # they do not blink together
    blink = max(max(0.0, 1 - abs(own_s - at_s) / (BLINK_S / 2)) for at_s in BLINKS_S)
    blink = min(1.0, 1.6 * blink)
    return Look(mouth=mouth, smile=view.look.smile, brow=view.look.brow, blink=blink)


def _camera(image: Image, view: View, progress: float, width: int) -> Image:
    """Look at a part of a still picture: a slow zoom with a little sway; Ben is mirrored."""
    import cv2

    still_px = 512 if view.who else 640
    scale = image.shape[1] / still_px * view.width_px * (1 + (view.zoom - 1) * progress) / width
    x, y = (at * image.shape[1] / still_px for at in view.centre)
    x += 4 * scale * np.sin(5 * progress)
    y += 3 * scale * np.sin(3 * progress)
    mirror = -1 if view.who == "ben" else 1
    to_source = np.array(
        [
            [mirror * scale, 0, x - mirror * scale * width / 2],
            [0, scale, y - scale * HEIGHT / 2],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view_px = cv2.warpAffine(
        image, to_source, (width, HEIGHT), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return view_px.astype(np.uint8, copy=False)


def _truth(name: str, said: list[list[Said]], bounds: list[int]) -> dict[str, Any]:
    """What is true of the clip: cuts, shots with their faces from left to right, turns, words."""
    return {
        "video": name,
        "kind": "synthetic: an animated portrait and two synthetic voices",
        "duration_s": bounds[-1] / FPS,
        "fps": FPS,
        "width": WIDTH,
        "height": HEIGHT,
        "hard_cut_frames": bounds[1:-1],
        "hard_cut_times_s": [frame / FPS for frame in bounds[1:-1]],
        "shots": [
            {
                "start_frame": start,
                "end_frame": stop,
                "faces": [view.who for view in shot.views if view.who],
            }
            for shot, start, stop in zip(SCRIPT, bounds[:-1], bounds[1:], strict=True)
        ],
        "turns": [
            {
                "start": line.words[0][1],
                "end": line.words[-1][2],
                "speaker": line.who,
                "text": line.text,
                "words": line.words,
            }
            for shot in said
            for line in shot
        ],
    }
