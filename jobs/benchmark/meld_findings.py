"""What all systems said of MELD, and the protocol by which they came to say it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ...datasets.leakage import LONG_WORDS, shared
from . import baselines
from .meld_systems import DEV, TRAIN, Systems
from .profile_text import TOWARDS, ProfileText
from .zero_shot import Answers


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a model answered that was not trained.

    Attributes:
        system: Its name in the tables.
        answers: Its answers.
    """

    system: str
    answers: Answers


@dataclass(kw_only=True)
class Findings:
    """What all systems said of the split that is judged.

    Attributes:
        systems: What was trained.
        absent: Why a text system or a modality is left out, by name.
        parts: Rows of `PREDICTIONS`, system by system.
        inputs: What each system was given.
        ways: By which way each fusion was made.
        merits: How good each trained system is where choices are made.
        names: System of each modality that is fused.
        subsets: System of each subset of the modalities.
        equal: The same, by equal weights.
        profile: What the profile's own model says of the texts.
        asked: What models said that were asked without training.
    """

    systems: Systems
    absent: dict[str, str]
    parts: list[pa.Table] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)
    merits: dict[str, float] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    subsets: dict[tuple[str, ...], str] = field(default_factory=dict)
    equal: dict[tuple[str, ...], str] = field(default_factory=dict)
    profile: ProfileText | None = None
    asked: list[Asked] = field(default_factory=list)

    def add(self, rows: pa.Table, inputs: str, way: str = "") -> None:
        """Take in what a system said.

        Args:
            rows: Of `PREDICTIONS`.
            inputs: What it was given.
            way: Of fusion, where it is one.
        """
        name = rows["system"][0].as_py()
        self.parts.append(rows)
        self.inputs[name] = inputs
        if way:
            self.ways[name] = way

    @property
    def train(self) -> pa.Table:
        """The utterances of train."""
        return self.systems.rows.take(self.systems.at(TRAIN))

    @property
    def held(self) -> pa.Table:
        """The utterances that are judged."""
        return self.systems.rows.take(self.systems.at(self.systems.held))

    @property
    def usual(self) -> str:
        """The commonest label of train."""
        return baselines.commonest(self.train["emotion"].to_pylist())

    @property
    def chosen(self) -> str | None:
        """The trained system that is best where choices are made; without a choice, the first."""
        if self.merits:
            return max(self.merits, key=self.merits.__getitem__)
        return next(iter(self.names.values()), None)


def protocol(findings: Findings) -> Iterator[str]:
    """A sentence on each thing without which the numbers mean nothing."""
    own, held, train = findings.systems, findings.held, findings.train
    dialogues = len(pc.unique(held["group"]))
    yield (
        f"Trained on train ({len(train)} utterances of {len(pc.unique(train['group']))} "
        f"dialogues), judged on {own.held} ({len(held)} of {dialogues} dialogues); no dialogue is "
        "in both."
    )
    if not findings.merits:
        yield f"Nothing was chosen: {findings.chosen or 'no system'} was named, or is alone."
    elif own.chosen_on == TRAIN:
        yield (
            f"Choices (text system, way of fusion) were made by {own.parts}-fold cross-validation "
            f"within train, by dialogue; {own.held} was not looked at for them."
        )
    else:
        yield f"Choices (text system, way of fusion) were made on {own.chosen_on}."
    if own.held == DEV:
        yield (
            "The test split is not at hand: values are of dev, and published ones, which are of "
            "test, are no like-for-like comparison."
        )
    yield from _overlap(findings)
    for name, reason in findings.absent.items():
        yield f"Left out: {name}: {reason}."
    for name, features in own.features.items():
        gone = Counter(reason.partition(":")[0] for reason in features.missing if reason)
        if gone:
            named = ", ".join(f"{count} {reason}" for reason, count in gone.most_common(5))
            yield f"{name.capitalize()} is missing in {gone.total()} rows: {named}."
    if findings.profile is not None:
        profile = findings.profile
        if profile.scores is None:
            yield (
                f"The profile's own model of texts, {profile.model}, gives a polarity and no "
                f"emotions: it is judged on the three sentiments (from ±{TOWARDS} on)."
            )
        if profile.silent:
            yield f"{profile.model} has no answer to {profile.silent} rows; they count as neutral."
    for one in findings.asked:
        silent = sum(label is None for label in one.answers.predicted)
        if silent:
            yield f"{one.system}: {silent} rows have no answer; they count as {findings.usual}."


def _overlap(findings: Findings) -> Iterator[str]:
    """What is in train and in the judged split all the same."""
    held, train, split = findings.held, findings.train, findings.systems.held
    known = pc.sum(pc.is_in(held["speaker"], train["speaker"].combine_chunks())).as_py()
    yield (
        f"The series has one cast: the speakers of {known} of {len(held)} rows of {split} speak in "
        "train, too. The rest is judged apart."
    )
    texts = shared(findings.systems.rows, TRAIN, split)
    yield (
        f"{texts.utterances} utterances of {split} stand in train word for word, {texts.long} of "
        f"them with {LONG_WORDS} words or more; {len(texts.scenes)} scenes seem to stand in both; "
        f"{texts.dialogues} of {len(pc.unique(held['group']))} dialogues are from an episode of "
        "which train has others."
    )
