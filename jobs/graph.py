"""The main job's graph: its phases, in order, and the chain of actors in each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import pyarrow as pa
import pyarrow.compute as pc

from ..actors.actor import Actor
from ..cluster.host import Stage
from ..cluster.phase import Phase
from ..datasets.store import Place, on_disk
from ..datasets.table import Table
from .conclude import Conclude
from .fusion.rules import Rules
from .fusion.timeline import RULES
from .manifests import CONCLUSIONS, KEEPS, Manifests, Segmentation
from .moments import Moments
from .profile import Profile
from .recall import Recall, RecallPictures, RecallSignals, needed

ROLES = {
    "videos": ("probe",),
    "sound": ("enhance",),
    "turns": ("voice_activity", "diarize"),
    "speech": ("transcribe", "align"),
    "watch": ("watch",),
    "faces": ("restore", "identity", "face_emotion", "laion_face", "action", "hume_face"),
    "micro": ("micro",),
    "segments": ("laion_voice", "hume_voice"),
    "voice": ("prosody", "voice_affect", "text_affect"),
    "moments": (),
    "notes": ("notes",),
    "timeline": (),
}
"""The chain of each phase, by role; those without a role are the fusion's own."""

UPSTREAM = {
    "videos": (),
    "sound": ("videos",),
    "turns": ("videos", "sound"),
    "speech": ("turns",),
    "watch": ("turns",),
    "faces": ("watch",),
    "micro": ("turns", "watch"),
    "segments": ("turns", "watch"),
    "voice": ("turns", "speech"),
    "moments": ("turns", "speech", "watch", "faces", "micro", "segments", "voice"),
    "notes": ("moments",),
    "timeline": ("turns", "speech", "watch", "faces", "micro", "segments", "voice", "notes"),
}
"""The tables that each phase's manifest is made from."""

