"""`mien report`: the pages of a run, made again from its tables."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ..datasets.table import newest, replace
from .conclude import thumbnails
from .lock import locked
from .pages.index import render_index
from .progress import console
from .status import opened


def _table(folder: Path, columns: list[str] | None, **where: object) -> list[dict]:
    """Newest rows of one of the run's tables, whatever its columns are."""
    if not any(folder.glob("part-*.parquet")):
        return []
    files = [str(p) for p in sorted(folder.glob("part-*.parquet"))]
    scan = ds.dataset(files, format="parquet")
    clause = None
    for name, value in where.items():
        one = ds.field(name) == value
        clause = one if clause is None else clause & one
    helpers = ["id", "attempt"]
    names = None if columns is None else list(dict.fromkeys([*columns, *helpers]))
    return newest(scan.to_table(names, filter=clause)).to_pylist()


def write_index(run: Path, record: dict) -> Path:
    """Write the corpus page of a run."""
    files = pq.read_table(run / "corpus.parquet").to_pylist()
    tables = {name: run / "tables" / folder for name, folder in record["tables"].items()}
    probes = {r["id"]: r for r in _table(tables["videos"], _PROBED)}
    lines = {_content(r): r for r in _table(tables["timeline"], _TIMED)}
    rows = []
    for file in files:
        probe = probes.get(file["id"])
        line = lines.get((file["video_id"], probe["fingerprint"])) if probe else None
        rows.append(_line(run, file, probe, line))
    path = run / "index.html"
    replace(path, render_index(rows, record).encode())
    return path


_ERROR = ["status", "error_stage", "error_message"]
_PROBED = ["video_id", "duration_s", "fingerprint", *_ERROR]
_COUNTED = ["people", "speakers", "segments", "flags", "warnings", "thumbnail"]
_TIMED = ["video_id", "fingerprint", *_COUNTED, "emotions", *_ERROR]


def _content(row: dict) -> tuple[str, str | None]:
    """A video as it was at one time: a file that changes is another one."""
    return row["video_id"], row["fingerprint"]


def _line(run: Path, file: dict, probe: dict | None, line: dict | None) -> dict:
    failed = next((r for r in (probe, line) if r and r["status"] == "failed"), None)
    page = run / "videos" / file["video_id"] / "report.html"
    row = {
        "video_id": file["video_id"],
        "uri": file["uri"],
        "title": Path(file["uri"]).name,
        "page": f"videos/{file['video_id']}/report.html" if page.exists() else None,
        "duration": probe["duration_s"] if probe else None,
        "status": "failed" if failed else "ok" if line else "outstanding",
        "error_stage": failed["error_stage"] if failed else None,
        "error_message": failed["error_message"] if failed else None,
        "thumbnail": None,
    }
    if line and line["status"] == "ok":
        row.update({name: line[name] for name in _COUNTED})
        row["emotions"] = {e["label"]: e["share"] for e in line["emotions"] or []}
    return row


@dataclass(kw_only=True)
class Report:
    """Make all pages of a run again, without analysing anything.

    Attributes:
        run: The run's folder.
    """

    run: str

    def __call__(self) -> int:
        """Write each page and the index."""
        run, record = opened(self.run)
        tables = {name: run / "tables" / folder for name, folder in record["tables"].items()}
        files = pq.read_table(run / "corpus.parquet", columns=["id"])["id"].to_pylist()
        probes = _table(tables["videos"], ["id", "video_id", "fingerprint"], status="ok")
        with locked(run):
            for probe in (p for p in probes if p["id"] in set(files)):
                self._page(run, tables, probe)
            console.print(f"Open {write_index(run, record)}")
        return 0

    def _page(self, run: Path, tables: dict[str, Path], probe: dict) -> None:
        from .pages.page import render

        now = {"video_id": probe["video_id"], "fingerprint": probe["fingerprint"]}
        for line in _table(tables["timeline"], ["timeline", "status"], status="ok", **now):
            made = json.loads(line["timeline"])
            html = render(
                made, media=made["uri"], thumbnails=thumbnails(_watch(tables.get("watch"), **now))
            )
            replace(run / "videos" / probe["video_id"] / "report.html", html.encode())
            console.print(f"{probe['video_id']}: report.html")


def _watch(folder: Path | None, video_id: str, fingerprint: str) -> pa.Table | None:
    if folder is None or not any(folder.glob("part-*.parquet")):
        return None
    files = [str(p) for p in sorted(folder.glob("part-*.parquet"))]
    where = (ds.field("video_id") == video_id) & (ds.field("fingerprint") == fingerprint)
    where &= ds.field("status") == "ok"
    columns = ["id", "attempt", "start_s", "frames"]
    rows = ds.dataset(files, format="parquet").to_table(columns, filter=where)
    return newest(rows).sort_by("start_s")
