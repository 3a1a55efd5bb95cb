"""`mien demo`: the sample clip that the demo analyses."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from . import demo
from .progress import console


@dataclass(kw_only=True)
class Demo:
    """Make a sample clip by code: faces, two voices in turns, hard cuts.

    Attributes:
        path: Where the clip goes.
    """

    path: str

    def __call__(self) -> int:
        """Make it."""
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        demo.make(path)
        command = shlex.join(["mien", "analyze", str(path), f"out={path.parent / 'run'}"])
        console.print(f"Made {escape(str(path))}. Analyse it: {escape(command)}")
        return 0
