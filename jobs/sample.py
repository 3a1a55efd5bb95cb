"""`mien demo`: the sample clip that the demo analyses."""

from dataclasses import dataclass
from pathlib import Path

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
        console.print(f"Made {path}. Analyse it: mien analyze {path} out={path.parent / 'run'}")
        return 0
