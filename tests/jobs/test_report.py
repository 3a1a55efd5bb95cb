"""The corpus page of a run, and its pages where the corpus is large."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.datasets.schema import PROBE, WATCH
from mien.datasets.store import Place
from mien.datasets.table import Table, table_schema
from mien.jobs import report
from mien.jobs.clean import Clean, forget
from mien.jobs.conclude import TIMELINE
from mien.jobs.pages import page
from mien.jobs.report import Report, pictured, write_index
from mien.jobs.tally import CORPUS

NAMES = ["delta", "alpha", "echo", "bravo", "charlie"]  # in the order of their paths
RECORD = {"tables": {"videos": "videos-1", "timeline": "timeline-1"}, "wall_s": 5.0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Five videos of a minute: `echo` could not be probed, `bravo` is not concluded yet."""
    corpus = {"id": NAMES, "video_id": NAMES, "uri": [f"/films/{name}.mp4" for name in NAMES]}
    pq.write_table(pa.table(corpus), tmp_path / CORPUS)
    base = {"status": "ok", "attempt": 1, "config_hash": "h"}
    rows = [{**base, "id": n, "video_id": n, "uri": n, "fingerprint": n} for n in NAMES]
    probes = [{**row, "duration_s": 60.0} for row in rows]
    probes[2] |= {"status": "failed", "duration_s": None, "error_message": "is cut"}
    lines = [{**rows[i], "people": 1, "thumbnail": NAMES[i].encode()} for i in (0, 1, 4)]
    contents = {"videos": (PROBE, probes), "timeline": (TIMELINE, lines)}
    for name, (adds, found) in contents.items():
        content = adds if "fingerprint" in adds.names else [*adds, ("fingerprint", pa.string())]
        table = Table(tmp_path / "tables" / f"{name}-1", table_schema(pa.schema(content)))
        table.write(pa.Table.from_pylist(found, schema=table.schema))
    return tmp_path


