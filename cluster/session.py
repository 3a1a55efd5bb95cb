"""Ray for as long as a run needs it: started on this machine, or a cluster that stands already."""

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from . import settings  # noqa: F401 # pyright: ignore[reportUnusedImport] - before Ray

# isort: split
import ray
from ray.data import DataContext

from .levels import Levels
from .memory import Reading, budget_gb, read
from .need import Machine, Node
from .nodes import Nodes, capped, described, joined, spared
from .wheel import build

_GB = 10**9
STARTS = 3
"""How often Ray is started: its raylet gives up where its helpers take longer than 15 s."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machine, or machines, that a run may use.

    Attributes:
        address: Of a Ray that stands already: `auto` for the one of this machine (or of
            `RAY_ADDRESS`), else `HOST:PORT`. `None`: one is started here, and ended.
        nodes: With an address: so many must be in before the run begins.
        wait_s: For how long they are waited for, in seconds.
        env: With an address: workers are given the variables of this command's environment whose
            names begin so: the keys of object stores.
        ship: With an address: give its nodes this very code, as a wheel. They need what it stands
            on in any case. `False`: it is installed there, in the same version.
        cores: Cores to fill with workers; `None`: all that this process may use. With an address:
            of all nodes together, at most; `None`: all.
        gpus: Devices; `None`: what Ray finds. With an address: of all nodes together, for the
            choice of models.
        memory_gb: What the workers may hold, in GB; `None`: what is available, less the object
            store, `reserve_gb`, and the level below which `watchdog` lets workers wait. With an
            address: on each node, at most; `None`: all that Ray counts there.
        reserve_gb: For Ray's own processes, and for the command itself.
        object_store_gb: Bound of Ray's shared memory.
        spare_cpus: Logical CPUs beyond the cores, for Ray Data's own small tasks; a pool that took
            every CPU would starve them. With an address: so many of its CPUs stay free.
        temp_dir: Where Ray keeps its sockets and logs; short, on a local disk. `None`: a fresh
            folder that is removed at the end.
        environments: Path of a Python by name, for the actors whose packages clash with the rest.
        watchdog: How much memory must stay available.
    """

    address: str | None = None
    nodes: int = 1
    wait_s: float = 300.0
    env: list[str] = field(default_factory=lambda: ["AWS_", "AZURE_", "FSSPEC_", "GOOGLE_"])
    ship: bool = True
    cores: int | None = None
    gpus: int | None = None
    memory_gb: float | None = None
    reserve_gb: float = 1.5
    object_store_gb: float = 1.0
    spare_cpus: int = 2
    temp_dir: str | None = None
    environments: dict[str, str] = field(default_factory=dict)
    watchdog: Levels = field(default_factory=Levels)

    def __post_init__(self) -> None:
        if self.address and self.address.startswith("ray://"):
            raise ValueError(
                f"`cluster.address` must be `auto` or `HOST:PORT` of a node's Ray, but is "
                f"{self.address!r}: rows come back to the command, which must run on a node of the "
                "cluster itself."
            )
        if self.nodes < 1:
            raise ValueError(f"`cluster.nodes` must be at least 1, but is {self.nodes}.")
        if self.nodes > 1 and not self.address:
            raise ValueError(
                f"`cluster.nodes` must be 1 where Ray is started here, but is {self.nodes}: give "
                "`cluster.address`."
            )
        if self.cores is not None and self.cores < 1:
            raise ValueError(f"`cluster.cores` must be at least 1, but is {self.cores}.")
        if self.gpus is not None and self.gpus < 0:
            raise ValueError(f"`cluster.gpus` must be at least 0, but is {self.gpus}.")
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise ValueError(
                f"`cluster.memory_gb` must be greater than 0, but is {self.memory_gb:g}."
            )
        if self.reserve_gb < 0:
            raise ValueError(
                f"`cluster.reserve_gb` must be at least 0, but is {self.reserve_gb:g}."
            )
        if self.object_store_gb < 0.1:
            raise ValueError(
                f"`cluster.object_store_gb` must be at least 0.1, but is {self.object_store_gb:g}."
            )
        if self.spare_cpus < 2:
            raise ValueError(
                f"`cluster.spare_cpus` must be at least 2 (one to read the manifest, one to cut "
                f"it), but is {self.spare_cpus}."
            )

    @property
    def workers(self) -> int:
        """Cores to fill."""
        return self.cores or len(os.sched_getaffinity(0))

    def machine(self) -> Machine:
        """What workers may take, for the plan.

        With an address this asks the nodes, so it must be called within a `session`; the CPUs that
        stay free are those of the command's own node first.
        """
        if self.address is None:
            return Machine(nodes=(self.here,))
        free = spared(self._nodes.living(), self.spare_cpus)
        if not free:
            raise ValueError(
                f"the cluster at {self.address!r} must have more CPUs than stay free "
                f"(`cluster.spare_cpus`, {self.spare_cpus}), but has no more."
            )
        return Machine(nodes=capped(free, self.cores, self.memory_gb))

    @cached_property
    def _nodes(self) -> Nodes:
        return Nodes(self._spare_gb)

    @cached_property
    def here(self) -> Node:
        """What workers may take of this machine; read once, before Ray starts."""
        reading = read()
        budget = self.memory_gb or budget_gb(
            reading, reserve_gb=self._spare_gb(reading), object_store_gb=self.object_store_gb
        )
        resources: dict[str, float] = {
            "CPU": self.workers,
            "GPU": _given(self.gpus, len(reading.devices)),
        }
        if budget is not None:  # 0 is an answer: nothing fits
            resources["memory"] = budget * _GB
        return described(reading, resources)

    def _spare_gb(self, reading: Reading) -> float:
        """For the system and Ray, and what the watchdog wants to see free."""
        return self.reserve_gb + self.watchdog.on(reading)[0]


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


