"""Every number of the fusion that a user may change."""

from dataclasses import dataclass, fields

from .assignment import Rule


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How evidence becomes a timeline.

    Attributes:
        assignment: How a word finds its speaker: `overlap` or `midpoint`.
        fill_nearest_s: A word outside all turns takes the nearest one within this reach.
        max_gap_s: A longer pause ends an utterance.
        max_utterance_s: No utterance is longer.
        window_s: Length of the windows before and after an utterance.
        fallback_s: Reach of the search where the three windows show no face.
        fallback_confidence: How far what it finds is trusted.
        offset_s: Faces that begin this long after the last speech have another clock.
        dead_zone: A signed value this close to zero takes no side in a conflict.
        face_weight: Of what a reliable face shows, against the two that follow. These three are
            those of the method's description.
        voice_weight: Of what the voice says.
        text_weight: Of what the words say.
        arousal_range: A voice channel that spans less than this says nothing ...
        arousal_count: ... if it had this many utterances to show more.
        deviation_z: How far from a person's own baseline (robust z) is worth a note ...
        deviation_share: ... if it is also this share of the baseline ...
        baseline_count: ... and the baseline rests on this many utterances.
        low_confidence: An emotion below this confidence is flagged.
        series_hz: Most samples per second of a lane.
    """

    assignment: Rule = "overlap"
    fill_nearest_s: float = 0.5
    max_gap_s: float = 0.8
    max_utterance_s: float = 30.0
    window_s: float = 1.5
    fallback_s: float = 5.0
    fallback_confidence: float = 0.4
    offset_s: float = 60.0
    dead_zone: float = 0.25
    face_weight: float = 0.35
    voice_weight: float = 0.10
    text_weight: float = 0.40
    arousal_range: float = 0.2
    arousal_count: int = 20
    deviation_z: float = 2.0
    deviation_share: float = 0.15
    baseline_count: int = 5
    low_confidence: float = 0.4
    series_hz: float = 5.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "assignment":
                if value not in ("overlap", "midpoint"):
                    raise ValueError(
                        f"`assignment` must be 'overlap' or 'midpoint', but is {value!r}."
                    )
            elif not value >= 0:
                raise ValueError(f"`{f.name}` must be at least 0, but is {value!r}.")
        for name in ("max_utterance_s", "series_hz"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, but is {getattr(self, name):g}."
                )
        if not sum(self.base.values()):
            raise ValueError("one of `face_weight`, `voice_weight`, `text_weight` must not be 0.")
        for name in ("fallback_confidence", "dead_zone", "low_confidence"):
            if getattr(self, name) > 1:
                raise ValueError(f"`{name}` must be at most 1, but is {getattr(self, name):g}.")

    @property
    def base(self) -> dict[str, float]:
        """Weight of each channel, where it is reliable."""
        return {"face": self.face_weight, "voice": self.voice_weight, "text": self.text_weight}
