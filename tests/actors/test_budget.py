import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mien.actors.budget import FILE, LEDGER, Budget, BudgetError, Wish, ledger_table
from mien.actors.prices import Usage

WORKERS = 8
HAMMER = """
import random, sys, time
from pathlib import Path
from mien.actors.budget import Budget, BudgetError, Wish
from mien.actors.prices import Usage

budget = Budget(Path(sys.argv[1]), 1.0, patience_s=5.0)
chance = random.Random(int(sys.argv[2]))
while True:
    worst = chance.uniform(0.001, 0.02)
    try:
        call = budget.promise(Wish(dollars=worst, digest="d", model="m"))
    except BudgetError:
        break
    time.sleep(chance.uniform(0, 0.004))
    end = chance.random()
    if end < 0.1:
        budget.release([call])
    elif end < 0.2:
        budget.lose([call])
    else:
        budget.settle(call, Usage(input=1), worst * chance.random(), "m", "r")
"""


def test_eight_processes_never_pass_one_budget(tmp_path: Path) -> None:
    script = [sys.executable, "-c", HAMMER, str(tmp_path)]
    workers = [subprocess.Popen([*script, str(i)]) for i in range(WORKERS)]
    watch = Budget(tmp_path, 1.0)
    most = 0.0
    while any(worker.poll() is None for worker in workers):
        most = max(most, watch.spent())
        time.sleep(0.002)
    assert [worker.returncode for worker in workers] == [0] * WORKERS
    assert 0.9 < most <= 1.0
    table = ledger_table(tmp_path)
    assert 0.97 < sum(table["dollars"].to_pylist()) <= 1.0  # spent to the end: nothing leaks
    assert set(table["state"].to_pylist()) == {"settled", "released", "lost"}


def test_what_does_not_fit_is_refused_and_says_so(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1.0)
    call = budget.promise(Wish(dollars=0.75, digest="a"))
    budget.settle(call, Usage(), 0.75, "m", None)
    with pytest.raises(
        BudgetError, match=r"`budget_usd` is 1, of which 0\.75 dollars .* take 0\.5\. Raise.*retry`"
    ):
        budget.promise(Wish(dollars=0.5, digest="b"))
    with pytest.raises(BudgetError):
        budget.check(0.5)
    budget.check(0.25)
    assert budget.promise(Wish(dollars=0.25, digest="b"))
    assert budget.spent() == 1.0


def test_nothing_fits_in_no_budget(tmp_path: Path) -> None:
    with pytest.raises(BudgetError):
        Budget(tmp_path, 0.0).promise(Wish(dollars=1e-9, digest="a"))
    with pytest.raises(ValueError, match=r"`budget_usd` must be at least 0, but is -1"):
        Budget(tmp_path, -1)
    with pytest.raises(ValueError, match=r"`budget_usd` must be at least 0, but is nan"):
        Budget(tmp_path, float("nan"))


def test_a_call_waits_for_promises_that_are_settled_below_their_worst(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1.0, patience_s=20.0)
    first = budget.promise(Wish(dollars=0.9, digest="a"))
    settle = threading.Timer(0.3, budget.settle, (first, Usage(), 0.1, "m", None))
    settle.start()
    began = time.monotonic()
    budget.promise(Wish(dollars=0.5, digest="b"))
    assert 0.2 < time.monotonic() - began < 10
    settle.join()
    assert budget.spent() == pytest.approx(0.6)


def test_the_promise_of_a_dead_worker_counts_as_spent(tmp_path: Path) -> None:
    dying = "import os, signal\n" + HAMMER.split("chance =")[0]
    dying += "budget.promise(Wish(dollars=0.8, digest='d'))\nos.kill(os.getpid(), signal.SIGKILL)"
    dead = subprocess.run([sys.executable, "-c", dying, str(tmp_path)], check=False)
    assert dead.returncode == -signal.SIGKILL
    budget = Budget(tmp_path, 1.0, patience_s=0.1)
    assert budget.spent() == 0.8
    with pytest.raises(BudgetError):
        budget.promise(Wish(dollars=0.3, digest="e"))
    assert ledger_table(tmp_path)["state"].to_pylist() == ["promised"]


