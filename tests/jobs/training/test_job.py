"""The configuration of `mien train`: what it builds, and what it refuses without starting."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from mien.actors import packages
from mien.cluster.tasks import Progress, Share
from mien.datasets.faces import Faces
from mien.datasets.labelled import Folder
from mien.jobs.progress import console
from mien.jobs.training import job
from mien.jobs.training.job import Run, Watch, placed


def built(*overrides: str) -> Run:
    with initialize_config_module("mien.conf", version_base="1.3"):
        asked = ["job=train", *overrides]
        return instantiate(compose("mien", overrides=asked).job, _convert_="object")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (["data=folder", "data.path=frames"], Folder),
        (["data=faces", "data.run=run", "data.labels=l.csv"], Faces),
    ],
)
def test_every_source_builds(data: list[str], kind: type) -> None:
    run = built(*data)
    assert type(run.training.data) is kind
    assert run.training.protocol.group == "person"
    schedule = run.training.schedule
    assert (schedule.weight_decay, schedule.restart_epochs, schedule.least_rate) == (0.01, 10, 1e-6)
    assert (schedule.patience, schedule.min_delta, schedule.clip_norm) == (7, 0.001, 1.0)


def test_without_its_packages_it_says_what_installs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "absent", lambda names: [n for n in names if n == "torch"])
    assert packages.cure(["torch"]) == "`make setup`"
    run = built("data.path=frames", f"out={tmp_path / 'run'}")
    with pytest.raises(ValueError, match="`mien train` needs torch: `make setup`"):
        run()
    assert not (tmp_path / "run").exists()


def test_each_epoch_is_told_once(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "history.json")
    watch()
    epoch = {"phase": "all", "number": 1, "train_loss": 1.0, "validation_loss": 2.0, "score": 0.5}
    with console.capture() as said:
        for count in (1, 1, 2):
            epochs = [epoch | {"number": number + 1} for number in range(count)]
            (tmp_path / "history.json").write_text(json.dumps(epochs))
            watch()
    assert said.get().count("epoch 1:") == 1
    assert said.get().count("epoch 2:") == 1
    assert "validation loss 2.000" in said.get()


def test_the_state_of_a_fold_goes_once_its_answers_stand(tmp_path: Path) -> None:
    run = built("data.path=frames")
    run.training._states = tmp_path  # pyright: ignore[reportPrivateUsage]
    for name in ("r1f1.pt", "r1f2.pt"):
        (tmp_path / name).write_bytes(b"")
    run._done(Progress("r1f1", 1, 2, 3.0))  # pyright: ignore[reportPrivateUsage]
    assert [path.name for path in tmp_path.iterdir()] == ["r1f2.pt"]


def test_without_a_share_of_a_gpu_none_is_taken() -> None:
    training = built("data.path=frames").training
    assert placed(training, Share(gpus=0)).schedule.device == "cpu"
    assert placed(training, Share(gpus=None)).schedule.device == "auto"
    assert training.schedule.device == "auto"
