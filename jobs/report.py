"""`mien report`: the pages of a run, made again from its tables."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..datasets.store import Place, listed, reference, replace
from ..datasets.table import Table
from .conclude import thumbnails
from .gather import standing
from .lock import locked
from .pages.index import Leaf, Totals, page_name, render_index
from .progress import console
from .status import opened
from .tally import CORPUS, read

LINES = 500
"""Videos of one page of the index; a corpus with more has several pages."""


def write_index(run: Place, record: dict) -> Place:
    """Write the corpus page of a run; of a large corpus several, by name.

    Memory is that of one page: each is made from what stands of its videos alone.
    """
    corpus = read(run / CORPUS, ["id", "video_id", "uri"])
    if len(corpus) > LINES:
        corpus = corpus.sort_by("video_id")
    parts = [corpus.slice(at, LINES) for at in range(0, max(1, len(corpus)), LINES)]
    names = [Path(part["uri"][0].as_py()).name for part in parts if len(part)]
    totals = Totals()
    for number in range(len(parts), 0, -1):  # the first page last: it has the totals
        rows = _lines(run, record["tables"], parts[number - 1])
        totals.add(rows)
        leaf = Leaf(number=number, names=names, lines=LINES) if len(parts) > 1 else None
        html = render_index(rows, record, leaf, totals)
        replace(run / page_name(number), html.encode())
    for old in listed(run, "index-*.html"):
        if int(re.sub(r"\D", "", old.place.name) or 0) > len(parts):
            old.place.unlink()
    return run / page_name(1)


def _lines(run: Place, tables: dict[str, str], files: pa.Table) -> list[dict]:
    """What the index shows of some files, in their order."""
    videos = files["video_id"].to_pylist()

    def rows(name: str, columns: list[str]) -> list[dict]:
        table = standing(run / "tables" / tables[name])
        return table.read(columns, video_ids=videos).to_pylist() if table.files() else []

    probes = {row["id"]: row for row in rows("videos", _PROBED)}
    lines = {_content(row): row for row in rows("timeline", _TIMED)}
    found = []
    for file in files.to_pylist():
        probe = probes.get(file["id"])
        line = lines.get((file["video_id"], probe["fingerprint"])) if probe else None
        found.append(_line(file, probe, line))
    return found


_ERROR = ["status", "error_stage", "error_message"]
_PROBED = ["id", "video_id", "duration_s", "fingerprint", *_ERROR]
_COUNTED = ["people", "speakers", "segments", "flags", "warnings", "thumbnail"]
_TIMED = ["video_id", "fingerprint", *_COUNTED, "emotions", *_ERROR]


def _content(row: dict) -> tuple[str, str | None]:
    """A video as it was at one time: a file that changes is another one."""
    return row["video_id"], row["fingerprint"]


def _line(file: dict, probe: dict | None, line: dict | None) -> dict:
    failed = next((r for r in (probe, line) if r and r["status"] == "failed"), None)
    shown = line is not None and line["status"] == "ok"  # its page was written before the row
    row = {
        "video_id": file["video_id"],
        "uri": file["uri"],
        "title": Path(file["uri"]).name,
        "page": f"videos/{file['video_id']}/report.html" if shown else None,
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
        with locked(run):
            self.write_pages(run, record)
            console.print(f"Open {write_index(run, record)}")
        return 0

    def write_pages(self, run: Place, record: dict) -> None:
        """Write the page of each video again; whoever calls holds the run's lock."""
        tables = {name: run / "tables" / folder for name, folder in record["tables"].items()}
        corpus = read(run / CORPUS, ["id", "video_id"]).sort_by("video_id")
        columns = ["id", "video_id", "fingerprint"]
        for at in range(0, len(corpus), LINES):
            files = corpus.slice(at, LINES)
            about = {name: files[name].to_pylist() for name in ("id", "video_id")}
            probed = standing(tables["videos"])
            for probe in probed.read(
                columns, video_ids=about["video_id"], ids=about["id"], status="ok"
            ).to_pylist():
                self._page(run, tables, probe)

    def _page(self, run: Place, tables: dict[str, Place], probe: dict) -> None:
        from .pages.page import render

        table, folder = standing(tables["timeline"]), run / "videos" / probe["video_id"]
        for line in _about(table, ["timeline"], probe).to_pylist() if table.files() else []:
            made = json.loads(line["timeline"])
            html = render(
                made,
                media=reference(made["uri"], folder),
                thumbnails=thumbnails(_watched(tables.get("watch"), probe)),
            )
            replace(folder / "report.html", html.encode())
            console.print(f"{probe['video_id']}: report.html")


def _about(table: Table, columns: list[str], probe: dict) -> pa.Table:
    """What was found in a video as it was probed."""
    rows = table.read([*columns, "fingerprint"], video_ids=[probe["video_id"]], status="ok")
    return rows.filter(pc.field("fingerprint") == probe["fingerprint"])


def _watched(folder: Place | None, probe: dict) -> pa.Table | tuple[()]:
    table = None if folder is None else standing(folder)
    if table is None or not table.files():
        return ()
    return _about(table, ["start_s", "frames"], probe).sort_by("start_s")