REQUIRED = ("probe", "voice_activity", "diarize")
UTTERANCE_RULES = ("assignment", "fill_nearest_s", "max_gap_s", "max_utterance_s")
FOLDERS = {
    "enhance": "sound",
    "notes": "api",
    "hume_face": "api",
    "hume_voice": "api",
}
"""Where in the run's folder an actor of a role keeps files of its own."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The phases of a run, in order, and what their rows are.

    Attributes:
        profile: Fills the roles.
        run: The run's folder.
        span_s: Length of a watched span, at most.
        chunk_s: Length of a transcribed chunk, at most.
        rules: Of the fusion.
        segmentation: Of the sound, for the role `laion_voice`.
        pictures: Whether pages show some.
        timelines: Whether the evidence becomes timelines and pages; else there are tables alone.
    """

    profile: Profile
    run: Place
    span_s: float
    chunk_s: float
    rules: Rules = RULES
    segmentation: Segmentation = field(default_factory=Segmentation)
    pictures: bool = True
    timelines: bool = True
    phases: dict[str, Phase] = field(init=False)

    def __post_init__(self) -> None:
        for role in REQUIRED:
            if not self.profile.roles.get(role):
                raise ValueError(
                    f"`models.roles` must fill {', '.join(map(repr, REQUIRED))}, which all else "
                    f"stands on, but leaves out {role!r}."
                )
        phases: dict[str, Phase] = {}
        object.__setattr__(self, "phases", phases)
        rows_from = {
            "speech": {"chunk_s": self.chunk_s},
            "watch": {"span_s": self.span_s},
            "segments": self.segmentation,
            "voice": {name: getattr(self.rules, name) for name in UTTERANCE_RULES},
        }
        filled = self._filled()
        for name in ROLES:
            stages = self._stages(name, filled)
            if stages:
                phases[name] = Phase(
                    name=name,
                    stages=stages,
                    upstream=tuple(phases[up].hash for up in self._upstream(name)),
                    keeps=KEEPS[name],
                    rows_from=rows_from.get(name),
                )

    def _upstream(self, name: str) -> list[str]:
        """The phases before one that decide its content."""
        needless = ["watch"] if name == "segments" and self.segmentation.mode != "scenes" else []
        return [up for up in UPSTREAM[name] if up in self.phases and up not in needless]

    def _filled(self) -> dict[str, tuple[Stage, ...]]:
        """The stages that the profile gives, by phase.

        Identity belongs to the faces; where no other role of that phase is filled it joins the
        watching, which spares the small profiles a phase.
        """
        names = [role for roles in ROLES.values() for role in roles]
        chosen = self.profile.stages(names)
        self._check_place([stage.role for stage in chosen if _keeps_files(stage)])
        stages = {stage.role: self._placed(stage) for stage in chosen}
        found = {
            name: tuple(stages[role] for role in roles if role in stages)
            for name, roles in ROLES.items()
        }
        if found["watch"] and [stage.role for stage in found["faces"]] == ["identity"]:
            found |= {"watch": (*found["watch"], *found["faces"]), "faces": ()}
        scenes = found["segments"] if self.segmentation.mode == "scenes" else ()
        followers = (*found["faces"], *found["micro"], *scenes, *found["notes"])
        lookers = [stage.role for stage in followers]
        if lookers and not found["watch"]:
            raise ValueError(
                "`models.roles.watch` must be filled for the roles that look at faces, cuts or "
                f"pictures ({', '.join(lookers)})."
            )
        return found

    def _placed(self, stage: Stage) -> Stage:
        """A stage whose actor knows its folder in the run."""
        if not _keeps_files(stage):
            return stage
        folder = str(self.run / FOLDERS[stage.role])
        return replace(stage, actor=replace(stage.actor, folder=folder))

    def _check_place(self, roles: Sequence[str]) -> None:
        """Refuse a run in a store for roles that need a file system."""
        if roles and not on_disk(self.run):
            raise ValueError(
                f"`out` must be a folder on a file system for the roles {', '.join(roles)} (they "
                f"keep files of their own there), but is '{self.run}'. Choose another `out`, or "
                f"leave them out: {' '.join(f'~models.roles.{role}' for role in roles)}"
            )

    def _stages(self, name: str, filled: Mapping[str, tuple[Stage, ...]]) -> tuple[Stage, ...]:
        """The chain of a phase; empty where the profile has no use for it."""
        if name == "timeline" and not self.timelines:
            return ()
        if name == "timeline":
            conclude = Conclude(
                rules=self.rules,
                run=str(self.run),
                tables=self._tables(),
                models=self.models(),
                likeness=self._likeness(filled),
                pictures=self.pictures,
            )
            return (Stage(role="conclude", actor=conclude),)
        if name == "moments":
            moments = Moments(
                choice=self.profile.moments,
                rules=self.rules,
                run=str(self.run),
                tables=self._tables(),
                likeness=self._likeness(filled),
            )
            return (Stage(role="moments", actor=moments),) if filled["notes"] else ()
        if name in ("faces", "micro", "notes") and filled[name]:
            return (Stage(role="recall", actor=self._recall(name, filled)), *filled[name])
        return filled[name]

    def _recall(self, name: str, filled: Mapping[str, tuple[Stage, ...]]) -> Actor:
        """What reads for a phase what the watching kept."""
        folder = str(self.table("watch").folder)
        if name == "faces":
            return Recall(folder=folder, needs=needed(stage.role for stage in filled[name]))
        return RecallSignals(folder=folder) if name == "micro" else RecallPictures(folder=folder)

    def _likeness(self, filled: Mapping[str, tuple[Stage, ...]]) -> float:
        """From which cosine the embeddings at hand make two faces one person."""
        every = (stage for stages in filled.values() for stage in stages)
        actor = next((stage.actor for stage in every if stage.role == "identity"), None)
        return getattr(actor, "likeness", 0.5)

    def _tables(self) -> dict[str, str]:
        return {name: self.table(name).folder.name for name in self.phases}

    def models(self) -> list[dict[str, str]]:
        """What fills the roles, so far as the phases stand: for the page and the record."""
        return [
            {**stage.provenance(), "quality": stage.actor.quality}
            for stage in self.stages()
            if stage.role not in ("recall", "moments")
        ]

    def stages(self) -> Iterator[Stage]:
        """All stages, in order."""
        for phase in self.phases.values():
            yield from phase.stages

    def ranks(self) -> list[list[str]]:
        """The phases in order; those that do not need each other stand together."""
        ranks: list[list[str]] = []
        for name in self.phases:
            if ranks and not set(UPSTREAM[name]) & set(ranks[-1]):
                ranks[-1].append(name)
            else:
                ranks.append([name])
        return ranks

    def table(self, name: str) -> Table:
        """A phase's table."""
        return self.phases[name].table(self.run)

    def manifest(self, name: str, files: pa.Table) -> pa.Table:
        """The rows of a phase, as far as the tables before it know them.

        Args:
            name: Of the phase.
            files: The corpus, as manifest of the `videos` phase.
        """
        return self._manifests().of(name, files)

    def groups(self, name: str, files: pa.Table) -> Iterator[pa.Table]:
        """The rows of a phase, some videos at a time: all of a large corpus fit in no memory."""
        return self._manifests().groups(name, files)

    def _manifests(self) -> Manifests:
        return Manifests(
            tables={name: self.table(name) for name in self.phases},
            run=self.run,
            span_s=self.span_s,
            chunk_s=self.chunk_s,
            rules=self.rules,
            segmentation=self.segmentation,
        )

    def stale(self, name: str, manifest: pa.Table) -> frozenset[str]:
        """Rows of a concluding phase that stand, but on other evidence than there is now."""
        if name not in CONCLUSIONS:
            return frozenset()
        videos = manifest["video_id"].to_pylist()
        known = self.table(name).read(["id", "digest"], video_ids=videos)
        digests = dict(zip(known["id"].to_pylist(), known["digest"].to_pylist(), strict=True))
        rows = zip(manifest["id"].to_pylist(), manifest["digest"].to_pylist(), strict=True)
        return frozenset(i for i, digest in rows if digests.get(i, digest) != digest)


def _keeps_files(stage: Stage) -> bool:
    """Whether an actor is to keep files of its own in the run's folder."""
    names = [f.name for f in fields(stage.actor)]
    return stage.role in FOLDERS and "folder" in names and not getattr(stage.actor, "folder", None)


def media_s(files: pa.Table, table: Table) -> float:
    """Length of the corpus as far as it could be probed, seconds."""
    rows = table.read(["duration_s"], ids=files["id"].to_pylist(), status="ok")
    return pc.sum(rows["duration_s"]).as_py() or 0.0
