"""The benchmark on generated clips: from the released tree to the page."""

import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from sklearn.metrics import f1_score, recall_score

import tiny_micro
from mien.actors.clip_flow import ClipFlow
from mien.actors.flow import Dis
from mien.cluster import tasks
from mien.cluster.session import Cluster, session
from mien.datasets.micro_sets import SMIC_COUNTS, THREE, Smic
from mien.datasets.schema import CLIP_FLOW, KEY, OUTCOME
from mien.datasets.table import Table
from mien.jobs.benchmark.loso import Folding
from mien.jobs.benchmark.micro import Micro
from mien.jobs.benchmark.micro_anchors import published
from mien.jobs.benchmark.micro_samples import Samples, gathered
from mien.jobs.benchmark.micro_svm import FlowSvm, pooled
from mien.jobs.evaluation.outcome import Outcome
from mien.jobs.evaluation.predictions import of
from mien.jobs.evaluation.record import Record
from mien.jobs.evaluation.save import save
from mien.jobs.evaluation.scores import scores

MODELS: Any = None  # no system of this benchmark uses the profile's actors


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_micro.smic(tmp_path_factory.mktemp("smic"), subjects=4, each=1)


def featured(clips: pa.Table, folder: Path) -> Table:
    """The features as a table, made in this process."""
    flow = ClipFlow(flow=Dis(), size_px=64)
    flow.setup()
    usable = clips.filter(clips["missing"].is_null())
    made = flow.process(usable)
    facts = {"status": "ok", "attempt": 1, "config_hash": "x"}
    columns = {name: usable[name] for name in KEY.names}
    columns |= {name: made[name] for name in CLIP_FLOW.names}
    schema = pa.schema([*KEY, *CLIP_FLOW, *OUTCOME])
    columns |= {f.name: pa.array([facts.get(f.name)] * len(usable), f.type) for f in OUTCOME}
    table = Table(folder, schema)
    table.write(pa.table(columns, schema=schema))
    return table


