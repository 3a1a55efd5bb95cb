import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mien.jobs.pages import index
from mien.jobs.pages.index import cure, render_index

HOSTILE = "</script><img src=x onerror=alert(1)>\"' \n\u202e\u05d0 \U0001f600 {{7*7}}"


class Reader(HTMLParser):
    """Elements, their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def row(text: str = "a.mp4", **changes: object) -> dict[str, Any]:
    made = {
        "video_id": text, "uri": f"/films/{text}", "title": text, "page": "a/report.html",
        "duration": 61.0, "people": 2, "speakers": 1, "segments": 7, "flags": 3,
        "warnings": [text], "emotions": {"happy": 0.5, "neutral": 1.5}, "status": "ok",
        "error_stage": None, "error_message": None, "thumbnail": b"\xff\xd8jpeg",
    }  # fmt: skip
    return made | changes


def summary(text: str = "watch") -> dict[str, Any]:
    return {
        "phases": [
            {
                "name": text, "rows": 3, "ok": 2, "failed": 1, "skipped": 0, "wall_s": 12.0,
                "media_s": 24.0, "rtf": 2.0, "busy_share": 0.75,
                "stages": [{"stage": text, "seconds": 8.0}],
                "pools": [{"stages": [text], "workers": 2, "rows_per_s": 0.25,
                           "alone_rows_per_s": 0.15, "efficiency": 0.833}],
                "reasons": {text: 1},
            }
        ],
        "wall_s": 15.0, "peak_memory_gb": 3.25, "machine": {"cpus": 2, text: text},
        "models": [dict.fromkeys(("role", "model", "revision", "licence", "quality"), text)],
        "versions": {"ray": text}, "git": text, "command": text,
    }  # fmt: skip


def test_hostile_text_adds_no_markup() -> None:
    def pages(text: str) -> Reader:
        lost = row(text, page=None, status="failed", error_stage=text, error_message=text)
        return Reader(render_index([row(text, page=text), lost], summary(text)))

    plain, hostile = pages("plain"), pages(HOSTILE)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert not [a for _, attrs in hostile.tags for a in attrs if a.startswith("on")]
    links = [a["href"] or "" for tag, a in hostile.tags if tag == "a"]
    assert all(re.fullmatch(r"[\w%./~#-]+", link) for link in links)
    assert HOSTILE in hostile.text
    assert "49" not in hostile.text


def test_shares_add_up() -> None:
    tags = Reader(render_index([row()], {})).tags
    grown = [a["style"] for _, a in tags if "flex-grow" in (a.get("style") or "")]
    assert grown == ["flex-grow:0.7500", "flex-grow:0.2500"]


def test_failed_videos_say_where_why_and_what_to_do() -> None:
    message = "Permission denied: 'b.mp4'"
    lost = row("b.mp4", status="failed", error_stage="probe", error_message=message)
    page = Reader(render_index([row(), lost], summary()))
    text = " ".join(page.text.split())
    assert "1 of 2 videos analysed" in text
    assert "probe" in text
    assert f"{message}Make the file readable, then run `mien retry`." in text


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("moov atom not found: Invalid data found", "convert"),
        ("[Errno 2] No such file or directory: 'a.mp4'", "still there"),
        ("OutOfMemoryError: 3 GB", "Free memory"),
        ("MemoryError", "Free memory"),
        ("HTTP Error 403", "address"),
        (None, "Read the reason"),
    ],
)
def test_cures(message: str | None, word: str) -> None:
    assert word in cure(message)


def test_nothing_known_is_still_a_page() -> None:
    assert "No video was analysed." in render_index([], {})
    page = Reader(render_index([{"video_id": "v"}], {"phases": [{"name": "watch"}]}))
    assert "unknown" in page.text


def test_pictures_stay_under_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_THUMBNAIL_BYTES", 25)
    tags = Reader(render_index([row(thumbnail=b"x" * 10) for _ in range(5)], {})).tags
    assert sum(tag == "img" for tag, _ in tags) == 2


def test_summary_shows_the_run() -> None:
    text = " ".join(Reader(render_index([row()], summary())).text.split())
    assert "Wall time 0:15. Peak memory 3.2 GB." in text
    assert "watch 3 2 1 0 12.0 s 24.0 s 2.00 75 % watch : 1" in text.replace(
        "watch: 1", "watch : 1"
    )
    assert "2 0.25 0.15 0.83" in text
