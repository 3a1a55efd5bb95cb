"""EmoDB: the emotion of a voice, each speaker held out in turn.

What is chosen (how strongly a classifier may fit) is chosen on speakers of the training who are
left out in turn, so that nothing of the speaker who is judged enters, except where a system is
marked as transductive: that one sees the unlabelled clips of the speaker.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ...actors.actor import Actor
from ...actors.answers import content_hash
from ...actors.voice_features import VoiceFeatures
from ...actors.voice_states import VoiceStates
from ...cluster.session import Cluster
from ...datasets.emodb import EMOTIONS, HIGH_AROUSAL, EmoDb
from ...datasets.schema import KEY
from ...datasets.store import Place
from ..evaluation.extract import Extraction, digest, feature_phase
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import predictions
from ..evaluation.results import measured
from ..evaluation.scores import codes, scores
from ..profile import Profile
from ..progress import console
from . import emodb_report as report
from .baselines import commonest
from .voice_systems import Voices, VoiceSystem

SPLIT = "one speaker out"
TARGETS: Mapping[str, tuple[str, ...]] = {"emotion": EMOTIONS, "arousal": ("low", "high")}
METRICS = ("uar", "accuracy", "macro_f1")
ALWAYS = "always the commonest"


@dataclass(kw_only=True)
class Voice:
    """EmoDB, seven emotions or two levels of arousal.

    Attributes:
        path: Folder with the clips.
        target: `emotion`, or `arousal`: high is anger, fear and happiness.
        systems: What is compared, by name. Those whose features are not at hand are left out.
        tuned: The system that a sweep tunes.
        actors: What describes the clips; every column that they add can be learnt from.
    """

    path: str
    systems: Mapping[str, VoiceSystem]
    tuned: str
    target: str = "emotion"
    actors: Mapping[str, Actor] = field(
        default_factory=lambda: {"voice_features": VoiceFeatures(), "voice_states": VoiceStates()}
    )
    headline: str = field(default="uar", init=False)
    _clips: pa.Table | None = field(default=None, init=False, repr=False)
    _voices: Voices | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(
                f"`benchmark.target` must be one of {', '.join(TARGETS)}, but is {self.target!r}."
            )
        if self.tuned not in self.systems:
            raise ValueError(
                f"`benchmark.tuned` must be one of {', '.join(self.systems)}, but is "
                f"{self.tuned!r}."
            )
        known = {name for actor in self.actors.values() for name in actor.adds.names}
        for name, system in self.systems.items():
            unknown = [column for column in system.features if column not in known]
            if unknown or not system.features:
                raise ValueError(
                    f"`benchmark.systems.{name}.features` must be some of "
                    f"{', '.join(sorted(known))}, but are {list(system.features)}."
                )
        self.name = f"emodb {self.target}"
        self.labels = TARGETS[self.target]

    def extraction(self) -> str:
        """Hash of what describes the clips."""
        phases = [feature_phase(role, {role: actor}) for role, actor in self._usable().items()]
        return content_hash(sorted(phase.hash for phase in phases))[:12]

    def prepare(self, cluster: Cluster, folder: Place) -> None:
        """Read the clips, and describe those that are not described yet."""
        if self._voices is not None:
            return
        clips = EmoDb(path=self.path).read()
        with Extraction(cluster, folder) as extraction:
            columns = {
                name: values
                for role, actor in self._usable().items()
                for name, values in described(extraction, role, actor, clips).items()
            }
        self._clips = clips
        self._voices = Voices(
            columns=columns,
            truth=codes(self._truth(clips), self.labels),
            speakers=np.array(clips["speaker"].to_pylist()),
            labels=len(self.labels),
        )
        if len(self.folds()) < 3:
            raise ValueError(
                f"`path` must hold clips of at least 3 speakers, but has {len(self.folds())} "
                f"({self.path!r})."
            )

    def content(self) -> str:
        """Hash of the list of clips."""
        assert self._clips is not None
        return digest(self._clips)

    def folds(self) -> list[str]:
        """The speakers, each held out once."""
        return np.unique(self.voices.speakers).tolist()

    def tune(self, fold: str) -> Iterator[float]:
        """Mean recall of the tuned system within the other speakers, after each of them."""
        voices, system = self.voices, self.systems[self.tuned]
        inside = voices.speakers != self._known(fold)
        truth: list[str] = []
        given: list[str] = []
        for speaker in np.unique(voices.speakers[inside]):
            held = inside & (voices.speakers == speaker)
            found, _ = system.scores(voices, inside & ~held, held)
            truth += [self.labels[place] for place in voices.truth[held]]
            given += [self.labels[place] for place in found.argmax(axis=1)]
            yield scores(truth, given, self.labels).uar

    def judge(self, fold: str) -> pa.Table:
        """What the tuned system says of one speaker, having learnt from all others."""
        return self._judged(self.tuned, fold)[0]

    def run(self, cluster: Cluster, folder: Place, models: Profile) -> Outcome:
        """Judge every system on every speaker."""
        self.prepare(cluster, folder)
        at_hand = {
            name: system
            for name, system in self.systems.items()
            if all(column in self.voices.columns for column in system.features)
        }
        parts, chosen = [], []
        for name in at_hand:
            for fold in self.folds():
                said, strengths = self._judged(name, fold)
                parts.append(said)
                chosen.append({"system": name, "held out": fold, **strengths})
            judged = pa.concat_tables(parts[-len(self.folds()) :])
            truth, given = judged["truth"].to_pylist(), judged["predicted"].to_pylist()
            console.print(f"{name}: mean recall {scores(truth, given, self.labels).uar:.3f}")
        parts += [self._always(fold) for fold in self.folds()]
        table = pa.concat_tables(parts)
        kinds = {name: system.kind for name, system in at_hand.items()} | {ALWAYS: "baseline"}
        results = measured(
            self.name,
            table,
            labels=self.labels,
            inputs={name: " + ".join(system.features) for name, system in at_hand.items()},
            kinds=kinds,
            metrics=METRICS,
            split=SPLIT,
            notes={
                name: "transductive: normalised over the unlabelled clips of the speaker"
                for name, system in at_hand.items()
                if system.by_speaker
            },
        )
        return Outcome(
            title=f"EmoDB: {self.target} of voices",
            benchmark=self.name,
            labels=self.labels,
            headline=self.headline,
            predictions=table,
            results=results,
            notes=[*report.notes(self.voices, at_hand), *self._absent(at_hand)],
            figures=report.figures(table, self.labels, self.headline, chosen),
        )

    @property
    def voices(self) -> Voices:
        """The clips as numbers.

        Raises:
            RuntimeError: `prepare` has not been called.
        """
        if self._voices is None:
            raise RuntimeError("the clips must be described first: call `prepare`.")
        return self._voices

    def _absent(self, at_hand: Mapping[str, VoiceSystem]) -> Iterator[str]:
        """Which systems are left out, and why."""
        for name, system in self.systems.items():
            if name not in at_hand:
                reasons = {
                    reason
                    for actor in self.actors.values()
                    if {*system.features} & {*actor.adds.names} and (reason := actor.missing())
                }
                yield f"Left out: {name}: {'; '.join(sorted(reasons))}."

    def _usable(self) -> dict[str, Actor]:
        """The actors whose columns some system learns from, and that can work here."""
        wanted = {column for system in self.systems.values() for column in system.features}
        return {
            role: actor
            for role, actor in self.actors.items()
            if wanted & {*actor.adds.names} and actor.missing() is None
        }

    def _truth(self, clips: pa.Table) -> list[str]:
        emotions = clips["emotion"].to_pylist()
        if self.target == "emotion":
            return emotions
        return ["high" if emotion in HIGH_AROUSAL else "low" for emotion in emotions]

    def _known(self, fold: str) -> str:
        if fold not in self.folds():
            raise ValueError(f"a fold must be one of {', '.join(self.folds())}, but is {fold!r}.")
        return fold

    def _judged(self, name: str, fold: str) -> tuple[pa.Table, dict[str, float]]:
        held = self.voices.speakers == self._known(fold)
        found, chosen = self.systems[name].scores(self.voices, ~held, held)
        given = [self.labels[place] for place in found.argmax(axis=1)]
        return self._said(name, fold, given, found), chosen

    def _always(self, fold: str) -> pa.Table:
        others = self.voices.truth[self.voices.speakers != fold]
        label = commonest([self.labels[place] for place in others])
        held = np.count_nonzero(self.voices.speakers == fold)
        return self._said(ALWAYS, fold, [label] * held, None)

    def _said(self, name: str, fold: str, given: list[str], found: np.ndarray | None) -> pa.Table:
        assert self._clips is not None
        held = self._clips.filter(pa.array(self.voices.speakers == fold))
        return predictions(
            benchmark=self.name,
            system=name,
            split=SPLIT,
            fold=fold,
            ids=held["file"].to_pylist(),
            groups=held["speaker"].to_pylist(),
            truth=self._truth(held),
            predicted=given,
            scores=found,
        )


def described(
    extraction: Extraction, role: str, actor: Actor, clips: pa.Table
) -> dict[str, np.ndarray]:
    """The columns that an actor adds, `(clip, feature)`; NaN where a clip has none.

    Raises:
        ValueError: The actor failed on every clip.
    """
    count = len(clips)
    manifest = pa.table(
        {
            "id": clips["id"],
            "video_id": clips["id"],
            "uri": clips["uri"],
            "start_s": pa.nulls(count, pa.float64()),
            "stop_s": pa.nulls(count, pa.float64()),
        },
        schema=KEY,
    )
    names = list(actor.adds.names)
    table = extraction.table(role, {role: actor}, manifest)
    ids = clips["id"].to_pylist()
    rows = {
        row["id"]: row for row in table.read(["id", "error_message", *names], ids=ids).to_pylist()
    }
    columns = {}
    for name in names:
        values = [rows[one][name] for one in ids]
        width = next((len(value) for value in values if value is not None), 0)
        if not width:
            reason = next((row["error_message"] for row in rows.values()), None)
            raise ValueError(f"{actor.model} described no clip at all: {reason or 'no sound'}.")
        columns[name] = np.array([value or [np.nan] * width for value in values], np.float64)
    return columns
