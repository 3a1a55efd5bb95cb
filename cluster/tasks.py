"""Independent pieces of work as Ray tasks, such as the folds of a cross-validation.

A piece is done when its file stands: a run that was ended takes up the rest.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from . import settings  # noqa: F401 # pyright: ignore[reportUnusedImport] - before Ray

# isort: split
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.exceptions import RayError, RayTaskError

from ..datasets import store
from ..datasets.store import Place
from ..datasets.table import encoded
from .need import Machine, Node
from .session import Cluster, session

Item = TypeVar("Item")
Common = TypeVar("Common")

_GB = 10**9
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class PieceError(RuntimeError):
    """A piece of work failed: without it there is no result. Names it, the reason and the cure."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one piece holds while it runs.

    Attributes:
        cpus: Cores, and so many threads of torch.
        gpus: Devices: a fraction of one, or whole ones; `None`: one where there is any.
        memory_gb: Memory of the host; `None`: not counted.
    """

    cpus: int = 1
    gpus: float | None = 0.0
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise ValueError(f"`cpus` must be at least 1, but is {self.cpus}.")
        gpus = self.gpus or 0.0
        if gpus < 0 or (gpus > 1 and gpus % 1):
            raise ValueError(
                f"`gpus` must be a fraction of one device or whole devices, but is {gpus:g}."
            )
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise ValueError(f"`memory_gb` must be greater than 0, but is {self.memory_gb:g}.")

    def on(self, machine: Machine) -> "Share":
        """The share with its devices in numbers."""
        if self.gpus is not None:
            return self
        return replace(self, gpus=float(any(node.gpus for node in machine.nodes)))

    def fits(self, machine: Machine) -> int:
        """How many pieces a machine can run at once.

        Example:
            >>> from .need import Node
            >>> Share(cpus=2).fits(Machine(nodes=(Node(cpus=5), Node(cpus=1))))
            2
        """
        return sum(self._fits(node) for node in machine.nodes)

    def _fits(self, node: Node) -> int:
        most = node.cpus // self.cpus
        if self.gpus and self.gpus >= 1:
            most = min(most, node.gpus // self.gpus)
        elif self.gpus:  # Ray gives a fraction of one device, never of two
            most = min(most, node.gpus * (1 / self.gpus // 1))
        if self.memory_gb is not None and node.memory_gb is not None:
            most = min(most, node.memory_gb // self.memory_gb)
        return int(most)


class Progress(NamedTuple):
    """What has just happened.

    Attributes:
        name: Of the piece that is done.
        done: Pieces done, those that stood before included.
        total: All of them.
        wall_s: What it took; 0 where it stood before.
    """

    name: str
    done: int
    total: int
    wall_s: float


def run(
    function: Callable[[Item, Common], pa.Table],
    items: Mapping[str, Item],
    folder: Place,
    *,
    cluster: Cluster,
    share: Share | None = None,
    common: Common = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, pa.Table]:
    """Do each piece that does not stand yet, several at once, and read all of them.

    Starts Ray only where something is left to do and none is running. In a piece, torch and BLAS
    have as many threads as the share has cores.

    Args:
        function: Makes the table of one piece, from its item and what all pieces have in common;
            of a module of ours, so that workers can import it.
        items: By the piece's name, for example the person who is left out.
        folder: Holds `piece-NAME.parquet`. It must be named by a hash of all that changes the
            answers: a file that stands is taken as it is.
        cluster: On what.
        share: Of one piece; one core by default.
        common: Sent to the workers once; arrays in it are not copied, and cannot be written to.
        progress: Called once for each piece, those that stand first.

    Returns:
        The tables, in the order of `items`.

    Raises:
        PieceError: One failed. Those that were done are kept, those under way are given up.
        ValueError: The machine has less than the share of one piece.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> keep(folder, "s01", pa.table({"predicted": ["positive"]}))
        >>> done = run(print, {"s01": None}, folder, cluster=Cluster())  # stands: nothing is run
        >>> done["s01"]["predicted"].to_pylist()
        ['positive']
    """
    standing = [name for name in items if file(folder, name).exists()]
    todo = {name: item for name, item in items.items() if name not in standing}
    for done, name in enumerate(standing, start=1):
        progress(Progress(name, done, len(items), 0.0))
    if todo:
        with session(cluster):
            answers = _answers(function, todo, common, folder, cluster, share or Share())
            for done, (name, table, wall_s) in enumerate(answers, start=len(standing) + 1):
                keep(folder, name, table)
                progress(Progress(name, done, len(items), wall_s))
    return {name: read(folder, name) for name in items}


def file(folder: Place, name: str) -> Place:
    """Where a piece stands when it is done."""
    return folder / f"piece-{quote(name, safe='')}.parquet"


def keep(folder: Place, name: str, table: pa.Table) -> None:
    """Write a piece, whole or not at all."""
    store.replace(file(folder, name), encoded(table))
    store.remove(_complaint(folder, name))


def read(folder: Place, name: str) -> pa.Table:
    """Read a piece that stands."""
    return pq.read_table(pa.BufferReader(file(folder, name).read_bytes()))


def _complaint(folder: Place, name: str) -> Place:
    return folder / f"failed-{quote(name, safe='')}.txt"


def _answers(
    function: Callable[[Item, Common], pa.Table],
    todo: Mapping[str, Item],
    common: Common,
    folder: Place,
    cluster: Cluster,
    share: Share,
) -> Iterator[tuple[str, pa.Table, float]]:
    """The pieces as they come: name, table, seconds."""
    machine = cluster.machine()
    share = share.on(machine)
    most = share.fits(machine)
    if most < 1:
        raise ValueError(
            f"one piece of work takes {share.cpus} cores, {share.gpus:g} GPUs and "
            f"{share.memory_gb or 0:g} GB, but no node of the cluster has that for it: lower its "
            "share, or raise `cluster.cores`, `cluster.gpus` or `cluster.memory_gb`."
        )
    task = ray.remote(_piece).options(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        memory=int((share.memory_gb or 0) * _GB),
        max_retries=1,  # of a worker that died, not of an error
    )
    shared = ray.put((function, common))
    waiting = iter(todo.items())
    running: dict[Any, str] = {}
    try:
        while True:
            for name, item in waiting:
                running[task.remote(shared, item, share.cpus, share.gpus)] = name
                if len(running) == most:
                    break
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            yield _got(ready, running.pop(ready), folder)
    finally:
        for one in running:
            ray.cancel(one, force=True)


def _got(answer: Any, name: str, folder: Place) -> tuple[str, pa.Table, float]:  # noqa: ANN401
    """An answer of Ray's, or the error that says which piece failed, and why."""
    try:
        table, wall_s = ray.get(answer)
    except RayError as error:
        store.replace(_complaint(folder, name), str(error).encode())
        cause = error.cause if isinstance(error, RayTaskError) else error
        reason = str(cause).strip().splitlines() or [""]
        raise PieceError(
            f"{name!r} failed ({type(cause).__name__}: {reason[0].rstrip('.')}); all about it is "
            f"in '{_complaint(folder, name)}'. What is done is kept: mend the cause, and the same "
            "command takes up the rest."
        ) from error
    return name, table, wall_s


def _piece(
    shared: tuple[Callable[[Item, Common], pa.Table], Common],
    item: Item,
    cpus: int,
    gpus: float | None,
) -> tuple[pa.Table, float]:
    """In a worker: one piece, with as many threads as it has cores."""
    if not gpus:  # Ray hides no device: pieces would crowd onto the first one, uncounted
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.update(dict.fromkeys(_THREADS, str(cpus)))  # of what is imported from here on
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(cpus)
    function, common = shared
    began = time.perf_counter()
    return function(item, common), time.perf_counter() - began
