"""Questions to Claude in batches: half the price, an answer within a day.

The id of a batch stands in the ledger: a run that was killed picks its batches up again. Where the
run died, or the connection, before the id was known, the batch is looked for among the newest of
the account, by its size and its time, before anything is sent again.
"""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import Any
from uuid import uuid4

from .budget import BudgetError, Wish
from .claude_desk import ASKED_TWICE, UNCLEAR, Desk
from .claude_question import Question
from .prompts import MalformedAnswerError

MOST_REQUESTS = 10_000
MOST_BYTES = 200_000_000
"""Of one batch; the API takes 256 MB."""
SLACK_S = 120.0
"""By how much the clock here and the API's may differ."""
DOWNLOADS = 3
"""How often the results of a batch are asked for, where the connection is cut."""


class BatchError(RuntimeError):
    """A batch came to its end, or did not, without the answer to a question."""


class UnclearError(RuntimeError):
    """Nobody knows whether a batch was made."""


def alive(group: str) -> bool:
    """Whether another process that lives, on this host, made this group of promises."""
    host, pid = group.split(" ")[1:3]
    known = host == gethostname() and int(pid) != os.getpid()
    return known and Path(f"/proc/{pid}").exists()


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Asks many questions at once.

    Attributes:
        desk: What is shared with single messages.
        poll_s: Between two looks at a batch.
        patience_h: How long a batch is waited for; the API ends it after 24 hours.
        parallel: Questions that are counted at once.
    """

    desk: Desk
    poll_s: float
    patience_h: float
    parallel: int

    def ask(self, asked: Sequence[Question]) -> dict[str, Exception]:
        """Ask, and once more where an answer is malformed. Answers stand on disk after.

        Args:
            asked: No two alike.

        Returns:
            Why there is no answer, by digest.
        """
        open_ = {question.digest: question for question in asked}
        failures: dict[str, Exception] = {}
        for last in range(1, ASKED_TWICE + 1):
            try:
                malformed = self._round(open_, failures)
            except Exception as error:  # the API is away
                return {**dict.fromkeys(open_, error), **failures}
            if last == ASKED_TWICE:
                failures.update(malformed)
            open_ = {digest: open_[digest] for digest in malformed}
        return failures

    def _round(
        self, asked: dict[str, Question], failures: dict[str, Exception]
    ) -> dict[str, Exception]:
        """One answer to each question, or why there is none; the malformed ones apart."""
        from anthropic import NotFoundError

        calls = self._picked_up(asked, failures)  # batch -> digest -> call
        busy = {digest for part in calls.values() for digest in part} | failures.keys()
        calls.update(self._sent([q for d, q in asked.items() if d not in busy], failures))
        malformed: dict[str, Exception] = {}
        for batch, part in calls.items():
            try:
                self._wait(batch)
                lacking = self._collected(batch, part, asked)
            except NotFoundError as error:  # deleted, or too old
                self.desk.budget.lose(part.values())
                lacking = dict.fromkeys(part, error)
            except Exception as error:
                lacking = dict.fromkeys(part, error)
            for digest, error in lacking.items():
                wrong = isinstance(error, MalformedAnswerError)
                (malformed if wrong else failures)[digest] = error
        return malformed

    # ------------------------------------------------------------------------ what is under way
    def _picked_up(
        self, asked: dict[str, Question], failures: dict[str, Exception]
    ) -> dict[str, dict[str, str]]:
        """Batches of a run before that hold some of these questions.

        A question that another worker is sending at this moment fails: its batch has no id yet,
        and what was promised for it must stand.
        """
        found: dict[str, dict[str, str]] = {}
        lost: dict[str, list[dict]] = {}
        for call in self.desk.budget.under_way():
            batch = call["batch"]
            if batch is None or call["digest"] not in asked:
                continue
            if call["state"] == "sent":
                found.setdefault(batch, {})[call["digest"]] = call["call"]
            else:
                lost.setdefault(batch, []).append(call)
        for group, mine in lost.items():
            if alive(group):
                message = "another worker is asking this very question; `mien retry` takes it up"
                failures.update({c["digest"]: UnclearError(message) for c in mine})
                continue
            every = self.desk.budget.under_way()
            whole = [c for c in every if c["batch"] == group and c["state"] == "promised"]
            if not whole:  # another worker has found it meanwhile
                continue
            batch = self._found(whole)
            if batch is None:
                self.desk.budget.release(c["call"] for c in whole)
            else:
                found[batch] = {c["digest"]: c["call"] for c in whole if c["digest"] in asked}
        return found

    def _found(self, group: Sequence[dict]) -> str | None:
        """The batch that was made of some calls whose answer got lost; notes its id."""
        digests = {call["digest"] for call in group}
        since = min(call["time"] for call in group) - SLACK_S
        known = self.desk.budget.batches()
        for batch in self.desk.client.messages.batches.list(limit=100):
            if batch.created_at.timestamp() < since:
                break
            counts = batch.request_counts
            size = counts.processing + counts.succeeded + counts.errored
            if batch.id in known or size + counts.canceled + counts.expired != len(group):
                continue
            self._wait(batch.id)
            if {result.custom_id for result in self._results(batch.id)} == digests:
                self.desk.budget.send((call["call"] for call in group), batch.id)
                return batch.id
        return None

    # -------------------------------------------------------------------------------- sending
    def _sent(
        self, asked: Sequence[Question], failures: dict[str, Exception]
    ) -> dict[str, dict[str, str]]:
        """Promise the money and make the batches, as far as it reaches."""
        made: dict[str, dict[str, str]] = {}
        for part in parts(self._wished(asked, failures)):
            group = f"unknown {gethostname()} {os.getpid()} {uuid4().hex}"
            questions, wishes = [q for q, _ in part], [w for _, w in part]
            promised = self.desk.budget.promise_all(wishes, group)
            calls: dict[str, str] = {}
            for question, call in zip(questions, promised, strict=True):
                if isinstance(call, BudgetError):
                    failures[question.digest] = call
                else:
                    calls[question.digest] = call
            if not calls:
                continue
            try:
                batch = self._made([q for q in questions if q.digest in calls], calls, group)
                made[batch] = calls
            except Exception as error:
                failures.update(dict.fromkeys(calls, error))
        return made

    def _wished(
        self, asked: Sequence[Question], failures: dict[str, Exception]
    ) -> list[tuple[Question, Wish]]:
        def wish(question: Question) -> Wish | Exception:
            try:
                return self.desk.wish(question, batch=True)
            except Exception as error:
                return error

        with ThreadPoolExecutor(self.parallel) as pool:
            wishes = list(pool.map(wish, asked))
        failures.update(
            (q.digest, w) for q, w in zip(asked, wishes, strict=True) if isinstance(w, Exception)
        )
        return [(q, w) for q, w in zip(asked, wishes, strict=True) if isinstance(w, Wish)]

    def _made(self, asked: Sequence[Question], calls: dict[str, str], group: str) -> str:
        """Make one batch; where nobody knows whether it was made, look for it, then try again."""
        from anthropic import AnthropicError

        client = self.desk.client.with_options(middleware=[once])
        requests = [{"custom_id": q.digest, "params": q.params} for q in asked]
        for last in (False, True):
            try:
                batch = client.messages.batches.create(requests=requests).id
            except UnclearError:
                time.sleep(self.poll_s)
                rows = [c for c in self.desk.budget.under_way() if c["batch"] == group]
                batch = self._found(rows)
                if batch is None and last:
                    raise  # the promises stay: the next run looks again
                if batch is None:
                    continue
            except AnthropicError:  # refused: nothing was made
                self.desk.budget.release(calls.values())
                raise
            self.desk.budget.send(calls.values(), batch)
            return batch
        raise AssertionError

    # -------------------------------------------------------------------------------- answers
    def _wait(self, batch: str) -> None:
        """Wait for the end of a batch; an API that is away for a while is waited for, too."""
        from anthropic import APIConnectionError, InternalServerError, RateLimitError

        until = time.monotonic() + self.patience_h * 3600
        while True:
            try:
                status = self.desk.client.messages.batches.retrieve(batch).processing_status
            except (APIConnectionError, InternalServerError, RateLimitError):
                status = "unknown"
            if status == "ended":
                return
            if time.monotonic() > until:
                raise BatchError(
                    f"batch {batch} has not ended after {self.patience_h:g} hours ({status}). It "
                    "is not lost: `mien retry` picks it up again."
                )
            time.sleep(self.poll_s)

    def _collected(
        self, batch: str, calls: dict[str, str], asked: dict[str, Question]
    ) -> dict[str, Exception]:
        """Keep the answers of a batch that has ended.

        Returns:
            Why there is none, by digest.
        """
        lacking: dict[str, Exception] = {}
        seen: set[str] = set()
        for result in self._results(batch):
            digest = result.custom_id
            if digest not in calls or digest in seen:
                continue
            seen.add(digest)
            try:
                self._collect(batch, asked[digest], calls[digest], result.result)
            except Exception as error:
                lacking[digest] = error
        for digest in calls.keys() - seen:
            self.desk.budget.lose([calls[digest]])
            lacking[digest] = BatchError(f"batch {batch} has ended without a result for this row.")
        return lacking

    def _collect(self, batch: str, asked: Question, call: str, result: Any) -> None:  # noqa: ANN401
        if result.type == "succeeded":
            self.desk.collect(asked, call, result.message, batch=True)
            return
        self.desk.budget.release([call])  # not billed
        why = result.type
        if result.type == "errored":
            why = f"errored: {result.error.error.type}: {result.error.error.message}"
        raise BatchError(f"batch {batch} has no answer for this row ({why}): `mien retry` asks.")

    def _results(self, batch: str) -> list[Any]:
        """All results of a batch that has ended, in any order."""
        from anthropic import APIStatusError

        for left in reversed(range(DOWNLOADS)):
            try:
                return list(self.desk.client.messages.batches.results(batch))
            except APIStatusError:
                raise
            except Exception:  # the HTTP client's own, where the stream is cut
                if not left:
                    raise
                time.sleep(self.poll_s)
        raise AssertionError


def once(request: Any, call_next: Any) -> Any:  # noqa: ANN401
    """Keep the SDK from making a batch twice, where the first one may have been made."""
    from anthropic import APIConnectionError

    wrong = ""
    try:
        response = call_next(request)
        if response.status_code not in (*UNCLEAR, 500, 502, 503):
            return response
        wrong = f"status {response.status_code}"
    except APIConnectionError as error:
        wrong = str(error)
    raise UnclearError(f"nobody knows whether the batch was made ({wrong}): `mien retry` looks.")


def parts(asked: Sequence[tuple[Question, Wish]]) -> Iterator[list[tuple[Question, Wish]]]:
    """Questions in portions that one batch can take."""
    part: list[tuple[Question, Wish]] = []
    size = 0
    for question, wish in asked:
        if part and (len(part) == MOST_REQUESTS or size + question.size > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append((question, wish))
        size += question.size
    if part:
        yield part
