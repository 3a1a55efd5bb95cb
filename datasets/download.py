"""Downloading videos of the web with yt-dlp.

H.264 comes first, which every decoder reads and reads fast. A video is downloaded once: an archive
in the folder remembers it, a part of a file is continued. What fails is an answer with its reason,
not an exception: the others still come.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

ARCHIVE = "archive.jsonl"
"""One line per downloaded video: its address and the file's name."""


class Download(NamedTuple):
    """What became of one address.

    Attributes:
        url: Of the page or file, as yt-dlp names it: one playlist gives many.
        path: The file; `None` where it failed.
        reason: Why it failed, and the cure where there is one.
    """

    url: str
    path: Path | None
    reason: str | None = None


@dataclass(kw_only=True)
class Downloader:
    """Downloads into one folder.

    Attributes:
        folder: Made where it is absent.
        height_px: The largest picture to take.
        pause_s: Between two requests, and before a download.
        retries: After a broken connection, before the video fails.
        timeout_s: Of the connection.
    """

    folder: str
    height_px: int = 480
    pause_s: float = 1.0
    retries: int = 5
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        if self.height_px < 1:
            raise ValueError(f"`height_px` must be at least 1, but is {self.height_px}.")
        if self.pause_s < 0:
            raise ValueError(f"`pause_s` must be at least 0, but is {self.pause_s:g}.")

    @property
    def rule(self) -> str:
        """yt-dlp's format selector.

        Picture and sound of their own are better, but joining them needs the ffmpeg program;
        without it one file that holds both is taken.
        """
        size = f"[height<=?{self.height_px}]"
        whole = f"18/best{size}[vcodec^=avc][ext=mp4]/best{size}[ext=mp4]/best{size}/best"
        if shutil.which("ffmpeg") is None:
            return whole
        apart = f"bestvideo[height<={self.height_px}][vcodec^=avc][ext=mp4]+bestaudio[ext=m4a]"
        return f"{apart}/{whole}"

    @cached_property
    def _archive(self) -> dict[str, str]:
        """Names of the files by address; a line that a crash cut short is passed over."""
        path = Path(self.folder) / ARCHIVE
        known = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                entry = json.loads(line)
                known[entry["url"]] = entry["file"]
            except (ValueError, KeyError):
                log.warning("%s: passed over a broken line: %r", path, line[:80])
        return known

    def fetch(self, url: str, depth: int = 3) -> Iterator[Download]:
        """Download one address: a video, or all videos of a playlist or channel.

        Args:
            url: Of a page or a file.
            depth: How many lists may stand inside one another.

        Yields:
            One answer per video, in the playlist's order.
        """
        if (known := self._find(url)) is not None:
            yield Download(url, known)
            return
        try:
            info = self._extract(url)
            if "entries" not in info:
                yield self._keep(url, Path(info["requested_downloads"][0]["filepath"]))
                return
        except Exception as error:  # yt-dlp raises nearly anything on hostile pages
            yield Download(url, None, reason(error))
            return
        for entry in info["entries"]:
            page = entry.get("webpage_url") or entry.get("url")
            if page and depth:
                yield from self.fetch(page, depth - 1)
            else:
                yield Download(url, None, "the list has an entry without an address, or too deep")

    def _find(self, url: str) -> Path | None:
        name = self._archive.get(url)
        path = Path(self.folder).absolute() / name if name else None
        return path if path and path.exists() else None

    def _extract(self, url: str) -> dict[str, Any]:
        """Download a video; of a playlist, only list the entries."""
        from yt_dlp import YoutubeDL

        with YoutubeDL(self._options()) as loader:
            info: Any = loader.extract_info(url, download=True)
        if not info:
            raise ValueError("yt-dlp finds no video there")
        if "entries" in info:
            info["entries"] = list(info["entries"])
        return info

    def _keep(self, url: str, path: Path) -> Download:
        if not path.exists():
            return Download(url, None, "the download left no file: try again")
        self._remember(url, path.name)
        return Download(url, path)

    def _remember(self, url: str, file: str) -> None:
        self._archive[url] = file
        with (Path(self.folder) / ARCHIVE).open("a", encoding="utf-8") as archive:
            archive.write(json.dumps({"url": url, "file": file}) + "\n")

    def _options(self) -> Any:  # noqa: ANN401 (yt-dlp's own type is private)
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return {
            "format": self.rule,
            "merge_output_format": "mp4",
            "paths": {"home": str(Path(self.folder).absolute())},
            "outtmpl": {"default": "%(title).80B [%(id).40B].%(ext)s"},
            "restrictfilenames": True,
            "continuedl": True,
            "extract_flat": "in_playlist",
            "noplaylist": True,  # of an address that names a video in a playlist, the video
            "retries": self.retries,
            "fragment_retries": self.retries,
            "socket_timeout": self.timeout_s,
            "sleep_interval_requests": self.pause_s,
            "sleep_interval": self.pause_s,
            "quiet": True,
            "noprogress": True,
            "no_warnings": True,
            "no_color": True,
            "cachedir": False,
            "logger": log,
        }


REASONS = {
    "private video": "it is private",
    "members-only": "it is for members only",
    "video unavailable": "it is unavailable: removed, or not in this country",
    "has been removed": "it was removed",
    "http error 404": "the address does not exist (404)",
    "http error 403": "the server refuses (403): update yt-dlp, or try later",
    "http error 429": "too many requests (429): raise `corpus.pause_s`, or try later",
    "confirm your age": "it needs a login (age)",
    "sign in": "it needs a login",
    "not available in your country": "it is not available in this country",
    "is not a valid url": "it is not a URL",
    "unsupported url": "yt-dlp finds no video there",
    "failed to resolve": "the server's name is not known: is there a network?",
    "name resolution": "the server's name is not known: is there a network?",
    "connection refused": "the server refuses the connection",
    "timed out": "the server did not answer in time: try again",
    "bytes read": "the connection broke: try again, the part is kept",
    "requested format is not available": "it has no format that can be used here",
}


def reason(error: Exception) -> str:
    """Say in a few words why a download failed, followed by yt-dlp's own words.

    Example:
        >>> reason(Exception("ERROR: [x] 1: Private video. Sign in if you have access"))
        'it is private ([x] 1: Private video. Sign in if you have access)'
    """
    text = " ".join(str(error).split()).removeprefix("ERROR: ")
    text = text.split("; please report this issue")[0][:300]
    for sign, meaning in REASONS.items():
        if sign in text.lower():
            return f"{meaning} ({text})"
    return text or type(error).__name__
