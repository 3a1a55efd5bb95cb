"""The session's parameters, and what it leaves behind."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster as Raylets

from mien.cluster import wheel
from mien.cluster.memory import Reading
from mien.cluster.need import Node
from mien.cluster.nodes import capped
from mien.cluster.session import Cluster, session

WITHOUT_MIEN = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if not str(f.__module__).startswith("__editable__")]
sys.path[:] = [path for path in sys.path if not path.startswith("__editable__")]
"""


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cores": 0}, r"`cluster.cores` must be at least 1, but is 0"),
        ({"gpus": -1}, r"`cluster.gpus` must be at least 0, but is -1"),
        ({"memory_gb": 0.0}, r"`cluster.memory_gb` must be greater than 0, but is 0"),
        ({"reserve_gb": -1.0}, r"`cluster.reserve_gb` must be at least 0, but is -1"),
        ({"object_store_gb": 0.01}, r"`cluster.object_store_gb` must be at least 0.1"),
        ({"spare_cpus": 1}, r"`cluster.spare_cpus` must be at least 2 .* but is 1"),
        ({"nodes": 2}, r"`cluster.nodes` must be 1 where Ray is started here, but is 2"),
        ({"address": "ray://head:10001"}, r"`cluster.address` must be `auto` or `HOST:PORT`"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cluster(**parameters)


def test_a_machine_without_memory_to_spare_has_none_and_not_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = Reading(kind="none", total_gb=8.0, available_gb=1.0)
    monkeypatch.setattr("mien.cluster.session.read", lambda: small)
    assert Cluster().machine().nodes[0].memory_gb == 0.0


def test_this_machine_is_described_before_ray_starts() -> None:
    cluster = Cluster(cores=3, gpus=2, memory_gb=5.0)
    (node,) = cluster.machine().nodes
    assert (node.cpus, node.memory_gb, node.gpus) == (3, 5.0, 2)
    measured = Cluster(cores=3)
    (node,) = measured.machine().nodes
    assert node.memory_gb is None or node.memory_gb > 0
    assert measured.machine().nodes[0] is node  # read once: Ray is given what the plan was


@pytest.mark.parametrize(
    ("cores", "memory_gb", "expected"),
    [
        (None, None, [(2, 4.0), (8, None), (8, 16.0)]),
        (12, None, [(2, 4.0), (5, None), (5, 16.0)]),
        (2, None, [(1, None), (1, 16.0)]),
        (100, 8.0, [(2, 4.0), (8, 8.0), (8, 8.0)]),
    ],
)
def test_a_cluster_is_taken_no_more_of_than_allowed(
    cores: int | None, memory_gb: float | None, expected: list[tuple[float, float | None]]
) -> None:
    nodes = [Node(cpus=c, memory_gb=gb) for c, gb in ((8, None), (2, 4.0), (8, 16.0))]
    found = capped(nodes, cores, memory_gb)
    assert [(node.cpus, node.memory_gb) for node in found] == expected


@pytest.mark.ray
def test_a_session_is_bounded_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # of no concern to a session of our own
    dead = Path(tempfile.mkdtemp(prefix="mien-999999999-"))  # of a process that was killed
    folders = f"mien-{os.getpid()}-*"
    before = set(Path(tempfile.gettempdir()).glob(folders))
    with session(Cluster(cores=3, object_store_gb=0.2, memory_gb=1.5)):
        assert not dead.exists()
        resources = ray.cluster_resources()
        assert resources["CPU"] == 5
        assert resources["object_store_memory"] == pytest.approx(0.2e9, rel=0.01)
        assert resources["memory"] == pytest.approx(1.5e9, rel=0.01)
        own = list(set(Path(tempfile.gettempdir()).glob(folders)) - before)
        assert len(own) == 1
    assert not own[0].exists()
    assert not ray.is_initialized()


@pytest.mark.ray
def test_no_ray_at_an_address_is_an_error_that_names_it() -> None:
    with (
        pytest.raises(ConnectionError, match=r"no Ray can be reached .* \('127.0.0.1:1'\)"),
        session(Cluster(address="127.0.0.1:1")),
    ):
        pass


class Stopped(BaseException):
    """What a command does on SIGTERM."""


@pytest.mark.ray
def test_a_command_keeps_its_own_way_to_end() -> None:
    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    cluster = Cluster(cores=1, object_store_gb=0.1, memory_gb=1.0)
    try:
        with pytest.raises(Stopped), session(cluster):
            signal.raise_signal(signal.SIGTERM)  # Ray would leave with `SystemExit`
        assert not ray.is_initialized()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A Ray that does not start in so many attempts as there are entries."""
    failures: list[bool] = []

    def init(*words: object, **more: object) -> None:
        if failures:
            failures.pop()
            raise Exception("The current node timed out during startup. This could happen")

    monkeypatch.setattr(ray, "init", init)
    return failures


def test_ray_is_started_again_where_its_helpers_were_late(late: list[bool]) -> None:
    late += [True, True]
    with session(Cluster(cores=1, memory_gb=1.0)):
        assert not late
    late += [True] * 4
    with (
        pytest.raises(ConnectionError, match="did not start in 3 attempts"),
        session(Cluster(cores=1, memory_gb=1.0)),
    ):
        pass
    assert len(late) == 1


@pytest.fixture
def raylets(token: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Raylets]:
    """A Ray cluster of two nodes that stands already, and whose workers do not find mien."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_MIEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    small: dict[str, Any] = {"object_store_memory": 80_000_000, "memory": 10**9}
    cluster = Raylets(initialize_head=True, head_node_args={"num_cpus": 2, **small})
    try:
        cluster.add_node(num_cpus=4, **small)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.ray
def test_a_cluster_that_stands_is_joined_and_given_the_code(
    raylets: Raylets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def code() -> str:
        from mien.cluster import host

        return host.__file__

    def found(**env: Any) -> list[str]:  # noqa: ANN401
        task = ray.remote(num_cpus=1, scheduling_strategy="SPREAD", runtime_env=env)(code)
        return ray.get([task.remote() for _ in range(4)])

    with (
        session(Cluster(address=raylets.address, ship=False)),
        pytest.raises(ModuleNotFoundError, match="mien"),
    ):
        found()
    assert not ray.is_initialized()

    def secret() -> tuple[str | None, str | None]:
        return os.environ.get("AWS_SECRET_ACCESS_KEY"), os.environ.get("OTHER_KEY")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("OTHER_KEY", "mine")
    shipped = Cluster(address=raylets.address, nodes=2)
    with session(shipped):
        (node,) = shipped.machine().nodes  # the head's two CPUs are those that stay free
        assert (node.cpus, node.memory_gb, node.gpus) == (4, 1.0, 0)
        task: Any = ray.remote(num_cpus=1)(secret)
        assert ray.get(task.remote()) == ("s3cret", None)
        assert raylets.head_node
        logs = Path(raylets.head_node.get_session_dir_path(), "logs")
        texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
        assert any(b"OMP_NUM_THREADS" in text for text in texts)
        assert not any(b"s3cret" in text for text in texts)
        here = Path(wheel.__file__).with_name("host.py").read_bytes()
        another = found(py_executable=sys.executable, env_vars={"PYTHONPATH": "/not/here"})
        for path in map(Path, [*found(), *another]):
            assert "py_modules_files" in path.parts
            assert path.read_bytes() == here
    assert len(raylets.list_all_nodes()) == 2, "it stands as before"


@pytest.mark.ray
def test_nodes_that_do_not_come_are_an_error(raylets: Raylets) -> None:
    cluster = Cluster(address=raylets.address, nodes=3, wait_s=1, ship=False)
    with (
        pytest.raises(ConnectionError, match=r"`cluster.nodes` is 3, but after 1 s .* has 2"),
        session(cluster),
    ):
        pass
