"""How an utterance sounds, as vectors for a classifier that is trained on them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .actor import Actor, answer
from .functionals import CEPSTRA, MIN_SPEECH, cepstrum, functionals, levelled, spectrum
from .pitch import HOP_S, Floats, Yin, loudness, sounding
from .sound import Samples, listen

VOICE_FEATURES = pa.schema(
    [("plain", pa.list_(pa.float32())), ("functionals", pa.list_(pa.float32()))]
)
"""`plain` is named by `PLAIN`, `functionals` by `functionals.NAMES`. NaN for what needs a pitch
where there is none; null where there is less than 0.2 s of sound."""
MOMENTS = ("mean", "std", "p10", "p50", "p90", "range", "skewness")
PLAIN = (
    *(f"{moment}_cepstrum{i}" for moment in MOMENTS for i in range(CEPSTRA)),
    *(f"{moment}_pitch_st" for moment in MOMENTS),
    *("pitch_slope_st_s", "pitch_span_st", "pitch_step_st"),
)


@dataclass(kw_only=True)
class VoiceFeatures(Actor):
    """Two descriptions of an utterance: a plain one, and the functionals that arousal is told from.

    The plain one is what is often taken first: mel cepstra and pitch, each by moments and
    percentiles over the utterance.
    """

    reads = ("uri", "start_s", "stop_s")
    adds = VOICE_FEATURES
    model = "functionals of pitch, level, spectrum and cepstrum"
    revision = "1"
    licence = "Apache-2.0"
    quality = (
        "Seven emotions, acted (EmoDB, four speakers, each held out): mean recall 0.68 from the "
        "functionals, 0.49 from the plain description."
    )

    def setup(self) -> None:
        """Prepare the pitch tracker."""
        self._yin = Yin()

    def process(self, rows: pa.Table) -> pa.Table:
        """Describe utterances; null without sound, or with less than 0.2 s of it."""
        heard = listen(rows)
        return answer(
            {
                "plain": [None if one is None else plain(one, self._yin) for one in heard],
                "functionals": [
                    None if one is None else functionals(one, self._yin) for one in heard
                ],
            },
            VOICE_FEATURES,
        )


def plain(samples: Samples, yin: Yin) -> Floats | None:
    """Describe an utterance by its cepstra and its pitch.

    Args:
        samples: Float32 mono at 16 kHz.
        yin: Follows the pitch.

    Returns:
        `(feature,)`, named by `PLAIN`; NaN for pitch where there are fewer than 5 voiced frames;
        `None` where there is less than 0.2 s of sound.
    """
    speech = sounding(loudness(samples))
    if speech.sum() < MIN_SPEECH:
        return None
    even = levelled(samples, speech)
    contour, cepstra = yin(even), cepstrum(spectrum(even))
    return np.concatenate([moments(cepstra[contour.speech]).ravel(), _pitch(contour.pitch_hz)])


def moments(values: Floats) -> Floats:
    """`MOMENTS` of each column over the rows, `(moment, column)`."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    low, middle, high = np.percentile(values, [10, 50, 90], axis=0)
    skewness = (((values - mean) / np.maximum(spread, 1e-9)) ** 3).mean(axis=0)
    return np.stack([mean, spread, low, middle, high, high - low, skewness])


def _pitch(pitch_hz: Floats) -> Floats:
    """Moments of the pitch in semitones; its slope over time, its span, its mean step."""
    voiced = np.flatnonzero(np.isfinite(pitch_hz))
    if len(voiced) < 5:
        return np.full(len(MOMENTS) + 3, np.nan)
    pitch_st = 12 * np.log2(pitch_hz[voiced] / 100)
    slope_st_s = np.polyfit(voiced * HOP_S, pitch_st, 1)[0]
    step_st = np.abs(np.diff(pitch_st)).mean()
    return np.array([*moments(pitch_st[:, None])[:, 0], slope_st_s, np.ptp(pitch_st), step_st])
