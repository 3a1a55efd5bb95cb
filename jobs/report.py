"""`mien report`: the pages of a run, made again from its tables."""

import json
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape

from ..datasets.store import Place, listed, ranges, reference, remove, replace
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
PAGE = "report.html"
"""The page of a video, in its folder."""
BARE = b'<meta name="pictures" content="none">'
"""Stands near the start of a page without pictures."""
THREADS = 16
"""So many pages are looked at together: in a store each takes a request."""


def write_index(run: Place, record: dict, *, pictures: bool = True) -> Place:
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
        if not pictures:
            rows = [{**row, "thumbnail": None} for row in rows]
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
        table = standing(run / "tables" / tables[name]) if name in tables else None
        if table is None or not table.files():
            return []
        return table.read(columns, video_ids=videos).to_pylist()

    probes = {row["id"]: row for row in rows("videos", _PROBED)}
    lines = {_content(row): row for row in rows("timeline", _TIMED)}
    found = []
    for file in files.to_pylist():
        probe = probes.get(file["id"])
        line = lines.get((file["video_id"], probe["fingerprint"])) if probe else None
        row = _line(file, probe, line)
        if probe and "timeline" not in tables and row["status"] == "outstanding":
            row["status"] = "ok"  # there is no more to come
        found.append(row)
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
        "page": f"videos/{file['video_id']}/{PAGE}" if shown else None,
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


def pictured(run: Place) -> list[Place]:
    """All pages of a run that show pictures; one that does not say is taken to show some."""
    videos = run / "videos"
    pages = [folder / PAGE for folder in videos.iterdir()] if videos.exists() else []
    pages = sorted(pages + [file.place for file in listed(run, "index*.html")], key=str)
    with ThreadPoolExecutor(THREADS) as threads:
        return [page for page, some in zip(pages, threads.map(_shows, pages), strict=True) if some]


def _shows(page: Place) -> bool:
    """Whether a page is there and shows pictures."""
    try:
        return BARE not in ranges(str(page), [0], 512)[0]
    except (FileNotFoundError, NotADirectoryError):
        return False


def strip(run: Place, record: dict) -> None:
    """Take the pictures off all pages of a run, whatever stands in its tables.

    A page that cannot be made again, because its video left the corpus or now fails, is removed.
    """
    pages = pictured(run)
    names = {page.parent.name for page in pages if page.name == PAGE}
    if names:
        names -= Report(run=str(run)).write_pages(run, record, names, pictures=False)
    for name in sorted(names):
        remove(run / "videos" / name / PAGE)
        console.print(f"{escape(name)}: {PAGE} removed: it cannot be made again without pictures")
    if any(page.name != PAGE for page in pages):
        write_index(run, record, pictures=False)


@dataclass(kw_only=True)
class Report:
    """Make all pages of a run again, without analysing anything.

    Attributes:
        run: The run's folder.
    """

    run: str

    def __call__(self) -> int:
        """Write each page and the index."""
        run, _ = opened(self.run)
        with locked(run):
            _, record = opened(self.run)  # of the run that the lock was waited for
            self.write_pages(run, record)
            console.print(f"Open {write_index(run, record)}")
        return 0

    def write_pages(
        self,
        run: Place,
        record: dict,
        names: Collection[str] | None = None,
        *,
        pictures: bool = True,
    ) -> set[str]:
        """Write the pages of videos again; whoever calls holds the run's lock.

        Args:
            run: The run's folder.
            record: Of the run.
            names: Of the videos; `None`: all.
            pictures: Whether the pages show some.

        Returns:
            Names of the videos whose pages could be written.
        """
        written: set[str] = set()
        tables = {name: run / "tables" / folder for name, folder in record["tables"].items()}
        corpus = read(run / CORPUS, ["id", "video_id"]).sort_by("video_id")
        if names is not None:
            corpus = corpus.filter(
                pc.is_in(corpus["video_id"], pa.array(sorted(names), pa.string()))
            )
        columns = ["id", "video_id", "fingerprint"]
        for at in range(0, len(corpus), LINES):
            files = corpus.slice(at, LINES)
            about = {name: files[name].to_pylist() for name in ("id", "video_id")}
            probed = standing(tables["videos"])
            for probe in probed.read(
                columns, video_ids=about["video_id"], ids=about["id"], status="ok"
            ).to_pylist():
                if self._page(run, tables, probe, pictures):
                    written.add(probe["video_id"])
        return written

    def _page(self, run: Place, tables: dict[str, Place], probe: dict, pictures: bool) -> bool:
        from .pages.page import render

        if "timeline" not in tables:
            return False
        table, folder = standing(tables["timeline"]), run / "videos" / probe["video_id"]
        watch = tables.get("watch") if pictures else None
        made = None
        for line in _about(table, ["timeline"], probe).to_pylist() if table.files() else []:
            made = json.loads(line["timeline"])
            html = render(
                made,
                media=reference(made["uri"], folder),
                thumbnails=thumbnails(_watched(watch, probe)),
            )
            replace(folder / PAGE, html.encode())
            console.print(f"{escape(probe['video_id'])}: {PAGE}")
        return made is not None


def _about(table: Table, columns: list[str], probe: dict) -> pa.Table:
    """What was found in a video as it was probed."""
    rows = table.read([*columns, "fingerprint"], video_ids=[probe["video_id"]], status="ok")
    return rows.filter(pc.field("fingerprint") == probe["fingerprint"])


def _watched(folder: Place | None, probe: dict) -> pa.Table | tuple[()]:
    table = None if folder is None else standing(folder)
    if table is None or not table.files():
        return ()
    return _about(table, ["start_s", "frames"], probe).sort_by("start_s")
