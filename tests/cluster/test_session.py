"""The session's parameters, and what it leaves behind."""

import os
import tempfile
from pathlib import Path

import pytest
import ray

from mien.cluster.session import Cluster, session


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cores": 0}, r"`cluster.cores` must be at least 1, but is 0"),
        ({"gpus": -1}, r"`cluster.gpus` must be at least 0, but is -1"),
        ({"object_store_gb": 0.01}, r"`cluster.object_store_gb` must be at least 0.1"),
        ({"spare_cpus": 1}, r"`cluster.spare_cpus` must be at least 2 .* but is 1"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cluster(**parameters)


@pytest.mark.ray
def test_a_session_is_bounded_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Path(tempfile.mkdtemp(prefix="mien-999999999-"))  # of a process that was killed
    folders = f"mien-{os.getpid()}-*"
    before = set(Path(tempfile.gettempdir()).glob(folders))
    with session(Cluster(cores=3, object_store_gb=0.2)):
        assert not dead.exists()
        assert ray.cluster_resources()["CPU"] == 5
        assert ray.cluster_resources()["object_store_memory"] == pytest.approx(
            0.2 * 2**30, rel=0.01
        )
        own = list(set(Path(tempfile.gettempdir()).glob(folders)) - before)
        assert len(own) == 1
    assert not own[0].exists()
    assert not ray.is_initialized()
