"""Tables: folders of Parquet files in which a visible file is a complete file."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .schema import KEY, OUTCOME


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    The bytes go to a hidden neighbour first, which is synced and then renamed: a reader sees the
    old file or the new one, also when the power fails in between.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name[:40]}.{uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class Table:
    """One table of a run, in a folder that is named by the hash of what changes its content.

    Rows are added, never changed. A retried row stands once per attempt in the files; every reader
    here gives the newest attempt alone.

    Attributes:
        folder: Holds `*.parquet`; need not exist yet. Names that start with a dot are drafts.
        schema: Columns of every file.
    """

    folder: Path
    schema: pa.Schema

    def write(self, rows: pa.Table) -> Path:
        """Add rows in one new file, which appears whole or not at all.

        Args:
            rows: Cast to the table's schema: a missing or extra column is an error.
        """
        rows = rows.select(self.schema.names).cast(self.schema)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid4().hex}.parquet"
        draft = self.folder / f".{name}"
        try:
            with draft.open("wb") as file:
                pq.write_table(rows, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.folder / f"part-{name}")
        finally:
            draft.unlink(missing_ok=True)
        return self.folder / f"part-{name}"

    def files(self) -> list[Path]:
        """Complete files, in a stable order."""
        return sorted(self.folder.glob("part-*.parquet"))

    def _scan(
        self, columns: Sequence[str], where: pc.Expression | None, files: Sequence[Path]
    ) -> pa.Table:
        if not files:
            return pa.schema([self.schema.field(name) for name in columns]).empty_table()
        names = [str(path) for path in files]
        scan = ds.dataset(names, schema=self.schema, format="parquet")
        return scan.to_table(list(columns), filter=where)

    def read(
        self,
        columns: Sequence[str] | None = None,
        *,
        video_ids: Iterable[str] | None = None,
        ids: Iterable[str] | None = None,
        files: Iterable[str] | None = None,
        status: str | None = None,
    ) -> pa.Table:
        """Read the newest attempt of each row.

        Args:
            columns: Which; all by default. Leave out the pictures where they are not needed.
            video_ids: Only rows of these videos.
            ids: Only these rows.
            files: Names of the only files to look in; see `locate`.
            status: Only rows with this status (after the newest attempt is chosen).
        """
        where: pc.Expression | None = None
        for name, values in (("video_id", video_ids), ("id", ids)):
            if values is not None:
                one = pc.field(name).isin(pa.array(list(values), pa.string()))
                where = one if where is None else where & one
        asked = list(self.schema.names if columns is None else columns)
        helpers = [n for n in ("id", "attempt", "status") if n not in asked]
        paths = self.files() if files is None else [self.folder / name for name in files]
        rows = newest(self._scan([*asked, *helpers], where, paths))
        if status is not None:
            rows = rows.filter(pc.equal(rows["status"], status))
        return rows.select(asked)

    def outcomes(self) -> pa.Table:
        """Id, status and attempt of every row: what a resumed run needs to know."""
        return self.read(["id", "status", "attempt"])

    def locate(self, video_ids: Iterable[str]) -> list[dict]:
        """Find in which file each row of some videos stands.

        Returns:
            Records with `id`, `video_id`, `start_s`, `stop_s`, `attempt`, `status` and `file`, the
            file's name.
        """
        names = pc.field("video_id").isin(pa.array(list(video_ids), pa.string()))
        columns, parts = ["id", "video_id", "start_s", "stop_s", "attempt", "status"], []
        for path in self.files():
            rows = self._scan(columns, names, [path])
            file = pa.array([path.name] * len(rows), pa.string())
            parts.append(rows.append_column("file", file))
        return newest(pa.concat_tables(parts)).to_pylist() if parts else []

    def drop(self, column: str, values: Collection[str]) -> None:
        """Take rows out, file by file: each file is replaced whole, by rename.

        For tables that follow from others alone, where a newer row supersedes an older one.

        Args:
            column: Looked at.
            values: Rows with one of these go.
        """
        if not values:
            return
        gone = pa.array(list(values), pa.string())
        for path in self.files():
            rows = self._scan(self.schema.names, None, [path])
            kept = rows.filter(pc.invert(pc.is_in(rows[column], gone)))
            if len(kept) == len(rows):
                continue
            if len(kept):
                sink = pa.BufferOutputStream()
                pq.write_table(kept, sink, compression="zstd")
                replace(path, sink.getvalue().to_pybytes())
            else:
                path.unlink()

    def count(self) -> int:
        """How many rows the files hold, each attempt counted."""
        return sum(pq.read_metadata(path).num_rows for path in self.files())

    def by_video(self, columns: Sequence[str], video_ids: Iterable[str]) -> dict[str, list[dict]]:
        """Rows of some videos as Python records, in order of time."""
        wanted = list(dict.fromkeys([*columns, "video_id", "start_s"]))
        found: dict[str, list[dict]] = {name: [] for name in video_ids}
        rows = self.read(wanted, video_ids=found).sort_by([("start_s", "ascending")])
        for row in rows.to_pylist():
            found[row["video_id"]].append(row)
        return found


def newest(rows: pa.Table) -> pa.Table:
    """Keep the newest attempt of each id, in order of first appearance.

    Example:
        >>> rows = pa.table({"id": ["a", "b", "a"], "attempt": [1, 1, 2], "x": [10, 20, 30]})
        >>> newest(rows)["x"].to_pylist()
        [20, 30]
    """
    if len(rows) == pc.count_distinct(rows["id"]).as_py():
        return rows
    order = pc.sort_indices(rows, [("attempt", "descending")])
    ids = rows["id"].take(order).combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(ids, return_index=True)
    return rows.take(pa.array(np.sort(order.to_numpy()[first])))


def table_schema(*adds: pa.Schema) -> pa.Schema:
    """The columns of a table: the key, what each actor adds, the outcome."""
    return pa.schema([field for part in (KEY, *adds, OUTCOME) for field in part])
