"""Ray, for as long as a run needs it."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ..cluster.deadline import GENEROUS, Deadline
from ..cluster.host import Stage
from ..cluster.metrics import Metrics
from ..cluster.plan import Machine
from ..cluster.session import Cluster, session
from ..cluster.trial import Trial
from .graph import Graph


class Workers:
    """Ray, started when the first phase has rows to do, and the trial of all actors.

    Attributes:
        startup: Seconds until Ray stood, and spent waiting for the trial.
        threads: For phases side by side.
        metrics: Of the run.
    """

    def __init__(self, cluster: Cluster, graph: Graph, hung: Deadline = GENEROUS) -> None:
        self.startup: dict[str, float] = {}
        self._cluster, self._graph, self._hung = cluster, graph, hung
        self._stack = ExitStack()
        self.threads = ThreadPoolExecutor()
        self._stack.callback(self.threads.shutdown)  # last: after Ctrl-C, Ray's end ends them
        self.metrics = Metrics()
        self._started = False
        self._trial: Trial | None = None

    def machine(self) -> Machine:
        """What workers may take: of this machine, or of the cluster that this connects to."""
        if self._cluster.address:
            self._start()
        return self._cluster.machine()

    def ready(self, phase: str) -> None:
        """Make sure that a phase can run.

        Raises:
            SetupError: An actor of the run cannot be set up.
        """
        if self._trial is None:
            self._start()
            self._trial = Trial(light(self._graph), self._cluster.environments, self._hung.start_s)
        if phase != "videos" and "await_trial_s" not in self.startup:
            began = time.perf_counter()  # probing needs no model: it filled the wait
            self._trial.wait()
            self.startup["await_trial_s"] = time.perf_counter() - began

    def _start(self) -> None:
        if not self._started:
            began = time.perf_counter()
            self._stack.enter_context(session(self._cluster))
            self._started = True
            self.startup["ray_s"] = time.perf_counter() - began

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def light(graph: Graph) -> list[list[Stage]]:
    """The chains of a run without the actors that load weights.

    Those would be loaded twice, and perhaps onto a device that is not theirs; a worker that cannot
    set one up says so itself, when its phase comes.
    """
    chains = ([s for s in p.stages if not s.actor.weights()] for p in graph.phases.values())
    return [chain for chain in chains if chain]
