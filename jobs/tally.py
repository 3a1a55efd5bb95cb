"""Counting what stands: the rows of each table that are about the corpus as it is now."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ..datasets.scan import of_videos
from ..datasets.schema import KEY, OUTCOME
from ..datasets.store import Place, arrow, drafted, inside
from ..datasets.table import Table, table_schema

CORPUS = "corpus.parquet"
VIDEOS = 1024
"""Videos whose rows are looked at together."""
ROWS = pa.schema([KEY.field("id"), KEY.field("video_id")])
_PRINT = pa.schema([("fingerprint", pa.string())])
_COLUMNS = [n for n in (*KEY.names, *OUTCOME.names) if n not in ("models", "timings")]


@dataclass(kw_only=True)
class Tally:
    """What stands in a table.

    Attributes:
        files: Of the table.
        rows: About the corpus as it is now.
        failed: Those that failed.
        failures: Key and outcome of the first of them.
    """

    files: int = 0
    rows: int = 0
    failed: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)


def rows_of(phase: str) -> str:
    """Where a run keeps which rows a phase has now; others in its table are superseded."""
    return f"manifests/{phase}.rows.parquet"


def kept(groups: Iterable[pa.Table], where: Place) -> Generator[pa.Table]:
    """Pass a manifest on, and keep which rows it has, once it has come to its end.

    Args:
        groups: The manifest, in parts.
        where: See `rows_of`.
    """
    with drafted(where) as draft, pq.ParquetWriter(draft, ROWS, compression="zstd") as writer:
        for group in groups:
            writer.write_table(group.select(ROWS.names).cast(ROWS))
            yield group


def tallies(run: Place, tables: Mapping[str, str], failures: int = 0) -> dict[str, Tally]:
    """Count the rows of each table that are about the corpus as it is now.

    Rows of files that left it, or that have other content since, and rows that others took the
    place of (the utterances of an earlier transcript), are left out.

    Args:
        run: The run's folder.
        tables: Folder of each table, by name.
        failures: How many failed rows of each table to give.
    """
    folders = {name: Table(run / "tables" / t, table_schema(_PRINT)) for name, t in tables.items()}
    found = {name: Tally(files=len(table.files())) for name, table in folders.items()}
    for corpus in _groups(run):
        videos = corpus["video_id"].to_pylist()
        contents: pa.Table | None = None
        for name, table in folders.items():
            rows = table.read([*_COLUMNS, "fingerprint"], video_ids=videos)
            if name == "videos":
                rows = rows.filter(pc.is_in(rows["id"], corpus["id"].combine_chunks()))
                contents = rows
            if contents is not None:
                rows = rows.filter(_current(rows, contents))
            if (run / rows_of(name)).exists():
                now = read(run / rows_of(name), ["id"], of_videos(videos))
                rows = rows.filter(pc.is_in(rows["id"], now["id"].combine_chunks()))
            _count(found[name], rows, failures)
    return found


def _groups(run: Place) -> Iterator[pa.Table]:
    """The corpus, by name, some videos at a time."""
    corpus = read(run / CORPUS, ["id", "video_id"]).sort_by("video_id")
    for at in range(0, len(corpus), VIDEOS):
        yield corpus.slice(at, VIDEOS)


def read(path: Place, columns: list[str], where: pc.Expression | None = None) -> pa.Table:
    """Rows of one Parquet file of a run."""
    scan = ds.dataset([inside(path)], format="parquet", filesystem=arrow(path.parent))
    return scan.to_table(columns, filter=where)


def _current(rows: pa.Table, contents: pa.Table) -> pa.ChunkedArray:
    """Whether each row is of the content that its video has now; not every table names it."""
    place = pc.index_in(rows["video_id"], contents["video_id"].combine_chunks())
    same = pc.equal(rows["fingerprint"], contents["fingerprint"].take(place))
    fits = pc.or_(pc.is_null(rows["fingerprint"]), pc.fill_null(same, False))
    return pc.and_(pc.is_valid(place), fits)


def _count(tally: Tally, rows: pa.Table, failures: int) -> None:
    bad = rows.filter(pc.equal(rows["status"], "failed"))
    tally.rows += len(rows)
    tally.failed += len(bad)
    tally.failures += bad.slice(0, failures - len(tally.failures)).to_pylist()
