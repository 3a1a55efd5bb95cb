"""A Ray session of our own: its temporary folder, its bounded object store, its clean end."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

for _name, _value in {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run mien` must not build an environment per worker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # nothing starts a second Ray behind our back
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what matters of a worker's death stands in the row
}.items():
    os.environ.setdefault(_name, _value)  # read when Ray is imported

import ray  # noqa: E402
from ray.data import DataContext  # noqa: E402

_GIB = 2**30
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machine, or machines, that a run may use.

    Attributes:
        cores: Cores to fill with workers; `None`: all that this process may use.
        gpus: Devices; `None`: what Ray finds.
        object_store_gb: Bound of Ray's shared memory.
        spare_cpus: Logical CPUs beyond the cores, for Ray Data's own small tasks; a pool that took
            every CPU would starve them.
        temp_dir: Where Ray keeps its sockets and logs; short, on a local disk. `None`: a fresh
            folder that is removed at the end.
        environments: Path of a Python by name, for the actors whose packages clash with the rest.
    """

    cores: int | None = None
    gpus: int | None = None
    object_store_gb: float = 1.0
    spare_cpus: int = 2
    temp_dir: str | None = None
    environments: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cores is not None and self.cores < 1:
            raise ValueError(f"`cluster.cores` must be at least 1, but is {self.cores}.")
        if self.gpus is not None and self.gpus < 0:
            raise ValueError(f"`cluster.gpus` must be at least 0, but is {self.gpus}.")
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


@contextmanager
def session(cluster: Cluster) -> Iterator[None]:
    """Start Ray on this machine for as long as the block runs.

    Raises:
        ConnectionError: Ray did not start.
    """
    _sweep()
    for name in _THREADS:  # workers inherit it: there is one for each core already
        os.environ.setdefault(name, "1")
    own = cluster.temp_dir is None
    temp = Path(cluster.temp_dir or tempfile.mkdtemp(prefix=f"mien-{os.getpid()}-"))
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with _quiet():
            ray.init(
                num_cpus=cluster.workers + cluster.spare_cpus,
                num_gpus=cluster.gpus,
                object_store_memory=int(cluster.object_store_gb * _GIB),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                _temp_dir=str(temp),
            )
        _configure_data()
        yield
    finally:
        ray.shutdown()
        if own:
            shutil.rmtree(temp, ignore_errors=True)


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
    for name in ("ray.data", "ray.data._internal.execution.streaming_executor_state"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it says, the raised error says


def _sweep() -> None:
    """Remove what sessions left behind that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("mien-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
