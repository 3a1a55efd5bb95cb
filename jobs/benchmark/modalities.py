"""Sound and face of clips as features: what `mien analyze` found in them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...cluster.session import Cluster
from ...datasets.corpus import List
from ...datasets.store import Place
from ...datasets.store import replace as put
from ..analyze import Analyze
from ..graph import REQUIRED, Graph
from ..profile import Profile
from .clip_features import failures, heard, seen

Array = NDArray[np.float64]
ROLES = {
    "audio": ("enhance", "laion_voice", "prosody", "voice_affect"),
    "face": ("watch", "restore", "identity", "face_emotion", "laion_face"),
}
"""What a profile fills for each modality, beside what all else stands on."""
FOLDER, LISTING = "clips", "clips.parquet"


@dataclass(frozen=True, kw_only=True)
class Features:
    """Numbers of one modality.

    Attributes:
        names: Of the columns.
        values: `(row, column)`; NaN where one is unknown.
        missing: Why a row has no numbers at all; `None` where it has some.
    """

    names: tuple[str, ...]
    values: Array
    missing: list[str | None]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which rows have numbers, `(row,)`."""
        return np.array([reason is None for reason in self.missing], bool)

    def take(self, rows: NDArray[np.int64]) -> "Features":
        """Some of the rows."""
        missing = [self.missing[i] for i in rows]
        return replace(self, values=self.values[rows], missing=missing)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A logistic regression on the features of one modality.

    An unknown number is taken as the median of the training rows.

    Attributes:
        c: Inverse of the strength of the penalty.
        balanced: Whether rare labels weigh as much as frequent ones.
    """

    c: float = 0.1
    balanced: bool = False

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise ValueError(f"`c` must be greater than 0, but is {self.c:g}.")

    def fit_predict(
        self, train: Features, truth: NDArray[np.int64], held: Features, classes: int
    ) -> Array:
        """Learn from the rows that have numbers.

        Args:
            train: To learn from.
            truth: Places of its true labels, `(row,)`.
            held: To judge.
            classes: How many labels there are.

        Returns:
            Probabilities `(row, label)` of `held`; NaN where it has no numbers.
        """
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        found = np.full((len(held.values), classes), np.nan)
        known, there = train.present, held.present
        labels = np.unique(truth[known])
        if not there.any() or not len(labels):
            return found
        found[there] = 0.0
        if len(labels) == 1:  # nothing to tell apart
            found[there, labels[0]] = 1.0
            return found
        model = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(
                C=self.c, class_weight="balanced" if self.balanced else None, max_iter=2000
            ),
        )
        model.fit(train.values[known], truth[known])
        found[np.ix_(there, model.classes_)] = model.predict_proba(held.values[there])
        return found


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The clips of some utterances, and the analysis of them.

    Attributes:
        rows: Utterances, with `clip` and the reasons why a modality must not be used.
        modalities: Of `audio`, `face`.
        models: The profile that the analysis takes its actors from.
        folder: Of the benchmark's run; the analysis is a run of its own below it.
    """

    rows: pa.Table
    modalities: Sequence[str]
    models: Profile
    folder: Place

    def check(self, path: str) -> None:
        """Refuse a folder that holds none of the clips.

        Args:
            path: The folder, for the message.

        Raises:
            FileNotFoundError: It holds none.
        """
        if self.rows["clip"].null_count == len(self.rows):
            raise FileNotFoundError(
                f"`benchmark.clips` must hold MELD's clips (train_splits/dia0_utt0.mp4, ...), but "
                f"{path!r} holds none: unpack MELD.Raw.tar.gz and the archives in it, or take "
                "`benchmark.modalities=[text]`."
            )

    def analyze(self, cluster: Cluster) -> None:
        """Analyse what has not been analysed yet."""
        wanted = self._wanted()
        if not wanted:
            return
        names, uris = zip(*wanted, strict=True)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"uri": list(uris), "video_id": list(names)}), sink)
        put(self.folder / LISTING, sink.getvalue())
        self._job(cluster)()

    def features(self, modality: str) -> Features:
        """The numbers of a modality, in the order of `rows`."""
        graph, videos = self.graph(), [video for video, _ in self._wanted()]
        names, found = (heard if modality == "audio" else seen)(graph, videos)
        reasons = failures(graph, modality, videos)
        nothing = "no voice was heard" if modality == "audio" else "no face was seen"
        missing: list[str | None] = []
        values = np.full((len(self.rows), len(names)), np.nan)
        columns = (video_ids(self.rows), self.rows[f"{modality}_missing"].to_pylist())
        for i, (video, reason) in enumerate(zip(*columns, strict=True)):
            if reason is None and video in found:
                values[i] = found[video]
                missing.append(None)
            else:
                missing.append(reason or reasons.get(video, nothing))
        return Features(names=tuple(names), values=values, missing=missing)

    def identity(self) -> list[str]:
        """What names the analysis: hashes of its phases."""
        return [phase.hash for phase in self.graph().phases.values()]

    def graph(self) -> Graph:
        """The phases of the analysis."""
        return self._job(Cluster()).graph()

    def _job(self, cluster: Cluster) -> Analyze:
        roles = {*REQUIRED, *(role for name in self.modalities for role in ROLES[name])}
        kept = {role: names for role, names in self.models.roles.items() if role in roles}
        return Analyze(
            corpus=List(path=str(self.folder / LISTING)),
            models=replace(self.models, roles=kept),
            cluster=cluster,
            out=str(self.folder / FOLDER),
            timelines=False,
        )

    def _wanted(self) -> list[tuple[str, str]]:
        """Name and file of each clip of which at least one modality may be used."""
        columns = [self.rows[f"{name}_missing"].to_pylist() for name in self.modalities]
        clips = zip(video_ids(self.rows), self.rows["clip"].to_pylist(), strict=True)
        return [
            (video, clip)
            for (video, clip), *reasons in zip(clips, *columns, strict=True)
            if clip is not None and None in reasons
        ]


def video_ids(rows: pa.Table) -> list[str]:
    """What the clips are called: as the release does, with the split before it."""
    columns = (rows[name].to_pylist() for name in ("split", "dialogue", "utterance"))
    return [f"{split}-dia{d}-utt{u}" for split, d, u in zip(*columns, strict=True)]
