"""Gathering: all that the tables hold of a video, as the fusion takes it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ..datasets import schema
from ..datasets.scan import index
from ..datasets.store import Place, arrow, inside, place
from ..datasets.table import Table, table_schema
from .fusion.evidence import Evidence

EVIDENCE = schema.rows(
    ("table", pa.string()), ("id", pa.string()), ("attempt", pa.int32()), ("file", pa.string())
)
"""The rows that a timeline is made from, and the files that hold them."""

RECORDS = ("speech", "micro", "segments", "voice", "notes")


@dataclass(frozen=True, kw_only=True)
class Gather:
    """Reads the evidence of videos.

    Attributes:
        run: The run's folder.
        tables: Folder of each table, by name.
        models: What filled each role, for the page.
        likeness: From which cosine two tracks of faces are one person.
    """

    run: str
    tables: dict[str, str]
    models: Sequence[dict] = field(default=())
    likeness: float = 0.5

    def __call__(self, rows: pa.Table) -> Iterator[tuple[dict, Evidence]]:
        """The evidence of some videos.

        Args:
            rows: Of the manifest of a concluding phase: `video_id`, `uri`, `fingerprint`,
                `evidence`.
        """
        found = self._tables(rows)
        for row in rows.to_pylist():
            yield row, self._evidence(row, found[row["video_id"]])

    def _tables(self, rows: pa.Table) -> dict[str, dict[str, pa.Table]]:
        """By video and name of the table."""
        files, ids = defaultdict(set), defaultdict(list)
        for row in rows["evidence"].to_pylist():
            for item in row or []:
                files[item["table"]].add(item["file"])
                ids[item["table"]].append(item["id"])
        found: dict[str, dict[str, pa.Table]] = defaultdict(dict)
        videos = rows["video_id"].to_pylist()
        folders = place(self.run) / "tables"
        for name, names in files.items():
            table = standing(folders / self.tables[name])
            stood = table.read(video_ids=videos, ids=ids[name], files=sorted(names))
            for video in videos:
                mine = stood.filter(ds.field("video_id") == video)
                found[video][name] = mine.sort_by("start_s")
        probes = standing(folders / self.tables["videos"]).read(video_ids=videos, status="ok")
        for video in videos:
            found[video]["videos"] = probes.filter(ds.field("video_id") == video)
        return found

    def _evidence(self, row: dict, found: dict[str, pa.Table]) -> Evidence:
        done = {name: t.filter(ds.field("status") == "ok") for name, t in found.items()}
        records = {n: done[n].to_pylist() if n in done else [] for n in RECORDS}
        turns = done["turns"].to_pylist() if "turns" in done else []
        probes = found["videos"].to_pylist()
        probe = next(v for v in reversed(probes) if v["fingerprint"] == row["fingerprint"])
        probe |= {"video_id": row["video_id"], "uri": row["uri"]}  # as the corpus has it now
        watch = done.get("watch", ())
        return Evidence(
            video=probe,
            turns=turns[0] if turns else None,
            watch=beside(watch, done["faces"]) if "faces" in done and len(watch) else watch,
            models=self.models,
            failures=_failures(found),
            likeness=self.likeness,
            **records,
        )


def standing(folder: Place) -> Table:
    """A table with the columns that its files have; without a file, those that all tables have."""
    files = index(folder).files()
    if not files:
        return Table(folder, table_schema())
    return Table(folder, pq.read_schema(inside(files[0].place), filesystem=arrow(folder)))


def beside(watch: pa.Table, faces: pa.Table) -> pa.Table:
    """Put what the face models said beside the faces: the columns of the same watched span.

    Args:
        watch: Rows of table `watch` of one video.
        faces: Rows of table `faces` of the same video; some may be missing.
    """
    place = pc.index_in(watch["start_s"], faces["start_s"].combine_chunks())
    known = {*watch.column_names}
    added = [name for name in faces.column_names if name not in known]
    if "face_embeddings" in faces.column_names and "face_embeddings" in known:
        watch, added = watch.drop_columns(["face_embeddings"]), [*added, "face_embeddings"]
    for name in added:
        watch = watch.append_column(faces.schema.field(name), faces[name].take(place))
    return watch


def _failures(found: dict[str, pa.Table]) -> Sequence[dict]:
    columns = ["error_stage", "start_s", "stop_s", "error_message"]
    return [
        {"stage": row.pop("error_stage"), **row}
        for table in found.values()
        for row in table.filter(ds.field("status") == "failed").select(columns).to_pylist()
    ]