@pytest.fixture(scope="module")
def samples(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    source = Smic(folder=str(tree))
    clips = source.load().clips
    return gathered(clips, featured(clips, tmp_path_factory.mktemp("table")), source.labels)


def benchmark(tree: Path, samples: Samples | None = None, **changed: Any) -> Micro:  # noqa: ANN401
    made = Micro(
        **{
            "data": "smic",
            "title": "SMIC-HS",
            "path": str(tree),
            "source": Smic(folder=str(tree)),
            "flow": ClipFlow(flow=Dis(), size_px=64),
            "systems": {"flow_svm": FlowSvm()},
            "tuned": "flow_svm",
            "synthetic": True,
            **changed,
        }
    )
    made.samples = samples
    return made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds run in this process, one after another."""

    def answers(
        function: Callable, todo: dict, common: object, *_: object
    ) -> Iterator[tuple[str, pa.Table, float]]:
        for name, item in todo.items():
            yield name, function(item, common), 0.1

    monkeypatch.setattr(tasks, "_answers", answers)
    monkeypatch.setattr(tasks, "session", lambda cluster: nullcontext())


@pytest.mark.parametrize("name", ["smic", "mmew", "4dme", "composite"])
def test_every_configuration_builds(name: str) -> None:
    with initialize_config_module("mien.conf", version_base="1.3"):
        cfg = compose(f"benchmark/{name}", overrides=["benchmark.path=x"])
    made = instantiate(cfg.benchmark, _convert_="object")
    assert isinstance(made, Micro)
    assert made.data == name
    assert made.headline == "uf1"
    assert set(made.systems) == {"flow_svm", "dual_stream"}
    alike = "labels" if name in ("smic", "composite") else "units"
    assert getattr(made.systems["dual_stream"], "alike") == alike  # noqa: B009
    assert len(made.labels) == {"mmew": 7, "4dme": 4}.get(name, 3)


def test_samples_are_the_clips_and_their_features(tree: Path, samples: Samples) -> None:
    assert len(samples) == 12
    assert samples.pictures.shape == (12, 64, 64, 3)
    assert samples.strain.shape == (12, 64, 64)
    assert samples.directions.shape == (12, 8, 8, 8)
    assert not samples.units.any()  # SMIC has none
    assert sorted(set(samples.subjects)) == ["s01", "s02", "s03", "s04"]
    clips = Smic(folder=str(tree)).load().clips.to_pylist()
    known = {row["id"]: (row["subject"], row["label"]) for row in clips}
    for one, subject, truth in zip(samples.ids, samples.subjects, samples.truth, strict=True):
        assert known[one] == (subject, samples.labels[truth])


def test_coded_units_are_read(tmp_path: Path) -> None:
    tiny_micro.fourdme(tmp_path / "4dme", subjects=2)
    from mien.datasets.micro_sets import FourDme

    source = FourDme(folder=str(tmp_path / "4dme"))
    clips = source.load().clips
    found = gathered(clips, featured(clips, tmp_path / "table"), source.labels)
    assert len(found) == 6  # the others' label is none of the four
    units = {
        found.labels[truth]: np.flatnonzero(units).tolist()
        for truth, units in zip(found.truth, found.units, strict=True)
    }
    assert units == {"positive": [12], "negative": [4], "surprise": [1, 2]}


def test_one_person_is_too_few(tmp_path: Path) -> None:
    tiny_micro.smic(tmp_path / "smic", subjects=1, each=1)
    source = Smic(folder=str(tmp_path / "smic"))
    clips = source.load().clips
    with pytest.raises(ValueError, match="at least 2 persons, but there are 1, of 3 clips"):
        gathered(clips, featured(clips, tmp_path / "table"), source.labels)


@pytest.fixture
def outcome(tree: Path, samples: Samples, tmp_path: Path, here: None) -> Outcome:
    return benchmark(tree, samples).run(Cluster(), tmp_path, MODELS)


def test_the_results_are_scikit_learns_on_the_pooled_predictions(outcome: Outcome) -> None:
    rows = of(outcome.predictions, "flow_svm")
    assert len(rows) == 12
    assert rows["fold"].to_pylist() == rows["group"].to_pylist()
    truth, said = rows["truth"].to_pylist(), rows["predicted"].to_pylist()
    assert np.mean(np.array(truth) == np.array(said)) > 0.6  # it has learnt something
    kept: Any = {"labels": list(outcome.labels), "average": "macro", "zero_division": 0}
    found = {
        row["metric"]: row["value"]
        for row in outcome.results.to_pylist()
        if row["system"] == "flow_svm"
    }
    assert found["uf1"] == pytest.approx(f1_score(truth, said, **kept))
    assert found["uar"] == pytest.approx(recall_score(truth, said, **kept))


def test_generated_clips_are_marked_everywhere(outcome: Outcome) -> None:
    assert set(outcome.results["benchmark"].to_pylist()) == {"smic-synthetic"}
    assert set(outcome.predictions["benchmark"].to_pylist()) == {"smic-synthetic"}
    kinds = {row["system"]: row["kind"] for row in outcome.results.to_pylist()}
    assert kinds == {
        "flow_svm": "synthetic",
        "always negative": "baseline",
        "labels by frequency": "baseline",
    }
    assert "synthetic" in outcome.title
    assert any("generated" in note for note in outcome.notes)


def test_the_trivial_baseline_has_its_closed_form(outcome: Outcome) -> None:
    """A third of the clips are negative: F1 of one class is 2/(1 + 3), of the others 0."""
    found = {
        row["metric"]: row["value"]
        for row in outcome.results.to_pylist()
        if row["system"] == "always negative"
    }
    assert found["uf1"] == pytest.approx(0.5 / 3)
    assert found["uar"] == pytest.approx(1 / 3)


def test_the_trivial_baseline_of_the_real_set() -> None:
    """Of 70, 51 and 43 clips: (2 * 70 / (140 + 94)) / 3."""
    truth = [label for label, count in SMIC_COUNTS.items() for _ in range(count)]
    found = scores(truth, ["negative"] * 164, THREE)
    assert found.uf1 == pytest.approx(0.1994, abs=5e-5)
    assert found.uar == pytest.approx(0.3333, abs=5e-5)


@pytest.mark.usefixtures("here")
def test_real_clips_stand_beside_what_is_published(
    tree: Path, samples: Samples, tmp_path: Path
) -> None:
    found = benchmark(tree, samples, synthetic=False).run(Cluster(), tmp_path, MODELS).results
    kinds = {row["system"]: row["kind"] for row in found.to_pylist()}
    assert kinds["flow_svm"] == "system"
    assert kinds["STSTNet"] == "anchor"
    assert all(one.source and one.date for one in published("smic"))


@pytest.mark.usefixtures("here")
def test_a_part_of_a_composite_has_its_own_numbers(
    tree: Path, samples: Samples, tmp_path: Path
) -> None:
    parts = np.where(np.isin(samples.subjects, ["s01", "s02"]), "smic", "samm")
    mixed = Samples(**{**vars(samples), "parts": parts})
    found = benchmark(tree, mixed).run(Cluster(), tmp_path, MODELS)
    rows = {
        row["split"]: row
        for row in found.results.to_pylist()
        if row["system"] == "flow_svm" and row["metric"] == "uf1"
    }
    assert {split: row["rows"] for split, row in rows.items()} == {
        "loso": 12,
        "loso, smic": 6,
        "loso, samm": 6,
    }
    mine = of(found.predictions, "flow_svm").to_pylist()
    mine = [row for row in mine if row["group"] in ("s01", "s02")]
    kept: Any = {"labels": list(found.labels), "average": "macro", "zero_division": 0}
    truth, said = ([row[name] for row in mine] for name in ("truth", "predicted"))
    wanted = f1_score(truth, said, **kept)
    assert rows["loso, smic"]["value"] == pytest.approx(wanted)


@pytest.mark.usefixtures("here")
def test_a_sweep_tunes_on_training_persons(tree: Path, samples: Samples) -> None:
    made = benchmark(tree, samples, folding=Folding(inner=2))
    made = pickle.loads(pickle.dumps(made))  # as to a trial's process
    assert made.folds() == ["s01", "s02", "s03", "s04"]
    (score,) = made.tune("s02")
    assert 0 <= score <= 1
    judged = made.judge("s02")
    assert set(judged["group"].to_pylist()) == {"s02"}
    assert len(judged) == 3
    assert benchmark(tree).extraction() == made.extraction()
    other = benchmark(tree, flow=ClipFlow(flow=Dis(), size_px=32))
    assert other.extraction() != made.extraction()


@pytest.mark.usefixtures("here")
def test_folds_of_other_parameters_are_others(tree: Path, samples: Samples, tmp_path: Path) -> None:
    for system in (FlowSvm(), FlowSvm(cost=1.0), FlowSvm()):
        made = benchmark(tree, samples, systems={"flow_svm": system})
        made.standing("flow_svm", Cluster(), tmp_path)
    assert len(list((tmp_path / "folds").iterdir())) == 2


def test_before_the_features_stand_nothing_is_judged(tree: Path) -> None:
    with pytest.raises(RuntimeError, match="`prepare` must be called"):
        benchmark(tree).judge("s01")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tuned": "net"}, r"`benchmark.tuned` must be one of .*\(flow_svm\), but is 'net'"),
        ({"pictures": -1}, "`benchmark.pictures` must be at least 0, but is -1"),
    ],
)
def test_bad_parameters_are_refused(tree: Path, changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark(tree, **changed)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"blocks": 3}, r"`blocks` must be one of \(1, 2, 4, 8\), but is 3"),
        ({"cost": 0.0}, "`cost` must be greater than 0, but is 0"),
    ],
)
def test_a_bad_svm_is_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowSvm(**parameters)


def test_a_class_that_was_not_learnt_is_never_given(samples: Samples) -> None:
    known = samples.of(samples.truth < 2)
    learn, judge = known.split(["s01"])
    (step,) = FlowSvm().steps(learn, judge, 0)
    assert step.scores.shape == (2, 3)
    assert np.isneginf(step.scores[:, 2]).all()
    assert (step.scores.argmax(1) == judge.truth).any()


def test_where_all_clips_have_one_label_it_is_given(samples: Samples) -> None:
    learn, judge = samples.of(samples.truth == 1).split(["s01"])
    (step,) = FlowSvm().steps(learn, judge, 0)
    assert set(step.scores.argmax(1)) == {1}


def test_blocks_are_means() -> None:
    maps = np.arange(2 * 4 * 4, dtype=float).reshape(2, 4, 4, 1)
    assert pooled(maps, 2)[0, :, :, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert pooled(maps, 1).shape == (2, 1, 1, 1)


@pytest.mark.ray
def test_a_whole_run_and_one_that_takes_up_the_rest(tree: Path, tmp_path: Path) -> None:
    """From the tree to the page on Ray; then with a fold lost, which alone is done again."""
    cluster = Cluster(cores=1, memory_gb=2.0)
    with session(cluster), Record(tmp_path, kind="benchmark", config="") as record:
        first = benchmark(tree).run(cluster, tmp_path, MODELS)
        save(tmp_path, first, record)
        (folder,) = (tmp_path / "folds").iterdir()
        files = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert sorted(files) == [f"piece-s0{i}.parquet" for i in range(1, 5)]
        (folder / "piece-s02.parquet").unlink()  # as if the run had been killed before it
        again = benchmark(tree).run(cluster, tmp_path, MODELS)
    later = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [name for name in files if files[name] != later[name]] == ["piece-s02.parquet"]
    assert again.predictions.equals(first.predictions)
    page = (tmp_path / "index.html").read_text()
    assert "layout only: synthetic clips" in page
    assert re.search(r"flow_svm.*synthetic", page, re.DOTALL)
