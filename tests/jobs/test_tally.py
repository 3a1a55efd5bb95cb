"""Counts of a large run are those of reading it whole; manifests pass on and are kept."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.datasets.schema import PROBE
from mien.datasets.table import Table, table_schema
from mien.jobs import tally
from mien.jobs.tally import CORPUS, kept, rows_of, tallies

TABLES = {"videos": "videos-1", "turns": "turns-1", "speech": "speech-1", "utterances": "said-1"}
PRINT = pa.schema([("fingerprint", pa.string())])


def line(name: str, video: str, content: str | None, **more: object) -> dict[str, Any]:
    row = {"id": name, "video_id": video, "uri": f"{video}.mp4", "fingerprint": content}
    return {**row, "status": "ok", "attempt": 1, "config_hash": "h", **more}


def put(run: Path, name: str, rows: list[dict]) -> None:
    adds = {"videos": PROBE, "utterances": pa.schema([])}.get(name, PRINT)
    table = Table(run / "tables" / TABLES[name], table_schema(adds))
    table.write(pa.Table.from_pylist(rows, schema=table.schema))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Ten videos: some changed, some left, some rows failed, were retried, were superseded."""
    chance = random.Random(0)
    names = [f"v{i}" for i in range(10)]
    corpus = names[2:]
    chance.shuffle(corpus)
    pq.write_table(
        pa.table({"id": [f"{n}-2" for n in corpus], "video_id": corpus}), tmp_path / CORPUS
    )
    for edition in ("1", "2"):
        rows = [line(f"{n}-{edition}", n, f"{n}{edition}") for n in names]
        rows[3] |= {"status": "failed", "fingerprint": None}
        put(tmp_path, "videos", rows)
    now = []
    for attempt in (1, 2):
        for name in ("turns", "speech"):
            rows = [
                line(f"{name}-{n}-{e}-{i}", n, f"{n}{e}", attempt=attempt)
                | {"status": chance.choice(["ok", "failed"])}
                for n in chance.sample(names, 8)
                for e in "12"
                for i in range(3)
            ]
            put(tmp_path, name, rows)
            now += [r for r in rows if name == "speech" and not r["id"].endswith("0")]
    put(tmp_path, "utterances", [line(f"u{n}{i}", n, None) for n in names for i in (0, 1)])
    rows = pa.Table.from_pylist(now).select(["id", "video_id"]).sort_by("video_id")
    list(kept([rows], tmp_path / rows_of("speech")))
    return tmp_path


def whole(run: Path) -> dict[str, tuple[int, int]]:
    """Rows and failures, counted row by row over everything."""
    videos = set(pq.read_table(run / CORPUS)["id"].to_pylist())
    contents: set[tuple[str, str | None]] = set()
    found = {}
    for name, folder in TABLES.items():
        table = Table(run / "tables" / folder, table_schema(PRINT))
        rows = table.read(["id", "video_id", "fingerprint", "status"]).to_pylist()
        if name == "videos":
            rows = [r for r in rows if r["id"] in videos]
            contents = {(r["video_id"], r["fingerprint"]) for r in rows}
            contents |= {(r["video_id"], None) for r in rows}
        rows = [r for r in rows if (r["video_id"], r["fingerprint"]) in contents]
        if (run / rows_of(name)).exists():
            now = set(pq.read_table(run / rows_of(name))["id"].to_pylist())
            rows = [r for r in rows if r["id"] in now]
        found[name] = (len(rows), sum(r["status"] == "failed" for r in rows))
    return found


@pytest.mark.parametrize("videos", [1, 3, 1024])
def test_counts_are_those_of_reading_everything(
    run: Path, monkeypatch: pytest.MonkeyPatch, videos: int
) -> None:
    monkeypatch.setattr(tally, "VIDEOS", videos)
    counted = tallies(run, TABLES, failures=2)
    assert {name: (t.rows, t.failed) for name, t in counted.items()} == whole(run)
    assert counted["speech"].failed > 2
    assert len(counted["speech"].failures) == 2
    assert counted["turns"].files == 2


def test_a_manifest_is_kept_when_it_came_to_its_end(tmp_path: Path) -> None:
    where = tmp_path / rows_of("watch")
    groups = [
        pa.table({"id": [f"{v}{i}" for i in range(2)], "video_id": [v, v], "x": [1, 2]})
        for v in "ab"
    ]
    assert [len(group) for group in kept(iter(groups), where)] == [2, 2]
    assert pq.read_table(where)["id"].to_pylist() == ["a0", "a1", "b0", "b1"]

    broken = kept(iter(groups[:1]), where)
    next(broken)
    broken.close()
    assert len(pq.read_table(where)) == 4
    assert [path.name for path in where.parent.iterdir()] == [where.name]
