"""The real SDK against a local server that speaks the API."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import cv2
import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("anthropic")

import claude_server
from claude_server import Server
from mien.actors.budget import BudgetError, ledger_table
from mien.actors.claude import Claude
from mien.actors.claude_batch import BatchError, UnclearError
from mien.actors.claude_desk import CutAnswerError, RefusedError
from mien.actors.prompts import KINDS, MalformedAnswerError
from mien.cluster.host import Host, Stage, begin
from mien.cluster.journal import Journal
from mien.datasets.schema import NOTE

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]

JPEG = cv2.imencode(".jpg", np.full((112, 112, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    with claude_server.serving() as state:
        yield state


def built(server: Server, folder: Path, **fields: Any) -> Claude:  # noqa: ANN401
    defaults = {"timeout_s": 1.0, "max_retries": 2, "poll_s": 0.02}
    actor = Claude(**{"folder": str(folder), "base_url": server.url, **defaults, **fields})
    actor.setup()
    return actor


def rows(texts: list[str], kind: str = "flag", pictures: int = 1) -> pa.Table:
    count = len(texts)
    return pa.table(
        {
            "id": [f"row {text}" for text in texts],
            "kind": [kind] * count,
            "reason": ["incongruence"] * count,
            "speaker": ["SPEAKER_00"] * count,
            "text": texts,
            "context": ["{}"] * count,
            "start_s": [1.0] * count,
            "stop_s": [2.0] * count,
            "pictures": [[{"time_s": 1.0 + i / 10, "jpeg": JPEG} for i in range(pictures)]] * count,
        }
    )


def hosted(actor: Claude, table: pa.Table) -> list[dict]:
    """Through all that surrounds `process`: batches that raise are bisected."""
    host = Host(cloudpickle.dumps([Stage(role="note", actor=actor)]), Journal())
    for name in ("video_id", "uri"):
        table = table.append_column(name, pa.array(["v"] * len(table)))
    return host(begin(table, "hash", [1] * len(table))).to_pylist()


def states(folder: Path) -> list[str]:
    return sorted(ledger_table(folder)["state"].to_pylist())


def spent(folder: Path) -> float:
    return sum(ledger_table(folder)["dollars"].to_pylist())


# ----------------------------------------------------------------------------------- messages
@pytest.mark.parametrize("mode", ["messages", "batches"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_note_stands_in_its_columns(server: Server, tmp_path: Path, kind: str, mode: str) -> None:
    table = built(server, tmp_path, mode=mode).process(rows(["hello", "bye"], kind))
    assert table.schema == NOTE
    half = 0.5 if mode == "batches" else 1.0
    calls = {row["row"]: row for row in ledger_table(tmp_path).to_pylist()}
    for row, name, body in zip(
        table.to_pylist(), ("row hello", "row bye"), server.bodies[:2], strict=True
    ):
        assert json.loads(row["answer"]) == claude_server.GOOD[kind]
        assert (row["summary"], row["emotion"]) == ("Someone speaks.", "neutral")
        assert row["confidence"] == 0.5
        assert row["prompt"].split()[0] == kind
        tokens = claude_server.tokens_in(body)
        assert abs(row["input_tokens"] - tokens) <= 1  # "hello" is longer than "bye"
        assert (row["output_tokens"], row["cached_tokens"]) == (claude_server.OUTPUT, 0)
        dollars = (row["input_tokens"] * 2 + claude_server.OUTPUT * 10) / 1e6 * half
        assert row["dollars"] == pytest.approx(dollars)
        assert row["answered_by"] == "claude-sonnet-5-5-20261001"
        assert calls[name]["dollars"] == row["dollars"]
        assert calls[name]["request_id"] == row["request_id"]
        assert calls[name]["input_tokens"] == row["input_tokens"]
    assert spent(tmp_path) == pytest.approx(server.dollars() * half)


def test_the_request_is_what_the_api_wants(server: Server, tmp_path: Path) -> None:
    built(server, tmp_path, thinking="disabled").process(rows(["hi"], pictures=3))
    (body,) = server.bodies
    assert set(body) == {
        *("model", "max_tokens", "system", "messages", "output_config", "thinking")
    }  # no sampling parameters: the API has none
    kinds = [part["type"] for part in body["messages"][0]["content"]]
    assert kinds == ["image", "image", "image", "text"]  # pictures first
    form = body["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert form["schema"]["additionalProperties"] is False
    assert body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert server.paths == ["/v1/messages/count_tokens", "/v1/messages"]
    built(server, tmp_path, cache_ttl=None).process(rows(["hi there"]))
    assert "cache_control" not in server.bodies[1]["system"][0]


def test_our_estimate_is_not_below_the_count(server: Server, tmp_path: Path) -> None:
    actor = built(server, tmp_path)
    one = actor._question(rows(["hi"], pictures=3).to_pylist()[0])  # pyright: ignore[reportPrivateUsage]
    assert not isinstance(one, Exception)
    assert one.tokens >= claude_server.tokens_in(one.params)
    assert one.tokens >= 3 * 16  # 112 x 112 are 16 patches


@pytest.mark.parametrize("mode", ["messages", "batches"])
def test_a_second_run_asks_nothing_and_pays_nothing(
    server: Server, tmp_path: Path, mode: str
) -> None:
    first = built(server, tmp_path, mode=mode).process(rows(["a", "b", "a"]))
    assert len(server.bodies) == 2  # two of the three are alike
    server.paths.clear()
    before = spent(tmp_path)
    again = built(server, tmp_path, mode=mode, budget_usd=0.0).process(rows(["a", "b", "a"]))
    assert server.paths == []
    assert spent(tmp_path) == before
    assert again["dollars"].to_pylist() == [0.0] * 3
    assert again.drop_columns(["dollars"]) == first.drop_columns(["dollars"])


def test_another_question_is_asked_anew(server: Server, tmp_path: Path) -> None:
    built(server, tmp_path).process(rows(["a"]))
    other = rows(["a"], pictures=2)
    for table, fields in (
        (rows(["a "]), {}),
        (other, {}),
        (rows(["a"], "facs"), {}),
        (rows(["a"]), {"name": "claude-opus-5-5"}),
        (rows(["a"]), {"max_tokens": 1000}),
    ):
        before = len(server.bodies)
        built(server, tmp_path, **fields).process(table)
        assert len(server.bodies) == before + 1


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_the_cache_is_billed_at_its_price(server: Server, tmp_path: Path, ttl: str) -> None:
    server.cached["cache"] = 1
    table = built(server, tmp_path, cache_ttl=ttl, parallel=1).process(rows(["a", "b"]))
    first, second = table.to_pylist()
    wrote, read = ledger_table(tmp_path).to_pylist()
    cached = wrote["cache_write_tokens"]
    assert cached == read["cache_read_tokens"] == second["cached_tokens"] > 100
    assert (first["cached_tokens"], wrote["cache_read_tokens"]) == (0, 0)
    assert first["input_tokens"] == second["input_tokens"]
    rest, out = first["input_tokens"] - cached, claude_server.OUTPUT
    times = {"5m": 1.25, "1h": 2.0}[ttl]
    assert first["dollars"] == pytest.approx((rest * 2 + cached * 2 * times + out * 10) / 1e6)
    assert second["dollars"] == pytest.approx((rest * 2 + cached * 2 * 0.05 + out * 10) / 1e6)


# ------------------------------------------------------------------------------- what goes wrong
@pytest.mark.parametrize("order", [429, 500, 529, "drop", "broken", "hang", "stall"])
def test_what_passes_is_tried_again_by_the_sdk(
    server: Server, tmp_path: Path, order: str | int
) -> None:
    server.orders = [order]
    table = built(server, tmp_path).process(rows(["a"]))
    assert table["summary"].to_pylist() == ["Someone speaks."]
    assert server.asked() == 2
    # an error is not billed; an answer that never came may be, and its promise is kept
    expected = "released" if isinstance(order, int) else "lost"
    assert states(tmp_path) == sorted([expected, "settled"])
    assert spent(tmp_path) >= server.dollars()


def test_a_slow_answer_arrives(server: Server, tmp_path: Path) -> None:
    """Longer than the time-out in all, but never silent for as long."""
    server.orders = ["slow"]
    began = time.monotonic()
    built(server, tmp_path, timeout_s=0.3).process(rows(["a"]))
    assert time.monotonic() - began > 0.3
    assert server.asked() == 1


@pytest.mark.parametrize(("status", "name"), [(400, "BadRequestError"), (401, "Authentication")])
def test_what_does_not_pass_is_not_tried_again(
    server: Server, tmp_path: Path, status: int, name: str
) -> None:
    import anthropic

    server.orders = [status]
    with pytest.raises(anthropic.APIStatusError, match=f"you asked for {status}") as error:
        built(server, tmp_path).process(rows(["a"]))
    assert type(error.value).__name__.startswith(name)
    assert server.asked() == 1
    assert states(tmp_path) == ["released"]
    assert spent(tmp_path) == 0


def test_retries_come_to_an_end(server: Server, tmp_path: Path) -> None:
    import anthropic

    server.orders = [529] * 9
    with pytest.raises(anthropic.APIStatusError):
        built(server, tmp_path, max_retries=1).process(rows(["a"]))
    assert server.asked() == 2
    assert spent(tmp_path) == 0


def test_a_server_that_is_not_there_costs_nothing(server: Server, tmp_path: Path) -> None:
    import anthropic

    actor = built(server, tmp_path, base_url="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(anthropic.APIConnectionError):
        actor.process(rows(["a"]))
    assert states(tmp_path) == ["released"]


@pytest.mark.parametrize("mode", ["messages", "batches"])
@pytest.mark.parametrize("order", ["malformed", "text"])
def test_a_malformed_answer_is_asked_for_once_more(
    server: Server, tmp_path: Path, order: str, mode: str
) -> None:
    server.orders = [order]
    (row,) = built(server, tmp_path, mode=mode).process(rows(["a"])).to_pylist()
    assert len(server.bodies) == 2
    assert row["dollars"] == pytest.approx(spent(tmp_path))  # both, and both are on the ledger
    assert states(tmp_path) == ["settled"] * 2


@pytest.mark.parametrize("mode", ["messages", "batches"])
def test_a_row_fails_whose_answer_is_malformed_twice(
    server: Server, tmp_path: Path, mode: str
) -> None:
    server.orders = ["malformed", "text"]
    with pytest.raises(MalformedAnswerError):
        built(server, tmp_path, mode=mode).process(rows(["a"]))
    assert len(server.bodies) == 2
    half = 0.5 if mode == "batches" else 1.0
    assert spent(tmp_path) == pytest.approx(server.dollars() * half)
    assert not list((tmp_path / "answers").rglob("*.json"))


def test_a_broken_message_is_malformed_and_paid_for(server: Server, tmp_path: Path) -> None:
    server.orders = ["garbage", "garbage"]
    with pytest.raises(MalformedAnswerError, match="no message"):
        built(server, tmp_path).process(rows(["a"]))
    assert states(tmp_path) == ["lost", "lost"]
    assert spent(tmp_path) >= server.dollars()


@pytest.mark.parametrize("mode", ["messages", "batches"])
@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        ("refuse", RefusedError, "declined to answer .Not this one"),
        ("cut answer", CutAnswerError, "cut off after 120 tokens .max_tokens.: raise `max_tokens`"),
    ],
)
def test_refusals_and_cut_answers_fail_with_their_reason(
    server: Server, tmp_path: Path, order: str, error: type[Exception], message: str, mode: str
) -> None:
    server.orders = [order]
    with pytest.raises(error, match=message):
        built(server, tmp_path, mode=mode).process(rows(["a"]))
    assert len(server.bodies) == 1
    assert states(tmp_path) == ["settled"]


@pytest.mark.parametrize("counting", [404, 500, 529])
def test_an_estimate_stands_in_where_nobody_counts(
    server: Server, tmp_path: Path, counting: int
) -> None:
    server.counting = counting
    actor = built(server, tmp_path, parallel=1)
    actor.process(rows(["a", "b"]))
    counted = server.asked("/v1/messages/count_tokens")
    assert counted == (1 if counting == 404 else 4)
    assert server.asked() == 2
    promised = ledger_table(tmp_path)["promised"].to_pylist()
    assert min(promised) > claude_server.tokens_in(server.bodies[0]) * 2 * 1.25e-6


@pytest.mark.parametrize("mode", ["messages", "batches"])
def test_a_row_at_fault_harms_no_other_and_nothing_is_paid_twice(
    server: Server, tmp_path: Path, mode: str
) -> None:
    """The batch is bisected around it: whoever asks again for the others, pays again."""
    texts = [f"t{i}" for i in range(8)]
    table = rows(texts)
    pictures = table["pictures"].to_pylist()
    pictures[6] = [{"time_s": 0.0, "jpeg": b"broken"}]
    at = table.schema.get_field_index("pictures")
    table = table.set_column(at, "pictures", pa.array(pictures, table["pictures"].type))
    server.order_of = lambda text: "refuse" if '"t2"' in text else None
    actor = Claude(
        folder=str(tmp_path / "api"), base_url=server.url, batch_size=8, mode=mode, poll_s=0.02
    )
    found = hosted(actor, table)
    assert [row["status"] for row in found] == [
        *("ok", "ok", "failed", "ok", "ok", "ok", "failed", "ok"),
    ]
    assert found[2]["error_type"] == "RefusedError"
    assert "no JPEG" in found[6]["error_message"]
    assert len(server.bodies) == 7
    assert all(row["dollars"] > 0 for row in found if row["status"] == "ok")
    assert len(server.batches) == (1 if mode == "batches" else 0)


# ------------------------------------------------------------------------------------ the budget
def test_a_spent_budget_is_not_asked_beyond(server: Server, tmp_path: Path) -> None:
    """Not even to be counted."""
    actor = Claude(
        folder=str(tmp_path / "api"),
        base_url=server.url,
        budget_usd=0.03,
        parallel=1,
        batch_size=8,
    )
    found = hosted(actor, rows([f"t{i}" for i in range(8)]))
    good = [row for row in found if row["status"] == "ok"]
    failed = [row for row in found if row["status"] == "failed"]
    assert good
    assert failed
    assert {row["error_type"] for row in failed} == {"BudgetError"}
    assert "Raise `budget_usd`, then `mien retry`" in failed[0]["error_message"]
    assert server.asked() == len(good)
    assert spent(tmp_path / "api") == pytest.approx(server.dollars())
    assert server.dollars() <= 0.03
    server.paths.clear()
    poor = built(server, tmp_path / "api", budget_usd=0.001)
    with pytest.raises(BudgetError):
        poor.process(rows(["another"]))
    assert server.paths == []


def test_a_retry_is_budgeted_too(server: Server, tmp_path: Path) -> None:
    """The first question fits and is malformed; the second would pass the limit."""
    server.orders = ["malformed"]
    server.output = 2000  # as many as it may have
    with pytest.raises(BudgetError):
        built(server, tmp_path, budget_usd=0.03).process(rows(["a"]))
    assert server.asked() == 1
    assert server.dollars() <= 0.03


def test_attempts_that_may_be_billed_are_budgeted_each(server: Server, tmp_path: Path) -> None:
    """The SDK would try five times; the money is enough for two."""
    server.orders = ["broken"] * 9
    server.output = 2000
    with pytest.raises(BudgetError):
        built(server, tmp_path, budget_usd=0.045, max_retries=4).process(rows(["a"]))
    assert server.asked() == 2
    assert server.dollars() <= spent(tmp_path) <= 0.045


WORKER = """
import json, pickle, sys
from pathlib import Path
actor, table = pickle.loads(Path(sys.argv[1]).read_bytes())
actor.setup()
kinds = {"ok": 0}
for at in range(len(table)):
    try:
        actor.process(table.slice(at, 1))
        kinds["ok"] += 1
    except Exception as error:
        kinds[type(error).__name__] = kinds.get(type(error).__name__, 0) + 1
