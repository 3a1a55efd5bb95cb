"""The pages in a real browser: they load from disk, answer, and run nothing foreign."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av
import numpy as np
import pytest
from PIL import Image

from mien.jobs.pages.index import render_index
from mien.jobs.pages.page import render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
DURATION_S = 20.0
HOSTILE = [
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=1'>",
    '"><svg onload=window.hacked=1>',
    "'-(window.hacked=1)-'",
    "${window.hacked=1}`\\u0027;window.hacked=1//",
    "@{x}{safe}<b onmouseover=window.hacked=1>bold</b>",
    "$$\\require{html}\\href{javascript:window.hacked=1}{x}$$",
    "javascript:window.hacked=1",
    "<!--<script>\u2028\u2029\n\r\n\t\x00",
    "\u202egnp.exe \u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627 \U0001f468\u200d\U0001f469",
    "__proto__",
    "\ud83d half \udcff",
]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("neither `chromium` nor `google-chrome` is on the PATH")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film of a moving square, `a film #1.mp4`."""
    folder = tmp_path_factory.mktemp("film")
    with av.open(str(folder / "a film #1.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for i in range(int(DURATION_S * 10)):
            image = np.full((180, 320, 3), 90, np.uint8)
            image[60:120, i : i + 60] = (230, 180, 60)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return folder


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (160, 90), (shade, 120, 90)).save(file, "JPEG")
    return file.getvalue()


def timeline(texts: list[str] | None = None) -> dict[str, Any]:
    """Ten utterances of a second, two seconds apart; `texts` take turns in every text field."""
    turn = iter(range(10**6))

    def text(plain: str) -> str:
        return texts[next(turn) % len(texts)] if texts else plain

    first, second = (text("PERSON_00"), text("PERSON_01"))
    segments = []
    for i in range(10):
        start = 2.0 * i
        words = [
            {"start": start + k / 4, "end": start + (k + 1) / 4, "word": text(f"word{i}{k}"),
             "probability": 0.3 + 0.2 * k} for k in range(4)
        ]  # fmt: skip
        known = i % 3 != 2
        emotion = {
            "dominant": "happy" if known else None,
            "scores": {"happy": 0.7, "sad": 0.3} if known else None,
            "confidence": 0.7 if known else None,
            "by_channel": {
                "face": {"dominant": "happy", "confidence": 0.7, "window": text("during")},
                "voice": {"arousal": 0.5, "dominance": None, "valence": None},
                "text": {"polarity": 0.5 - 0.1 * i, "scores": None},
            },
        }
        segments.append(
            {
                "start": start, "end": start + 1, "speaker": text("SPEAKER_00"), "person": first,
                "on_screen": True, "transcript": text("spoken"), "words": words if i else [],
                "listener": {"person": second, "emotion": text("sad"), "confidence": 0.5},
                "emotion": emotion, "prosody": {"pitch_hz": 120.0}, "conflict": i == 4,
                "behavioral_notes": [
                    {"type": text("gaze"), "timestamp": start, "confidence": 0.5,
                     "detail": text("down")}
                ],
                "flags": [text("conflict")] if i == 4 else [],
            }
        )  # fmt: skip
    ticks = [float(t) for t in np.arange(0, DURATION_S, 0.5)]
    speakers = {one["speaker"] for one in segments}
    return {
        "schema": "mien.timeline/1", "video_id": text("v"), "uri": text("/films/a film #1.mp4"),
        "duration": DURATION_S,
        "video": {"fps": 10.0, "width": 320, "height": 180, "has_audio": True, "has_video": True,
                  "codec": text("h264")},
        "models": [{k: text(k) for k in ("role", "model", "revision", "licence", "quality")}],
        "channels": {"face": {"tier": text("reliable"), "weight": 0.5, "reason": text("why")}},
        "people": [
            {"person": p, "speaker": text("SPEAKER_00"), "on_screen_s": 9.0, "speech_s": 3.0,
             "first_time": 0.0, "thumbnail_time": 2.0, "box": [20, 60, 60, 60]}
            for p in (first, second)
        ],
        "speakers": [{"speaker": s, "person": None, "speech_s": 5.0} for s in sorted(speakers)],
        "shots": [{"start": 0.0, "end": 9.0}, {"start": 9.0, "end": DURATION_S}],
        "segments": segments,
        "tracks": [{"person": first, "start": 0.0, "end": DURATION_S,
                    "samples": [[t, 10 * t, 60, 60, 60] for t in ticks]}],
        "series": [{"person": first, "time": ticks, "expression": [text("happy") for _ in ticks],
                    "confidence": [0.7 for _ in ticks], "valence": [0.1 for _ in ticks]}],
        "voice_series": [{"start": 2.0, "end": 3.0, "speaker": text("s"), "arousal": 0.6}],
        "flags": [{"type": text("conflict"), "start": 8.0, "end": 9.0, "segment": 4,
                   "confidence": 0.6, "detail": text("face and words")}],
        "warnings": [text("careful")],
    }  # fmt: skip


class Visit:
    """A page opened from disk, and what it complained about or asked for."""

    def __init__(
        self, browser: "Browser", file: Path, ready: str, scheme: Literal["light", "dark"] = "light"
    ) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": 1300, "height": 900}, color_scheme=scheme)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: self.complaints.append("a dialog"))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector(ready)

    def _listen(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait; `wait_for_function` needs `eval`, which the page's policy forbids."""
        for _ in range(200):
            if holds():
                return
            self.page.wait_for_timeout(50)
        pytest.fail("it did not happen within 10 s")

    def time(self) -> float:
        return self.page.evaluate("document.getElementById('video').currentTime")

    def row(self, kind: str) -> dict[str, Any]:
        rows = "JSON.parse(document.getElementById('data').textContent).rows"
        return self.page.evaluate(f"{rows}.find(row => row.kind === '{kind}')")

    def box(self, selector: str) -> Any:  # noqa: ANN401
        box = self.page.locator(selector).bounding_box()
        assert box
        return box

    def point(self, time_s: float, kind: str) -> tuple[float, float]:
        """Where a time stands in a lane, in the window."""
        row = self.row(kind)
        self.page.locator("#chart").scroll_into_view_if_needed()
        frame = self.box("#chart")
        x = frame["x"] + frame["width"] * time_s / DURATION_S
        return x, frame["y"] + row["top"] + row["height"] / 2

    def head(self) -> float:
        """The time at which the playhead stands."""
        head, frame = self.box("#head"), self.box("#chart")
        return (head["x"] + 1 - frame["x"]) / frame["width"] * DURATION_S


READY = "html[data-ready=true]"


@pytest.fixture
def visit(browser: "Browser", film: Path) -> Iterator[Visit]:
    file = film / "report.html"
    pictures = [(float(t), picture(60 + 8 * t)) for t in range(0, 20, 2)]
    file.write_text(render(timeline(), media="a film #1.mp4", thumbnails=pictures))
    visit = Visit(browser, file, READY)
    state = "document.getElementById('video').readyState"
    visit.wait_until(lambda: visit.page.evaluate(state) >= 1)
    yield visit
    visit.page.close()
    assert visit.complaints == []
    assert {url.split(":")[0] for url in visit.requests} <= {"file", "data"}


def test_a_click_on_any_lane_seeks(visit: Visit) -> None:
    lanes = ["film", "speaker", "words", "person", "arousal", "polarity", "flags"]
    for time_s, kind in zip(range(2, 19, 2), lanes, strict=False):
        visit.page.mouse.click(*visit.point(time_s + 0.5, kind))
        visit.page.wait_for_timeout(400)  # longer than a double click
        assert visit.time() == pytest.approx(time_s + 0.5, abs=0.1)
        assert visit.head() == pytest.approx(time_s + 0.5, abs=0.1)


def test_playhead_and_transcript_follow_playback(visit: Visit) -> None:
    visit.page.keyboard.press("Space")
    visit.wait_until(lambda: visit.time() > 2.3)
    assert visit.page.locator("#segments li.now").get_attribute("data-segment") == "1"
    visit.page.keyboard.press("Space")
    visit.page.wait_for_timeout(200)
    assert visit.page.evaluate("document.getElementById('video').paused")
    assert visit.head() == pytest.approx(visit.time(), abs=0.1)


def test_transcript_seeks_by_row_and_by_word(visit: Visit) -> None:
    visit.page.locator("#segments li").nth(3).locator("button").click()
    visit.page.wait_for_timeout(200)
    assert visit.time() == pytest.approx(6.0, abs=0.01)
    assert visit.page.locator("#segments li.now").get_attribute("data-segment") == "3"
    visit.page.get_by_text("word42", exact=True).click()
    visit.page.wait_for_timeout(200)
    assert visit.time() == pytest.approx(8.5, abs=0.01)
    assert visit.page.locator(".word.now").inner_text() == "word42"


def test_what_is_uncertain_looks_uncertain(visit: Visit) -> None:
    rows = visit.page.locator("#segments li")
    assert "unknown" in rows.nth(2).locator(".mood").inner_text()
    assert "neutral" not in visit.page.locator("#segments").inner_text()
    doubts = rows.nth(1).locator(".word.doubt").all_inner_texts()
    assert doubts == ["word10", "word11"]  # probabilities .3 and .5; .7 and .9 are not in doubt


def test_keys_seek_and_zoom(visit: Visit) -> None:
    press = visit.page.keyboard.press
    for key, time_s in [("Shift+ArrowRight", 5), ("ArrowRight", 6), ("ArrowLeft", 5),
                        ("Shift+ArrowLeft", 0), ("ArrowLeft", 0)]:  # fmt: skip
        press(key)
        visit.page.wait_for_timeout(100)
        assert visit.time() == pytest.approx(time_s, abs=0.01)
    view = "Bokeh.documents[0].get_model_by_name('view')"
    span = f"{view}.end - {view}.start"
    assert visit.page.evaluate(span) == pytest.approx(20_000)
    press("+")
    assert visit.page.evaluate(span) == pytest.approx(10_000)
    press("0")
    assert visit.page.evaluate(span) == pytest.approx(20_000)
    visit.page.locator("#find").fill("word9")
    assert visit.page.locator("#segments li:visible").count() == 1
    press("Space")
    press("ArrowLeft")
    assert visit.page.evaluate("document.getElementById('video').paused")
    assert visit.page.locator("#find").input_value() == "word9 "


def test_hover_tells(visit: Visit) -> None:
    visit.page.mouse.move(*visit.point(8.5, "flags"))
    visit.page.wait_for_selector("#tip:visible")
    assert visit.page.locator("#tip").inner_text() == (
        "conflict\n0:08.0 – 0:09.0 · 60% sure\nface and words"  # noqa: RUF001
    )


def test_boxes_follow_the_film(visit: Visit) -> None:
    left = """() => {
      const boxes = document.getElementById('boxes');
      const copy = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
      [copy.canvas.width, copy.canvas.height] = [boxes.width, boxes.height];
      copy.drawImage(boxes, 0, 0);
      const all = copy.getImageData(0, boxes.height / 2, boxes.width, 1).data;
      for (let x = 0; x < boxes.width; x++) if (all[4 * x + 3] > 0) return x / boxes.width * 320;
    }"""
    for time_s in (3.0, 10.25):
        visit.page.evaluate(f"document.getElementById('video').currentTime = {time_s}")
        visit.page.wait_for_timeout(300)
        assert visit.page.evaluate(left) == pytest.approx(10 * time_s, abs=3)


def test_hostile_text_is_inert(browser: "Browser", film: Path) -> None:
    file = film / "hostile.html"
    made = timeline(HOSTILE)
    file.write_text(
        render(made, media="a film #1.mp4", thumbnails=[(2.0, picture(90))]), encoding="utf-8"
    )
    visit = Visit(browser, file, READY)
    page = visit.page
    page.locator("#chart").scroll_into_view_if_needed()
    frame = visit.box("#chart")
    for y in range(5, int(frame["height"]), 18):
        for x in range(5, int(frame["width"]), 150):
            page.mouse.move(frame["x"] + x, frame["y"] + y)
    page.locator("#in").click()
    page.locator("#in").click()
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert visit.complaints == []
    assert {url.split(":")[0] for url in visit.requests} <= {"file", "data"}
    assert page.locator("#segments img, #segments svg, #segments script, #tip img").count() == 0
    shown = page.locator("#segments").inner_text()
    assert "<img src=x onerror='window.hacked=1'>" in shown
    page.close()


def test_policy_stops_what_escaping_would_miss(browser: "Browser", film: Path) -> None:
    """Were a string to reach the markup after all, it would still not run."""
    file = film / "holed.html"
    html = render(timeline(), media="a film #1.mp4", thumbnails=[])
    hole = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script><header>"
    file.write_text(html.replace("<header>", hole, 1), encoding="utf-8")
    visit = Visit(browser, file, READY)
    assert visit.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in one for one in visit.complaints)
    visit.page.close()


def test_unplayable_film_leaves_pictures_and_a_clock(browser: "Browser", film: Path) -> None:
    (film / "odd.mkv").write_bytes(b"not a film")
    file = film / "odd.html"
    pictures = [(float(t), picture(60 + 8 * t)) for t in range(0, 20, 2)]
    file.write_text(render(timeline(), media="odd.mkv", thumbnails=pictures))
    visit = Visit(browser, file, READY)
    visit.page.wait_for_selector("#note:visible")
    assert "cannot play the file (codec h264)" in visit.page.locator("#note").inner_text()
    assert visit.page.locator("#still").is_visible()
    before = visit.page.locator("#still").get_attribute("src")
    visit.page.mouse.click(*visit.point(12.5, "film"))
    assert visit.head() == pytest.approx(12.5, abs=0.1)
    assert visit.page.locator("#still").get_attribute("src") != before
    visit.page.keyboard.press("Space")
    visit.page.wait_for_timeout(700)
    visit.page.keyboard.press("Space")
    assert 13.0 < visit.head() < 14.5
    visit.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_index_sorts_and_finds(
    browser: "Browser", film: Path, scheme: Literal["light", "dark"]
) -> None:
    rows = [
        {"title": title, "page": "report.html", "duration": duration, "status": "ok"}
        for title, duration in [("b.mp4", 5.0), (HOSTILE[1], None), ("c10.mp4", 50.0),
                                ("c9.mp4", 7.0)]
    ]  # fmt: skip
    rows.append({"title": HOSTILE[0], "status": "failed", "error_message": HOSTILE[2]})
    file = film / "index.html"
    file.write_text(render_index(rows, {"command": HOSTILE[0]}), encoding="utf-8")
    visit = Visit(browser, file, "#videos", scheme)
    titles = visit.page.locator("#videos tbody tr:visible .title a")
    visit.page.get_by_role("button", name="Duration").click()
    assert titles.all_inner_texts() == ["b.mp4", "c9.mp4", "c10.mp4", HOSTILE[1]]
    visit.page.get_by_role("button", name="Duration").click()
    assert titles.all_inner_texts() == ["c10.mp4", "c9.mp4", "b.mp4", HOSTILE[1]]
    visit.page.get_by_role("button", name="Video").click()
    assert titles.all_inner_texts()[-2:] == ["c9.mp4", "c10.mp4"]
    visit.page.locator("#find").fill("c1")
    assert titles.all_inner_texts() == ["c10.mp4"]
    assert visit.page.evaluate("window.hacked") is None
    assert visit.complaints == []
    titles.first.click()
    visit.page.wait_for_url("**/report.html")
    visit.page.close()