@contextmanager
def session(cluster: Cluster) -> Iterator[None]:
    """Have Ray for as long as the block runs.

    Where `cluster` has an address nothing but the connection to it is made and ended. Within
    another session, that one serves.

    Raises:
        ConnectionError: Ray did not start, or is not there, or has too few nodes.
    """
    if ray.is_initialized():
        yield
        return
    _sweep()
    logging.getLogger("ray").setLevel(logging.ERROR)
    temp = Path(tempfile.mkdtemp(prefix=f"mien-{os.getpid()}-"))
    try:
        with _own_sigterm():
            if cluster.address:
                _join(cluster, temp)
            else:
                _start(cluster, temp)
        _configure_data()
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(temp, ignore_errors=True)


def _start(cluster: Cluster, temp: Path) -> None:
    for name in _THREADS:  # workers inherit it: there is one for each core already
        os.environ.setdefault(name, "1")
    memory_gb = cluster.here.memory_gb
    for left in reversed(range(STARTS)):
        try:
            with _quiet():
                ray.init(
                    "local",
                    num_cpus=cluster.workers + cluster.spare_cpus,
                    num_gpus=cluster.gpus,
                    object_store_memory=int(cluster.object_store_gb * _GB),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                    _temp_dir=cluster.temp_dir or str(temp),
                    _memory=None if memory_gb is None else int(memory_gb * _GB),
                )
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            if not left:
                raise ConnectionError(
                    f"Ray did not start in {STARTS} attempts: it gives its own helpers 15 s, but "
                    "this machine is too busy, or its disk too slow. Try again later."
                ) from error


def _join(cluster: Cluster, temp: Path) -> None:
    given = {k: v for k, v in os.environ.items() if k.startswith(tuple(cluster.env))}

    def take() -> None:
        os.environ.update(given)

    env: dict[str, Any] = {"env_vars": {name: os.environ.get(name, "1") for name in _THREADS}}
    if given:
        env["worker_process_setup_hook"] = take  # Ray writes `env_vars` into logs that all can read
    if cluster.ship:
        env["py_modules"] = [str(build(temp))]
    try:
        _knock(str(cluster.address))
        with _quiet():
            ray.init(
                cluster.address,
                runtime_env=env,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
    except (OSError, RuntimeError) as error:
        cause = str(error.__cause__ or error).splitlines()[0].rstrip(".")
        raise ConnectionError(
            f"no Ray can be reached at `cluster.address` ({cluster.address!r}): {cause}. Start one "
            "with `ray start --head`, and give this command the same `RAY_AUTH_MODE` and token."
        ) from error
    _await_nodes(cluster)


def _knock(address: str) -> None:
    """Raise `OSError` at once where nothing listens: Ray would try for minutes."""
    where = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = where.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10.0).close()


def _await_nodes(cluster: Cluster) -> None:
    began = time.monotonic()
    while (count := len(joined())) < cluster.nodes:
        if time.monotonic() - began > cluster.wait_s:
            raise ConnectionError(
                f"`cluster.nodes` is {cluster.nodes}, but after {cluster.wait_s:g} s "
                f"(`cluster.wait_s`) the cluster at {cluster.address!r} has {count}."
            )
        time.sleep(0.5)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray would have it exit on the spot."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the terminal what Ray's native code says while it starts; errors are raised."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _configure_data() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0  # a failed row is a value in the row, never a lost block
    context.print_on_execution_start = False
    # placing workers on nodes; it goes with Ray 2.64, and Ray is pinned
    warnings.filterwarnings("ignore", message=".*ray_remote_args_fn")
    for name in ("ray.data", "ray.data._internal.execution.streaming_executor_state"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it says, the raised error says


def _sweep() -> None:
    """Remove what sessions left behind that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("mien-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
