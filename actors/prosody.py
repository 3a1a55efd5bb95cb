"""Prosody: pitch, loudness, pace and pauses of an utterance."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from ..datasets.schema import PROSODY
from .actor import Actor, answer
from .pitch import HOP_S, Contour, Flags, Yin
from .sound import RATE_HZ, Samples, listen

MIN_VOICED = 5
"""Fewer voiced frames (of 10 ms) give no pitch."""


@dataclass(kw_only=True)
class Prosody(Actor):
    """Pitch, loudness, pace and pauses of utterances.

    Pace counts the words of the column `words` where there is one, else of `text`.

    Attributes:
        low_hz: Lowest pitch looked for.
        high_hz: Highest.
        pause_s: Shortest silence inside an utterance that counts as a pause.
    """

    reads = ("uri", "start_s", "stop_s", "text")
    adds = PROSODY
    model = "YIN (de Cheveigne & Kawahara 2002)"
    revision = "1"
    quality = (
        "Pitch within 0.2% on synthetic tones; neutral EmoDB voices: men 125 Hz, women 204 Hz, "
        "no overlap."
    )
    licence = "Apache-2.0"

    low_hz: float = 60.0
    high_hz: float = 600.0
    pause_s: float = 0.25

    def __post_init__(self) -> None:
        if self.pause_s <= 0:
            raise ValueError(f"`pause_s` must be greater than 0, but is {self.pause_s:g}.")
        self._yin = Yin(low_hz=self.low_hz, high_hz=self.high_hz)

    def process(self, rows: pa.Table) -> pa.Table:
        """Measure utterances; all null where the file has no sound."""
        counts = word_counts(rows)
        measured = [
            measure(samples, self._yin, self.pause_s) | {"speech_rate_hz": _rate(samples, count)}
            for samples, count in zip(listen(rows), counts, strict=True)
        ]
        return answer({name: [m.get(name) for m in measured] for name in PROSODY.names}, PROSODY)


def measure(samples: Samples | None, yin: Yin, pause_s: float) -> dict[str, Any]:
    """Measure the sound of one utterance.

    Returns:
        The columns of `PROSODY` that need no words; those that cannot be told are absent.
    """
    if samples is None:
        return {}
    contour = yin(samples)
    if not contour.speech.any():
        return {}
    level_db = contour.level_db[contour.speech]
    return {
        "energy_db": level_db.mean(),
        "energy_range_db": np.ptp(np.percentile(level_db, [5, 95])),
        "voiced_ratio": (contour.voiced & contour.speech).sum() / contour.speech.sum(),
        "pause_ratio": 1 - contour.speech.mean(),
        "pauses": pauses(contour.speech, pause_s),
        **_pitch(contour),
    }


def pauses(speech: Flags, pause_s: float) -> int:
    """Count the silences between the first and the last sound that last at least `pause_s`."""
    heard = np.flatnonzero(speech)
    inside = speech[heard[0] : heard[-1] + 1]
    lengths = [sum(1 for _ in run) for sound, run in groupby(inside.tolist()) if not sound]
    return sum(length >= round(pause_s / HOP_S) for length in lengths)


def word_counts(rows: pa.Table) -> list[int | None]:
    """Words per row, from the column `words` or else `text`; null where neither is known."""
    texts = rows["text"].to_pylist()
    words = rows["words"].to_pylist() if "words" in rows.column_names else [None] * len(texts)
    return [
        len(spoken) if spoken is not None else None if text is None else len(text.split())
        for spoken, text in zip(words, texts, strict=True)
    ]


def _pitch(contour: Contour) -> dict[str, float]:
    pitch_hz = contour.pitch_hz[contour.voiced]
    if len(pitch_hz) < MIN_VOICED:
        return {}
    low_hz, high_hz = np.percentile(pitch_hz, [5, 95])
    return {
        "pitch_hz": float(np.median(pitch_hz)),
        "pitch_range_st": float(12 * np.log2(high_hz / low_hz)),
    }


def _rate(samples: Samples | None, count: int | None) -> float | None:
    return (
        count * RATE_HZ / len(samples) if count and samples is not None and len(samples) else None
    )
