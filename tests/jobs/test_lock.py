"""One process at a time works on a run, in a folder and in a store."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from upath import UPath

from mien.datasets import store
from mien.datasets.store import Place, place
from mien.jobs.lease import LostError
from mien.jobs.lock import BusyError, locked

LEASE_S = 2.5

HOLDER = """
import sys, time
from mien.datasets.store import place
from mien.jobs.lock import locked

with locked(place(sys.argv[1]), float(sys.argv[2])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["disk", "s3"])
def run(request: pytest.FixtureRequest) -> Place:
    if request.param == "disk":
        return place(str(request.getfixturevalue("tmp_path"))) / "run"
    return place(request.getfixturevalue("s3")) / "run"


@pytest.fixture
def there(s3: str) -> UPath:
    return cast(UPath, place(s3) / "run")


def holding(run: Place) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(run), str(LEASE_S)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_a_second_process_is_told_who_holds_it(run: Place) -> None:
    process = holding(run)
    said = rf"process {process.pid} on .*since.*choose another"
    try:
        with pytest.raises(BusyError, match=said), locked(run, LEASE_S):
            pytest.fail("two hold it")
    finally:
        process.kill()
        process.communicate()


def test_what_a_killed_process_held_can_be_had(run: Place) -> None:
    process = holding(run)
    process.kill()
    process.communicate()
    with locked(run, LEASE_S):
        pass
    began = time.monotonic()
    with locked(run, LEASE_S):  # released, hence at once
        assert time.monotonic() - began < LEASE_S / 2


def test_of_many_at_once_one_gets_it(there: UPath) -> None:
    def attempt(number: int) -> bool:
        try:
            with locked(there, LEASE_S):
                time.sleep(2 * LEASE_S)
        except BusyError:
            return False
        return True

    for _ in range(2):  # of a fresh run, and after a release
        with ThreadPoolExecutor(6) as threads:
            assert [*threads.map(attempt, range(6))].count(True) == 1


def test_a_number_is_not_given_twice(there: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(there, LEASE_S):
        pass
    with locked(there, LEASE_S):
        pass
    assert [p.name for p in (there / ".lock").iterdir()] == ["000000002.json"]
    listed, stale = store.listed(there / ".lock"), iter([[]])  # as before the first ticket
    monkeypatch.setattr("mien.jobs.lease.listed", lambda *a: next(stale, listed))
    with pytest.raises(BusyError), locked(there, LEASE_S):
        pytest.fail("an old number was given again")
    assert [p.name for p in (there / ".lock").iterdir()] == ["000000002.json"]


def test_a_holder_whose_lease_was_taken_ends(there: UPath) -> None:
    def work() -> None:
        with locked(there, LEASE_S):
            store.replace(there / ".lock" / "000000002.json", b"{}")
            time.sleep(10 * LEASE_S)

    with pytest.raises(LostError, match=r"another process has it now"):
        work()
    assert (there / ".lock" / "000000002.json").read_bytes() == b"{}"


def test_an_interrupt_that_is_swallowed_comes_again(
    there: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.jobs.lease.STRIKE_S", 1.0)

    def work() -> None:
        with locked(there, LEASE_S):
            store.replace(there / ".lock" / "000000002.json", b"{}")
            with suppress(KeyboardInterrupt):
                time.sleep(10 * LEASE_S)
            time.sleep(10)

    with pytest.raises(LostError, match=r"another process has it now"):
        work()


def test_an_interrupt_is_passed_on_and_releases(there: UPath) -> None:
    with pytest.raises(KeyboardInterrupt), locked(there, LEASE_S):
        signal.raise_signal(signal.SIGINT)
    said = json.loads((there / ".lock" / "000000001.json").read_bytes())
    assert said["released"]


def test_a_holder_renews(there: UPath) -> None:
    with locked(there, LEASE_S):
        first = json.loads((there / ".lock" / "000000001.json").read_bytes())
        time.sleep(LEASE_S)
        later = json.loads((there / ".lock" / "000000001.json").read_bytes())
    assert later["beat"] > first["beat"]


def test_a_failed_renewal_is_tried_again(
    there: UPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = iter([True])

    def replace(where: Place, content: bytes) -> None:
        if next(failing, False):
            raise ConnectionResetError("reset")
        store.replace(where, content)

    monkeypatch.setattr("mien.jobs.lease.replace", replace)
    with locked(there, LEASE_S):
        time.sleep(LEASE_S)
    assert "could not be renewed: reset" in caplog.text
    assert json.loads((there / ".lock" / "000000001.json").read_bytes())["released"]


def test_a_folder_is_made(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".lock").exists()
