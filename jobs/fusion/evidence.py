"""What the phases found out about one video, as the fusion takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...datasets.ragged import flatten
from ...datasets.schema import (
    ACTIONS,
    FACE_EMOTIONS,
    IDENTITY,
    KEY,
    LAION_FACE,
    MATCHES,
    MEASURES,
    WATCH,
)

Array = NDArray[np.float64]
Record = Mapping[str, Any]
BOX = ("x", "y", "w", "h")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Records of one nested column, as arrays; sorted by time.

    Attributes:
        row: Row of table `watch` that each record stands in, `(n,)`.
        item: Its place in that row's list, `(n,)`.
        values: Numbers by name, each `(n,)` float64; NaN where unknown.
    """

    row: NDArray[np.int64]
    item: NDArray[np.int64]
    values: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, name: str) -> Array:
        return self.values[name]

    @property
    def time_s(self) -> Array:
        """Times in seconds."""
        return self.values["time_s"]

    @property
    def track(self) -> NDArray[np.int64]:
        """Track in the row; -1 where a record has none."""
        return np.nan_to_num(self.values["track"], nan=-1.0).astype(np.int64)

    @property
    def box(self) -> Array:
        """Boxes in pixels, `(n, 4)`."""
        return np.stack([self.values[name] for name in BOX], axis=1)

    def take(self, which: NDArray[Any]) -> "Columns":
        """Some of the records, by mask or index."""
        return Columns(
            row=self.row[which],
            item=self.item[which],
            values={name: value[which] for name, value in self.values.items()},
        )


