"""The watchdog, on readings made up, and beside a process that takes the memory in earnest."""

import itertools
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from mien.cluster.levels import Levels, MemoryPressureError
from mien.cluster.memory import Reading, host
from mien.cluster.watchdog import Watchdog, held

LEVELS = Levels(soft_gb=6, hard_gb=3)


def played(readings: Iterable[float | None]) -> Callable[[], Reading]:
    """A reader that plays readings, and the last one for ever."""
    known = list(readings)
    coming = itertools.chain(known, itertools.repeat(known[-1]))
    return lambda: Reading(total_gb=100.0, available_gb=next(coming))


def watchdog(readings: Iterable[float | None]) -> Watchdog:
    return Watchdog(LEVELS, read=played(readings), every_s=0.01)


def test_while_there_is_memory_nothing_happens() -> None:
    with watchdog([50, 40, 45]) as dog:
        time.sleep(0.3)
    assert dog.lowest_gb == 40
    assert dog.short_s == 0


def test_unknown_memory_ends_nothing() -> None:
    with watchdog([None]) as dog:
        time.sleep(0.1)
    assert dog.lowest_gb is None


@pytest.mark.parametrize("wait", [time.sleep, lambda s: threading.Event().wait(s)])
def test_the_hard_level_ends_the_block_wherever_it_waits(wait: Callable) -> None:
    began, ended = time.monotonic(), []
    message = r"2\.0 GB of 100\.0 GB available .*the run ends below 3\.0.* this command \(pid"

    def block() -> None:
        with watchdog([50, 5, 2]):
            try:
                wait(30)
            finally:
                ended.append("in order")

    with pytest.raises(MemoryPressureError, match=message):
        block()
    assert time.monotonic() - began < 5
    assert ended == ["in order"]


def test_threads_that_the_block_waits_for_do_not_keep_it() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(30,))
    thread.start()
    try:
        with pytest.raises(MemoryPressureError), watchdog([2]):
            thread.join()
    finally:
        release.set()
        thread.join()


def test_what_follows_from_the_end_is_not_what_is_reported() -> None:
    """For example that Ray misses the workers that were killed."""

    @contextmanager
    def ray() -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt as error:
            raise RuntimeError("a worker died") from error

    with pytest.raises(MemoryPressureError) as caught, watchdog([2]), ray():
        time.sleep(30)
    assert str(caught.value.__cause__) == "a worker died"


def test_ctrl_c_and_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyboardInterrupt), watchdog([50]):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(OSError, match="torn"), watchdog([50]):
        raise OSError("torn")


def test_a_block_that_was_done_by_itself_stays_done() -> None:
    """Memory may run short while the watchdog is being ended."""
    asked = threading.Event()

    def slow() -> Reading:
        asked.set()
        time.sleep(0.3)
        return Reading(total_gb=100.0, available_gb=2.0)

    with titled("ray::MapWorker(Host)") as worker:
        with Watchdog(LEVELS, read=slow, every_s=0.01) as dog:
            asked.wait(10)
        assert dog.lowest_gb == 2
        assert worker.poll() is None


def test_the_signal_is_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with watchdog([50]):
        assert signal.getsignal(signal.SIGUSR1) != before
    assert signal.getsignal(signal.SIGUSR1) == before
    with pytest.raises(MemoryPressureError), watchdog([2]):
        time.sleep(30)
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_short_time_is_told_once_and_measured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with watchdog([50, *[5.9, 6.1] * 10, 50]) as dog:
        time.sleep(0.6)
    assert len(caplog.records) == 1  # around the level it does not flap
    assert "workers wait: 5.9 GB of 100.0 GB available" in caplog.text
    assert 0.15 <= dog.short_s <= 0.25
    assert dog.lowest_gb == 5.9


@contextmanager
def titled(title: str) -> Iterator[subprocess.Popen]:
    """A process that Ray, or somebody, started under this title."""
    command = f"exec -a {title!r} sleep 60"
    process = subprocess.Popen(["bash", "-c", command])
    while psutil.Process(process.pid).cmdline()[:1] != [title]:
        time.sleep(0.01)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_workers_are_killed_at_once_and_nothing_else_is() -> None:
    with titled("ray::MapWorker(Host)") as worker, titled("ray::DashboardAgent") as agent:
        with pytest.raises(MemoryPressureError), watchdog([2]):
            time.sleep(30)
        assert worker.wait(5) == -signal.SIGKILL
        assert agent.poll() is None


def test_who_holds_memory_is_named_biggest_first() -> None:
    hog = "held = bytearray(b'x' * 700_000_000); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hog], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        found = held()
        process.kill()
    assert found[0].pid == process.pid
    assert 0.7 < found[0].gb < 0.8
    assert "this command" in [one.name for one in found]
    assert [one.gb for one in found] == sorted((one.gb for one in found), reverse=True)


