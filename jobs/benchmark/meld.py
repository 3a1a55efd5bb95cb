"""MELD: the emotion of an utterance from what is said, how it sounds and what the face shows.

Everything is learnt from the dialogues of train. What is chosen (the text system that is fused, the
way of fusion) is chosen on dev where test is judged, and by grouped cross-validation within train
where there is no test; the split that is judged is looked at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ...actors.actor import Actor
from ...actors.answers import content_hash
from ...actors.packages import absent, cure
from ...cluster.session import Cluster
from ...datasets.meld import EMOTIONS, UTTERANCES
from ...datasets.meld import Meld as Release
from ...datasets.store import Place, place
from ..evaluation.extract import Extraction, digest, feature_phase
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import predictions
from ..profile import Profile
from ..progress import console
from . import profile_text
from .comparisons import subsets
from .late_fusion import Equal, Fusion, Scores
from .meld_findings import Asked, Findings
from .meld_report import report
from .meld_systems import Systems
from .modalities import Clips, Features, Head
from .text import TextSystem
from .zero_shot import ZeroShot, afford

MODALITIES = ("text", "audio", "face")


@dataclass(kw_only=True)
class Meld:
    """MELD, seven emotions.

    Attributes:
        path: Folder with the CSVs of the release.
        models: The profile whose actors hear and see the clips, and judge the text.
        clips: Folder with its clips; `None`: there are none, and only text can be judged.
        modalities: Which of text, audio, face.
        text: Text systems that are trained, by name.
        fused: Which of them stands for the text in fusion; `None`: the best one, as chosen.
        heads: What is trained on the features of `audio` and `face`.
        fusions: Ways of fusion, of which one is chosen.
        zero_shot: Names of the actors that are asked without training.
        actors: All that can be asked, by name.
        context: Lines before the one in question that they are shown; each is a system.
        parts: Into how many parts train is cut, by dialogue, for what is chosen or stacked there.
        prepared: What is trained, once `prepare` is done.
    """

    path: str
    models: Profile
    clips: str | None = None
    modalities: Sequence[str] = ("text",)
    text: Mapping[str, TextSystem] = field(default_factory=dict)
    fused: str | None = None
    heads: Mapping[str, Head] = field(default_factory=dict)
    fusions: Sequence[Fusion] = ()
    zero_shot: Sequence[str] = ()
    actors: Mapping[str, Actor] = field(default_factory=dict)
    context: Sequence[int] = (0, 5)
    parts: int = 5
    name: str = field(default="meld", init=False)
    labels: tuple[str, ...] = field(default=EMOTIONS, init=False)
    headline: str = field(default="weighted_f1", init=False)
    prepared: Systems | None = field(default=None, init=False, repr=False)
    _absent: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        unknown = {*self.modalities} - {*MODALITIES}
        if unknown or not self.modalities or len({*self.modalities}) < len(self.modalities):
            raise ValueError(
                f"`benchmark.modalities` must be one or more of {', '.join(MODALITIES)}, each "
                f"once, but is {list(self.modalities)}."
            )
        self.modalities = sorted(self.modalities, key=MODALITIES.index)
        rest = [name for name in self.modalities if name != "text"]
        if self.clips is None and rest:
            raise ValueError(
                f"`benchmark.clips` must be the folder of MELD's clips for {', '.join(rest)}, but "
                "is null: unpack MELD.Raw.tar.gz, or take `benchmark.modalities=[text]`."
            )
        if len(self.modalities) > 1 and not self.fusions:
            raise ValueError("`benchmark.fusions` must name a way to fuse, but is empty.")
        if self.parts < 2:
            raise ValueError(f"`benchmark.parts` must be at least 2, but is {self.parts}.")
        for key, names, known in (
            ("fused", [self.fused] if self.fused else [], self.text),
            ("zero_shot", self.zero_shot, self.actors),
        ):
            wrong = [name for name in names if name not in known]
            if wrong:
                raise ValueError(
                    f"`benchmark.{key}` must name what there is ({', '.join(known)}), but names "
                    f"{wrong[0]!r}."
                )

    def extraction(self) -> str:
        """Hash of the features: of the text systems, and of the analysis of the clips."""
        texts = {
            feature_phase(role, {role: actor}).hash
            for system in self._usable().values()
            for role, actor in system.features().items()
        }
        clips = self._clips(UTTERANCES.empty_table(), place("."))
        return content_hash([sorted(texts), clips.identity() if clips else []])[:12]

    def content(self) -> str:
        """Hash of the rows."""
        return digest(self.systems.rows)

    def prepare(self, cluster: Cluster, folder: Place) -> None:
        """Read the CSVs, embed the texts, analyse the clips.

        Raises:
            FileNotFoundError: A table is not there, or there is no clip at all.
        """
        if self.prepared is not None:
            return
        rows, texts = Release(path=self.path, clips=self.clips).read(), self._usable()
        features: dict[str, Features] = {}
        clips = self._clips(rows, folder)
        if clips is not None:
            clips.check(str(self.clips))
        with Extraction(cluster, folder) as extraction:
            read = {
                name: featured(extraction, rows, system.features())
                for name, system in texts.items()
            }
        if clips is not None:
            clips.analyze(cluster)
            features = {name: clips.features(name) for name in clips.modalities}
            for name, one in features.items():
                if not one.present.any():
                    self._absent[name] = f"no clip has it ({one.missing[0]})"
        self.prepared = Systems(
            rows=rows,
            labels=self.labels,
            metric=self.headline,
            texts=texts,
            read=read,
            features=features,
            heads=self.heads,
            fusions=self.fusions,
            parts=self.parts,
        )

    def folds(self) -> list[str]:
        """The split that is judged: test where there is one, else dev."""
        return [self.systems.held]

    def tune(self, fold: str) -> Iterator[float]:
        """Score of the fusion of all modalities within train, after each part of it."""
        self._check(fold)
        yield from self.systems.steps(self._names())

    def judge(self, fold: str) -> pa.Table:
        """What the fusion of all modalities says of the split that is judged."""
        self._check(fold)
        names = self._names()
        if len(names) == 1:
            (name,) = names.values()
            return self._predicted(name, self.systems.filled(name, fold))
        way, _ = self.systems.best_way(names)
        return self._predicted(" + ".join(names), self.systems.fuse(way, names, fold))

    def run(self, cluster: Cluster, folder: Place, models: Profile) -> Outcome:
        """Judge text systems, heads, every fusion of them, and what is asked without training."""
        self.prepare(cluster, folder)
        systems, findings = self.systems, Findings(systems=self.systems, absent=self._absent)
        for name in [*systems.texts, *self._heard_and_seen()]:
            console.print(f"{name}: training")
            inputs = systems.texts[name].inputs if name in systems.texts else name
            findings.add(self._predicted(name, systems.filled(name, systems.held)), inputs)
        findings.names = self._names(best=True)
        for subset in subsets(list(findings.names)):
            self._ablate(findings, {modality: findings.names[modality] for modality in subset})
        findings.merits |= systems.merits()
        if "text" in self.modalities:
            with Extraction(cluster, folder) as extraction:
                self._ask(findings, extraction, folder, models)
        return report(findings)

    def _ablate(self, findings: Findings, names: Mapping[str, str]) -> None:
        """Fuse a subset of the modalities, by the way that is chosen and by equal weights."""
        subset = tuple(names)
        if len(subset) == 1:
            findings.subsets[subset] = findings.equal[subset] = names[subset[0]]
            return
        system, inputs, held = " + ".join(subset), " + ".join(subset), self.systems.held
        way, merit = self.systems.best_way(names)
        findings.add(self._predicted(system, self.systems.fuse(way, names, held)), inputs, way.name)
        findings.merits[system] = merit
        plain = f"{system}, equal weights"
        findings.add(self._predicted(plain, self.systems.fuse(Equal(), names, held)), inputs)
        findings.subsets[subset], findings.equal[subset] = system, plain

    def _ask(
        self, findings: Findings, extraction: Extraction, folder: Place, models: Profile
    ) -> None:
        """What the profile's model and the zero-shot models say of the rows that are judged."""
        rows = self.systems.rows.take(self.systems.at(self.systems.held))
        findings.profile = profile_text.asked(extraction, rows, models)
        if findings.profile is not None and findings.profile.scores is not None:
            name = f"{findings.profile.model}, untrained"
            findings.add(self._predicted(name, findings.profile.scores), "text")
        asked = [
            ZeroShot(name=name, actor=self.actors[name], context=count)
            for name in self.zero_shot
            for count in self.context
        ]
        afford(asked, rows, folder)
        for one in asked:
            answers = one.ask(extraction, rows, folder)
            said = [label or findings.usual for label in answers.predicted]
            findings.add(self._predicted(one.system, None, said), one.inputs)
            findings.asked.append(Asked(system=one.system, answers=answers))

    @property
    def systems(self) -> Systems:
        """What is trained; `prepare` comes first."""
        if self.prepared is None:
            raise RuntimeError("`prepare` must come before MELD is judged.")
        return self.prepared

    def _usable(self) -> dict[str, TextSystem]:
        """The text systems whose packages are here; of the others it is noted why."""
        found: dict[str, TextSystem] = {}
        for name, system in self.text.items() if "text" in self.modalities else ():
            lacking = absent(system.packages)
            if lacking:
                self._absent[name] = f"needs the package {', '.join(lacking)}: {cure(lacking)}"
            else:
                found[name] = system
        return found

    def _clips(self, rows: pa.Table, folder: Place) -> Clips | None:
        wanted = [name for name in self.modalities if name != "text"]
        if not wanted:
            return None
        return Clips(rows=rows, modalities=wanted, models=self.models, folder=folder)

    def _heard_and_seen(self) -> list[str]:
        """The modalities beside the text that at least one row has."""
        return [name for name, one in self.systems.features.items() if one.present.any()]

    def _names(self, *, best: bool = False) -> dict[str, str]:
        """System of each modality; for the text the one that is set, else the best, or the first.

        Args:
            best: Whether the text systems are all trained to find the best one.
        """
        names = {name: name for name in self._heard_and_seen()}
        texts = self.systems.texts
        if not texts and not names:
            reasons = "; ".join(f"{name}: {why}" for name, why in self._absent.items())
            raise ValueError(f"none of `benchmark.modalities` can be judged here ({reasons}).")
        if not texts:
            return names
        chosen = self.fused if self.fused in texts else None
        if chosen is None and best and len(texts) > 1:
            chosen = self.systems.best_text()
        return {"text": chosen or next(iter(texts)), **names}

    def _predicted(
        self, system: str, scores: Scores | None, said: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows of `PREDICTIONS`: of the likeliest labels, or of labels that were said."""
        systems = self.systems
        rows = systems.rows.take(systems.at(systems.held))
        if said is None:
            assert scores is not None
            said = [self.labels[place] for place in scores.argmax(1)]
        return predictions(
            benchmark=self.name,
            system=system,
            split=systems.held,
            fold=systems.held,
            ids=rows["id"].to_pylist(),
            groups=rows["group"].to_pylist(),
            truth=rows["emotion"].to_pylist(),
            predicted=said,
            scores=scores,
        )

    def _check(self, fold: str) -> None:
        if fold not in self.folds():
            raise ValueError(f"`fold` must be {self.folds()[0]!r}, but is {fold!r}.")


def featured(extraction: Extraction, rows: pa.Table, actors: Mapping[str, Actor]) -> pa.Table:
    """Utterances with the columns that some actors add; null where one failed."""
    for role, actor in actors.items():
        table = extraction.table(role, {role: actor}, profile_text.manifest(rows))
        names = [name for name in actor.adds.names if name not in actor.passes]
        found = table.read(["id", *names], ids=rows["id"].to_pylist())
        places = pc.index_in(rows["id"], found["id"].combine_chunks())
        for name in names:
            rows = rows.append_column(name, found[name].take(places))
    return rows
