"""Ray Train: a worker's death, a driver's death, two workers; and what comes out is the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray.cloudpickle

pytest.importorskip("torch")
pytest.importorskip("ray.train")

import tiny_training
from mien.cluster.session import Cluster, session
from mien.cluster.tasks import Share
from mien.cluster.training import Crew, Shift, fit
from mien.jobs.training.task import Training, loaded
from mien.jobs.training.worker import HISTORY, STATE, train

pytestmark = [pytest.mark.models, pytest.mark.ray]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not see the tests

DRIVER = """
import sys
from pathlib import Path
import tiny_training
from mien.cluster.session import Cluster
from mien.cluster.training import Crew, fit
from mien.jobs.training.worker import train
folder = Path(sys.argv[1])
training = tiny_training.training(folder.parent)
fit(train, (training, folder), folder / "checkpoints", cluster=Cluster(cores=1), crew=Crew())
"""


def dies(common: tuple[Training, Path], shift: Shift) -> None:
    """Trains; the worker kills itself before the second epoch, once."""
    mark = common[1] / "died"
    report = shift.report

    def last(*args: object) -> None:
        report(*args)  # type: ignore[arg-type]
        if not mark.exists():
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)

    shift.report = last  # type: ignore[method-assign]
    train(common, shift)


def losses(history: Path) -> list[tuple[float, float]]:
    return [(e["train_loss"], e["validation_loss"]) for e in json.loads(history.read_text())]


def plain(training: Training) -> list[tuple[float, float]]:
    """The same training without Ray, with as many threads as a worker has."""
    import torch

    torch.set_num_threads(1)
    epochs = training.fit().run(training.examples, *training.parted())
    return [(epoch.train_loss, epoch.validation_loss) for epoch in epochs]


def test_deaths_change_nothing(tmp_path: Path) -> None:
    training = tiny_training.training(tmp_path)
    wanted = plain(training)

    killed = tmp_path / "driver"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRIVER, str(killed)]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    until = time.monotonic() + 300
    while not (killed / HISTORY).exists():
        assert driver.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < until
        time.sleep(0.01)
    driver.kill()
    driver.wait()

    with session(Cluster(cores=2)):
        for function, folder, crew in (
            (train, killed, Crew()),  # goes on in a new Ray
            (dies, tmp_path / "worker", Crew()),
        ):
            folder.mkdir(exist_ok=True)
            kept, metrics = fit(
                function, (training, folder), folder / "checkpoints", cluster=Cluster(), crew=crew
            )
            assert losses(folder / HISTORY) == wanted
            assert metrics["loss"] == wanted[-1][1]
            assert loaded(kept / STATE)["phase"] == len(training.model.phases)
        assert (tmp_path / "worker" / "died").exists()

        both = tmp_path / "both"
        kept, metrics = fit(
            train, (training, both), both / "checkpoints", cluster=Cluster(), crew=Crew(workers=2)
        )
        assert metrics["loss"] == pytest.approx(wanted[-1][1], rel=0.2)
        rows = [epoch["rows"] for epoch in json.loads((both / HISTORY).read_text())]
        learn = len(training.parted()[0])
        assert rows == [-(-learn // 2)] * len(wanted)

        with pytest.raises(ValueError, match="`workers` is 99, but the cluster has room for"):
            fit(train, (training, both), both, cluster=Cluster(), crew=Crew(workers=99))


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"failures": -1}])
def test_a_wrong_crew_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be at least"):
        Crew(share=Share(), **wrong)