print(json.dumps(kinds))
"""


def worker(folder: Path, actor: Claude, table: pa.Table) -> subprocess.Popen[str]:
    """The actor in a process of its own, a row at a time."""
    task = folder / f"task {table['id'][0].as_py()}"
    task.write_bytes(cloudpickle.dumps((actor, table)))
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(task)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_eight_parallel_actors_never_pass_the_budget(server: Server, tmp_path: Path) -> None:
    """What the server billed is the truth, also of what nobody got."""
    server.delay_s = 0.01
    server.output = 1500
    orders = {"7": "broken", "8": 529, "9": "malformed"}
    server.order_of = lambda text: orders.get(text.split("word")[1][1]) if "word" in text else None
    limit = 0.3
    fields = {"base_url": server.url, "budget_usd": limit, "timeout_s": 30.0, "max_retries": 1}
    actor = Claude(folder=str(tmp_path / "api"), **fields)
    parts = [rows([f"word{w}{i % 10} {i}" for i in range(12)]) for w in range(8)]
    workers = [worker(tmp_path, actor, part) for part in parts]
    found = [json.loads(process.communicate(timeout=300)[0]) for process in workers]
    assert server.dollars() <= limit
    assert server.dollars() - 1e-9 <= spent(tmp_path / "api") <= limit
    assert spent(tmp_path / "api") > 0.8 * limit
    assert all(one["BudgetError"] > 0 for one in found)
    assert sum(one["ok"] for one in found) > 4
    bought, server.order_of = len(server.bodies), None
    found_again = 0
    again = built(server, tmp_path / "api", budget_usd=limit)
    for at in range(len(parts[0])):
        with suppress(BudgetError):
            found_again += len(again.process(parts[0].slice(at, 1)))
    assert found_again == found[0]["ok"]
    assert len(server.bodies) == bought  # the second run costs nothing


def test_a_worker_that_dies_while_it_waits_is_counted(server: Server, tmp_path: Path) -> None:
    server.delay_s = 1.0
    actor = Claude(folder=str(tmp_path / "api"), base_url=server.url, budget_usd=0.045)
    process = worker(tmp_path, actor, rows(["a"]))
    while not ledger_table(tmp_path / "api").num_rows:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1.1)
    server.delay_s = 0.0
    assert states(tmp_path / "api") == ["promised"]
    server.output = 2000
    resumed = built(server, tmp_path / "api", budget_usd=0.045, timeout_s=0.2)
    assert resumed.process(rows(["a"]))["dollars"][0].as_py() > 0  # the answer was lost
    with pytest.raises(BudgetError):
        resumed.process(rows(["b"]))
    assert server.dollars() <= spent(tmp_path / "api") <= 0.045


def test_a_bill_is_settled_where_a_crash_came_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer stood on disk, the bill did not."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mien.actors.budget.Budget.settle", crash)
        with pytest.raises(KeyboardInterrupt):
            built(server, tmp_path).process(rows(["a"]))
    assert states(tmp_path) == ["promised"]
    built(server, tmp_path).process(rows(["a"]))
    assert len(server.bodies) == 1
    assert states(tmp_path) == ["settled"]
    assert spent(tmp_path) == pytest.approx(server.dollars())


# --------------------------------------------------------------------------------------- batches
def test_a_batch_is_one_request_and_waits(server: Server, tmp_path: Path) -> None:
    server.polls = 4
    table = built(server, tmp_path, mode="batches").process(rows(["a", "b", "c"]))
    assert len(table) == 3
    assert server.asked("/v1/messages/batches") == 1
    assert server.asked("/v1/messages/batches/ID") == 6  # the SDK asks again where results are
    assert server.asked() == 0
    assert set(ledger_table(tmp_path)["batch"].to_pylist()) == {"msgbatch_0000"}


def test_rows_of_a_batch_fail_alone(server: Server, tmp_path: Path) -> None:
    orders = {'"b"': "expired", '"c"': "canceled", '"d"': 400, '"e"': "refuse"}
    server.order_of = lambda text: next((o for t, o in orders.items() if t in text), None)
    actor = Claude(
        folder=str(tmp_path / "api"), base_url=server.url, mode="batches", poll_s=0.02, batch_size=9
    )
    found = hosted(actor, rows(["a", "b", "c", "d", "e"]))
    assert [row["status"] for row in found] == ["ok", *["failed"] * 4]
    types = [row["error_type"] for row in found]
    assert types == [None, *["BatchError"] * 3, "RefusedError"]
    assert "expired" in found[1]["error_message"]
    assert "canceled" in found[2]["error_message"]
    assert "invalid_request_error: no" in found[3]["error_message"]
    assert states(tmp_path / "api") == [
        *["released"] * 3,
        *["settled"] * 2,
    ]  # not billed: given back
    assert len(server.batches) == 1


def test_a_killed_run_picks_its_batch_up_again(server: Server, tmp_path: Path) -> None:
    server.polls = 10**6
    table = rows(["a", "b", "c"])
    fields: dict[str, Any] = {"base_url": server.url, "mode": "batches", "poll_s": 0.05}
    actor = Claude(folder=str(tmp_path / "api"), **fields)
    task, script = tmp_path / "task", WORKER.replace("slice(at, 1)", "slice(0)")
    task.write_bytes(cloudpickle.dumps((actor, table)))
    process = subprocess.Popen([sys.executable, "-c", script, str(task)])
    while server.asked("/v1/messages/batches/ID") < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert states(tmp_path / "api") == ["sent"] * 3
    server.batches["msgbatch_0000"]["polls"] = 1
    # the rest of the rows, in other portions than before, and no money for another batch
    resumed = built(server, tmp_path / "api", mode="batches", budget_usd=0.0)
    found = resumed.process(table.slice(1))
    assert found["dollars"].to_pylist() == pytest.approx([server.dollars() / 6] * 2, rel=0.01)
    resumed.process(table.slice(0, 1))
    assert len(server.batches) == 1
    assert states(tmp_path / "api") == ["settled"] * 3
    assert spent(tmp_path / "api") == pytest.approx(server.dollars() / 2)


def test_a_batch_whose_id_got_lost_is_found(server: Server, tmp_path: Path) -> None:
    server.batch_orders = ["drop"]
    table = built(server, tmp_path, mode="batches").process(rows(["a", "b"]))
    assert len(table) == 2
    assert len(server.batches) == 1
    assert states(tmp_path) == ["settled"] * 2


def test_a_batch_that_was_not_made_is_made_again(server: Server, tmp_path: Path) -> None:
    server.batch_orders = [500]
    assert len(built(server, tmp_path, mode="batches").process(rows(["a", "b"]))) == 2
    assert server.asked("/v1/messages/batches") == 3  # refused, looked for, made
    assert len(server.batches) == 1
    assert states(tmp_path) == ["settled"] * 2


def test_a_batch_that_was_collected_is_not_taken_for_the_next(
    server: Server, tmp_path: Path
) -> None:
    """The second batch has the same question as the first, whose answer was malformed."""
    server.orders, server.batch_orders = ["malformed"], [None, 500]
    assert len(built(server, tmp_path, mode="batches").process(rows(["a"]))) == 1
    assert len(server.batches) == 2
    assert spent(tmp_path) == pytest.approx(server.dollars() / 2)


def test_a_run_that_died_before_the_id_was_known_finds_its_batch(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mien.actors.budget.Budget.send", crash)
        with pytest.raises(KeyboardInterrupt):
            built(server, tmp_path / "api", mode="batches").process(rows(["a", "b"]))
    assert states(tmp_path / "api") == ["promised"] * 2
    other = built(server, tmp_path / "other", mode="batches")
    other.process(rows(["x", "y"]))  # newer, of the same size, and not ours
    built(server, tmp_path / "api", mode="batches").process(rows(["b", "a"]))
    assert len(server.batches) == 2
    assert states(tmp_path / "api") == ["settled"] * 2


def test_a_batch_nobody_knows_of_stays_promised(server: Server, tmp_path: Path) -> None:
    server.batch_orders = [500, 500]
    with pytest.raises(UnclearError, match="status 500"):
        built(server, tmp_path, mode="batches").process(rows(["a"]))
    assert states(tmp_path) == ["promised"]
    built(server, tmp_path, mode="batches").process(rows(["a"]))
    assert states(tmp_path) == ["released", "settled"]


@pytest.mark.parametrize("status", [429, 529])
def test_a_batch_that_is_turned_away_is_sent_again(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.batch_orders = [status]
    assert len(built(server, tmp_path, mode="batches").process(rows(["a"]))) == 1
    assert len(server.batches) == 1


def test_results_that_are_cut_off_are_read_again(server: Server, tmp_path: Path) -> None:
    server.batch_orders = [None, "broken results"]
    table = built(server, tmp_path, mode="batches").process(rows(["a", "b", "c"]))
    assert len(table) == 3
    assert server.asked("/v1/messages/batches/ID/results") == 2
    assert sum(table["dollars"].to_pylist()) == pytest.approx(server.dollars() / 2)


def test_a_batch_is_not_waited_for_for_ever(server: Server, tmp_path: Path) -> None:
    server.polls = 10**6
    with pytest.raises(BatchError, match=r"batch msgbatch_0000 has not ended.*picks it up"):
        built(server, tmp_path, mode="batches", patience_h=1e-5).process(rows(["a"]))
    assert states(tmp_path) == ["sent"]
    server.batches["msgbatch_0000"]["polls"] = 0
    assert len(built(server, tmp_path, mode="batches").process(rows(["a"]))) == 1
    assert len(server.batches) == 1


def test_a_batch_goes_as_far_as_the_budget_reaches(server: Server, tmp_path: Path) -> None:
    actor = Claude(
        folder=str(tmp_path / "api"),
        base_url=server.url,
        mode="batches",
        poll_s=0.02,
        batch_size=9,
        budget_usd=0.035,
    )
    found = hosted(actor, rows([f"t{i}" for i in range(6)]))
    assert [row["status"] for row in found] == [*["ok"] * 3, *["failed"] * 3]
    assert {row["error_type"] for row in found[3:]} == {"BudgetError"}
    assert len(server.bodies) == 3


def test_large_batches_are_split(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.actors.claude_batch.MOST_REQUESTS", 2)
    assert len(built(server, tmp_path, mode="batches").process(rows(list("abcde")))) == 5
    assert [len(b["results"]) for b in server.batches.values()] == [2, 2, 1]
