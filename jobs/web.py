"""Downloading a file of the web: continued where it broke, compared with its hash."""

import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from . import sources

TIMEOUT_S = 30.0
PAUSE_S = 1.0
"""Before a connection is tried again; doubled each time."""
CHUNK = 1 << 20
MARGIN = 1 << 28
"""Bytes of a disk that are left free."""

BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
"""Errors of a connection, after which another one may do; those of the disk are not."""

Told = Callable[[int, int], None]
"""Called with the bytes that are there and those there will be."""


class BringError(RuntimeError):
    """Weights could not be brought; says why, and the cure."""


def download(
    url: str,
    path: Path,
    told: Told = lambda done, total: None,
    *,
    sha256: str | None = None,
    token: str | None = None,
    tries: int = 5,
) -> None:
    """Download a file, continuing what an earlier call left.

    Args:
        url: Of the file.
        path: Appears when the file is whole.
        told: Called now and then.
        sha256: Of the content, where it is known.
        token: Of an account; shown to the first server alone, not to where it may lead.
        tries: Connections without a single byte, after which it gives up.

    Raises:
        BringError: The content has another hash.
        OSError: The server refuses, or the connection broke too often.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    tag = path.with_name(f".{path.name}.etag")
    idle = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _continue(url, part, tag, token, told):
                break
            problem: Exception = ConnectionError("the connection broke")
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise
            problem = error
        except BROKEN as error:
            problem = error
        now = part.stat().st_size if part.exists() else 0
        idle = 0 if now > before else idle + 1
        if idle >= tries:
            raise ConnectionError(f"{problem} (tried {tries} times; {now} bytes are kept)")
        time.sleep(PAUSE_S * 2 ** max(0, idle - 1))
    if sha256 and (found := sources.sha256(part)) != sha256.lower():
        part.unlink()
        tag.unlink(missing_ok=True)
        raise BringError(
            f"what came has the SHA-256 {found[:12]}..., but must have {sha256[:12]}...; it was "
            "removed: try again, or correct `sha256` if the file was replaced"
        )
    part.replace(path)
    tag.unlink(missing_ok=True)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Shows a token to the host that it was given for, and to no other."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            new.remove_header("Authorization")
        return new


_OPENER = urllib.request.build_opener(_Redirect)


def _continue(url: str, part: Path, tag: Path, token: str | None, told: Told) -> bool:
    """Fetch what is missing of a part; whether it is whole then.

    A server that cannot continue, or whose file is another one by now, sends all of it.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "mien", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text()
    try:
        answer = _OPENER.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True  # nothing is missing
        part.unlink()
        return False
    with answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        room(part.parent, total - have)
        etag = answer.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            tag.write_text(etag)
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                told(have, total)
    return not total or have == total


def room(place: Path, needed: int) -> None:
    """Refuse what the disk cannot hold.

    Raises:
        BringError: Says what is needed and what is free.
    """
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free - MARGIN:
        raise BringError(
            f"it needs {needed / 1e9:.1f} GB more, but {free / 1e9:.1f} GB are free at '{place}': "
            "make room, or choose another `models.dir`"
        )
