"""Drawn faces: labelled frames made by code, for tests and benchmarks.

Each person has colours and proportions of their own; a label shows in the mouth and the brows, and
can be heard in a tone. They say whether training works, and nothing about real people.
"""

import csv
import wave
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LABELS = ("happy", "neutral", "sad", "surprise")
TONES_HZ = (660, 330, 220, 990)
FPS = 4.0
RATE_HZ = 16_000


def face(
    label: str, person: int, frame: int, side_px: int = 64, strength: float = 1.0
) -> NDArray[np.uint8]:
    """A picture `(side, side, 3)` uint8, RGB.

    Args:
        label: One of `LABELS`.
        person: Decides colours and proportions.
        frame: Decides where the face stands and the noise.
        side_px: Of the picture.
        strength: Of the expression (0-1).
    """
    own, now = np.random.default_rng([person, 7]), np.random.default_rng([person, frame, 11])
    back, skin, ink = own.integers(0, 120, 3), own.integers(130, 250, 3), own.integers(0, 70, 3)
    image = np.full((256, 256, 3), back, np.uint8)
    middle = np.array([128, 128]) + now.integers(-14, 15, 2)
    wide, high = 70 + own.integers(-8, 9), 92 + own.integers(-8, 9)
    cv2.ellipse(image, _point(middle), (int(wide), int(high)), 0, 0, 360, skin.tolist(), -1)
    brow, curve, gap = {
        "happy": (0, 22, 4),
        "neutral": (0, 0, 2),
        "sad": (-12, -20, 3),
        "surprise": (0, 4, 26),
    }[label]
    brow, curve, gap = brow * strength, curve * strength, 2 + (gap - 2) * strength
    raise_px = 12 * strength if label == "surprise" else 0
    for sign in (-1, 1):
        eye = middle + np.array([sign * 28, -22])
        cv2.circle(image, _point(eye), 8, ink.tolist(), -1)
        inner = eye + np.array([-sign * 14, brow - raise_px - 20])
        outer = eye + np.array([sign * 14, -raise_px - 20])
        cv2.line(image, _point(inner), _point(outer), ink.tolist(), 5)
    x = np.linspace(-30, 30, 25)
    for lip in (-1, 1):
        y = 42 - curve * (x / 30) ** 2 + curve / 2 + lip * gap * (1 - (x / 30) ** 2)
        points = np.stack([middle[0] + x, middle[1] + y], axis=1).round().astype(np.int32)
        cv2.polylines(image, [points], False, (150, 30, 40), 4)
    noisy = image + now.normal(0, 6, image.shape)
    small = cv2.resize(noisy.clip(0, 255), (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _point(at: NDArray) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def folder(
    path: Path,
    *,
    persons: int = 6,
    frames: int = 8,
    labels: tuple[str, ...] = LABELS,
    side_px: int = 64,
    sound: bool = False,
) -> Path:
    """Write a folder of labelled frames.

    Args:
        path: Made; holds `LABEL/PERSON/*.jpg`, or, with sound, also `labels.csv` and a sound file
            for each person and label.
        persons: How many.
        frames: Of each person and label.
        labels: Of `LABELS`.
        side_px: Of the pictures.
        sound: Whether there is any.
    """
    rows = []
    for person in range(persons):
        for label in labels:
            home = path / label / f"person{person:02d}"
            home.mkdir(parents=True, exist_ok=True)
            for frame in range(frames):
                image = face(label, person, frame + 100 * labels.index(label), side_px)
                file = home / f"{frame:04d}.jpg"
                cv2.imwrite(str(file), image[:, :, ::-1])
                video = f"{home.name}-{label}"
                row = {"file": str(file.relative_to(path)), "label": label, "person": home.name}
                row |= {"video": video, "time_s": frame / FPS, "sound": f"{video}.wav"}
                rows.append(row)
            if sound:
                _tone(path / f"{home.name}-{label}.wav", label, person, frames / FPS)
    if sound:
        with (path / "labels.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def _tone(path: Path, label: str, person: int, length_s: float) -> None:
    random = np.random.default_rng([person, LABELS.index(label)])
    time_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    pitch_hz = TONES_HZ[LABELS.index(label)] * random.uniform(0.95, 1.05)
    samples = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s) + random.normal(0, 0.02, len(time_s))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
