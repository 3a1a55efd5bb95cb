"""Tables: folders of Parquet files in which a visible file is a complete file."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .scan import PARTS, index, of_videos
from .schema import KEY, OUTCOME
from .store import File, Place, arrow, inside, listed, replace

MERGING = ".merging.json"
"""Beside the files: which of them a merged file takes the place of."""
WHOLE_BYTES = 256_000_000
"""Files of half this size are no longer merged."""
FEWEST = 8
"""Smaller files that are merged, at least: fewer cost nothing to read."""
GROUP_BYTES = 16_000_000
"""Of a row group: what is read for one video, at least."""
GROUP_ROWS = 16_384
"""Of a row group, at most: short rows are many before they are large."""
LISTINGS = 5
"""Times that a reader lists the files, if some are merged while it reads."""
FILE = "__filename"
"""pyarrow's column for the file that a row stands in."""


@dataclass(frozen=True)
class Table:
    """One table of a run, in a folder that is named by the hash of what changes its content.

    Rows are added, never changed. A retried row stands once per attempt in the files; every reader
    here gives the newest attempt alone.

    Attributes:
        folder: Holds `part-*.parquet`; need not exist yet. Names that start with a dot are drafts.
        schema: Columns of every file.
    """

    folder: Place
    schema: pa.Schema

    def write(self, rows: pa.Table) -> Place:
        """Add rows in one new file, which appears whole or not at all.

        Args:
            rows: Cast to the table's schema: a missing or extra column is an error.
        """
        return self._add(rows.select(self.schema.names).cast(self.schema))

    def _add(self, rows: pa.Table, name: str | None = None) -> Place:
        path = self.folder / (name or f"part-{uuid4().hex}.parquet")
        replace(path, encoded(rows))
        return path

    def files(self) -> list[Place]:
        """Complete files, in a stable order."""
        return [file.place for file in index(self.folder).files()]

    def _scan(
        self, columns: Sequence[str], where: pc.Expression | None, files: Sequence[Place]
    ) -> pa.Table:
        if not files:
            made = pa.schema([*self.schema, (FILE, pa.string())])
            return pa.schema([made.field(name) for name in columns]).empty_table()
        names, system = [inside(path) for path in files], arrow(self.folder)
        scan = ds.dataset(names, schema=self.schema, format="parquet", filesystem=system)
        return scan.to_table(list(columns), filter=where)

    def _find(
        self,
        columns: Sequence[str],
        video_ids: Collection[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """Scan the files that can hold rows, also while another process merges some."""
        for _ in range(LISTINGS - 1):
            try:
                return self._scan(columns, where, self._holding(video_ids))
            except FileNotFoundError:
                continue
        return self._scan(columns, where, self._holding(video_ids))

    def _holding(self, video_ids: Collection[str] | None) -> list[Place]:
        if video_ids is None:
            return self.files()
        return [file.place for file in index(self.folder).holding(list(video_ids))]

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
        where, videos = None, None if video_ids is None else list(video_ids)
        if videos is not None:
            where = of_videos(videos)
        if ids is not None:
            these = pc.field("id").isin(pa.array(list(ids), pa.string()))
            where = these if where is None else where & these
        asked = list(self.schema.names if columns is None else columns)
        wanted = [*asked, *(n for n in ("id", "attempt", "status") if n not in asked)]
        if files is None:
            rows = newest(self._find(wanted, videos, where))
        else:
            rows = newest(self._scan(wanted, where, [self.folder / name for name in files]))
        if status is not None:
            rows = rows.filter(pc.equal(rows["status"], status))
        return rows.select(asked)

    def outcomes(self, video_ids: Iterable[str] | None = None) -> pa.Table:
        """Id, status and attempt of every row, or of some videos' rows: what resuming needs."""
        return self.read(["id", "status", "attempt"], video_ids=video_ids)

    def locate(self, video_ids: Iterable[str]) -> list[dict]:
        """Find in which file each row of some videos stands.

        Returns:
            Records with `id`, `video_id`, `start_s`, `stop_s`, `attempt`, `status` and `file`, the
            file's name.
        """
        videos = list(video_ids)
        columns = ["id", "video_id", "start_s", "stop_s", "attempt", "status", FILE]
        rows = newest(self._find(columns, videos, of_videos(videos)))
        paths = rows[FILE].to_pylist()
        names = pa.array([path.rpartition("/")[2] for path in paths], pa.string())
        return rows.drop_columns([FILE]).append_column("file", names).to_pylist()

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
            known = self._scan([column], None, [path])[column]
            if not pc.any(pc.is_in(known, gone)).as_py():
                continue
            rows = self._scan(self.schema.names, None, [path])
            kept = rows.filter(pc.invert(pc.is_in(rows[column], gone)))
            if len(kept):
                replace(path, encoded(kept))
            else:
                path.unlink()

    def compact(self, whole_bytes: int = WHOLE_BYTES, fewest: int = FEWEST) -> tuple[int, int]:
        """Merge small files into fewer, sorted by video, so that reading one video reads little.

        A merged file appears whole, then the files it was made from go. If the process dies
        between the two, rows stand twice until the next call, which ends what was begun; readers
        give each of them once. Attempts are all kept. Nothing else may write meanwhile.

        Args:
            whole_bytes: About the size of a merged file; files of half of it are left alone.
            fewest: With fewer small files than this, nothing is done.

        Returns:
            How many files went, and how many took their place.
        """
        self._end_merging()
        small = [f for f in listed(self.folder, PARTS) if f.size_bytes < whole_bytes / 2]
        if len(small) < max(fewest, 2):
            return 0, 0
        small.sort(key=lambda file: (file.mtime_ns, file.place.name))  # neighbours in the corpus
        groups: list[list[File]] = [[]]
        for file in small:
            if groups[-1] and sum(f.size_bytes for f in groups[-1]) >= whole_bytes:
                groups.append([])
            groups[-1].append(file)
        groups = [group for group in groups if len(group) > 1]
        for group in groups:
            self._merge([file.place for file in group], sum(file.size_bytes for file in group))
        return sum(map(len, groups)), len(groups)

    def _merge(self, parts: Sequence[Place], size_bytes: int) -> None:
        rows = self._scan(self.schema.names, None, parts)
        rows = _once(rows).sort_by([("video_id", "ascending"), ("start_s", "ascending")])
        name = f"part-{uuid4().hex}.parquet"
        merging = {"into": name, "parts": [path.name for path in parts]}
        replace(self.folder / MERGING, json.dumps(merging).encode())
        replace(self.folder / name, encoded(rows, size_bytes))
        self._end_merging()

    def _end_merging(self) -> None:
        """Remove the files that a merged file has taken the place of, if there is one."""
        record = self.folder / MERGING
        if not record.exists():
            return
        merging = json.loads(record.read_text())
        if (self.folder / merging["into"]).exists():
            for name in merging["parts"]:
                (self.folder / name).unlink(missing_ok=True)
        record.unlink()

    def count(self) -> int:
        """How many rows the files hold, each attempt counted."""
        return sum(footer.rows for footer in index(self.folder).footers().values())

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


def encoded(rows: pa.Table, size_bytes: int | None = None) -> pa.Buffer:
    """Rows as the bytes of a Parquet file.

    Args:
        rows: Any.
        size_bytes: What they take in a file, about; cuts them into groups of `GROUP_BYTES` or
            `GROUP_ROWS`.
    """
    group = None
    if size_bytes and len(rows):
        group = max(1, min(GROUP_ROWS, len(rows) * GROUP_BYTES // size_bytes))
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", row_group_size=group)
    return sink.getvalue()


def _once(rows: pa.Table) -> pa.Table:
    """Each attempt of each row once: two files may hold it after a merge that was cut short."""
    keys = pc.binary_join_element_wise(rows["id"], rows["attempt"].cast(pa.string()), " ")
    _, first = np.unique(keys.to_numpy(zero_copy_only=False).astype(str), return_index=True)
    return rows if len(first) == len(rows) else rows.take(pa.array(np.sort(first)))


def table_schema(*adds: pa.Schema) -> pa.Schema:
    """The columns of a table: the key, what each actor adds, the outcome."""
    return pa.schema([field for part in (KEY, *adds, OUTCOME) for field in part])
