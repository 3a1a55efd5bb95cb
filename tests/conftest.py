"""What several tests share."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

os.environ.setdefault("RAY_AUTH_MODE", "token")
"""What `ray.init` comes to by itself. It is said before anything imports Ray, which keeps what it
read first: with raylets of another mode a process cannot talk."""
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and what is printed would be that narrow
settings.register_profile("patient", deadline=None)  # a loaded machine is no failure
settings.load_profile("patient")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real media; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MIEN_TEST_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not (folder / "README.md").exists():
        pytest.skip(f"no real media: `MIEN_TEST_DATA` ({folder}) is not a data folder")
    return folder


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server on this machine; the test is skipped where moto is not installed."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket; the address and the key to it stand in the environment."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"test-{uuid4().hex}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}"
