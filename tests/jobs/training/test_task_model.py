"""A training as a task: what it can be asked, where it goes on, what its report says."""

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("torch")

import drawn
import tiny_training
from mien.cluster.training import Metrics, Shift
from mien.datasets.labelled import Folder
from mien.jobs.evaluation.figures import Curves, Pictures, Rows
from mien.jobs.evaluation.predictions import PREDICTIONS
from mien.jobs.training.compare import Other
from mien.jobs.training.folds import Protocol
from mien.jobs.training.model import Model, TrainPhase
from mien.jobs.training.report import BASELINE, Final, outcome
from mien.jobs.training.schedule import Schedule
from mien.jobs.training.task import Training
from mien.jobs.training.worker import HISTORY, STATE, train

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("task")


@pytest.fixture(scope="module")
def training(folder: Path) -> Training:
    return tiny_training.training(folder)


def test_tuning_never_sees_what_a_fold_holds_out(folder: Path, training: Training) -> None:
    """Where the held-out frames are noise the scores stay the same, to the last bit."""
    held = training.outer("r1f1")[1]
    spoilt = tiny_training.training(folder)
    pixels = np.array(spoilt.examples.frames.pixels)
    pixels[held] = np.random.default_rng(0).integers(0, 256, pixels[held].shape)
    spoilt.examples.frames.__dict__["pixels"] = pixels
    assert list(spoilt.tune("r1f1")) == list(training.tune("r1f1"))


def test_a_fold_is_predicted_whole_and_by_people_it_has_not_seen(training: Training) -> None:
    assert training.folds() == ["r1f1", "r1f2"]
    tables = [pickle.loads(pickle.dumps(training)).judge(fold) for fold in training.folds()]
    assert all(table.schema.equals(PREDICTIONS) for table in tables)
    groups = [set(table["group"].to_pylist()) for table in tables]
    assert not groups[0] & groups[1]
    rows = pa.concat_tables(tables)
    assert sorted(rows["id"].to_pylist()) == sorted(training.examples.table["id"].to_pylist())
    sums = [sum(scores) for scores in rows["scores"].to_pylist()]
    assert sums == pytest.approx([1.0] * len(rows), abs=1e-5)


def test_a_fold_that_was_killed_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = tiny_training.training(folder, schedule=Schedule(device="cpu", seed=1))
    whole = training.judge("r1f1")
    epochs = json.loads(training.facts("r1f1").read_text())["history"]
    assert len(epochs) == 3
    (training.states / "r1f1.pt").unlink()

    from mien.jobs.training import loop

    trained, count = loop.Fit._train, []  # pyright: ignore[reportPrivateUsage]

    def dies(self: loop.Fit, *args: object) -> tuple[float, int]:
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return trained(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.Fit, "_train", dies)
    with pytest.raises(KeyboardInterrupt):
        training.judge("r1f1")
    again = training.judge("r1f1")
    facts = json.loads(training.facts("r1f1").read_text())
    assert facts["resumed_after"] == 2
    assert len(count) == 4
    assert [e["train_loss"] for e in facts["history"]] == [e["train_loss"] for e in epochs]
    assert again.equals(whole)


def test_what_changes_the_answer_changes_the_hash(folder: Path, training: Training) -> None:
    def changed(**more: Any) -> str:  # noqa: ANN401
        return tiny_training.training(folder, **more).hash()

    assert changed() == training.hash()
    assert changed(schedule=Schedule(device="auto", workers=2)) == training.hash()
    others = {
        changed(schedule=Schedule(device="cpu", seed=1)),
        changed(protocol=Protocol(folds=2, inner=3)),
        changed(model=replace(training.model, batch_size=4)),
    }
    assert len(others | {training.hash()}) == 4
    assert training.extraction() == tiny_training.training(folder).extraction()


def test_one_label_is_refused(tmp_path: Path) -> None:
    drawn.folder(tmp_path / "set", persons=3, frames=1, labels=("sad",))
    with pytest.raises(ValueError, match=r"at least 2 labels, but only found \('sad',\)"):
        tiny_training.training(tmp_path)


