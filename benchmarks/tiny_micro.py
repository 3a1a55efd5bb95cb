"""Drawn micro-expressions: moving faces in the trees of the released data sets, and as a video.

A face is skin, brows, eyes and a mouth, each person's own. Its expression rises from nothing to the
apex and returns. The trees and spreadsheets are those of the releases; nothing of them is real.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

MOVES = {
    "positive": {"corners": 1.0, "cheeks": 0.4},
    "negative": {"brows": -1.0, "corners": -0.5},
    "surprise": {"brows": 0.8, "open": 2.0},
    "repression": {"press": 1.0},
}
"""What moves, and how far, for each label; emotions of larger sets move as one of these."""
SAME = {
    "happiness": "positive",
    "disgust": "negative",
    "anger": "negative",
    "fear": "surprise",
    "sadness": "negative",
    "contempt": "negative",
    "others": "repression",
    "other": "repression",
}


@dataclass(frozen=True)
class Person:
    """How one person looks: shares of the picture's side, and grey levels."""

    skin: float
    eye_gap: float
    brow: float
    mouth: float
    dark: float
    grain: int

    @classmethod
    def of(cls, name: str, seed: int = 0) -> "Person":
        """The same person for the same name."""
        rng = np.random.default_rng([seed, *name.encode()])
        low, high = (130, 0.15, 0.30, 0.66, 40), (210, 0.19, 0.34, 0.72, 90)
        skin, eye_gap, brow, mouth, dark = rng.uniform(low, high)
        return cls(skin, eye_gap, brow, mouth, dark, int(rng.integers(1 << 30)))


