"""The segments of a timeline: one for each utterance, with all that is known of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.schema import LABELS, PROSODY
from . import conflict, notes
from .assignment import times
from .channels import Channel, face_channel, pooled, text_channel, voice_channel, weights
from .evidence import Evidence, Record
from .faces import Face
from .onscreen import Presence, locate, pair
from .plain import number, shares, strongest
from .rules import Rules
from .spoken import scores_of, value
from .windows import Votes, around, chosen, offset

Array = NDArray[np.float64]
PROJECTED_CONFIDENCE = 0.4
"""How far classes are trusted that were projected from a voice's valence and arousal."""
BLINKS_SEEN_S = 5.0
"""A blink rate needs a face that was seen for so long."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """All segments of one video.

    Attributes:
        evidence: What is known.
        faces: The faces by person.
        rules: How to judge.
        said: What `spoken` gives, m utterances.
    """

    evidence: Evidence
    faces: Mapping[str, Face]
    rules: Rules
    said: Sequence[Record]

    @cached_property
    def start_s(self) -> Array:
        """Starts of the utterances, `(m,)`."""
        return times(self.said, "start_s")

    @cached_property
    def stop_s(self) -> Array:
        """Their ends, `(m,)`."""
        return times(self.said, "stop_s")

    @cached_property
    def speakers(self) -> list[str | None]:
        """Their speakers."""
        return [one["speaker"] for one in self.said]

    @cached_property
    def offset_s(self) -> float:
        """How far the clock of the faces runs ahead, see `windows.offset`."""
        begins = [f.visible.time_s[0] for f in self.faces.values() if len(f.visible)]
        known = len(self.said) > 0
        return offset(
            float(min(begins)) if begins else None,
            float(self.start_s.min()) if known else None,
            float(self.stop_s.max()) if known else None,
            tolerance_s=self.rules.offset_s,
        )

    @cached_property
    def persons(self) -> dict[str, str]:
        """The person of each speaker who has one."""
        turns = self.evidence.exclusive_turns
        return pair(
            {name: face.mouth for name, face in self.faces.items()},
            times(turns, "start_s") + self.offset_s,
            times(turns, "stop_s") + self.offset_s,
            [turn["speaker"] for turn in turns],
        )

    @cached_property
    def presences(self) -> list[Presence]:
        """Who speaks in each segment, on screen or off."""
        start, stop = self.start_s + self.offset_s, self.stop_s + self.offset_s
        rows = self.evidence.watched
        begin, end = (
            rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
            for name in ("start_s", "stop_s")
        )
        middle = (start + stop) / 2
        watched = ((begin <= middle[:, None]) & (middle[:, None] < end)).any(axis=1)
        seen = self.evidence.faces.time_s
        return locate(
            {name: face.mouth for name, face in self.faces.items()},
            start,
            stop,
            self.speakers,
            self.persons,
            watched=watched,
            faces=np.searchsorted(seen, stop) - np.searchsorted(seen, start),
        )

    @cached_property
    def windows(self) -> dict[str, dict[str, Votes]]:
        """Votes of each person's face in each window."""
        start, stop = self.start_s + self.offset_s, self.stop_s + self.offset_s
        return {
            name: around(
                face.expression,
                start,
                stop,
                window_s=self.rules.window_s,
                fallback_s=self.rules.fallback_s,
                fallback_confidence=self.rules.fallback_confidence,
            )
            for name, face in self.faces.items()
        }

    @cached_property
    def reactions(self) -> dict[str, Votes]:
        """Votes of each person's face during and after each utterance."""
        start, stop = self.start_s + self.offset_s, self.stop_s + self.offset_s
        return {
            name: face.expression.votes(start, stop + self.rules.window_s)
            for name, face in self.faces.items()
        }

    @cached_property
    def channels(self) -> dict[str, Channel]:
        """What each channel is worth in this video."""
        looks = [face.expression for face in self.faces.values()]
        rows = [one["voice"] for one in self.said]
        arousal, valence = (
            np.array([value(row, name) for row in rows], dtype=np.float64)
            for name in ("arousal", "valence")
        )
        classes = any(scores_of(row) is not None for row in rows)
        polar = any(value(row, "text_polarity") is not None for row in rows)
        probability = [word.get("probability") for word in self.evidence.words]
        return {
            "face": face_channel(
                np.concatenate([np.zeros((0, len(LABELS))), *(x.scores for x in looks)]),
                np.concatenate([np.zeros(0), *(x.confidence for x in looks)]),
            ),
            "voice": voice_channel(arousal, valence, self.rules),
            "text": text_channel(
                np.array(probability, dtype=np.float64), affect=polar or classes, classes=classes
            ),
        }

    def face(self, i: int) -> dict[str, Any] | None:
        """What the speaker's face shows around utterance `i`."""
        windows = self.windows.get(self.presences[i].person or "")
        name = None if windows is None else chosen(windows, i)
        if windows is None or name is None:
            return None
        scores = shares(windows[name].scores[i])
        return {
            "dominant": strongest(scores),
            "scores": scores,
            "confidence": number(windows[name].certainty(i)),
            "window": name,
            "windows": {
                each: {
                    "dominant": windows[each].label(i),
                    "confidence": number(windows[each].certainty(i)),
                }
                if windows[each].seen[i]
                else None
                for each in ("before", "during", "after")
            },
        }

    @cached_property
    def listeners(self) -> list[dict[str, Any] | None]:
        """Who listens to each utterance, see `listener`."""
        return [self.listener(i) for i in range(len(self.said))]

    def listener(self, i: int) -> dict[str, Any] | None:
        """The most certain face, during utterance `i` or after it, that is not the speaker's."""
        presence = self.presences[i]
        if presence.person is None and presence.on_screen is not False:
            return None
        others = [
            (votes.certainty(i) or 0.0, name)
            for name, votes in self.reactions.items()
            if name != presence.person and votes.seen[i]
        ]
        if not others:
            return None
        sure, name = max(others, key=lambda other: (other[0], -len(other[1]), other[1]))
        label = self.reactions[name].label(i)
        return {"person": name, "emotion": label, "confidence": number(sure)}

    def emotion(self, i: int) -> tuple[dict[str, Any], bool | None, int | None]:
        """The emotion of utterance `i`, its conflict, and the side that its words take."""
        face, row = self.face(i), self.said[i]["voice"]
        text_scores, polarity = scores_of(row), value(row, "text_polarity")
        affect = {name: value(row, name) for name in ("arousal", "dominance", "valence")}
        valence = conflict.signed(affect["valence"]) if self.channels["voice"].on else None
        opinions = {
            "face": None if face is None else np.array([face["scores"][x] for x in LABELS]),
            "voice": conflict.from_affect(valence, conflict.signed(affect["arousal"])),
            "text": text_scores,
        }
        weight = weights(
            self.channels,
            {name: opinion is not None for name, opinion in opinions.items()},
            self.rules.base,
        )
        sure = {
            "face": 0.0 if face is None else face["confidence"],
            "voice": PROJECTED_CONFIDENCE,
            "text": 0.0 if text_scores is None else float(text_scores.max()),
        }
        scores = shares(pooled(opinions, weight))
        text = shares(text_scores)
        side = conflict.of_label(strongest(text))
        if side is None:
            side = conflict.of_value(polarity, self.rules.dead_zone)
        sides = (
            conflict.of_label(None if face is None else face["dominant"]),
            conflict.of_value(valence, self.rules.dead_zone),
            side,
        )
        known = {name: number(w) for name, w in weight.items()}
        emotion = {
            "dominant": strongest(scores),
            "scores": scores,
            "confidence": None
            if scores is None
            else number(sum(sure[name] * (weight[name] or 0.0) for name in sure)),
            "by_channel": {
                "face": face,
                "voice": None if set(affect.values()) == {None} else affect,
                "text": None
                if polarity is None and text is None
                else {"polarity": polarity, "scores": text},
            },
            "weights": known,
        }
        return emotion, conflict.conflict(sides), side

    def prosody(self, i: int) -> dict[str, Any] | None:
        """The prosody of utterance `i`."""
        row = self.said[i]["voice"]
        found = {name: value(row, name) for name in PROSODY.names}
        if found["pauses"] is not None:
            found["pauses"] = int(found["pauses"])
        return None if set(found.values()) == {None} else found

    def behaviour(self) -> list[list[notes.Note]]:
        """Behavioural notes of each segment."""
        found: list[list[notes.Note]] = [[] for _ in self.said]
        for speaker in sorted({name for name in self.speakers if name is not None}):
            mine = np.flatnonzero([name == speaker for name in self.speakers])
            for measure, column in (
                (notes.SPEECH_RATE, "speech_rate_hz"),
                (notes.PAUSES, "pause_ratio"),
                (notes.PITCH, "pitch_hz"),
            ):
                values = [value(self.said[i]["voice"], column) for i in mine.tolist()]
                self._deviations(found, measure, np.array(values, dtype=np.float64), mine)
        for person, face in self.faces.items():
            self._face_notes(found, person, face)
        for one in found:
            one.sort(key=lambda note: (note.get("start", note.get("timestamp")), note["type"]))
        return found

    def _deviations(
        self,
        found: list[list[notes.Note]],
        measure: notes.Measure,
        values: Array,
        mine: NDArray[np.intp],
    ) -> None:
        start, stop = self.start_s[mine], self.stop_s[mine]
        for k, note in notes.deviations(measure, values, start, stop, self.rules):
            found[int(mine[k])].append(note)

    def _face_notes(self, found: list[list[notes.Note]], person: str, face: Face) -> None:
        """Notes on one person's face, in the segments where it speaks or listens."""
        start, stop = self.start_s + self.offset_s, self.stop_s + self.offset_s
        speaks = np.array(
            [p.person == person and p.on_screen is True for p in self.presences], dtype=bool
        )
        listens = np.array(
            [(one or {}).get("person") == person for one in self.listeners], dtype=bool
        )
        if face.blinks is not None:
            mine = np.flatnonzero(speaks)
            _, seen_s = face.mouth.during(start, stop)
            count = np.searchsorted(face.blinks, stop) - np.searchsorted(face.blinks, start)
            rate = np.full(len(start), np.nan)
            np.divide(60 * count, seen_s, out=rate, where=seen_s >= BLINKS_SEEN_S)
            self._deviations(found, notes.BLINKS, rate[mine], mine)
        for event in face.events:
            note = notes.of_event(event, person)
            who = speaks | listens if note["type"] in notes.LISTENING else speaks
            for i in np.flatnonzero(who & (start <= event["start_s"]) & (event["start_s"] < stop)):
                found[int(i)].append(note)
