"""`mien validate`: whether timelines obey the published schema."""

import json
from dataclasses import dataclass

from rich.markup import escape

from ..datasets import timeline
from ..datasets.store import place
from .progress import console


@dataclass(kw_only=True)
class Validate:
    """Check `timeline.json` files.

    Attributes:
        path: A file, or a folder that is searched for files of that name.
    """

    path: str

    def __call__(self) -> int:
        """Print what is wrong with each file.

        Returns:
            0 when all are valid, 1 otherwise.
        """
        root = place(self.path)
        files = sorted(root.rglob("timeline.json"), key=str) if root.is_dir() else [root]
        if not files or not files[0].exists():
            raise ValueError(f"`path` must be a timeline or a run, but '{root}' holds none.")
        wrong = 0
        for file in files:
            try:
                problems = timeline.validate(json.loads(file.read_text()))
            except ValueError as error:
                problems = [f"not JSON: {error}"]
            wrong += bool(problems)
            for problem in problems:
                console.print(f"[red]invalid[/red] {escape(str(file))}: {escape(problem)}")
        console.print(f"{len(files) - wrong} valid, {wrong} invalid")
        return int(wrong > 0)
