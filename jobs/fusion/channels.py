"""How far each channel is trusted, and what they say together.

The base weights are those of the method's description (text .40, face .35, voice .10). There a
partly reliable face falls from 25 to 10 %, and the voice then rises from 20 to 30 %: kept here
as the factors 0.4 and 1.5. A degraded face keeps a tenth, our own choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS
from .rules import Rules

Array = NDArray[np.float64]
Tier = Literal["reliable", "partial", "degraded", "absent"]
BASE: Mapping[str, float] = Rules().base
FACE_FACTOR: Mapping[Tier, float] = {"reliable": 1.0, "partial": 0.4, "degraded": 0.1}
VOICE_FACTOR = 1.5
"""The voice counts so much more where the face is less than reliable."""
RELIABLE_CONFIDENCE, RELIABLE_NEUTRAL = 0.5, 0.6
DEGRADED_CONFIDENCE, DEGRADED_NEUTRAL = 0.3, 0.85
NEUTRAL = LABELS.index("neutral")


@dataclass(frozen=True, kw_only=True)
class Channel:
    """What a channel is worth in one video.

    Attributes:
        tier: `reliable`, `partial`, `degraded` or `absent`.
        reason: Why, in one sentence with the numbers.
        on: Whether its polarity and classes count; a channel that is switched off weighs 0.
    """

    tier: Tier
    reason: str
    on: bool = True


def tier(confidence: float, neutral: float) -> Tier:
    """Tier of the face channel.

    Args:
        confidence: Mean confidence of the expressions.
        neutral: Share of them that is neutral.

    Example:
        >>> tier(0.41, 0.72), tier(0.5, 0.6), tier(0.29, 0.1)
        ('partial', 'reliable', 'degraded')
    """
    if confidence < DEGRADED_CONFIDENCE or neutral > DEGRADED_NEUTRAL:
        return "degraded"
    if confidence >= RELIABLE_CONFIDENCE and neutral <= RELIABLE_NEUTRAL:
        return "reliable"
    return "partial"


def face_channel(scores: Array, confidence: Array) -> Channel:
    """Judge the faces of a video.

    Args:
        scores: All samples of all faces, `(n, 7)`; NaN where unknown.
        confidence: Theirs, `(n,)`.
    """
    known = np.isfinite(scores).all(axis=1) & np.isfinite(confidence)
    if not known.any():
        return Channel(tier="absent", reason="no face with an expression was seen", on=False)
    mean = float(confidence[known].mean())
    neutral = float((scores[known].argmax(axis=1) == NEUTRAL).mean())
    text = f"mean confidence {mean:.2f}, {neutral:.0%} of the samples neutral"
    return Channel(tier=tier(mean, neutral), reason=text)


def voice_channel(arousal: Array, valence: Array, rules: Rules) -> Channel:
    """Judge the voices of a video; one value per utterance, NaN where unknown."""
    known = arousal[np.isfinite(arousal)]
    if not len(known):
        return Channel(tier="absent", reason="no utterance with a voice estimate", on=False)
    span = float(np.ptp(known))
    if len(known) >= rules.arousal_count and span < rules.arousal_range:
        reason = (
            f"switched off: arousal spans {span:.2f} over {len(known)} utterances, "
            f"less than {rules.arousal_range:g}"
        )
        return Channel(tier="degraded", reason=reason, on=False)
    if not np.isfinite(valence).any():
        reason = f"arousal alone over {len(known)} utterances: the voice has no polarity"
        return Channel(tier="partial", reason=reason)
    return Channel(tier="reliable", reason=f"arousal spans {span:.2f}, {len(known)} utterances")


def text_channel(probability: Array, *, affect: bool, classes: bool) -> Channel:
    """Judge the words of a video.

    Args:
        probability: Of each word; NaN where the recogniser gives none.
        affect: Whether any utterance has a polarity or classes.
        classes: Whether any has classes.
    """
    if not affect:
        return Channel(tier="absent", reason="no text with a polarity or an emotion", on=False)
    known = probability[np.isfinite(probability)]
    mean = float(known.mean()) if len(known) else None
    words = "words of unknown probability" if mean is None else f"mean word probability {mean:.2f}"
    kind = "emotion classes" if classes else "polarity alone, no emotion classes"
    if mean is not None and mean < DEGRADED_CONFIDENCE:
        return Channel(tier="degraded", reason=f"{words}; {kind}")
    good = mean is not None and mean >= RELIABLE_CONFIDENCE and classes
    return Channel(tier="reliable" if good else "partial", reason=f"{words}; {kind}")


def weights(
    channels: Mapping[str, Channel],
    available: Mapping[str, bool] | None = None,
    base: Mapping[str, float] = BASE,
) -> dict[str, float | None]:
    """Weights of the channels, which sum to 1 over those that count.

    Args:
        channels: `face`, `voice` and `text`.
        available: Which have an opinion here; by default all that are not absent.
        base: Of each channel, where it is reliable.

    Returns:
        A weight for each channel: `None` where it has no opinion, 0 where it is switched off.
    """
    face = channels["face"].tier
    factor = {
        "face": FACE_FACTOR.get(face, 0.0),
        "voice": 1.0 if face == "reliable" else VOICE_FACTOR,
        "text": 1.0,
    }
    present = {
        name: channel.tier != "absent" and (available is None or available[name])
        for name, channel in channels.items()
    }
    raw = {
        name: base[name] * factor[name] * channels[name].on for name in channels if present[name]
    }
    total = sum(raw.values())
    return {
        name: (raw[name] / total if total else 0.0) if present[name] else None for name in channels
    }


def pooled(
    opinions: Mapping[str, Array | None], weight: Mapping[str, float | None]
) -> Array | None:
    """Mix the channels' class scores by their weights.

    Only channels that know classes are asked: a text's polarity or a voice's arousal cannot
    tell fear from anger, and would only dilute the answer.

    Args:
        opinions: Scores in the order of `LABELS` for each channel; `None` for none.
        weight: As `weights` gives them.

    Returns:
        Scores that sum to 1, `(7,)`; `None` where no channel counts.
    """
    total = np.zeros(len(LABELS))
    for name, scores in opinions.items():
        if scores is not None and np.isfinite(scores).all() and scores.sum() > 0:
            total += (weight[name] or 0.0) * scores / scores.sum()
    return total / total.sum() if total.sum() > 0 else None
