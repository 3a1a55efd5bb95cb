"""The flat table of what was said follows the timelines."""

from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from mien.datasets.table import Table, table_schema
from mien.jobs import flat
from mien.jobs.conclude import TIMELINE
from mien.jobs.flat import flatten_utterances, utterances
from mien.jobs.graph import Graph


class Made:
    """A graph as far as its table of timelines."""

    def __init__(self, folder: Path) -> None:
        self._table = Table(folder / "timeline-1", table_schema(TIMELINE))

    def table(self, name: str) -> Table:
        assert name == "timeline"
        return self._table


def conclude(made: Graph, attempt: int = 1, **said: int) -> None:
    """Let videos have timelines of so many utterances."""
    rows: list[dict[str, Any]] = [
        {"id": f"t-{v}", "video_id": v, "uri": v, "status": "ok", "attempt": attempt}
        | {"config_hash": "h", "segments": count, "utterances": [{}] * count}
        for v, count in said.items()
    ]
    table = made.table("timeline")
    table.write(pa.Table.from_pylist(rows, schema=table.schema))


def counts(made: Graph) -> dict[tuple[str, int], int]:
    rows = utterances(made).read(["timeline_id", "attempt"]).to_pylist()
    keys = [(row["timeline_id"], row["attempt"]) for row in rows]
    return {key: keys.count(key) for key in keys}


@pytest.mark.parametrize("videos", [1, 2, 1024])
def test_a_timeline_made_anew_takes_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, videos: int
) -> None:
    monkeypatch.setattr(flat, "VIDEOS", videos)
    made = cast(Graph, Made(tmp_path))
    conclude(made, a=2, b=3, c=0, d=1)
    for _ in range(2):
        flatten_utterances(made, group=2)
        assert counts(made) == {("t-a", 1): 2, ("t-b", 1): 3, ("t-d", 1): 1}
    conclude(made, attempt=2, b=1)
    flatten_utterances(made, group=2)
    assert counts(made) == {("t-a", 1): 2, ("t-b", 2): 1, ("t-d", 1): 1}
