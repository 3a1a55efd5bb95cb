"""Parity: what each actor answers against its reference library, on tiny random checkpoints.

The checkpoints are of the true architecture, saved as the real ones are and loaded by the actor's
own loading code; the reference answers one item at a time. Needs the full environment.

    python benchmarks/parity.py [--only TOPIC] [--json FILE]
"""

import importlib
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import arguments, show

HERE = Path(__file__).parent
TOPICS = sorted(path.stem.removeprefix("parity_") for path in HERE.glob("parity_*.py"))
"""A module `parity_TOPIC.py` has `cases(folder)`, which yields a dict for each comparison: `actor`,
`reference`, `compared` (what, in which unit), `batched` (the largest difference with items of one
length in one batch), `ragged` (with different lengths), `tolerance`."""


def cases(topic: str) -> Iterator[dict[str, Any]]:
    """The comparisons of a topic."""
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        yield from importlib.import_module(f"parity_{topic}").cases(Path(folder))


def main() -> int:
    """Print the table; 1 where a difference is beyond its tolerance."""
    asked = arguments(__doc__, only={"choices": TOPICS, "help": "one topic"})
    warnings.simplefilter("ignore")
    rows = []
    for topic in [asked.only] if asked.only else TOPICS:
        began = time.perf_counter()
        for row in cases(topic):
            worst = max(row[k] for k in ("batched", "ragged") if row.get(k) is not None)
            rows.append(
                {"topic": topic, **row, "holds": "yes" if worst <= row["tolerance"] else "NO"}
            )
        print(f"{topic}: {time.perf_counter() - began:.0f} s", flush=True)
    show("largest difference to the reference", rows, asked.json)
    return int(any(row["holds"] == "NO" for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
