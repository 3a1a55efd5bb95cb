"""What identifies people in a run's tables, and whether it stays there when the run has ended."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..cluster.phase import Phase
from ..datasets.scan import PARTS
from ..datasets.store import Place, arrow, inside, listed, place, replace
from ..datasets.table import encoded

COLUMNS = {
    "crop": "crops",
    "thumbnail": "thumbnails",
    "jpeg": "thumbnails",
    "embedding": "embeddings",
    "face_embeddings": "embeddings",
}
"""Fields that identify people, at whatever depth they stand in a table, and their kind."""
KINDS = tuple(dict.fromkeys(COLUMNS.values()))
FOLDERS = ("tables", "cuts")
"""Of a run: where its tables are."""
DRAFT = re.compile(r"\..+\.[0-9a-f]{32}(\.parquet)?|\.[0-9a-f]{32}\.parquet")
"""Names of files that a process began and did not end."""


class NotRetainedError(RuntimeError):
    """A model needs pictures that a run did not keep."""


@dataclass(frozen=True, kw_only=True)
class Retain:
    """What stays in the tables of a run that has ended.

    Attributes:
        crops: Pictures of faces.
        thumbnails: Pictures of the sampled frames, also on the pages.
        embeddings: Vectors that tell faces and voices apart.
    """

    crops: bool = True
    thumbnails: bool = True
    embeddings: bool = True

    @property
    def gone(self) -> tuple[str, ...]:
        """The kinds that do not stay."""
        return tuple(f.name for f in fields(self) if not getattr(self, f.name))


def folders(run: Place) -> list[Place]:
    """The folders of all tables of a run, also of those that it no longer uses."""
    parents = [run / name for name in FOLDERS]
    found = [one for parent in parents if parent.exists() for one in parent.iterdir()]
    return sorted((one for one in found if one.is_dir()), key=str)


def drafts(run: Place) -> list[Place]:
    """Files of a run that a process began and did not end, whatever they hold; none in a store.

    Args:
        run: The run's folder. Nobody else may work on it.
    """
    hidden = run.rglob(".*") if isinstance(run, Path) else ()
    return sorted(path for path in hidden if DRAFT.fullmatch(path.name) and path.is_file())


def held(folder: Place) -> dict[str, int]:
    """Bytes that each kind takes in the files of a table; kinds that take none are left out."""
    found: dict[str, int] = {}
    for file in listed(folder, PARTS):
        for kind, size in _held(file.place).items():
            found[kind] = found.get(kind, 0) + size
    return found


def empty(folder: Place, kinds: Collection[str]) -> int:
    """Empty the columns of some kinds, file by file; each file is replaced whole, or stays.

    Rows stand as they did. Lists that lie parallel to others keep their length: their items
    become null.

    Args:
        folder: Of the table. Nobody else may write into it meanwhile.
        kinds: Of `KINDS`.

    Returns:
        How many bytes smaller the files are.
    """
    names = {name for name, kind in COLUMNS.items() if kind in kinds}
    freed = 0
    for file in listed(folder, PARTS):
        if not set(_held(file.place)) & set(kinds):
            continue
        rows = pq.read_table(inside(file.place), filesystem=arrow(folder))
        content = encoded(emptied(rows, names), file.size_bytes)
        replace(file.place, content)
        freed += file.size_bytes - content.size
    return freed


def emptied(rows: pa.Table, names: Collection[str]) -> pa.Table:
    """A table whose fields of some names, at any depth, are null.

    Example:
        >>> faces = [[{"score": 0.9, "crop": b"jpeg"}], None]
        >>> emptied(pa.table({"faces": faces}), {"crop"})["faces"].to_pylist()
        [[{'score': 0.9, 'crop': None}], None]
    """
    for at, field in enumerate(rows.schema):
        if _within(field, names):
            chunks = [_emptied(chunk, field, names) for chunk in rows.column(at).chunks]
            rows = rows.set_column(at, field, pa.chunked_array(chunks, field.type))
    return rows


def _within(field: pa.Field, names: Collection[str]) -> bool:
    """Whether a field, or one inside it, has one of the names."""
    kind = field.type
    inner = [kind.field(i) for i in range(kind.num_fields)]
    return field.name in names or any(_within(one, names) for one in inner)


def _emptied(values: pa.Array, field: pa.Field, names: Collection[str]) -> pa.Array:
    kind = field.type
    if field.name in names and not (pa.types.is_list(kind) and pa.types.is_list(kind.value_type)):
        return pa.nulls(len(values), kind)
    if pa.types.is_list(kind) and _within(field, names):
        items = values.flatten()
        if field.name in names:  # a list parallel to another one, of vectors
            items = pa.nulls(len(items), kind.value_type)
        else:
            items = _emptied(items, kind.value_field, names)
        ends = pc.cumulative_sum(values.value_lengths().fill_null(0))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        return pa.ListArray.from_arrays(offsets, items, type=kind, mask=values.is_null())
    if pa.types.is_struct(kind) and _within(field, names):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        parts = [_emptied(*each, names) for each in zip(values.flatten(), inner, strict=True)]
        return pa.StructArray.from_arrays(parts, fields=inner, mask=values.is_null())
    return values


def _held(path: Place) -> dict[str, int]:
    """Bytes of each kind in a file, by its footer: columns that are null throughout count none."""
    metadata = pq.read_metadata(inside(path), filesystem=arrow(path.parent))
    found: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for at in range(metadata.num_columns):
            column = metadata.row_group(group).column(at)
            kinds = {COLUMNS[n] for n in column.path_in_schema.split(".") if n in COLUMNS}
            known = column.statistics
            nothing = known is not None and known.has_null_count and not known.num_values
            for kind in kinds if not nothing else ():
                found[kind] = found.get(kind, 0) + column.total_compressed_size
    return found


def lost(folder: Place, kind: str) -> bool:
    """Whether a table holds the places of what a kind is, and nowhere the thing itself."""
    names = {name for name, one in COLUMNS.items() if one == kind}
    places = 0
    for file in listed(folder, PARTS):
        for leaves in _leaves(file.place):
            for parent in {path.rpartition(".")[0] for path in leaves}:
                own = {p: n for p, n in leaves.items() if p.rpartition(".")[0] == parent}
                things = [n for p, n in own.items() if p.rpartition(".")[2] in names]
                if any(things):
                    return False
                places += sum(own.values()) if things and parent else 0
    return places > 0


def _leaves(path: Place) -> Iterator[dict[str, int]]:
    """How many values each column of a file has that are not null, by group of rows."""
    metadata = pq.read_metadata(inside(path), filesystem=arrow(path.parent))
    for group in range(metadata.num_row_groups):
        columns = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
        yield {c.path_in_schema: c.statistics.num_values for c in columns if c.statistics}


def refuse(phases: Iterable[Phase], run: Place) -> None:
    """Refuse phases that have nothing yet and need what was not retained.

    Raises:
        NotRetainedError: Names the phase, the table and the cure.
    """
    for phase in phases:
        for stage in phase.stages:
            for kind in getattr(stage.actor, "needs", ()):
                folder = place(stage.actor.folder)  # type: ignore[attr-defined]
                if not listed(phase.table(run).folder, PARTS) and lost(folder, kind):
                    raise NotRetainedError(missing(kind, folder, f"the phase '{phase.name}'"))


def missing(kind: str, folder: Place | str, who: str) -> str:
    """Why something that is needed is not in a table, and how to get it back."""
    return (
        f"{who} needs {kind}, which were not retained in '{folder}' (`retain.{kind}=false`, or "
        f"`mien clean`). Remove that folder and give the command again with `retain.{kind}=true`: "
        "the videos are watched once more; all that stands in other tables is kept."
    )