def columns(lists: pa.ChunkedArray, names: Sequence[str]) -> Columns:
    """Turn a list of records per row into arrays, without a Python loop.

    Args:
        lists: Column of type `list<struct>`; null rows count as empty.
        names: Numeric fields to take, `time_s` among them.
    """
    records, counts = flatten(lists)
    count = pc.fill_null(counts, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    row = np.repeat(np.arange(len(count)), count)
    item = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    values = {
        name: pc.struct_field(records, name)
        .cast(pa.float64())
        .to_numpy(zero_copy_only=False)
        .astype(np.float64)
        for name in names
    }
    order = np.argsort(values["time_s"], kind="stable")
    return Columns(row=row, item=item, values=values).take(order)


def _watch_schema() -> pa.Schema:
    """Columns of tables `watch` and `faces` that the fusion reads: no pictures."""
    kept = []
    for f in WATCH:
        if pa.types.is_list(f.type) and pa.types.is_struct(f.type.value_type):
            inside = [g for g in f.type.value_type if not pa.types.is_binary(g.type)]
            f = pa.field(f.name, pa.list_(pa.struct(inside)))
        kept.append(f)
    key = [(n, KEY.field(n).type) for n in ("id", "start_s", "stop_s")]
    return pa.schema([*key, *kept, *IDENTITY, *MATCHES, *FACE_EMOTIONS, *LAION_FACE, *ACTIONS])


WATCH_READ = _watch_schema()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of one video.

    Rows that failed are left out of the tables and named in `failures`: missing evidence makes
    unknowns and a warning, never an error.

    Attributes:
        video: `video_id`, `uri` and the columns of `PROBE`.
        turns: The video's row of table `turns`; `None` where there is none.
        speech: Rows of table `speech`: `segments`, `words`, `language`.
        watch: Rows of table `watch`, as a table (faster) or as records; pictures are not read.
        voice: Rows of table `voice`: spans with `speaker`, `text` and what actors found in them.
        segments: Rows of table `segments`: spans with what models of emotional speech found.
        micro: Rows of table `micro`: watched spans with the brief movements of their faces.
        notes: Rows of table `notes`: moments with what a vision-language model said of them.
        likeness: From which cosine two tracks of faces are one person.
        models: Records with `role`, `model`, `revision`, `licence`, `quality`.
        failures: Records with `stage`, `start_s`, `stop_s`, `error_message`.
    """

    video: Record
    turns: Record | None = None
    speech: Sequence[Record] = ()
    watch: pa.Table | Sequence[Record] = ()
    voice: Sequence[Record] = ()
    segments: Sequence[Record] = ()
    micro: Sequence[Record] = ()
    notes: Sequence[Record] = ()
    likeness: float = 0.5
    models: Sequence[Record] = ()
    failures: Sequence[Record] = field(default=())

    @cached_property
    def watched(self) -> pa.Table:
        """Table `watch` in order of time, with the columns of `WATCH_READ`."""
        if isinstance(self.watch, Sequence):
            rows = [{name: row.get(name) for name in WATCH_READ.names} for row in self.watch]
            table = pa.Table.from_pylist(rows, schema=WATCH_READ)
        else:
            table = self.watch
        absent = [name for name in WATCH_READ.names if name not in table.column_names]
        for name in absent:
            table = table.append_column(name, pa.nulls(len(table), WATCH_READ.field(name).type))
        return table.select(WATCH_READ.names).sort_by("start_s")

    @cached_property
    def signals(self) -> Columns:
        """The dense facial signals."""
        return columns(self.watched["signals"], ("time_s", "track", *BOX, *MEASURES))

    @cached_property
    def faces(self) -> Columns:
        """The faces on the sampled frames."""
        return columns(self.watched["faces"], ("time_s", "track", *BOX, "score", "quality"))

    @cached_property
    def embeddings(self) -> Array:
        """Identity vectors of `faces`, `(n, d)`; a row of NaN where there is none."""
        return self._of_faces("face_embeddings")

    @cached_property
    def face_emotions(self) -> Array:
        """Probabilities of the canonical seven for each of `faces`, `(n, 7)`; NaN where unknown.

        Of no rows' worth, `(n, 1)`, where no model judged expressions.
        """
        return self._of_faces("face_emotions")

    @cached_property
    def fine_emotions(self) -> Array:
        """The 40 scores of LAION's heads for each of `faces`, `(n, 40)`; NaN where unknown.

        Less the neutral mean where that is known.
        """
        adjusted = self._of_faces("laion_face_adjusted")
        return adjusted if adjusted.shape[1] > 1 else self._of_faces("laion_face")

    @cached_property
    def names(self) -> list[str | None]:
        """Who the gallery says each of `faces` is."""
        lists = self.watched["face_matches"].to_pylist()
        rows = zip(self.faces.row.tolist(), self.faces.item.tolist(), strict=True)
        found = []
        for row, item in rows:
            matches = lists[row] or []
            match = matches[item] if item < len(matches) else None
            found.append(match["name"] if match else None)
        return found

    def _of_faces(self, name: str) -> Array:
        """A column of one vector per face, in the order of `faces`; NaN where there is none."""
        faces = self.faces
        vectors, counts = flatten(self.watched[name])
        count = pc.fill_null(counts, 0).to_numpy(zero_copy_only=False).astype(np.int64)
        numbers, sizes = flatten(vectors)
        size = pc.fill_null(sizes, 0).to_numpy(zero_copy_only=False).astype(np.int64)
        width = int(size.max(initial=1))
        table = np.full((len(size), width), np.nan)
        table[size == width] = numbers.to_numpy(zero_copy_only=False).reshape(-1, width)
        first = np.cumsum(count) - count
        place = np.where(faces.item < count[faces.row], first[faces.row] + faces.item, len(size))
        return np.concatenate([table, np.full((1, width), np.nan)])[place]

    @cached_property
    def cuts(self) -> Columns:
        """The cuts that the detectors saw."""
        return columns(self.watched["cuts"], ("time_s", "score"))

    @cached_property
    def words(self) -> list[Record]:
        """All words with known times, in order of time."""
        found = [word for row in self.speech for word in row.get("words") or []]
        known = [w for w in found if w["start_s"] is not None and w["stop_s"] is not None]
        return sorted(known, key=lambda w: (w["start_s"], w["stop_s"]))

    @property
    def exclusive_turns(self) -> list[Record]:
        """Turns of which no two overlap, as far as the diarization gives such."""
        row = self.turns or {}
        found = row.get("exclusive_turns")
        return list((row.get("turns") if found is None else found) or [])
