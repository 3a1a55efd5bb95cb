"""What the benchmark scripts share: a table on the screen, and its numbers in a file."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
MIEN = Path(sys.executable).with_name("mien")


def data_folder() -> Path:
    """The real media: `MIEN_TEST_DATA`, or the folder beside the checkout."""
    return Path(os.environ.get("MIEN_TEST_DATA", ROOT.parent / "shared" / "data")).resolve()


def arguments(description: str | None, **options: dict[str, Any]) -> argparse.Namespace:
    """Parse a script's command line; every script takes `--json FILE`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, how in options.items():
        parser.add_argument(name if how.pop("bare", False) else f"--{name}", **how)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser.parse_args()


def show(title: str, rows: list[dict[str, Any]], to: Path | None = None, **facts: object) -> None:
    """Print rows as a table, and write them down."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*names, title=title)
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in names))
    Console(width=max(120, shutil.get_terminal_size().columns)).print(table)
    for name, fact in facts.items():
        print(f"{name}: {_text(fact)}")
    if to:
        machine = {"machine": platform.machine(), "cores": os.cpu_count()}
        record = {"title": title, "rows": rows, **facts, **machine}
        to.write_text(json.dumps(record, indent=1, default=str))


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def analyze(corpus: Path, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the main job as a user would."""
    command = [str(MIEN), "analyze", str(corpus), f"out={run}", *more]
    return subprocess.run(command, capture_output=True, text=True)
