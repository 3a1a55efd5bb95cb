"""`mien plan`: what would run, with nothing started."""

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table as Lines

from ..cluster.phase import outstanding
from .analyze import Analyze
from .graph import media_s
from .progress import console


@dataclass(kw_only=True)
class Plan(Analyze):
    """What `mien analyze` would do with the same configuration; starts nothing."""

    def __call__(self) -> int:
        """Print the phases, what fills each role, and how much there is to do."""
        graph = self.graph()
        files, skips = self.corpus.survey()
        known_s = media_s(files, graph.table("videos"))
        console.print(
            f"{len(files)} files, {known_s / 3600:.2f} h of media known so far; "
            f"{self.cluster.workers} cores; run folder {self.folder}"
        )
        for skip in skips:
            console.print(f"skipped: {escape(skip.uri)} ({escape(skip.reason)})")
        lines = Lines("phase", "role", "actor", "model", "needs", "table", "rows", "to do")
        for name, phase in graph.phases.items():
            manifest = graph.manifest(name, files)
            stale = self._stale(graph, name, manifest)
            todo, _ = outstanding(graph.table(name), manifest, retry=self.retry, stale=stale)
            open_end = name != "videos" and len(todo) == len(manifest)
            rows = f"{len(manifest)}{'+' if open_end else ''}"
            for i, stage in enumerate(phase.stages):
                a, own = stage.actor, stage.provenance()
                lines.add_row(
                    name if not i else "",
                    stage.role,
                    type(a).__name__,
                    f"{own['model']} {own['revision']}".strip(),
                    f"{a.cpus:g} CPU, {a.gpus:g} GPU, {a.memory_gb:g} GB",
                    graph.table(name).folder.name if not i else "",
                    rows if not i else "",
                    str(len(todo)) if not i else "",
                )
        console.print(lines)
        console.print("`+`: more rows come to light when the phases before have run.")
        return 0
