"""Downloads from a server of our own, which also misbehaves."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mien.datasets import download
from mien.datasets.corpus import Urls
from mien.datasets.download import ARCHIVE, Downloader, reason


def video(path: Path) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 256, (20, 240, 320, 3), np.uint8)
        for image in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path.read_bytes()


class Server(ThreadingHTTPServer):
    """`/good.mp4` is sent, `/cut.mp4` breaks in the middle once, `/dead.mp4` always."""

    daemon_threads = True
    content = b""
    gets: Counter[str]
    ranges: list[str]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Be quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        server = self.server
        assert isinstance(server, Server)
        if not self.path.endswith(".mp4") or "missing" in self.path:
            self.send_error(404)
            return
        start = 0
        if spec := self.headers.get("Range"):
            start = int(spec.removeprefix("bytes=").split("-")[0])
            if start:
                server.ranges.append(spec)
        part = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        if not body:
            return
        server.gets[self.path] += 1
        dead = "dead" in self.path
        if dead or ("cut" in self.path and not start):
            part = part[: 0 if dead else len(part) // 2]
        with suppress(OSError):  # the client only wanted the head
            self.wfile.write(part)
        self.close_connection = True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.content = video(tmp_path / "source.mp4")
        server.gets, server.ranges = Counter(), []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def root(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def loader(tmp_path: Path) -> Downloader:
    return Downloader(folder=str(tmp_path / "videos"), pause_s=0, retries=2, timeout_s=5)


def test_a_video_arrives_whole_and_once(server: Server, root: str, loader: Downloader) -> None:
    [first] = loader.fetch(f"{root}/good.mp4")
    assert first.reason is None
    assert first.path is not None
    assert first.path.read_bytes() == server.content
    asked = server.gets.total()
    again = Downloader(folder=loader.folder, pause_s=0)
    assert list(again.fetch(f"{root}/good.mp4")) == [first]
    assert server.gets.total() == asked


def test_a_deleted_file_is_downloaded_again(server: Server, root: str, loader: Downloader) -> None:
    [first] = loader.fetch(f"{root}/good.mp4")
    assert first.path is not None
    first.path.unlink()
    [again] = loader.fetch(f"{root}/good.mp4")
    assert again.path is not None
    assert again.path.read_bytes() == server.content


def test_a_broken_connection_is_continued(server: Server, root: str, loader: Downloader) -> None:
    [item] = loader.fetch(f"{root}/cut.mp4")
    assert item.path is not None
    assert item.path.read_bytes() == server.content
    assert server.ranges, "the second half must be asked for, not the whole"


@pytest.mark.parametrize(
    ("name", "words"), [("missing.mp4", "does not exist (404)"), ("page.html", "(404)")]
)
def test_what_is_not_there_has_a_reason(
    root: str, loader: Downloader, name: str, words: str
) -> None:
    [item] = loader.fetch(f"{root}/{name}")
    assert item.path is None
    assert words in (item.reason or "")


def test_a_dead_connection_has_a_reason(root: str, loader: Downloader) -> None:
    [item] = loader.fetch(f"{root}/dead.mp4")
    assert item.path is None
    assert item.reason


def test_nobody_listens(server: Server, loader: Downloader) -> None:
    free = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = free.server_port
    free.server_close()
    [item] = loader.fetch(f"http://127.0.0.1:{port}/a.mp4")
    assert "refuses the connection" in (item.reason or "")


def test_a_broken_archive_line_is_passed_over(
    root: str, loader: Downloader, caplog: pytest.LogCaptureFixture
) -> None:
    [item] = loader.fetch(f"{root}/good.mp4")
    archive = Path(loader.folder) / ARCHIVE
    archive.write_text(archive.read_text() + '{"url": "http://x", "fi')
    with caplog.at_level(logging.WARNING):
        assert list(Downloader(folder=loader.folder).fetch(f"{root}/good.mp4")) == [item]
    assert "broken line" in caplog.text


def test_urls_as_a_corpus(root: str, tmp_path: Path) -> None:
    urls = [f"{root}/good.mp4", f"{root}/missing.mp4"]
    corpus = Urls(urls=urls, folder=str(tmp_path / "videos"), pause_s=0)
    rows, skips = corpus.survey()
    assert rows.num_rows == 1
    assert Path(rows["uri"][0].as_py()).exists()
    assert rows["video_id"][0].as_py().startswith("good")
    assert [skip.uri for skip in skips] == [urls[1]]
    with pytest.raises(ValueError, match=r"none came. .*missing.mp4: the address does not exist"):
        Urls(urls=urls[1:], folder=str(tmp_path / "videos"), pause_s=0).survey()


def test_without_ffmpeg_nothing_must_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Downloader(folder="x", height_px=480)
    monkeypatch.setattr(download.shutil, "which", lambda _: "/usr/bin/ffmpeg")
    seed = "bestvideo[height<=480][vcodec^=avc][ext=mp4]+bestaudio[ext=m4a]/18"
    assert loader.rule.startswith(seed)
    monkeypatch.setattr(download.shutil, "which", lambda _: None)
    assert "+" not in loader.rule
    assert loader.rule.startswith("18/")


FORMATS = [  # as YouTube has them
    {"format_id": "18", "ext": "mp4", "height": 360, "vcodec": "avc1", "acodec": "mp4a"},
    {"format_id": "135", "ext": "mp4", "height": 480, "vcodec": "avc1", "acodec": "none"},
    {"format_id": "136", "ext": "mp4", "height": 720, "vcodec": "avc1", "acodec": "none"},
    {"format_id": "397", "ext": "mp4", "height": 480, "vcodec": "av01", "acodec": "none"},
    {"format_id": "140", "ext": "m4a", "vcodec": "none", "acodec": "mp4a"},
]


@pytest.mark.parametrize(
    ("height_px", "ffmpeg", "chosen"),
    [(480, "ffmpeg", "135+140"), (720, "ffmpeg", "136+140"), (480, None, "18")],
)
def test_yt_dlp_understands_the_rule(
    monkeypatch: pytest.MonkeyPatch, height_px: int, ffmpeg: str | None, chosen: str
) -> None:
    from yt_dlp import YoutubeDL

    monkeypatch.setattr(download.shutil, "which", lambda _: ffmpeg)
    rule = Downloader(folder="x", height_px=height_px).rule
    formats = [{"url": "http://x", "protocol": "https", **f} for f in FORMATS]
    info: Any = {"id": "1", "title": "t", "extractor": "x", "formats": formats}
    options: Any = {"format": rule, "quiet": True, "simulate": True}
    with YoutubeDL(options) as loader:
        found: Any = loader.process_video_result(info, download=False)
    assert found["format_id"] == chosen


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("ERROR: [youtube] a: Private video. Sign in if you", "it is private"),
        ("ERROR: [youtube] a: Video unavailable", "it is unavailable"),
        ("ERROR: [generic] Unable to download webpage: HTTP Error 429", "too many requests"),
        ("something new", "something new"),
    ],
)
def test_reasons(text: str, meaning: str) -> None:
    assert reason(Exception(text)).startswith(meaning)


@pytest.mark.parametrize("urls", ["https://x", [], ["video.mp4"]])
def test_wrong_urls_are_named(urls: list[str]) -> None:
    with pytest.raises(ValueError, match=r"`corpus.urls` must"):
        Urls(urls=urls)
