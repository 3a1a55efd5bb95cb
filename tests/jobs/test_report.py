"""The corpus page of a run, and its pages where the corpus is large."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.datasets.schema import PROBE
from mien.datasets.store import Place
from mien.datasets.table import Table, table_schema
from mien.jobs import report
from mien.jobs.conclude import TIMELINE
from mien.jobs.report import write_index
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