def copied(training: Training, **more: object) -> Training:
    made = copy(training)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_the_report_has_its_protocol_its_baseline_and_its_costs(
    training: Training, tmp_path: Path
) -> None:
    judged = pa.concat_tables([training.judge(fold) for fold in training.folds()])
    fit = training.fit()
    for _ in fit.run(training.examples, *training.parted()):
        pass
    kept = Final(network=fit.network, history=fit.history, path=tmp_path)
    found = outcome(training, judged, kept, [Other("x", "tiny_vit", judged)])
    compared, folds, *curves, costs, looks = found.figures
    assert isinstance(compared, Rows)
    assert compared.table["difference"].to_pylist() == [0.0]
    assert isinstance(folds, Rows)
    assert folds.table["fold"].to_pylist() == training.folds()
    assert [type(one) for one in curves] == [Curves] * 3
    assert isinstance(costs, Rows)
    assert costs.table["parameters"][0].as_py() == sum(p.numel() for p in fit.network.parameters())
    assert isinstance(looks, Pictures)
    assert [picture.title for picture in looks.pictures] == sorted(drawn.LABELS * 2)
    systems = found.results["system"].to_pylist()
    assert set(systems) == {"tiny_vit", BASELINE}
    rows = {(r["system"], r["metric"]): r for r in found.results.to_pylist()}
    assert rows[BASELINE, "balanced_accuracy"]["value"] == pytest.approx(0.25)
    assert rows["tiny_vit", "accuracy"]["groups"] == 4
    assert {"auc", "macro_precision", "uar", "macro_f1"} <= {metric for _, metric in rows}
    assert "no person stands on both sides" in found.notes[0]
    synthetic = Folder(path="", synthetic=True)
    marked = outcome(copied(training, data=synthetic), judged, None, [])
    assert {"synthetic", "baseline"} == set(marked.results["kind"].to_pylist())
    assert any("generated" in note for note in marked.notes)


@pytest.mark.parametrize("network", ["temporal_vit", "multimodal"])
def test_clips_and_sound_are_learnt_from(tmp_path: Path, network: str) -> None:
    drawn.folder(tmp_path / "set", persons=3, frames=3, side_px=16, sound=True)
    small = {"patch_px": 4, "width": 12, "layers": 1, "heads": 3}
    parameters = {"frames": 2, "spatial": "tiny_vit", "spatial_parameters": small}
    parameters |= {"layers": 1, "heads": 2, "hidden": 4}
    training = tiny_training.training(
        tmp_path,
        model=Model(
            network=network,
            size_px=8,
            batch_size=8,
            phases={"all": TrainPhase(epochs=1, head_rate=1e-3, backbone_rate=1e-3)},
            parameters=parameters,
        ),
        protocol=Protocol(folds=3, inner=2),
        sound_s=0.3,
    )
    assert len(training.examples.table) == 3 * 4 * 2
    batch = training.examples.batch([0, 1])
    assert batch["mask"].tolist() == [[True, True], [True, False]]
    assert ("audio" in batch) == (network == "multimodal")
    assert len(training.judge("r1f1")) == 8


def test_the_network_that_is_kept_goes_on_from_its_checkpoint(
    training: Training, tmp_path: Path
) -> None:
    class Kept(Shift):
        """As Ray Train would: the last checkpoint stands, and the third report never comes."""

        def __init__(self, lives: int) -> None:
            self.lives, self.said = lives, []

        @contextmanager
        def checkpoint(self) -> Iterator[Path | None]:
            yield tmp_path if (tmp_path / STATE).exists() else None

        def report(self, metrics: Metrics, write: Callable[[Path], None]) -> None:
            if len(self.said) == self.lives:
                raise KeyboardInterrupt
            write(tmp_path)
            self.said.append(metrics["loss"])

    wanted = [e.validation_loss for e in training.fit().run(training.examples, *training.parted())]
    first, second = Kept(1), Kept(9)
    with pytest.raises(KeyboardInterrupt):
        train((training, tmp_path), first)
    train((training, tmp_path), second)
    assert first.said + second.said == wanted
    history = json.loads((tmp_path / HISTORY).read_text())
    assert [epoch["validation_loss"] for epoch in history] == wanted


def test_another_label_is_other_content(tmp_path: Path) -> None:
    content = tiny_training.training(tmp_path).content()
    assert tiny_training.training(tmp_path).content() == content
    picture = min((tmp_path / "set").rglob("*.*g"))
    label, other = sorted(one.name for one in (tmp_path / "set").iterdir() if one.is_dir())[:2]
    moved = tmp_path / "set" / other / picture.relative_to(tmp_path / "set" / label)
    picture.rename(moved.with_stem("999"))
    assert tiny_training.training(tmp_path).content() != content
