"""Pieces of work: kept one by one, resumed, and never less than all."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pytest

from mien.cluster import tasks
from mien.cluster.need import Machine, Node
from mien.cluster.session import Cluster, session
from mien.cluster.tasks import PieceError, Progress, Share, file, keep, run

SUBJECTS = {"s01": 1, "s02": 2, "part/s 03": 3}


def squared(item: int, common: dict) -> pa.Table:
    common["calls"].append(item)
    if item == common.get("bad"):
        raise ValueError(f"the fold of {item} has one class only.")
    return pa.table({"square": [item**2]})


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces run in this process, one after another: what Ray does is tested below."""

    def answers(
        function: Callable, todo: dict, common: dict, *_: object
    ) -> Iterator[tuple[str, pa.Table, float]]:
        for name, item in todo.items():
            yield name, *tasks._piece((function, common), item, 1, 0.0)  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(tasks, "_answers", answers)
    monkeypatch.setattr(tasks, "session", lambda cluster: nullcontext())
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")


@pytest.mark.usefixtures("here")
def test_a_run_that_was_ended_takes_up_the_rest(tmp_path: Path) -> None:
    common: dict = {"calls": [], "bad": 3}
    with pytest.raises(ValueError, match="one class only"):
        run(squared, SUBJECTS, tmp_path, cluster=Cluster(), common=common)
    assert file(tmp_path, "s02").exists()
    common = {"calls": []}
    said: list[Progress] = []
    done = run(squared, SUBJECTS, tmp_path, cluster=Cluster(), common=common, progress=said.append)
    assert common["calls"] == [3]  # the others stood
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""  # no share of a device, none to be seen
    assert [(one.name, one.done, one.total) for one in said] == [
        ("s01", 1, 3),
        ("s02", 2, 3),
        ("part/s 03", 3, 3),
    ]
    assert {name: table["square"][0].as_py() for name, table in done.items()} == {
        "s01": 1,
        "s02": 4,
        "part/s 03": 9,
    }


def test_a_name_is_no_path(tmp_path: Path) -> None:
    keep(tmp_path / "folds", "../s01", pa.table({"x": [1]}))
    assert [path.parent for path in tmp_path.rglob("*.parquet")] == [tmp_path / "folds"]


@pytest.mark.parametrize(
    ("share", "nodes", "most"),
    [
        (Share(cpus=2), (Node(cpus=5), Node(cpus=3)), 3),
        (Share(gpus=0.5), (Node(cpus=8, gpus=2),), 4),
        (Share(gpus=2), (Node(cpus=8, gpus=3),), 1),
        (Share(gpus=1), (Node(cpus=8),), 0),
        (Share(memory_gb=3), (Node(cpus=8, memory_gb=10),), 3),
        (Share(gpus=0.6), (Node(cpus=8, gpus=2),), 2),
    ],
)
def test_pieces_share_a_machine(share: Share, nodes: tuple[Node, ...], most: int) -> None:
    assert share.fits(Machine(nodes=nodes)) == most


@pytest.mark.parametrize(("gpus", "share"), [(0, 0.0), (2, 1.0)])
def test_a_piece_takes_a_device_where_there_is_one(gpus: int, share: float) -> None:
    machine = Machine(nodes=(Node(cpus=2), Node(cpus=2, gpus=gpus)))
    assert Share(gpus=None).on(machine).gpus == share
    assert Share(gpus=0.25).on(machine).gpus == 0.25


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cpus": 0}, "`cpus` must be at least 1, but is 0"),
        ({"gpus": 1.5}, "`gpus` must be a fraction of one device or whole devices, but is 1.5"),
        ({"memory_gb": 0}, "`memory_gb` must be greater than 0, but is 0"),
    ],
)
def test_an_impossible_share_is_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Share(**parameters)


@pytest.mark.ray
def test_pieces_run_on_ray_and_one_that_fails_is_named(tmp_path: Path) -> None:
    """One session: a failure, what it leaves, resuming, threads, and a share that cannot be."""

    def seen(item: int, common: dict) -> pa.Table:
        if item == common["bad"]:
            raise ValueError("the fold has one class only.\nAnd more.")
        return pa.table({"item": [item], "threads": [int(os.environ["OMP_NUM_THREADS"])]})

    cluster, small = Cluster(cores=2, memory_gb=2.0), tmp_path / "folds"
    with session(cluster):
        share = Share(cpus=2)
        with pytest.raises(PieceError, match=r"'s02' failed \(ValueError: the fold has one class"):
            run(seen, SUBJECTS, small, cluster=cluster, share=share, common={"bad": 2})
        assert file(small, "s01").exists()
        assert "And more" in (small / "failed-s02.txt").read_text()
        done = run(seen, SUBJECTS, small, cluster=cluster, share=share, common={"bad": 0})
        assert [table["item"][0].as_py() for table in done.values()] == [1, 2, 3]
        assert done["s02"]["threads"].to_pylist() == [2]
        assert not (small / "failed-s02.txt").exists()
        with pytest.raises(ValueError, match="takes 1 cores, 1 GPUs and 0 GB, but no node"):
            run(seen, {"x": 1}, small, cluster=cluster, share=Share(gpus=1), common={"bad": 0})