def test_calls_that_go_together_are_promised_as_far_as_it_reaches(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1.0)
    wishes = [Wish(dollars=d, digest=str(d)) for d in (0.5, 0.75, 0.25, 0.5)]
    made = budget.promise_all(wishes, "unknown x")
    assert [isinstance(one, BudgetError) for one in made] == [False, True, False, True]
    calls = [one for one in made if isinstance(one, str)]
    assert {c["batch"] for c in budget.under_way()} == {"unknown x"}
    budget.send(calls, "b1")
    assert budget.batches() == {"b1"}
    assert set(budget.states([*calls, "unheard"]).values()) == {"sent"}
    budget.release(calls[:1])
    assert budget.spent() == 0.25
    with pytest.raises(BudgetError):  # what is in a batch is not waited for
        Budget(tmp_path, 1.0, patience_s=60).promise(Wish(dollars=0.8, digest="z"))


def test_a_bill_is_settled_once(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1.0)
    call = budget.promise(Wish(dollars=0.5, digest="a"))
    budget.settle(call, Usage(input=3), 0.2, "m", "r1")
    budget.settle(call, Usage(input=9), 0.9, "m", "r2")
    budget.release([call])
    budget.lose([call])
    (row,) = ledger_table(tmp_path).to_pylist()
    assert (row["state"], row["dollars"], row["input_tokens"]) == ("settled", 0.2, 3)
    assert row["request_id"] == "r1"


def test_the_ledger_is_a_table_for_all(tmp_path: Path) -> None:
    assert ledger_table(tmp_path).schema == LEDGER
    assert not (tmp_path / FILE).exists()
    budget = Budget(tmp_path, 1.0)
    assert budget.spent() == 0
    assert len(ledger_table(tmp_path)) == 0
    began = time.time()
    call = budget.promise(Wish(dollars=0.5, digest="d", row="r", model="claude"))
    usage = Usage(input=1, output=2, write={"5m": 3, "1h": 4}, read=5)
    budget.settle(call, usage, 0.125, "claude-x", "req")
    pq.write_table(ledger_table(tmp_path), tmp_path / "ledger.parquet")
    (row,) = pq.read_table(tmp_path / "ledger.parquet").to_pylist()
    assert abs(row["time"].timestamp() - began) < 5
    named = {
        "call": call,
        "row": "r",
        "digest": "d",
        "model": "claude-x",
        "state": "settled",
        "promised": 0.5,
        "dollars": 0.125,
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_write_tokens": 7,
        "cache_read_tokens": 5,
        "request_id": "req",
        "batch": None,
    }
    assert {name: row[name] for name in named} == named


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1.0)
    with pytest.raises(sqlite3.Error):
        budget.promise_all([Wish(dollars=0.1, digest="a"), Wish(dollars=0.1, digest=[])], "b")  # type: ignore[arg-type]
    assert budget.spent() == 0


def test_random_orders_of_steps_keep_the_sum(tmp_path: Path) -> None:
    """Against plain arithmetic."""
    chance, budget = random.Random(7), Budget(tmp_path, 5.0, patience_s=0.01)
    held: dict[str, float] = {}
    sure = 0.0
    for _ in range(150):
        if not held or chance.random() < 0.5:
            worst = chance.uniform(0, 0.5)
            try:
                held[budget.promise(Wish(dollars=worst, digest="d"))] = worst
                assert sure + sum(held.values()) <= 5.0 + 1e-9
            except BudgetError:
                assert sure + sum(held.values()) + worst > 5.0 - 1e-9
        else:
            call, worst = held.popitem()
            if chance.random() < 0.3:
                budget.release([call])
            else:
                sure += worst / 3
                budget.settle(call, Usage(), worst / 3, "m", None)
        assert budget.spent() == pytest.approx(sure + sum(held.values()))
