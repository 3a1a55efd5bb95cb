"""Measuring an actor on this machine, in a disposable process.

A crash, a hang or the end of memory is an answer: what was measured before it stands.
"""

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import cloudpickle
import psutil
import pyarrow as pa
import pyarrow.feather as feather

from ..actors.neural import Neural
from . import probe
from .environments import code
from .host import Stage
from .memory import device_gb, host, tree_gb
from .need import Measured

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
NEARLY = 0.9  # of their bound: such rows are as good as the longest


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a measurement goes.

    Attributes:
        seconds: How long each batch size is timed, at least.
        timeout_s: A step (setting up, answering the rows, a batch size) that takes longer hangs.
        reserve_gb: The measurement ends before less memory than this is left to the machine.
    """

    seconds: float = 3.0
    timeout_s: float = 600.0
    reserve_gb: float = 2.0

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"`seconds` must be greater than 0, but is {self.seconds:g}.")
        if self.timeout_s <= self.seconds:
            raise ValueError(
                f"`timeout_s` must be greater than `seconds` ({self.seconds:g}), but is "
                f"{self.timeout_s:g}."
            )


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one batch size took. What could not be read is `None`.

    Attributes:
        size: Rows per call.
        rows_s: Rows per second.
        media_s_s: Seconds of media per second; 0 where rows have no length.
        memory_gb: Peak of the host's memory until then, loading included, GB.
        device_gb: Peak of the device's memory until then, GB.
    """

    size: int
    rows_s: float
    media_s_s: float
    memory_gb: float | None
    device_gb: float | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a measurement found.

    Attributes:
        startup_s: From the start of the process until the actor is set up; `None` if it never was.
        steps: By batch size, ascending.
        rows: How many different rows there were; larger batches repeat them.
        longest_s: Length of the longest.
        bound_s: How long rows can be; `None`: as long as a video.
        ended: Why no larger batch was tried.
        failed: Whether it ended in an error, a death or a hang.
        errors: Of rows that could not be answered.
        answer: The rows with what the actor added; `None` if it died before it had them all.
    """

    startup_s: float | None = None
    steps: tuple[Step, ...] = ()
    rows: int = 0
    longest_s: float = 0.0
    bound_s: float | None = None
    ended: str = ""
    failed: bool = False
    errors: tuple[str, ...] = ()
    answer: pa.Table | None = None

    @property
    def short(self) -> bool:
        """Whether rows can be longer than those measured, and take more memory."""
        return self.bound_s is None or self.longest_s < NEARLY * self.bound_s

    def measured(self, *, row_s: float | None = None) -> Measured | None:
        """For the plan; `None` if not even single rows could be measured.

        Args:
            row_s: Length of the rows to come, where time goes with it; `None`: as those measured.
        """
        if self.startup_s is None or not self.steps:
            return None
        rates = {s.size: s.media_s_s / row_s if row_s else 0.0 for s in self.steps}
        return Measured(
            startup_s=self.startup_s,
            memory_gb={s.size: s.memory_gb for s in self.steps if s.memory_gb is not None},
            gpu_memory_gb={s.size: s.device_gb for s in self.steps if s.device_gb is not None},
            rates={s.size: rates[s.size] or s.rows_s for s in self.steps},
        )

    @property
    def best(self) -> Step:
        """The fastest batch size."""
        return max(self.steps, key=lambda step: step.rows_s)


def measure(
    stage: Stage,
    rows: pa.Table,
    *,
    largest: int,
    limits: Limits,
    bound_s: float | None = None,
    python: str | None = None,
) -> Finding:
    """Measure an actor in a process of its own.

    Args:
        stage: The actor, not set up.
        rows: Its input, with the outcome columns (`host.begin`).
        largest: Batch size; 0 lets the actor answer the rows and measures nothing.
        limits: How far to go.
        bound_s: How long such rows can be; `None`: as long as a video.
        python: Path of the Python that it runs in; `None`: this one.
    """
    spans = zip(rows["start_s"].to_pylist(), rows["stop_s"].to_pylist(), strict=True)
    longest_s = max(((b or 0.0) - (a or 0.0) for a, b in spans), default=0.0)
    found = Finding(rows=len(rows), longest_s=longest_s, bound_s=bound_s)
    with tempfile.TemporaryDirectory(prefix="mien-probe-") as name:
        folder = Path(name)
        (folder / probe.STAGE).write_bytes(cloudpickle.dumps([_unbound(stage)]))
        feather.write_feather(rows, str(folder / probe.ROWS))
        task = {"largest": largest, "seconds": limits.seconds}
        (folder / probe.TASK).write_text(json.dumps(task))
        with Probe(folder, limits, python) as running:
            found = running.heard(found)
        if (folder / probe.ANSWER).exists() and running.answered:
            answer = feather.read_table(folder / probe.ANSWER, memory_map=False)
            found = replace(found, answer=answer)
    return found


def _unbound(stage: Stage) -> Stage:
    """A stage whose network may take more of a device than is declared: that is what is asked."""
    if not isinstance(stage.actor, Neural):
        return stage
    return replace(stage, actor=replace(stage.actor, memory_gb=math.inf))


class Probe:
    """The process, seen from outside: what it says, what memory it takes, when it must end."""

    def __init__(self, folder: Path, limits: Limits, python: str | None) -> None:
        self.answered = False
        self._limits = limits
        self._log = folder / "log.txt"
        self._began = time.monotonic()
        ears, mouth = os.pipe()
        path = {"PYTHONPATH": code()} if python else {}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python or sys.executable, "-m", "mien.cluster.probe", str(folder), str(mouth)],
                env={**ONE_THREAD, **os.environ, **path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[mouth],
                start_new_session=True,
            )
        os.close(mouth)
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._ears = os.fdopen(ears)
        self._thread = threading.Thread(target=_listen, args=(self._ears, self._said), daemon=True)
        self._thread.start()
        self._memory_gb = 0.0
        self._device_gb: float | None = None

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *error: object) -> None:
        self._kill()
        self._thread.join()
        self._ears.close()

    def heard(self, found: Finding) -> Finding:
        """Follow the process to its end."""
        doing, since = "start", time.monotonic()
        for fact in self._facts():
            if fact is None:  # nothing new: is all well?
                reason = self._must_end(doing, time.monotonic() - since)
                if reason:
                    return replace(found, ended=reason, failed=True)
                continue
            doing, since = fact.get("doing", doing), time.monotonic()
            found = self._with(found, fact)
            if found.ended:
                return found
        return replace(found, ended=f"{self._death()} during {doing}", failed=True)

    def _with(self, found: Finding, fact: dict[str, Any]) -> Finding:
        """A finding and what was just said."""
        self._memory_gb = max(self._memory_gb, fact.get("resident_gb") or 0.0)
        torch_gb = fact.get("torch_gb")
        if torch_gb is not None:
            self._device_gb = max(self._device_gb or 0.0, torch_gb)
        match fact:
            case {"did": "setup"}:
                return replace(found, startup_s=time.monotonic() - self._began)
            case {"did": "answer", "errors": errors}:
                self.answered = True
                return replace(found, errors=tuple(errors))
            case {"did": "batch"}:
                self._look()
                step = Step(
                    size=fact["size"],
                    rows_s=fact["rows_s"],
                    media_s_s=fact["media_s_s"],
                    memory_gb=self._memory_gb or None,
                    device_gb=self._device_gb,
                )
                return replace(found, steps=(*found.steps, step))
            case {"end": reason}:
                return replace(found, ended=reason)
            case {"error": reason}:
                return replace(found, ended=reason, failed=True)
        return found

    def _facts(self) -> Iterator[dict[str, Any] | None]:
        """What the process says; `None` whenever it is silent, after a look at its memory."""
        pause_s = 0.05
        while True:
            try:
                fact = self._said.get(timeout=pause_s)
            except queue.Empty:
                began = time.perf_counter()
                self._look()
                pause_s = max(0.05, 10 * (time.perf_counter() - began))  # to disturb it little
                yield None
                continue
            if fact is None:
                return
            yield fact

    def _look(self) -> None:
        try:
            tree = psutil.Process(self._process.pid)
            self._memory_gb = max(self._memory_gb, tree_gb(tree))
            pids = {self._process.pid, *(child.pid for child in tree.children(recursive=True))}
        except psutil.Error:
            return
        used_gb = device_gb(pids)
        if used_gb is not None:
            self._device_gb = max(self._device_gb or 0.0, used_gb)

    def _must_end(self, doing: str, took_s: float) -> str | None:
        if took_s > self._limits.timeout_s:
            return f"{doing} took more than {self._limits.timeout_s:g} s"
        if self._process.poll() is not None:  # a child of it may hold the pipe open
            return f"{self._death()} during {doing}"
        left_gb = host().available_gb
        if left_gb is not None and left_gb < self._limits.reserve_gb:
            return f"memory ended during {doing}: {left_gb:.1f} GB were left"
        return None

    def _kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _death(self) -> str:
        """How it died, and its last words."""
        status = self._process.wait()
        said = self._log.read_text(errors="replace").strip().splitlines()
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended ({status})"
        return f"{how}{f' ({said[-1][:300]})' if said else ''}"


def _listen(ears: IO[str], said: queue.Queue[dict[str, Any] | None]) -> None:
    with contextlib.suppress(ValueError):  # cut off by its death
        for line in ears:
            said.put(json.loads(line))
    said.put(None)
