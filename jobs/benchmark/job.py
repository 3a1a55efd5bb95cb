"""`mien benchmark=NAME`: systems, compared on the same rows under one protocol."""

from dataclasses import dataclass

from ...cluster.session import Cluster
from ...datasets.store import place
from ..evaluation.record import Record
from ..evaluation.save import save
from ..lock import locked
from ..profile import Profile
from .task import Benchmark


@dataclass(kw_only=True)
class Run:
    """Judge systems on a benchmark: scores with intervals, a table and a page.

    Attributes:
        benchmark: Which one.
        cluster: On what.
        models: The profile, for systems that use its actors.
        out: The run's folder; features that stand there are not made again.
        config: The composed configuration, kept with the run.
    """

    benchmark: Benchmark
    cluster: Cluster
    models: Profile
    out: str
    config: str = ""

    def __post_init__(self) -> None:
        self.folder = place(self.out)

    def __call__(self) -> int:
        """Run it.

        Returns:
            0.
        """
        with (
            locked(self.folder),
            Record(self.folder, kind="benchmark", config=self.config) as record,
        ):
            outcome = self.benchmark.run(self.cluster, self.folder, self.models)
            save(self.folder, outcome, record)
        return 0
