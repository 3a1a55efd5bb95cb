"""Hosting actors: everything that surrounds `process`, written once for all of them.

`Host` runs a chain of actors over a table of rows in one worker process. It needs no Ray: a test,
or a person in a plain shell, can call it.
"""

import fcntl
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..actors.actor import Actor
from ..datasets.schema import OUTCOME
from .deadline import GENEROUS, Deadline, folder, left_behind, media_s, within
from .journal import Journal, Loss, RemoteJournal

DEATHS = 2
"""A row is quarantined when this many workers died, or hung, in one actor while they held it."""


class SetupError(RuntimeError):
    """An actor could not be imported or set up: no row is at fault, so the run ends."""


class WorkerDiedError(RuntimeError):
    """A worker process died while it held a row: a native crash, or memory."""


class HungError(RuntimeError):
    """An actor did not come to an end with a row in the time that it was allowed."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An actor in its place in a chain.

    Attributes:
        role: What the actor is there for, for example `transcribe`; names it in errors.
        actor: Its parameters; `setup` has not been called.
    """

    role: str
    actor: Actor

    def provenance(self) -> dict[str, str]:
        """What the `models` column says of this stage."""
        return {"role": self.role, **self.actor.provenance()}


class Host:
    """A chain of actors in one worker.

    What it promises for each actor: rows that failed before pass by untouched; the answer has one
    row per row, in order, with the declared columns; a batch that runs out of memory is halved; a
    batch that raises is bisected to the rows at fault, and only those fail; a process that can do
    no more work, or does not come to an end, is ended, so that a fresh one takes its place; a row
    that cost `DEATHS` processes is not tried again; time and provenance stand in each row.
    """

    def __init__(
        self,
        chain: bytes,
        journal: Journal | RemoteJournal,
        *,
        deadline: Deadline = GENEROUS,
        admit: Callable[[], None] | None = None,
    ) -> None:
        """Load a chain.

        Args:
            chain: Pickled `list[Stage]`: unpickled here, so that an import that fails is an
                error of ours and not of Ray, which would start the worker again for ever.
            journal: That all workers of the phase share.
            deadline: For each call of an actor.
            admit: Called before each batch; returns when there is memory for it.
        """
        self._broken: str | None = None
        self._stages: list[Stage] = []
        self._worn = False
        self._journal, self._deadline, self._admit = journal, deadline, admit
        self._seat = journal.seat()
        self._traceback = folder() / f"{self._seat.name}.txt"
        fatal = journal.enter(self._seat, left_behind(self._traceback))
        if fatal > DEATHS:
            self._broken = (
                f"setting up the actors killed the worker {fatal} times in a row, or took more "
                f"than {deadline.start_s:g} s (`job.hung.start_s`)"
            )
        else:
            try:
                self._stages = set_up(chain, deadline.start_s, self._traceback)
                self._provenance = {s.role: s.provenance() for s in self._stages}  # reads files
            except SetupError as error:
                self._broken = str(error)
        journal.ready(self._seat)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Send rows through the chain."""
        if self._broken:
            raise SetupError(self._broken)
        for stage in self._stages:
            rows = self._through(stage, rows)
        self._journal.release(self._seat)
        self._worn = True
        return rows

    def close(self) -> None:
        """Close the actors."""
        stages, self._stages = self._stages, []
        for stage in stages:
            stage.actor.close()

    def __del__(self) -> None:
        """Ray Data's only call at the end of a worker, and only where the run ends well."""
        with suppress(Exception):
            self.close()

    def _through(self, stage: Stage, rows: pa.Table) -> pa.Table:
        alive = np.flatnonzero(pc.equal(rows["status"], "ok").to_numpy(zero_copy_only=False))
        size = stage.actor.batch_size
        done: list[_Done] = []
        for at in range(0, len(alive), size):
            done += self._attempt(stage, rows, alive[at : at + size])
        return _merge(stage, rows, done, self._provenance[stage.role])

    def _attempt(self, stage: Stage, rows: pa.Table, at: np.ndarray) -> list["_Done"]:
        batch = rows.take(pa.array(at))
        ids = batch["id"].to_pylist()
        if self._admit is not None:
            self._journal.release(self._seat)  # whoever waits for memory holds nothing
            self._admit()
        began = time.perf_counter()
        allowed_s = math.inf if stage.actor.remote else self._deadline.allowed_s(batch)
        losses = self._journal.hold(self._seat, stage.role, ids, allowed_s)
        if losses and len(at) > 1:
            return self._split(stage, rows, at, len(at))
        if losses and len(losses[ids[0]]) >= DEATHS:
            return [_Done(at, None, 0.0, _quarantine(stage, batch, losses[ids[0]]))]
        try:
            with within(allowed_s, self._traceback):
                answer = _checked(stage, self._processed(stage, batch, losses), len(batch))
            return [_Done(at, answer, time.perf_counter() - began, None)]
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # `sys.exit` too, and the panics of native libraries
            if len(at) == 1:
                return [_Done(at, None, time.perf_counter() - began, error)]
        return self._split(stage, rows, at, 2)

    def _split(self, stage: Stage, rows: pa.Table, at: np.ndarray, parts: int) -> list["_Done"]:
        return [d for part in np.array_split(at, parts) for d in self._attempt(stage, rows, part)]

    def _processed(self, stage: Stage, batch: pa.Table, losses: Collection[str]) -> pa.Table:
        """The actor's answer; a process that can do no more work ends here, its rows on record.

        One that has done well before and has no memory for a single row may have leaked it: the
        row is given another worker, once.
        """
        try:
            return stage.actor.process(batch)
        except Exception as error:
            leaked = self._worn and len(batch) == 1 and not losses and exhausted(error)
            if leaked or poisoned(error):
                self._journal.explain(self._seat, _reason(error))
                os._exit(1)  # Ray starts a fresh worker
            raise


