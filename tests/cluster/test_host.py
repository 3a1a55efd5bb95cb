"""The promises of `Host`, without Ray."""

import ctypes
import os
import re
import time
from collections.abc import Callable, Iterator
from multiprocessing.managers import BaseManager
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pyarrow as pa
import pytest

from mien.cluster import deadline as deadlines
from mien.cluster.deadline import GENEROUS, Deadline
from mien.cluster.host import Host, SetupError, Stage, begin
from mien.cluster.journal import Journal, Seat


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the workers of this machine share, apart from those of other tests."""
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return deadlines.folder()


def host(
    doubles: ModuleType,
    journal: Journal | None = None,
    hung: Deadline = GENEROUS,
    **parameters: Any,  # noqa: ANN401
) -> Host:
    chain = [Stage(role="double", actor=doubles.Double(**parameters))]
    return Host(cloudpickle.dumps(chain), journal or Journal(), deadline=hung)


class Seated(Journal):
    """Serves one seat: every process that asks takes the place of the one before it."""

    def seat(self) -> Seat:
        return Seat(name="seat", node="here")


class _Server(BaseManager):
    pass


_Server.register("Journal", Seated)


@pytest.fixture
def shared() -> Iterator[Journal]:
    """A journal of one seat in a process of its own, which outlives the workers."""
    with _Server(address=("127.0.0.1", 0)) as server:  # a path in `tempdir` can be too long
        yield server.Journal()  # type: ignore[attr-defined]


def restarted(work: Callable[[], pa.Table], tmp_path: Path) -> tuple[list[dict], list[int]]:
    """Do work in one process after another until one comes to its end, as Ray does.

    Returns:
        The rows; and the exit status of each process that died.
    """
    found, statuses = tmp_path / "rows", []
    while len(statuses) < 9:
        child = os.fork()
        if child == 0:
            found.write_bytes(cloudpickle.dumps(work().to_pylist()))
            os._exit(0)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if statuses[-1] == 0:
            return cloudpickle.loads(found.read_bytes()), statuses[:-1]
    raise AssertionError(f"it died again and again: {statuses}")


def rows(doubles: ModuleType, orders: list[str | None]) -> pa.Table:
    return begin(doubles.manifest(orders), "hash", [1] * len(orders))


def test_every_row_is_answered_in_order(doubles: ModuleType, tmp_path: Path) -> None:
    done = host(doubles, batch_size=3)(rows(doubles, [None] * 8))
    assert done["twice"].to_pylist() == [2 * i for i in range(8)]
    assert done["status"].to_pylist() == ["ok"] * 8
    assert done["models"][0].as_py()[0]["model"] == "arithmetic"
    assert [t["stage"] for t in done["timings"][0].as_py()] == ["double"]


def test_provenance_is_read_once_after_setup(doubles: ModuleType, tmp_path: Path) -> None:
    """It looks at the files of weights; and what a server serves is known only then."""
    tally = tmp_path / "tally"

    class Served(doubles.Double):
        def setup(self) -> None:
            self.name = "what the server serves"

        def provenance(self) -> dict[str, str]:
            with tally.open("a") as file:
                file.write("asked\n")
            return super().provenance() | {"model": self.name}

    chain = [Stage(role="served", actor=Served(batch_size=2))]
    hosted = Host(cloudpickle.dumps(chain), Journal())
    for _ in range(2):
        done = hosted(rows(doubles, [None] * 4))
        assert {row[0]["model"] for row in done["models"].to_pylist()} == {"what the server serves"}
    assert tally.read_text() == "asked\n"


@pytest.mark.parametrize("batch_size", [1, 4, 8])
@pytest.mark.parametrize(
    ("order", "kind"),
    [
        ("raise", "ValueError"),
        ("raise bytes", "ValueError"),
        ("short", "ValueError"),
        ("nothing", "TypeError"),
        ("wrong columns", "TypeError"),
        ("memory", "MemoryError"),
        ("leave", "SystemExit"),
        ("panic", "Panic"),
    ],
)
def test_only_the_row_at_fault_fails(
    doubles: ModuleType, tmp_path: Path, batch_size: int, order: str, kind: str
) -> None:
    orders: list[str | None] = [None] * 8
    orders[2] = orders[5] = order
    done = host(doubles, batch_size=batch_size)(rows(doubles, orders))
    failed = [2, 5]
    assert done["status"].to_pylist() == ["failed" if i in failed else "ok" for i in range(8)]
    assert done["twice"].to_pylist() == [None if i in failed else 2 * i for i in range(8)]
    assert done["error_type"][2].as_py() == kind
    assert done["error_stage"][2].as_py() == "double"
    assert done["error_message"][5].as_py()


def test_a_batch_that_runs_out_of_memory_is_halved(doubles: ModuleType, tmp_path: Path) -> None:
    done = host(doubles, batch_size=8, memory_rows=3)(rows(doubles, [None] * 8))
    assert done["status"].to_pylist() == ["ok"] * 8
    assert done["twice"].to_pylist() == [2 * i for i in range(8)]


def test_a_row_that_never_fits_fails_alone(doubles: ModuleType, tmp_path: Path) -> None:
    done = host(doubles, memory_rows=0)(rows(doubles, [None] * 2))
    assert done["error_type"].to_pylist() == ["MemoryError"] * 2


def test_failed_rows_pass_by_untouched(doubles: ModuleType, tmp_path: Path) -> None:
    table = rows(doubles, [None, None])
    failed = pa.array(["failed", "ok"])
    table = table.set_column(table.schema.get_field_index("status"), "status", failed)
    done = host(doubles)(table)
    assert done["twice"].to_pylist() == [None, 2]
    assert done["timings"][0].as_py() is None


def test_an_actor_that_cannot_be_set_up_is_no_rows_fault(
    doubles: ModuleType, tmp_path: Path
) -> None:
    broken = host(doubles, broken="raise")
    with pytest.raises(SetupError, match=r"actor 'double' .* no such weights: 'double.pt'"):
        broken(rows(doubles, [None]))


def test_setups_that_die_are_not_repeated_for_ever(
    doubles: ModuleType, tmp_path: Path, shared: Journal
) -> None:
    def work() -> pa.Table:
        return host(doubles, shared, broken="exit")(rows(doubles, [None]))

    def until_it_is_refused() -> pa.Table:
        try:
            return work()
        except SetupError as error:
            return pa.table({"refused": [str(error)]})

    done, statuses = restarted(until_it_is_refused, tmp_path)
    assert statuses == [7, 7, 7]
    assert [said[:68] for row in done for said in row.values()] == [
        "setting up the actors killed the worker 3 times in a row, or took mo"
    ]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    ("order", "status", "said"),
    [
        ("die", -9, "a crash in a native library, or memory"),
        ("exit", 3, "a crash in a native library, or memory"),
        ("poison", 1, "RuntimeError: CUDA error: device-side assert triggered"),
    ],
)
def test_a_row_that_kills_two_workers_is_quarantined(
    doubles: ModuleType,
    tmp_path: Path,
    shared: Journal,
    batch_size: int,
    order: str,
    status: int,
    said: str,
) -> None:
    orders = [None, None, order, None, None]

    def work() -> pa.Table:
        return host(doubles, shared, batch_size=batch_size)(rows(doubles, orders))

    done, statuses = restarted(work, tmp_path)
    assert statuses == [status] * 2
    assert [row["status"] for row in done] == ["ok", "ok", "failed", "ok", "ok"]
    assert [row["twice"] for row in done] == [0, 2, None, 6, 8]
    assert (done[2]["error_stage"], done[2]["error_type"]) == ("double", "WorkerDiedError")
    assert "2 workers died in actor 'double' while they held this row" in done[2]["error_message"]
    assert said in done[2]["error_message"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_row_that_hangs_twice_fails_by_name(
    doubles: ModuleType, tmp_path: Path, shared: Journal, folder: Path, batch_size: int
) -> None:
    hung = Deadline(base_s=0.2, factor=0.1)

    def work() -> pa.Table:
        table = rows(doubles, [None, "hang", None, None])
        return host(doubles, shared, hung, batch_size=batch_size)(table)

    began = time.monotonic()
    done, statuses = restarted(work, tmp_path)
    assert time.monotonic() - began < 8
    assert statuses == [1, 1]
    assert [row["status"] for row in done] == ["ok", "failed", "ok", "ok"]
    assert [row["twice"] for row in done] == [0, None, 4, 6]
    assert (done[1]["error_stage"], done[1]["error_type"]) == ("double", "HungError")
    assert re.search(
        r"actor 'double' must come to an end within 0.3 s with this row \(1 s of media\), .*"
        r"`job.hung.base_s`.* stood in: File \".*doubles.py\", line \d+ in _obey; File",
        done[1]["error_message"],
    )
    assert list(folder.iterdir()) == []


def test_a_deadline_holds_while_native_code_holds_the_interpreter(
    doubles: ModuleType, tmp_path: Path, shared: Journal
) -> None:
    class Stuck(doubles.Double):
        def process(self, rows: pa.Table) -> pa.Table:
            return ctypes.PyDLL(None).sleep(1000)  # keeps the lock

    hung = Deadline(base_s=0.2, factor=0)

    def work() -> pa.Table:
        chain = cloudpickle.dumps([Stage(role="stuck", actor=Stuck())])
        return Host(chain, shared, deadline=hung)(rows(doubles, [None]))

    done, statuses = restarted(work, tmp_path)
    assert statuses == [1, 1]
    assert done[0]["error_type"] == "HungError"


def test_a_deadline_follows_the_length_of_the_media(doubles: ModuleType) -> None:
    hung = Deadline(base_s=10, factor=2)
    table = doubles.manifest([None] * 3)
    assert hung.allowed_s(table) == 16
    assert hung.allowed_s(table.slice(0, 1)) == 12
    unknown = pa.nulls(3, pa.float64())
    assert hung.allowed_s(table.set_column(4, "stop_s", unknown)) == 10
    assert Deadline().allowed_s(table) == 600 + 3 * 60


@pytest.mark.parametrize(("name", "value"), [("base_s", 0), ("factor", -1)])
def test_a_deadline_that_nothing_could_meet_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"`hung.{name}` must be .*, but is {value}\."):
        Deadline(**{name: value})


def test_slow_work_within_its_deadline_is_left_alone(doubles: ModuleType, folder: Path) -> None:
    hung = Deadline(base_s=0.2, factor=0)
    table = rows(doubles, [None] * 4)
    done = host(doubles, hung=hung, slow_s=0.1)(table)  # a deadline for each batch, not for all
    assert done["status"].to_pylist() == ["ok"] * 4
    never = Deadline(base_s=float("inf"))
    assert host(doubles, hung=never)(table)["status"].to_pylist() == ["ok"] * 4
    assert list(folder.iterdir()) == []


def test_a_full_disk_harms_no_row(doubles: ModuleType, folder: Path) -> None:
    ready = host(doubles, hung=Deadline(base_s=5))
    folder.rmdir()  # no note of a hung actor can be left
    assert ready(rows(doubles, [None]))["status"].to_pylist() == ["ok"]


def test_a_leak_costs_a_worker_and_no_row(
    doubles: ModuleType, tmp_path: Path, shared: Journal
) -> None:
    """A worker that did well and runs out of memory with a single row gives way to a fresh one."""

    def work() -> pa.Table:
        leaking = host(doubles, shared, batch_size=2, leak_rows=5)
        first = work_done(tmp_path / "first", lambda: leaking(rows(doubles, [None] * 4)))
        return pa.concat_tables([first, leaking(rows(doubles, [None] * 4))])

    done, statuses = restarted(work, tmp_path)
    assert statuses == [1]
    assert [row["status"] for row in done] == ["ok"] * 8


def test_a_row_without_memory_costs_one_worker(
    doubles: ModuleType, tmp_path: Path, shared: Journal
) -> None:
    def work() -> pa.Table:
        worn = host(doubles, shared)
        worn(rows(doubles, [None]))
        return worn(rows(doubles, ["memory", None]))

    done, statuses = restarted(work, tmp_path)
    assert statuses == [1]
    assert [row["error_type"] for row in done] == ["MemoryError", None]


def work_done(path: Path, work: Callable[[], pa.Table]) -> pa.Table:
    """Work that need not be done again after a death: its answer stands."""
    if not path.exists():
        path.write_bytes(cloudpickle.dumps(work()))
    return cloudpickle.loads(path.read_bytes())


def test_a_fresh_worker_without_memory_fails_the_row(doubles: ModuleType) -> None:
    done = host(doubles, leak_rows=0)(rows(doubles, [None, None]))
    assert done["error_type"].to_pylist() == ["RuntimeError"] * 2


def test_a_row_is_laid_to_the_actor_that_it_killed(
    doubles: ModuleType, tmp_path: Path, shared: Journal
) -> None:
    class Second(doubles.Double):
        adds = pa.schema([("again", pa.int64())])

        def process(self, rows: pa.Table) -> pa.Table:
            return super().process(rows).rename_columns(["again"])

    class First(doubles.Double):
        def process(self, rows: pa.Table) -> pa.Table:
            return pa.table({"twice": rows["x"]})

    stages = [Stage(role="first", actor=First()), Stage(role="second", actor=Second())]

    def work() -> pa.Table:
        return Host(cloudpickle.dumps(stages), shared)(rows(doubles, [None, "die"]))

    done, _ = restarted(work, tmp_path)
    assert (done[1]["error_stage"], done[1]["twice"]) == ("second", 1)


def test_ctrl_c_is_no_rows_fault(doubles: ModuleType) -> None:
    class Interrupted(doubles.Double):
        def process(self, rows: pa.Table) -> pa.Table:
            raise KeyboardInterrupt

    interrupted = Host(cloudpickle.dumps([Stage(role="double", actor=Interrupted())]), Journal())
    with pytest.raises(KeyboardInterrupt):
        interrupted(rows(doubles, [None]))


def test_each_batch_waits_to_be_admitted(doubles: ModuleType) -> None:
    asked: list[float] = []
    chain = cloudpickle.dumps([Stage(role="double", actor=doubles.Double(batch_size=2))])
    waiting = Host(chain, Journal(), admit=lambda: asked.append(time.monotonic()))
    waiting(rows(doubles, [None] * 5))
    assert len(asked) == 3


def test_actors_are_closed_once_with_their_worker(doubles: ModuleType, tmp_path: Path) -> None:
    closing = host(doubles, tally=str(tmp_path))
    closing.close()
    mark = tmp_path / f"closed {os.getpid()}"
    assert mark.exists()
    mark.unlink()
    del closing
    assert not mark.exists()
    left = host(doubles, tally=str(tmp_path))
    del left
    assert mark.exists()


def test_models_load_one_at_a_time_and_others_do_not_wait(
    doubles: ModuleType, tmp_path: Path
) -> None:
    began, go = tmp_path / "began", tmp_path / "go"

    class Slow(doubles.Double):
        def setup(self) -> None:
            began.touch()
            wait_for(go.exists)

    child = os.fork()
    if child == 0:
        Host(cloudpickle.dumps([Stage(role="slow", actor=Slow(gpus=0.5))]), Journal())
        os._exit(0)
    wait_for(began.exists)
    host(doubles)  # holds no device and no weights
    second = os.fork()
    if second == 0:
        host(doubles, gpus=0.5)
        os._exit(0)
    time.sleep(0.3)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)
    os.kill(child, 9)  # the lock ends with its process
    os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) == 0


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)
