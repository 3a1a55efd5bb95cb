"""Micro-expressions of SMIC-HS, MMEW, 4DME or MEGC's composite, one person left out at a time.

UF1 and UAR (See et al. 2019) are of the answers of all folds together, never means over folds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...actors.answers import content_hash
from ...actors.clip_flow import ClipFlow
from ...cluster import tasks
from ...cluster.phase import plain
from ...cluster.session import Cluster
from ...datasets.micro import Released
from ...datasets.store import Place
from ..evaluation.extract import Extraction, digest, feature_phase
from ..evaluation.outcome import Outcome
from ..evaluation.predictions import predictions
from ..profile import Profile
from ..progress import console
from .loso import Folding, Job, System, answers, chosen, left_out, oracle
from .micro_report import Findings, report
from .micro_samples import Samples, gathered

VERSION = 1
"""Raised when the same parameters come to give another answer: part of the name of the folds."""
SPLIT = "loso"
MARK = " (oracle epoch)"


class Source(Protocol):
    """A loader of a released data set; see `datasets.micro_sets`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order."""
        ...

    def load(self) -> Released:
        """Read the release."""
        ...


@dataclass(kw_only=True)
class Micro:
    """Micro-expressions, one person left out at a time.

    Attributes:
        data: Its name, as tables have it.
        title: Of the page.
        path: The folder with the release.
        source: Its loader.
        flow: Makes what systems see of a clip.
        systems: What is compared, by name.
        tuned: Which of them a sweep tunes.
        folding: How persons are left out, and after which epoch a system is taken.
        share: What one fold holds of the machine.
        synthetic: The clips are generated: every table and page says so, and no published
            number stands there.
        pictures: Clips that the page shows, at most.
        notes: What else has to be said.
    """

    data: str
    title: str
    path: str
    source: Source
    flow: ClipFlow
    systems: Mapping[str, System]
    tuned: str
    folding: Folding = field(default_factory=Folding)
    share: tasks.Share = field(default_factory=tasks.Share)
    synthetic: bool = False
    pictures: int = 12
    notes: Sequence[str] = ()
    headline: str = field(default="uf1", init=False)
    samples: Samples | None = field(default=None, init=False, repr=False)
    _rows: str = field(default="", init=False, repr=False)
    _said: list[str] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.tuned not in self.systems:
            raise ValueError(
                f"`benchmark.tuned` must be one of `benchmark.systems` "
                f"({', '.join(self.systems)}), but is {self.tuned!r}."
            )
        if self.pictures < 0:
            raise ValueError(f"`benchmark.pictures` must be at least 0, but is {self.pictures}.")

    @property
    def name(self) -> str:
        """As tables have it: of generated clips never that of the data set."""
        return f"{self.data}-synthetic" if self.synthetic else self.data

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order."""
        return self.source.labels

    def extraction(self) -> str:
        """Hash of the features: the flow's."""
        return feature_phase("clip_flow", {"flow": self.flow}).hash

    def prepare(self, cluster: Cluster, folder: Place) -> None:
        """Read the release, and find the flow of each clip."""
        if self.samples is not None:
            return
        released = self.source.load()
        clips = released.clips
        with Extraction(cluster, folder) as extraction:
            features = extraction.table("clip_flow", {"flow": self.flow}, clips)
        self.samples = gathered(clips, features, self.labels)
        self._rows = digest(clips)
        self._said = [*released.warnings, *_lacking(clips, self.samples)]

    def content(self) -> str:
        """Hash of the list of clips."""
        return self._rows

    def folds(self) -> list[str]:
        """The persons."""
        return sorted(set(self._ready.subjects.tolist()))

    def tune(self, fold: str) -> Iterator[float]:
        """UF1 on training persons who are held out in turn, pooled, after each epoch."""
        learn, _ = self._ready.split([fold])
        system = self._usable(self.tuned)
        yield from self.folding.within(system, learn, self.folding.seed_of(fold))

    def judge(self, fold: str) -> pa.Table:
        """Predict the clips of a person, learnt from all others."""
        done = left_out(fold, Job(self._usable(self.tuned), self._ready, self.folding))
        return self._predicted(self.tuned, {fold: chosen(done)})

    def run(self, cluster: Cluster, folder: Place, models: Profile) -> Outcome:
        """Leave out every person once, with every system that can work here."""
        self.prepare(cluster, folder)
        samples = self._ready
        truth = dict(zip(samples.ids.tolist(), samples.truth.tolist(), strict=True))
        found = Findings(benchmark=self, samples=samples, split=SPLIT, said=list(self._said))
        for name, system in self.systems.items():
            reason = system.missing()
            if reason:
                found.said.append(f"{name} is left out: it {reason}.")
                continue
            done = self.standing(name, cluster, folder)
            found.folds[name] = done
            found.add(name, self._predicted(name, {k: chosen(v) for k, v in done.items()}))
            if system.epochs > 1:
                best = {held: oracle(one, truth) for held, one in done.items()}
                found.add(name + MARK, self._predicted(name + MARK, best), kind="oracle")
        return report(found)

    def standing(self, name: str, cluster: Cluster, folder: Place) -> dict[str, pa.Table]:
        """Each person's fold of a system, as `loso.FOLD`; those that stand are not done again."""
        system = self._usable(name)
        content = {
            "version": VERSION,
            "features": self.extraction(),
            "clips": sorted(zip(self._ready.ids.tolist(), self._ready.truth.tolist(), strict=True)),
            "system": [type(system).__name__, plain(system), system.origin()],
            "folding": plain(self.folding),
        }
        place = folder / "folds" / f"{name}-{content_hash(content)[:12]}"

        def said(piece: tasks.Progress) -> None:
            took = f"{piece.wall_s:.1f} s" if piece.wall_s else "stood already"
            console.print(f"{name} {piece.done}/{piece.total} {piece.name}: {took}", markup=False)

        console.print(f"{name}: each of {len(self.folds())} persons left out", markup=False)
        return tasks.run(
            left_out,
            {held: held for held in self.folds()},
            place,
            cluster=cluster,
            share=self.share,
            common=Job(system, self._ready, self.folding),
            progress=said,
        )

    @property
    def _ready(self) -> Samples:
        if self.samples is None:
            raise RuntimeError("`prepare` must be called before a fold can be done.")
        return self.samples

    def _usable(self, name: str) -> System:
        system = self.systems[name]
        reason = system.missing()
        if reason:
            raise ValueError(f"the system {name!r} {reason}.")
        return system

    def _predicted(self, name: str, folds: Mapping[str, pa.Table]) -> pa.Table:
        """Folds' answers as `PREDICTIONS`."""
        samples, system = self._ready, self.systems[name.removesuffix(MARK)]
        place = {one: at for at, one in enumerate(samples.ids.tolist())}
        rows = pa.concat_tables(folds.values())
        at = [place[one] for one in rows["id"].to_pylist()]
        return predictions(
            benchmark=self.name,
            system=name,
            split=SPLIT,
            fold=[held for held, one in folds.items() for _ in range(len(one))],
            ids=samples.ids[at].tolist(),
            groups=samples.subjects[at].tolist(),
            truth=[self.labels[i] for i in samples.truth[at]],
            predicted=[self.labels[i] for i in answers(rows)],
            scores=np.array(rows["scores"].to_pylist()) if system.probable else None,
        )


def _lacking(clips: pa.Table, samples: Samples) -> list[str]:
    """A sentence about clips that cannot be used."""
    known = pa.array(samples.ids.tolist(), pa.string())
    lost = clips.filter(pc.invert(pc.is_in(clips["id"], known)))
    if not len(lost):
        return []
    first = lost.slice(0, 1).to_pylist()[0]
    why = first["missing"] or "its frames cannot be read: see the table `features/clip_flow-*`"
    return [
        f"{len(lost)} of {len(clips)} clips cannot be used and are left out, the first being "
        f"{first['subject']}/{first['clip']}: {why}."
    ]