RUN = """
import sys, time
from pathlib import Path
import pyarrow as pa
from mien.actors.actor import Actor
from mien.cluster.execution import Terms, run
from mien.cluster.host import Stage
from mien.cluster.levels import Gate, Levels, MemoryPressureError
from mien.cluster.phase import Phase
from mien.cluster.session import Cluster, session
from mien.cluster.watchdog import Watchdog

class Slow(Actor):
    reads = ("start_s",)
    adds = pa.schema([("length_s", pa.float64())])
    def process(self, rows):
        time.sleep(0.3)
        return pa.table({"length_s": [1.0] * len(rows)})

levels = Levels(soft_gb=float(sys.argv[2]), hard_gb=float(sys.argv[3]), patience_s=600)
starts = [float(i) for i in range(40)]
manifest = pa.table({
    "id": [f"row{i:03d}" for i in range(40)], "video_id": ["v"] * 40, "uri": ["v.mp4"] * 40,
    "start_s": starts, "stop_s": [start + 1 for start in starts],
})
phase = Phase(name="toy", stages=(Stage(role="slow", actor=Slow()),))
try:
    with Watchdog(levels), session(Cluster(cores=2, object_store_gb=0.2)):
        report = run(
            phase, manifest, Path(sys.argv[1]), terms=Terms(admit=Gate(levels).admit),
            progress=lambda report: print("done", report.skipped, report.ok, flush=True),
        )
except MemoryPressureError as error:
    print(f"ended: {error}", flush=True)
    sys.exit(2)
print("finished", report.skipped, report.ok, flush=True)
"""

HOG = """
import sys, time
from mien.cluster.memory import host
held, taken = [], 0
for line in sys.stdin:
    target_gb = float(line)
    while host().available_gb > target_gb and taken < 80:
        held.append(bytearray(b"x" * 100_000_000))
        taken += 1
    print(host().available_gb, flush=True)
"""
"""Takes memory until no more than what it is told is available, 8 GB at most."""


def started(folder: Path, soft_gb: float, hard_gb: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(folder), str(soft_gb), str(hard_gb)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def until(process: subprocess.Popen[str], begins: str, said: list[str]) -> str:
    """Read on to a line that begins so; all that was read is kept."""
    assert process.stdout
    for line in process.stdout:
        said.append(line)
        if line.startswith(begins):
            return line
    raise AssertionError(f"it ended ({process.wait()}) without saying {begins!r}: {said}")


def rows(folder: Path) -> list[str]:
    files = (folder / "tables").glob("toy-*/part-*.parquet")
    return sorted(one for path in files for one in pq.read_table(path)["id"].to_pylist())


@pytest.mark.ray
def test_a_real_hog_makes_workers_wait_then_ends_the_run_and_a_later_one_resumes(
    tmp_path: Path,
) -> None:
    now_gb = host().available_gb
    if now_gb is None or now_gb < 10:
        pytest.skip(f"a hog needs 10 GB, and {now_gb} GB are available")
    soft_gb, hard_gb = now_gb - 3.0, now_gb - 7.0  # Ray takes 1 GB, neighbours may take as much
    run = started(tmp_path, soft_gb, hard_gb)
    hog = subprocess.Popen(
        [sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert hog.stdin
    assert hog.stdout
    said: list[str] = []
    try:
        until(run, "done 0 4", said)
        hog.stdin.write(f"{soft_gb - 0.5}\n")
        hog.stdin.flush()
        hog.stdout.readline()
        time.sleep(15)  # what was under way comes in, and is written
        before = rows(tmp_path)
        assert 4 <= len(before) < 40
        time.sleep(12)  # in which forty rows could be done
        assert rows(tmp_path) == before
        assert run.poll() is None

        workers = psutil.Process(run.pid).children(recursive=True)
        began = time.monotonic()
        hog.stdin.write(f"{hard_gb - 0.2}\n")
        hog.stdin.flush()
        error = until(run, "ended: memory ran short", said)
        assert time.monotonic() - began < 30
        assert f"below {hard_gb:.1f})" in error
        assert "MapWorker" in error or "this command" in error
        assert run.wait(30) == 2
        assert psutil.wait_procs(workers, timeout=10)[1] == []
        assert rows(tmp_path) == before
        told = [line for line in said if line.startswith("done")]
        assert told[-1] == f"done 0 {len(before)}\n"  # no row was lost on the way out
    finally:
        for process in (run, hog):
            process.kill()
            process.wait()
    again = started(tmp_path, 0.0, 0.0)  # the levels off: neighbours may hold more by now
    end = until(again, "finished", said)
    assert end == f"finished {len(before)} {40 - len(before)}\n"
    assert again.wait(30) == 0
    assert rows(tmp_path) == [f"row{i:03d}" for i in range(40)]