def draw(person: Person, size: int, moves: Mapping[str, float], shift: float = 0.0) -> Image:
    """Draw a face.

    Args:
        person: Whose.
        size: Side of the picture, px.
        moves: How far each part has moved, as `MOVES` times an intensity (0-1).
        shift: Of the whole head to the right, as a share of the side.

    Returns:
        BGR `(size, size, 3)` uint8.
    """
    scale = 4  # drawn larger, then reduced: movements of parts of a pixel show
    side = size * scale
    rng = np.random.default_rng(person.grain)
    grain = cv2.resize(rng.normal(0, 7, (24, 24)), (side, side), interpolation=cv2.INTER_CUBIC)
    image = np.full((side, side), 60.0)
    step = 0.045 * side  # of a full movement

    def at(x: float, y: float) -> tuple[int, int]:
        return round((0.5 + x + shift) * side), round(y * side)

    def oval(x: float, y: float, w: float, h: float, grey: float) -> None:
        axes = max(1, round(w * side)), max(1, round(h * side))
        cv2.ellipse(image, at(x, y), axes, 0, 0, 360, (grey,), -1, cv2.LINE_AA)

    oval(0, 0.5, 0.36, 0.45, person.skin)
    inside = image > 100
    moved = np.roll(grain, round(shift * side), axis=1)
    image[inside] += moved[inside]
    cheeks = moves.get("cheeks", 0.0) * step / side
    for eye in (-1, 1):
        x = eye * person.eye_gap
        oval(x, 0.56 - cheeks, 0.09, 0.05, person.skin + 9)
        oval(x, 0.43, 0.075, 0.03, 235)
        oval(x, 0.43, 0.025, 0.028, person.dark)
        lift = moves.get("brows", 0.0) * step
        brow = np.array([at(x - 0.09, person.brow), at(x + 0.09, person.brow)], float)
        brow[:, 1] -= lift
        brow[0 if eye > 0 else 1] += (eye * min(0.0, moves.get("brows", 0.0)) * step * 0.6, 0)
        line = brow.round().astype(np.int32)
        cv2.polylines(image, [line], False, (person.dark,), round(0.028 * side))
    oval(0, 0.56, 0.03, 0.05, person.skin - 22)
    corners, opened = moves.get("corners", 0.0) * step, moves.get("open", 0.0) * step
    thick = round(0.03 * side * (1 - 0.5 * moves.get("press", 0.0)))
    for bend in (-1, 1):
        middle = at(0, person.mouth)
        points = [at(-0.13, person.mouth), middle, at(0.13, person.mouth)]
        curve = np.array(points, float)
        curve[[0, 2], 1] -= corners
        curve[1, 1] += bend * opened
        line = curve.round().astype(np.int32)
        cv2.polylines(image, [line], False, (person.dark + 30,), max(1, thick), cv2.LINE_AA)
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    grey = np.clip(small, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def frames(
    person: Person, label: str, count: int, size: int, apex: int | None = None
) -> list[Image]:
    """A clip: the expression rises from the first frame to the apex and returns to the last."""
    top = count // 2 if apex is None else apex
    moves = MOVES[SAME.get(label, label)]
    levels = np.interp(range(count), [0, top, count - 1], [0.0, 1.0, 0.0])
    return [draw(person, size, {k: v * level for k, v in moves.items()}) for level in levels]


def write(folder: Path, images: Sequence[Image], names: Sequence[str]) -> None:
    """Write the frames of a clip."""
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(images, names, strict=True):
        if not cv2.imwrite(str(folder / name), image):
            raise OSError(f"the frame '{folder / name}' could not be written.")


def book(path: Path, rows: Sequence[Mapping[str, Any]], above: int = 0) -> None:
    """Write a spreadsheet; `above` lines of text stand before its header."""
    import openpyxl

    made = openpyxl.Workbook()
    sheet = made.worksheets[0]
    for line in range(above):
        sheet.append([f"note {line}"])
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append(list(row.values()))
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(path)


def smic(folder: Path, subjects: int = 4, each: int = 2, count: int = 9, size: int = 64) -> Path:
    """SMIC-HS: `each` clips of each of three labels for each person."""
    for s in range(1, subjects + 1):
        person = Person.of(f"s{s:02d}")
        for short, label in (("ne", "negative"), ("po", "positive"), ("sur", "surprise")):
            for c in range(1, each + 1):
                clip = folder / "HS" / f"s{s:02d}" / "micro" / label / f"s{s:02d}_{short}_{c:02d}"
                images = frames(person, label, count + c % 2, size)
                first = 185088 + 100 * c
                write(clip, images, [f"image{first + i}.bmp" for i in range(len(images))])
    return folder


def mmew(
    folder: Path,
    subjects: int = 4,
    each: int = 1,
    count: int = 9,
    size: int = 64,
    rows: int | None = None,
) -> Path:
    """MMEW: a spreadsheet of perhaps more `rows` than there are clips with frames."""
    emotions = ("happiness", "anger", "surprise", "disgust", "fear", "sadness", "others")
    units = ("6+12", "7", "1+2+5", "4+L10", "R12L", "15+17", "14")
    lines = []
    for s in range(1, subjects + 1):
        for e, (emotion, aus) in enumerate(zip(emotions, units, strict=True), 1):
            for c in range(1, each + 1):
                name, apex = f"S{s:02d}-{e:02d}-{c:03d}", count // 2
                images = frames(Person.of(f"S{s:02d}"), emotion, count, size, apex)
                path = folder / "Micro_Expression" / emotion / name
                write(path, images, [f"{i}.jpg" for i in range(1, count + 1)])
                lines.append(_mmew_row(s, name, apex + 1, count, aus, emotion))
    for extra in range(len(lines), rows or 0):
        lines.append(_mmew_row(1, f"S01-09-{extra:03d}", 5, count, "4", "disgust"))
    book(folder / "MMEW_Micro_Exp.xlsx", lines)
    return folder


def _mmew_row(subject: int, name: str, apex: int, last: int, aus: str, emotion: str) -> dict:
    return {
        "Subject": subject,
        "Filename": name,
        "OnsetFrame": 1,
        "ApexFrame": apex,
        "OffsetFrame": last,
        "Action Units": aus,
        "Estimated Emotion": emotion,
        "remarks": None,
    }


def fourdme(folder: Path, subjects: int = 4, each: int = 1, count: int = 9, size: int = 64) -> Path:
    """4DME's grey clips, whose frames are numbered as in the recording."""
    labels = {"Positive": "AU12", "Negative": "AU4+AU7(k)", "Surprise": "AU1+AU2", "Others": "AU14"}
    lines = []
    for s in range(1, subjects + 1):
        for label, aus in labels.items():
            for c in range(1, each + 1):
                name, first = f"{s:03d}_{label.lower()}_{c}", 400 + 50 * c
                images = frames(Person.of(f"4d{s}"), label.lower(), count, size)
                path = folder / "gray_micro" / f"{s:03d}" / name
                write(path, images, [f"img{first + i:05d}.png" for i in range(count)])
                times = {"Onset": first, "Apex": first + count // 2, "Offset": first + count - 1}
                row = {"sub_ID": f"{s:03d}", "fold_name": name, "Emotion": label}
                lines.append(row | times | {"AUs": aus})
    book(folder / "4DME_Labelling_Micro_release v1.xlsx", lines)
    return folder


def casme2(folder: Path, subjects: int = 3, count: int = 9, size: int = 64) -> Path:
    """CASME II; one apex of each person is unknown (`/`)."""
    emotions = ("happiness", "surprise", "disgust", "repression", "others")
    lines = []
    for s in range(1, subjects + 1):
        for e, emotion in enumerate(emotions, 1):
            name, first = f"EP{e:02d}_{s:02d}f", 40 + e
            images = frames(Person.of(f"sub{s:02d}"), emotion, count, size)
            path = folder / "Cropped" / f"sub{s:02d}" / name
            write(path, images, [f"reg_img{first + i}.jpg" for i in range(count)])
            lines.append(
                {
                    "Subject": s,
                    "Filename": name,
                    "": None,
                    "OnsetFrame": first,
                    "ApexFrame": "/" if e == 1 else first + count // 2,
                    "OffsetFrame": first + count - 1,
                    " ": None,
                    "Action Units": "12 or 14" if e == 5 else "12",
                    "Estimated Emotion": emotion,
                }
            )
    book(folder / "CASME2-coding-20140508.xlsx", lines)
    return folder


def samm(folder: Path, subjects: int = 3, count: int = 9, size: int = 64) -> Path:
    """SAMM, whose sheet has its header below a preamble."""
    emotions = ("Happiness", "Surprise", "Anger", "Contempt", "Other")
    lines = []
    for s in range(6, 6 + subjects):
        for e, emotion in enumerate(emotions, 1):
            name, first = f"{s:03d}_{e}_2", 5562 + e
            images = frames(Person.of(f"{s:03d}"), emotion.lower(), count, size)
            path = folder / "SAMM" / f"{s:03d}" / name
            write(path, images, [f"{s:03d}_{first + i:05d}.jpg" for i in range(count)])
            lines.append(
                {
                    "Subject": f"{s:03d}",
                    "Filename": name,
                    "Onset Frame": first,
                    "Apex Frame": first + count // 2,
                    "Offset Frame": first + count - 1,
                    "Action Units": "R12 + R15",
                    "Estimated Emotion": emotion,
                }
            )
    book(folder / "SAMM_Micro_FACS_Codes_v2.xlsx", lines, above=13)
    return folder


@dataclass(frozen=True)
class Event:
    """A drawn movement of a video: its label and frames, and how far it goes (0-1)."""

    label: str
    onset: int
    apex: int
    offset: int
    strength: float = 0.5


def scene(
    person: Person, count: int, size: int, events: Sequence[Event] = (), sway: float = 0.0
) -> Iterator[Image]:
    """The frames of a neutral face that sways, with brief movements at known times.

    Args:
        person: Whose.
        count: Of frames.
        size: Side, px.
        events: The movements.
        sway: Of the head, as a share of the side, over two seconds at 30 frames per second.
    """
    for i in range(count):
        moves: dict[str, float] = {}
        for event in events:
            rise = [event.onset, event.apex, event.offset]
            level = event.strength * float(np.interp(i, rise, [0, 1, 0]))
            for name, far in MOVES[event.label].items():
                moves[name] = moves.get(name, 0.0) + far * level
        yield draw(person, size, moves, shift=sway * float(np.sin(2 * np.pi * i / 60)))


def film(path: Path, images: Iterator[Image], fps: int) -> Path:
    """Write frames as an MP4 of high quality."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream: Any = None
        for image in images:
            if stream is None:
                stream = out.add_stream("libx264", rate=fps, options={"crf": "12"})
                stream.width, stream.height = image.shape[1], image.shape[0]
                stream.pix_fmt = "yuv420p"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        out.mux(stream.encode(None))
    return path
