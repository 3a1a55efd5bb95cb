"""The flat table of what was said: one row for each segment of a timeline."""

import pyarrow as pa

from ..datasets.ids import row_id
from ..datasets.table import Table, table_schema
from .fusion.timeline import UTTERANCES
from .graph import Graph


def flatten_utterances(graph: Graph, group: int = 32) -> None:
    """Bring the table `utterances` up to the timelines: one row for each segment.

    A file holds whole videos, so a video's utterances stand there all or not at all; those of a
    timeline that was made anew take the place of the old ones.
    """
    source = graph.table("timeline")
    table = utterances(graph)
    stand = table.read(["timeline_id", "attempt"]).to_pylist()
    done = {(row["timeline_id"], row["attempt"]) for row in stand}
    rows = source.read(["id", "attempt", "status", "segments"]).to_pylist()
    anew = [r for r in rows if (r["id"], r["attempt"]) not in done]
    table.drop("timeline_id", {r["id"] for r in anew} & {row["timeline_id"] for row in stand})
    todo = [r["id"] for r in anew if r["status"] == "ok" and r["segments"]]
    columns = ["id", "video_id", "uri", "status", "attempt", "config_hash", "utterances"]
    for at in range(0, len(todo), group):
        flat = []
        for row in source.read(columns, ids=todo[at : at + group], status="ok").to_pylist():
            for i, said in enumerate(row["utterances"] or []):
                key = {n: row[n] for n in ("video_id", "uri", "status", "attempt", "config_hash")}
                flat.append({**said, **key, "id": row_id(row["id"], i), "timeline_id": row["id"]})
        table.write(pa.Table.from_pylist(flat, schema=table.schema))


def utterances(graph: Graph) -> Table:
    """The flat table of what was said."""
    source = graph.table("timeline").folder
    schema = table_schema(UTTERANCES_ROW)
    return Table(source.with_name(source.name.replace("timeline", "utterances", 1)), schema)


_KEYS = set(table_schema().names)
UTTERANCES_ROW = pa.schema(
    [("timeline_id", pa.string()), *(f for f in UTTERANCES if f.name not in _KEYS)]
)
