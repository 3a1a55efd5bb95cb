"""One budget, many actors: what a local server billed, against the limit.

Each actor is a process with the real SDK. The server speaks Anthropic's API and cuts connections,
is overloaded and answers nonsense on the way; what it billed is the truth, also of what nobody
got. The second run has the same moments again. Needs the full environment.

    python benchmarks/budget.py [--workers 8] [--limit 1.0] [--json FILE]
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import claude_server
from common import arguments, show
from speed_api import moments

MOMENTS = 40
WORKER = """
import json, pickle, sys
from collections import Counter
actor, table = pickle.load(open(sys.argv[1], "rb"))
actor.setup()
found = Counter()
for at in range(len(table)):
    try:
        actor.process(table.slice(at, 1))
        found["ok"] += 1
    except Exception as error:
        found[type(error).__name__] += 1
print(json.dumps(found))
"""


def run(folder: Path, server: claude_server.Server, workers: int, limit: float) -> dict[str, Any]:
    """All workers once, each with moments of its own."""
    from mien.actors.budget import ledger_table
    from mien.actors.claude import Claude

    actor = Claude(
        folder=str(folder / "api"),
        base_url=server.url,
        budget_usd=limit,
        max_retries=2,
        timeout_s=20,
    )
    before, began = (len(server.paths), server.dollars()), time.perf_counter()
    processes = []
    for worker in range(workers):
        task = folder / f"{worker}.pickle"
        texts = [f"moment {i} of worker {worker}" for i in range(MOMENTS)]
        task.write_bytes(pickle.dumps((actor, moments(texts, side=224))))
        script = [sys.executable, "-c", WORKER, str(task)]
        processes.append(subprocess.Popen(script, stdout=subprocess.PIPE, text=True))
    found: Counter[str] = Counter()
    for process in processes:
        found.update(json.loads(process.communicate()[0]))
    spent = sum(ledger_table(folder / "api")["dollars"].to_pylist())
    return {
        "actors": workers,
        "limit $": limit,
        "billed $": server.dollars() - before[1],
        "counted as spent $": spent,
        "requests": len(server.paths) - before[0],
        "answered": found.pop("ok", 0),
        "failed": ", ".join(f"{count} {name}" for name, count in found.items()),
        "s": time.perf_counter() - began,
    }


def main() -> None:
    """Print the table; end with an error where a limit was passed or an answer was paid twice."""
    asked = arguments(
        __doc__,
        workers={"type": int, "default": 8},
        limit={"type": float, "default": 1.0},
    )
    os.environ["ANTHROPIC_API_KEY"] = "key"
    with tempfile.TemporaryDirectory(prefix="budget-") as name, claude_server.serving() as server:
        trouble = {"7 of": "broken", "8 of": 529, "9 of": "malformed"}
        server.output, server.delay_s = 600, 0.05
        server.order_of = lambda text: next((o for t, o in trouble.items() if t in text), None)
        first = run(Path(name), server, asked.workers, asked.limit)
        again = run(Path(name), server, asked.workers, asked.limit)
    rows = [{"run": "first", **first}, {"run": "second, the same moments", **again}]
    show("one budget, many actors", rows, asked.json)
    if first["billed $"] > asked.limit or first["counted as spent $"] > asked.limit + 1e-9:
        sys.exit("the limit was passed")
    if again["answered"] != first["answered"] or again["billed $"] > 0:
        sys.exit("an answer was paid twice")


if __name__ == "__main__":
    main()
