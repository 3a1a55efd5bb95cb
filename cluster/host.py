"""Hosting actors: everything that surrounds `process`, written once for all of them.

`Host` runs a chain of actors over a table of rows in one worker process. It needs no Ray: a test,
or a person in a plain shell, can call it.
"""

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..actors.actor import Actor
from ..datasets.schema import OUTCOME

DEATHS = 2
"""A row is quarantined when this many workers died while they held it."""


class SetupError(RuntimeError):
    """An actor could not be imported or set up: no row is at fault, so the run ends."""


class WorkerDiedError(RuntimeError):
    """A worker process died while it held a row: a native crash, or memory."""


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


class Journal:
    """What each living worker is busy with, on disk, so that a death can be laid to a row.

    A worker writes the ids it holds before it calls an actor, and clears them after. Since no two
    workers ever hold one row, a row that comes in while another worker's file still names it was
    in the hands of a worker that died.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = folder / f"{uuid4().hex}.json"

    @contextmanager
    def holding(self, ids: Sequence[str]) -> Iterator[None]:
        """Name the rows at risk for as long as the block runs."""
        self._own.write_text(json.dumps(list(ids)))
        try:
            yield
        finally:
            self._own.write_text("[]")

    def deaths(self, ids: Iterable[str]) -> Counter[str]:
        """How many dead workers held each of these rows."""
        asked, found = set(ids), Counter[str]()
        for path in self._folder.glob("*.json"):
            if path != self._own:
                try:
                    found.update(asked.intersection(json.loads(path.read_text())))
                except (ValueError, OSError):  # cut off by the death, before the rows were touched
                    continue
        return found


def poisoned(error: BaseException) -> bool:
    """Whether the process can do no more work: its CUDA context is lost."""
    text = str(error)
    return "CUDA error" in text and "out of memory" not in text.lower()


class Host:
    """A chain of actors in one worker.

    What it promises for each actor: rows that failed before pass by untouched; the answer has one
    row per row, in order, with the declared columns; a batch that runs out of memory is halved; a
    batch that raises is bisected to the rows at fault, and only those fail; a row that killed
    `DEATHS` workers is not tried again; time and provenance stand in each row.
    """

    def __init__(self, chain: bytes, scratch: str) -> None:
        """Load a chain.

        Args:
            chain: Pickled `list[Stage]`: unpickled here, so that an import that fails is an
                error of ours and not of Ray, which would start the worker again for ever.
            scratch: Folder that all workers of the pool share.
        """
        self._broken: str | None = None
        self._journal = Journal(Path(scratch) / "rows")
        trials = Path(scratch) / "setup"
        trials.mkdir(parents=True, exist_ok=True)
        if sum(_died(path) for path in trials.iterdir()) > DEATHS:
            self._broken = "setting up the actors killed the worker several times"
            return
        trial = trials / f"{socket.gethostname()} {os.getpid()} {uuid4().hex}"
        trial.touch()
        try:
            self._stages = set_up(chain)
            self._provenance = {s.role: s.provenance() for s in self._stages}  # looks at files
        except SetupError as error:
            self._broken = str(error)
        trial.unlink()

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Send rows through the chain."""
        if self._broken:
            raise SetupError(self._broken)
        suspects = self._journal.deaths(rows["id"].to_pylist())
        for stage in self._stages:
            rows = self._through(stage, rows, suspects)
        return rows

    def _through(self, stage: Stage, rows: pa.Table, suspects: Counter[str]) -> pa.Table:
        alive = np.flatnonzero(pc.equal(rows["status"], "ok").to_numpy(zero_copy_only=False))
        size = 1 if suspects else stage.actor.batch_size
        done: list[_Done] = []
        for at in range(0, len(alive), size):
            done += self._attempt(stage, rows, alive[at : at + size], suspects)
        return _merge(stage, rows, done, self._provenance[stage.role])

    def _attempt(
        self, stage: Stage, rows: pa.Table, at: np.ndarray, suspects: Counter[str]
    ) -> list["_Done"]:
        batch = rows.take(pa.array(at))
        ids = batch["id"].to_pylist()
        if any(suspects[i] >= DEATHS for i in ids):
            message = (
                f"{DEATHS} workers died while they held this row: a crash in a native library, or "
                "memory. Free memory or convert the file, then `mien retry`."
            )
            return [_Done(at, None, 0.0, WorkerDiedError(message))]
        began = time.perf_counter()
        try:
            with self._journal.holding(ids):
                answer = _checked(stage, _processed(stage, batch), len(batch))
            return [_Done(at, answer, time.perf_counter() - began, None)]
        except Exception as error:
            if len(at) == 1:
                return [_Done(at, None, time.perf_counter() - began, error)]
        half = len(at) // 2
        return [
            *self._attempt(stage, rows, at[:half], suspects),
            *self._attempt(stage, rows, at[half:], suspects),
        ]


@dataclass(frozen=True)
class _Done:
    at: np.ndarray  # rows
    answer: pa.Table | None
    seconds: float
    error: Exception | None


def _processed(stage: Stage, batch: pa.Table) -> pa.Table:
    """The actor's answer; a process that can do no more work ends here, its rows on record."""
    try:
        return stage.actor.process(batch)
    except Exception as error:
        if poisoned(error):
            os._exit(1)  # Ray starts a fresh worker
        raise


def _died(trial: Path) -> bool:
    """Whether the process that left this mark is gone; on another host nobody knows."""
    host, pid, _ = trial.name.split(" ")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


def set_up(chain: bytes) -> list[Stage]:
    """Unpickle a chain and set up its actors.

    Raises:
        SetupError: Names the actor and what went wrong.
    """
    try:
        stages: list[Stage] = cloudpickle.loads(chain)
    except Exception as error:
        raise SetupError(f"the actors cannot be imported here: {_reason(error)}") from error
    for stage in stages:
        try:
            stage.actor.setup()
        except Exception as error:
            raise SetupError(
                f"actor '{stage.role}' ({type(stage.actor).__name__}) cannot be set up: "
                f"{_reason(error)}"
            ) from error
    return stages


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _checked(stage: Stage, answer: pa.Table, count: int) -> pa.Table:
    adds = stage.actor.adds
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
    errors: dict[int, Exception] = {}
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
    errors: dict[int, Exception],
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
        new["error_message"][i] = str(error)[:2000] or type(error).__name__
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
