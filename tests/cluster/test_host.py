"""The promises of `Host`, without Ray."""

import json
import os
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pyarrow as pa
import pytest

from mien.cluster.host import Host, SetupError, Stage, WorkerDiedError, begin


def host(doubles: ModuleType, folder: Path, **parameters: Any) -> Host:  # noqa: ANN401
    chain = [Stage(role="double", actor=doubles.Double(**parameters))]
    return Host(cloudpickle.dumps(chain), str(folder / "scratch"))


def rows(doubles: ModuleType, orders: list[str | None]) -> pa.Table:
    return begin(doubles.manifest(orders), "hash", [1] * len(orders))


def test_every_row_is_answered_in_order(doubles: ModuleType, tmp_path: Path) -> None:
    done = host(doubles, tmp_path, batch_size=3)(rows(doubles, [None] * 8))
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
    hosted = Host(cloudpickle.dumps(chain), str(tmp_path / "scratch"))
    for _ in range(2):
        done = hosted(rows(doubles, [None] * 4))
        assert {row[0]["model"] for row in done["models"].to_pylist()} == {"what the server serves"}
    assert tally.read_text() == "asked\n"


@pytest.mark.parametrize("batch_size", [1, 4, 8])
@pytest.mark.parametrize(
    ("order", "kind"),
    [("raise", "ValueError"), ("short", "ValueError"), ("wrong columns", "TypeError")],
)
def test_only_the_row_at_fault_fails(
    doubles: ModuleType, tmp_path: Path, batch_size: int, order: str, kind: str
) -> None:
    orders: list[str | None] = [None] * 8
    orders[2] = orders[5] = order
    done = host(doubles, tmp_path, batch_size=batch_size)(rows(doubles, orders))
    failed = [2, 5]
    assert done["status"].to_pylist() == ["failed" if i in failed else "ok" for i in range(8)]
    assert done["twice"].to_pylist() == [None if i in failed else 2 * i for i in range(8)]
    assert done["error_type"][2].as_py() == kind
    assert done["error_stage"][2].as_py() == "double"
    assert done["error_message"][5].as_py()


def test_a_batch_that_runs_out_of_memory_is_halved(doubles: ModuleType, tmp_path: Path) -> None:
    done = host(doubles, tmp_path, batch_size=8, memory_rows=3)(rows(doubles, [None] * 8))
    assert done["status"].to_pylist() == ["ok"] * 8
    assert done["twice"].to_pylist() == [2 * i for i in range(8)]


def test_a_row_that_never_fits_fails_alone(doubles: ModuleType, tmp_path: Path) -> None:
    done = host(doubles, tmp_path, memory_rows=0)(rows(doubles, [None] * 2))
    assert done["error_type"].to_pylist() == ["MemoryError"] * 2


def test_failed_rows_pass_by_untouched(doubles: ModuleType, tmp_path: Path) -> None:
    table = rows(doubles, [None, None])
    failed = pa.array(["failed", "ok"])
    table = table.set_column(table.schema.get_field_index("status"), "status", failed)
    done = host(doubles, tmp_path)(table)
    assert done["twice"].to_pylist() == [None, 2]
    assert done["timings"][0].as_py() is None


def test_rows_that_killed_two_workers_are_quarantined(doubles: ModuleType, tmp_path: Path) -> None:
    journal = tmp_path / "scratch" / "rows"
    journal.mkdir(parents=True)
    (journal / "first.json").write_text(json.dumps(["row000", "row001"]))
    (journal / "second.json").write_text(json.dumps(["row001"]))
    (journal / "torn.json").write_text('["row0')
    done = host(doubles, tmp_path, batch_size=3)(rows(doubles, [None] * 3))
    assert done["status"].to_pylist() == ["ok", "failed", "ok"]
    assert done["error_type"][1].as_py() == WorkerDiedError.__name__


def test_a_worker_names_the_rows_it_holds(doubles: ModuleType, tmp_path: Path) -> None:
    journal = tmp_path / "scratch" / "rows"

    class Spy(doubles.Double):
        def process(self, rows: pa.Table) -> pa.Table:
            with (tmp_path / "seen").open("a") as seen:
                seen.writelines(p.read_text() + "\n" for p in journal.iterdir())
            return super().process(rows)

    spying = Host(
        cloudpickle.dumps([Stage(role="spy", actor=Spy(batch_size=2))]), str(tmp_path / "scratch")
    )
    spying(rows(doubles, [None] * 3))
    seen = (tmp_path / "seen").read_text().splitlines()
    assert [json.loads(line) for line in seen] == [["row000", "row001"], ["row002"]]
    assert [json.loads(p.read_text()) for p in journal.iterdir()] == [[]]


def test_an_actor_that_cannot_be_set_up_is_no_rows_fault(
    doubles: ModuleType, tmp_path: Path
) -> None:
    broken = host(doubles, tmp_path, broken="raise")
    with pytest.raises(SetupError, match=r"actor 'double' .* no such weights: 'double.pt'"):
        broken(rows(doubles, [None]))


def test_setups_that_die_are_not_repeated_for_ever(doubles: ModuleType, tmp_path: Path) -> None:
    trials = tmp_path / "scratch" / "setup"
    trials.mkdir(parents=True)
    for i in range(3):  # of workers that are busy setting up
        (trials / f"{socket.gethostname()} {os.getpid()} {i}").touch()
    host(doubles, tmp_path)(rows(doubles, [None]))
    for i in range(3):  # of workers that died of it
        (trials / f"{socket.gethostname()} 999999999 {i}").touch()
    with pytest.raises(SetupError, match="killed the worker"):
        host(doubles, tmp_path)(rows(doubles, [None]))


def test_a_poisoned_worker_leaves_its_rows_on_record(doubles: ModuleType, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        host(doubles, tmp_path)(rows(doubles, ["poison"]))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    held = [json.loads(p.read_text()) for p in (tmp_path / "scratch" / "rows").iterdir()]
    assert held == [["row000"]]