def text(path: Place) -> str:
    """What is read on a page."""
    body = path.read_text().split("<body>")[1].split("<script>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def titles(path: Place) -> list[str]:
    return re.findall(r'<tr data-title="(\w+)\.mp4"', path.read_text())


def test_a_small_corpus_is_one_page_in_its_own_order(run: Path) -> None:
    path = write_index(run, RECORD)
    assert titles(path) == ["delta", "alpha", "charlie", "echo", "bravo"]  # two are not analysed
    assert "3 of 5 videos analysed, 4:00 of media, in 0:05" in text(path)
    assert "page 1" not in text(path)
    assert len(list(run.glob("index*.html"))) == 1
    assert 'href="videos/alpha/report.html"' in path.read_text()
    assert 'href="videos/bravo/report.html"' not in path.read_text()


def test_where_no_timelines_are_made_a_video_that_was_probed_is_done(run: Path) -> None:
    path = write_index(run, {**RECORD, "tables": {"videos": "videos-1"}})
    assert "4 of 5 videos analysed" in text(path)
    assert "report.html" not in path.read_text()


def test_a_large_corpus_has_pages_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LINES", 2)
    first = write_index(run, RECORD)
    pages = [first, run / "index-2.html", run / "index-3.html"]
    assert [sorted(titles(page)) for page in pages] == [
        ["alpha", "bravo"],
        ["charlie", "delta"],
        ["echo"],
    ]
    assert "3 of 5 videos analysed, 4:00 of media, in 0:05 · 2 failed" in text(first)
    assert "Videos 3 to 4, by name" in text(pages[1])
    links = [set(re.findall(r'href="(index[^"]*)"', page.read_text())) for page in pages]
    assert links == [
        {"index.html", "index-2.html", "index-3.html"},  # the list of all, and the next
        {"index.html", "index-3.html"},
        {"index.html", "index-2.html"},
    ]
    assert [page.read_text().count('id="run"') for page in pages] == [1, 0, 0]


def test_pages_of_a_larger_corpus_go(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LINES", 1)
    write_index(run, RECORD)
    assert len(list(run.glob("index*.html"))) == 5
    monkeypatch.setattr(report, "LINES", 3)
    write_index(run, RECORD)
    assert sorted(path.name for path in run.glob("index*.html")) == ["index-2.html", "index.html"]


def test_a_corpus_of_nothing_is_a_page(run: Path) -> None:
    pq.write_table(pq.read_table(run / CORPUS).slice(0, 0), run / CORPUS)
    assert "0 of 0 videos analysed" in text(write_index(run, RECORD))


@pytest.fixture
def shown(run: Path) -> Path:
    """Pages with pictures, also of `echo`, which fails now, and of `foxtrot`, which has left."""
    table = Table(run / "tables" / "timeline-1", table_schema(pa.schema([*TIMELINE, PRINT])))
    rows = table.read().to_pylist()
    rows = [{**r, "attempt": 2, "timeline": json.dumps({"uri": r["uri"]})} for r in rows]
    table.write(pa.Table.from_pylist(rows, schema=table.schema))
    watch = Table(run / "tables" / "watch-1", table_schema(pa.schema([*WATCH, PRINT])))
    frame = {"time_s": 0.5, "thumbnail": b"picture"}
    seen = [{**r, "timeline": None, "start_s": 0.0, "frames": [frame]} for r in rows]
    watch.write(pa.Table.from_pylist(seen, schema=watch.schema))
    Report(run=str(run)).write_pages(run, SHOWN)
    for name in ("echo", "foxtrot"):
        (run / "videos" / name).mkdir(parents=True)
        page = (run / "videos" / "alpha" / "report.html").read_bytes()
        (run / "videos" / name / "report.html").write_bytes(page)
    write_index(run, SHOWN)
    assert len(pictured(run)) == len(pictures(run)) == 6
    return run


PRINT = pa.field("fingerprint", pa.string())
SHOWN = {
    "tables": {**RECORD["tables"], "watch": "watch-1"},
    "finished": "now",
    "config": "",
}


def pictures(run: Path) -> list[str]:
    """Pages that hold a picture, wherever in them it is."""
    pages = [path for path in run.rglob("*.html") if b"data:image/jpeg" in path.read_bytes()]
    return sorted(str(path.relative_to(run)) for path in pages)


def test_no_page_keeps_its_pictures(shown: Path, capsys: pytest.CaptureFixture) -> None:
    forget(shown, SHOWN, ["thumbnails"])
    assert pictures(shown) == pictured(shown) == []
    assert sorted(path.parent.name for path in shown.glob("videos/*/report.html")) == [
        "alpha",
        "charlie",
        "delta",
    ]
    said = capsys.readouterr().out
    assert "echo: report.html removed" in said
    assert "foxtrot: report.html removed" in said
    assert 'href="videos/alpha/report.html"' in (shown / "index.html").read_text()


def test_pages_that_an_interruption_left_are_found_again(
    shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown / "run.json").write_text(json.dumps(SHOWN))
    whole, left = page.render, iter([1])

    def render(timeline: dict, **named: Any) -> str:  # noqa: ANN401
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(timeline, **named)

    monkeypatch.setattr(page, "render", render)
    with pytest.raises(KeyboardInterrupt):
        Clean(run=str(shown), do=["thumbnails"])()
    monkeypatch.setattr(page, "render", whole)
    assert Clean(run=str(shown), do=["thumbnails"])() == 0
    assert pictures(shown) == []


def test_pages_are_looked_at_also_where_no_table_holds_a_picture(shown: Path) -> None:
    for path in (shown / "tables" / "watch-1").iterdir():
        path.unlink()
    table = Table(shown / "tables" / "timeline-1", table_schema(pa.schema([*TIMELINE, PRINT])))
    rows = [{**row, "thumbnail": None, "attempt": 3} for row in table.read().to_pylist()]
    table.write(pa.Table.from_pylist(rows, schema=table.schema))
    forget(shown, SHOWN, ["thumbnails"])
    assert pictures(shown) == []
