"""The disposable process in which an actor is measured: `python -m mien.cluster.probe FOLDER PIPE`.

The folder holds the pickled stage and its rows, and gets the rows it answered. What happens is said
through the pipe as it happens, one JSON object a line, so that a death leaves all that went before.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from ..actors.neural import out_of_memory
from .host import Stage, set_up
from .memory import high_water_gb

STAGE, ROWS, TASK, ANSWER = "stage.pickle", "rows.arrow", "task.json", "answer.arrow"
"""Files of the folder."""
SLOWER = 0.9
"""A batch size at less than this share of the best rate so far is worse."""

Say = Callable[..., None]


def main() -> None:
    """Do what the folder asks."""
    folder, pipe = Path(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(pipe, False)
    with os.fdopen(pipe, "w") as out:

        def say(**fact: object) -> None:
            out.write(json.dumps(fact) + "\n")
            out.flush()

        try:
            say(end=tried(folder, say, **json.loads((folder / TASK).read_text())))
        except Exception as error:
            say(error=f"{type(error).__name__}: {error}"[:2000])


def tried(folder: Path, say: Say, *, largest: int, seconds: float) -> str:
    """Set an actor up, let it answer its rows, and measure it.

    Args:
        folder: See above.
        say: Takes facts: `doing` a step, or what a step found (`did`).
        largest: Batch size; 0 answers the rows and measures nothing.
        seconds: How long each batch size is timed, at least.

    Returns:
        Why no larger batch was tried.
    """
    say(doing="setup")
    stage = set_up((folder / STAGE).read_bytes())[0]
    say(did="setup", **memory())
    say(doing="answer")
    rows = feather.read_table(folder / ROWS, memory_map=False)
    answer, errors = answered(stage, rows)
    feather.write_feather(answer, str(folder / ANSWER))
    say(did="answer", errors=errors, **memory())
    rows = rows.filter(pc.equal(answer["status"], "ok"))
    if not largest or not len(rows):
        return "not asked for" if len(rows) else "no row could be answered"
    return grown(stage, rows, say, largest, seconds)


def answered(stage: Stage, rows: pa.Table) -> tuple[pa.Table, list[str]]:
    """Send rows through an actor one by one, so that each that can be answered is.

    Returns:
        The rows with the actor's columns, `failed` those that raised; what they raised.
    """
    adds = stage.actor.adds
    blank = pa.table({f.name: pa.nulls(1, f.type) for f in adds})
    parts, status, errors = [], rows["status"].to_pylist(), []
    for i, before in enumerate(list(status)):
        part = blank
        if before == "ok":
            try:
                part = stage.actor.process(rows.slice(i, 1)).select(adds.names).cast(blank.schema)
            except Exception as error:
                status[i] = "failed"
                errors.append(f"{type(error).__name__}: {error}"[:500])
        parts.append(part)
    added = pa.concat_tables(parts or [blank.slice(0, 0)])
    kept = rows.drop_columns([name for name in added.column_names if name in rows.column_names])
    for name in added.column_names:
        kept = kept.append_column(name, added[name])
    at = kept.schema.get_field_index("status")
    return kept.set_column(at, kept.schema.field(at), pa.array(status, pa.string())), errors


def grown(stage: Stage, rows: pa.Table, say: Say, largest: int, seconds: float) -> str:
    """Measure batch size after batch size.

    Each is given the longest row as often as it takes, which decides the memory and warms up, and
    then the rows as they come, over and over, which decides the rate.
    """
    length = np.nan_to_num((pc.subtract(rows["stop_s"], rows["start_s"])).to_numpy())
    longest, best = int(np.argmax(length)), 0.0
    for size in sizes(largest):
        say(doing="batch")
        try:
            stage.actor.forget()
            stage.actor.process(rows.take(pa.array(np.full(size, longest))))
            done, passed, wall_s = 0, 0.0, 0.0
            while wall_s < seconds or not done:
                at = (np.arange(size) + done) % len(rows)
                batch = rows.take(pa.array(at))
                stage.actor.forget()
                began = time.perf_counter()
                stage.actor.process(batch)
                wall_s += time.perf_counter() - began
                done, passed = done + size, passed + float(length[at].sum())
        except Exception as error:
            if not out_of_memory(error):
                raise
            return f"memory ended at {size} rows"
        rate = done / wall_s
        say(did="batch", size=size, rows_s=rate, media_s_s=passed / wall_s, **memory())
        if rate < SLOWER * best:
            return f"{size} rows were slower"
        best = max(best, rate)
    return "largest batch"


def sizes(largest: int) -> Iterator[int]:
    """The powers of two below a number, and the number.

    Example:
        >>> list(sizes(12))
        [1, 2, 4, 8, 12]
    """
    size = 1
    while size < largest:
        yield size
        size *= 2
    yield largest


def memory() -> dict[str, float | None]:
    """Peaks since the process began, GB: of the kernel, and of torch on the device."""
    torch = sys.modules.get("torch")
    device = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "resident_gb": high_water_gb(),
        "torch_gb": torch.cuda.max_memory_reserved() / 1e9 if torch and device else None,
    }


if __name__ == "__main__":
    main()
