"""Recalling what the watching phase kept: crops and pictures, read where they are needed.

A manifest that carried the pictures of a corpus would have to pass through the driver; instead it
names the rows, and the first actor of the phase reads them from the table's files.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from ..actors.actor import MACHINE, Actor, answer
from ..datasets import schema
from ..datasets.store import Place, arrow, inside, place
from .retain import NotRetainedError, missing

POINTER = pa.struct([("file", pa.string()), ("id", pa.string())])
"""A row of a table: the file that holds it, and its id."""
POINTERS = schema.rows(
    ("file", pa.string()), ("id", pa.string()), ("index", pa.int32()), ("time_s", pa.float64())
)
"""Frames of rows of table `watch`, by place in `frames`."""

FACES = pa.schema([schema.WATCH.field(name) for name in ("cuts", "frames", "faces")])
SIGNALS = pa.schema([schema.WATCH.field("signals")])
_THINGS = {"crops": ("faces", "crop"), "thumbnails": ("frames", "thumbnail")}
FILES = 2
"""Files that a worker holds: a manifest goes through them in order."""


@dataclass(kw_only=True)
class Recall(Actor):
    """What stands in rows of table `watch`; its columns pass to the actors behind it.

    Attributes:
        folder: Of the table.
        needs: Kinds of pictures (`retain.KINDS`) that the actors behind it look at.
    """

    reads: ClassVar[tuple[str, ...]] = ("watched",)
    adds: ClassVar[pa.Schema] = FACES
    passes: ClassVar[tuple[str, ...]] = tuple(FACES.names)
    model: ClassVar[str] = "table watch"

    folder: str = field(metadata=MACHINE)
    needs: tuple[str, ...] = field(default=(), metadata=MACHINE)
    memory_gb: float = field(default=0.5, metadata=MACHINE)

    def setup(self) -> None:
        """Open no file yet."""
        self._shelf = Shelf(place(self.folder), FACES.names)

    def process(self, rows: pa.Table) -> pa.Table:
        """Read the rows."""
        asked = rows["watched"].to_pylist()
        found = self._shelf.rows((one["file"], one["id"]) for one in asked)
        recalled = pa.concat_tables([found[one["id"]] for one in asked]).cast(FACES)
        for kind in self.needs:
            things = recalled[_THINGS[kind][0]].combine_chunks()
            for item in range(len(things)):
                self._check(kind, things.slice(item, 1).flatten())
        return recalled

    def _check(self, kind: str, things: pa.Array) -> None:
        """Refuse a row whose pictures were all taken out.

        Raises:
            NotRetainedError: They were.
        """
        if len(things) and things.field(_THINGS[kind][1]).null_count == len(things):
            raise NotRetainedError(missing(kind, self.folder, "the span"))


def needed(roles: Iterable[str]) -> tuple[str, ...]:
    """Kinds of pictures that the face phase's actors look at.

    Example:
        >>> needed(["identity", "action"])
        ('crops', 'thumbnails')
    """
    kinds = ("thumbnails" if role == "action" else "crops" for role in roles)
    return tuple(sorted(set(kinds)))


@dataclass(kw_only=True)
class RecallSignals(Actor):
    """The facial signals of a watched span, from table `watch`.

    Attributes:
        folder: Of the table.
    """

    reads: ClassVar[tuple[str, ...]] = ("watched",)
    adds: ClassVar[pa.Schema] = SIGNALS
    passes: ClassVar[tuple[str, ...]] = tuple(SIGNALS.names)
    model: ClassVar[str] = "table watch"

    folder: str = field(metadata=MACHINE)
    memory_gb: float = field(default=0.5, metadata=MACHINE)

    def setup(self) -> None:
        """Open no file yet."""
        self._shelf = Shelf(place(self.folder), SIGNALS.names)

    def process(self, rows: pa.Table) -> pa.Table:
        """Read the rows."""
        asked = rows["watched"].to_pylist()
        found = self._shelf.rows((one["file"], one["id"]) for one in asked)
        return pa.concat_tables([found[one["id"]] for one in asked]).cast(SIGNALS)


@dataclass(kw_only=True)
class RecallPictures(Actor):
    """The pictures of a moment, from table `watch`.

    Attributes:
        folder: Of the table.
    """

    reads: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[pa.Schema] = schema.PICTURES
    passes: ClassVar[tuple[str, ...]] = tuple(schema.PICTURES.names)
    model: ClassVar[str] = "table watch"
    needs: ClassVar[tuple[str, ...]] = ("thumbnails",)

    folder: str = field(metadata=MACHINE)
    memory_gb: float = field(default=0.5, metadata=MACHINE)

    def setup(self) -> None:
        """Open no file yet."""
        self._shelf = Shelf(place(self.folder), ["frames"])

    def process(self, rows: pa.Table) -> pa.Table:
        """Read the pictures."""
        asked: list[list[dict]] = [frames or [] for frames in rows["frames"].to_pylist()]
        found = self._shelf.rows((f["file"], f["id"]) for frames in asked for f in frames)
        lists = {id_: row["frames"][0] for id_, row in found.items()}

        def picture(frame: dict) -> dict:
            kept = lists[frame["id"]][frame["index"]]
            if not kept["thumbnail"].is_valid:
                raise NotRetainedError(missing("thumbnails", self.folder, "the moment"))
            return {"time_s": frame["time_s"], "jpeg": kept["thumbnail"].as_py()}

        pictures = [[picture(frame) for frame in frames] for frames in asked]
        return answer({"pictures": pictures}, schema.PICTURES)


class Shelf:
    """The last few files that were read of a table."""

    def __init__(self, folder: Place, columns: Sequence[str]) -> None:
        self._folder, self._columns = folder, ["id", "attempt", *columns]
        self._files: OrderedDict[str, pa.Table] = OrderedDict()

    def rows(self, asked: Iterable[tuple[str, str]]) -> dict[str, pa.Table]:
        """Rows by id, each a table of one row with the columns alone.

        Args:
            asked: File and id of each.

        Raises:
            KeyError: A file no longer holds the row; names both.
        """
        wanted: dict[str, set[str]] = {}
        for file, id_ in asked:
            wanted.setdefault(file, set()).add(id_)
        found: dict[str, pa.Table] = {}
        for file, ids in wanted.items():
            table = self._file(file)
            at = {id_: i for i, id_ in enumerate(table["id"].to_pylist())}
            for id_ in ids:
                if id_ not in at:
                    raise KeyError(f"{file!r} must hold the row {id_!r}, but does not.")
                row = table.slice(at[id_], 1)
                found[id_] = row.drop_columns(["id", "attempt"])
        return found

    def _file(self, name: str) -> pa.Table:
        if name not in self._files:
            while len(self._files) >= FILES:
                self._files.popitem(last=False)
            path = inside(self._folder / name)
            self._files[name] = pq.read_table(
                path, columns=self._columns, filesystem=arrow(self._folder)
            )
        return self._files[name]