@dataclass(frozen=True)
class _Done:
    at: np.ndarray  # rows
    answer: pa.Table | None
    seconds: float
    error: BaseException | None


def poisoned(error: BaseException) -> bool:
    """Whether the process can do no more work: its CUDA context is lost."""
    return "CUDA error" in str(error) and not exhausted(error)


def exhausted(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a device."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def _quarantine(stage: Stage, batch: pa.Table, losses: Sequence[Loss]) -> Exception:
    """Why a row is not tried again."""
    last = losses[-1]
    if last.allowed_s is None:
        reason = last.reason or "a crash in a native library, or memory"
        return WorkerDiedError(
            f"{len(losses)} workers died in actor '{stage.role}' while they held this row "
            f"({reason}). Free memory or convert the file, then `mien retry`."
        )
    where = f" It stood in: {last.reason}" if last.reason else ""
    return HungError(
        f"actor '{stage.role}' must come to an end within {last.allowed_s:g} s with this row "
        f"({media_s(batch):g} s of media), but did not, and cost {len(losses)} workers. Allow it "
        f"more (`job.hung.base_s`, `job.hung.factor`) or convert the file, then `mien retry`."
        f"{where}"
    )


@contextmanager
def _loading() -> Iterator[None]:
    """One at a time on this machine. The lock ends with the process, and no child inherits it."""
    with (folder() / "loading.lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def set_up(chain: bytes, allowed_s: float = math.inf, note: Path | None = None) -> list[Stage]:
    """Unpickle a chain and set up its actors; models load one at a time on a machine.

    Args:
        chain: Pickled `list[Stage]`.
        allowed_s: For each actor; a process that takes longer is ended.
        note: Where it says then where it stood.

    Raises:
        SetupError: Names the actor and what went wrong.
    """
    try:
        stages: list[Stage] = cloudpickle.loads(chain)
    except Exception as error:
        raise SetupError(f"the actors cannot be imported here: {_reason(error)}") from error
    for stage in stages:
        try:
            with (
                _loading() if stage.actor.gpus or stage.actor.weights() else nullcontext(),
                within(allowed_s, note or folder() / f"setup-{os.getpid()}.txt"),
            ):
                stage.actor.setup()
        except Exception as error:
            raise SetupError(
                f"actor '{stage.role}' ({type(stage.actor).__name__}) cannot be set up: "
                f"{_reason(error)}"
            ) from error
    return stages


def _message(error: BaseException) -> str:
    text = str(error)[:2000].encode(errors="replace").decode()  # a file's name may be no UTF-8
    return text or type(error).__name__


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _checked(stage: Stage, answer: pa.Table, count: int) -> pa.Table:
    adds = stage.actor.adds
    if not isinstance(answer, pa.Table):
        raise TypeError(
            f"actor '{stage.role}' must return a table, but returned {type(answer).__name__}."
        )
    if set(answer.column_names) != set(adds.names):
        raise TypeError(
            f"actor '{stage.role}' must return the columns {adds.names}, "
            f"but returned {answer.column_names}."
        )
    if len(answer) != count:
        raise ValueError(
            f"actor '{stage.role}' must return {count} rows, one for each, "
            f"but returned {len(answer)}."
        )
    return answer.select(adds.names).cast(adds)


def _merge(stage: Stage, rows: pa.Table, done: list[_Done], provenance: dict[str, str]) -> pa.Table:
    """Put the answers beside their rows; rows without one get nulls."""
    source = np.full(len(rows), -1)
    seconds = np.full(len(rows), np.nan)
    errors: dict[int, BaseException] = {}
    answers, offset = [], 0
    for part in done:
        seconds[part.at] = part.seconds / len(part.at)
        if part.answer is not None:
            source[part.at] = offset + np.arange(len(part.at))
            offset += len(part.at)
            answers.append(part.answer)
        elif part.error is not None:
            errors.update(dict.fromkeys(part.at.tolist(), part.error))
    added = pa.concat_tables(answers or [stage.actor.adds.empty_table()])
    added = added.take(pa.array(source, mask=source < 0))
    for name in added.column_names:
        at = rows.schema.get_field_index(name)
        if at < 0:
            rows = rows.append_column(added.schema.field(name), added[name])
        else:  # a later actor refines what an earlier one said
            rows = rows.set_column(at, added.schema.field(name), added[name])
    return _record(stage, rows, seconds, errors, provenance)


def _record(
    stage: Stage,
    rows: pa.Table,
    seconds: np.ndarray,
    errors: dict[int, BaseException],
    provenance: dict[str, str],
) -> pa.Table:
    new: dict[str, list] = {name: rows[name].to_pylist() for name in _WRITTEN}
    for i in np.flatnonzero(~np.isnan(seconds)).tolist():
        timing = {"stage": stage.role, "seconds": float(seconds[i])}
        new["timings"][i] = [*(new["timings"][i] or []), timing]
        new["models"][i] = [*(new["models"][i] or []), provenance]
    for i, error in errors.items():
        new["status"][i] = "failed"
        new["error_stage"][i] = stage.role
        new["error_type"][i] = type(error).__name__
        new["error_message"][i] = _message(error)
    for name in _WRITTEN:
        field = OUTCOME.field(name)
        column = pa.array(new[name], type=field.type)
        rows = rows.set_column(rows.schema.get_field_index(name), field, column)
    return rows


_WRITTEN = ("status", "error_stage", "error_type", "error_message", "models", "timings")


def begin(manifest: pa.Table, config_hash: str, attempts: Sequence[int]) -> pa.Table:
    """Give manifest rows the outcome columns of a row that has not been touched yet."""
    count = len(manifest)
    fresh = {
        "status": ["ok"] * count,
        "attempt": list(attempts),
        "config_hash": [config_hash] * count,
    }
    for field in OUTCOME:
        column = pa.array(fresh.get(field.name, [None] * count), type=field.type)
        manifest = manifest.append_column(field, column)
    return manifest
