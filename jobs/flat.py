"""The flat table of what was said: one row for each segment of a timeline."""

from collections.abc import Sequence

import pyarrow as pa

from ..datasets.ids import row_id
from ..datasets.table import Table, table_schema
from .fusion.timeline import UTTERANCES
from .graph import Graph

VIDEOS = 1024
"""Videos of which it is looked up together what stands."""


def flatten_utterances(graph: Graph, group: int = 32) -> None:
    """Bring the table `utterances` up to the timelines: one row for each segment.

    A file holds whole videos, so a video's utterances stand there all or not at all; those of a
    timeline that was made anew take the place of the old ones.
    """
    source = graph.table("timeline")
    table = utterances(graph)
    todo: list[dict] = []
    superseded: set[str] = set()
    lines = source.read(["id", "video_id", "attempt", "status", "segments"]).sort_by("video_id")
    for at in range(0, len(lines), VIDEOS):
        rows = lines.slice(at, VIDEOS).to_pylist()
        stand = table.read(["timeline_id", "attempt"], video_ids={r["video_id"] for r in rows})
        found = stand.group_by(["timeline_id", "attempt"]).aggregate([]).to_pylist()
        done = {(row["timeline_id"], row["attempt"]) for row in found}
        anew = [r for r in rows if (r["id"], r["attempt"]) not in done]
        superseded |= {r["id"] for r in anew} & {row["timeline_id"] for row in found}
        todo += [r for r in anew if r["status"] == "ok" and r["segments"]]
    table.drop("timeline_id", superseded)
    for at in range(0, len(todo), group):
        table.write(_flat(source, todo[at : at + group], table.schema))
    if todo:
        table.compact()


def _flat(source: Table, lines: Sequence[dict], schema: pa.Schema) -> pa.Table:
    columns = ["id", "video_id", "uri", "status", "attempt", "config_hash", "utterances"]
    ids, videos = [r["id"] for r in lines], [r["video_id"] for r in lines]
    flat = []
    for row in source.read(columns, video_ids=videos, ids=ids, status="ok").to_pylist():
        for i, said in enumerate(row["utterances"] or []):
            key = {n: row[n] for n in ("video_id", "uri", "status", "attempt", "config_hash")}
            flat.append({**said, **key, "id": row_id(row["id"], i), "timeline_id": row["id"]})
    return pa.Table.from_pylist(flat, schema=schema)


def utterances(graph: Graph) -> Table:
    """The flat table of what was said."""
    source = graph.table("timeline").folder
    schema = table_schema(UTTERANCES_ROW)
    return Table(source.with_name(source.name.replace("timeline", "utterances", 1)), schema)


_KEYS = set(table_schema().names)
UTTERANCES_ROW = pa.schema(
    [("timeline_id", pa.string()), *(f for f in UTTERANCES if f.name not in _KEYS)]
)
