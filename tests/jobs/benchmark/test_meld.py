"""MELD from a generated release to an outcome: what is learnt, chosen, judged and said."""

import csv
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from mien.cluster.session import Cluster
from mien.datasets.meld import COLUMNS, EMOTIONS, SENTIMENTS
from mien.datasets.meld import Meld as Release
from mien.datasets.schema import LABELS
from mien.jobs import demo
from mien.jobs.benchmark.late_fusion import Stacked, Weighted
from mien.jobs.benchmark.meld import Meld
from mien.jobs.benchmark.meld_systems import Systems, apart
from mien.jobs.benchmark.modalities import Features, Head, video_ids
from mien.jobs.benchmark.task import Benchmark
from mien.jobs.evaluation.figures import Rows
from mien.jobs.evaluation.outcome import Outcome
from mien.jobs.evaluation.predictions import PREDICTIONS, of
from mien.jobs.evaluation.results import RESULTS
from mien.jobs.profile import Profile

SHARES = (0.4, 0.12, 0.08, 0.1, 0.15, 0.05, 0.1)
WORDS = ("so", "what", "help", "cry", "fun", "ugh", "damn")
CAST = ("Ann", "Ben", "Cat")


def write(
    folder: Path, dialogues: dict[str, int], *, lines: int = 6, known: float = 0.7, seed: int = 0
) -> Path:
    """Write the tables of some splits.

    Args:
        folder: Where to.
        dialogues: How many each split has.
        lines: In each dialogue.
        known: Share of the lines whose words tell the emotion; the others say any word.
        seed: Of all that is drawn.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in dialogues.items():
        rows = []
        for dialogue in range(count):
            for line in range(lines):
                emotion = int(random.choice(len(EMOTIONS), p=SHARES))
                tells = emotion if random.random() < known else int(random.choice(len(EMOTIONS)))
                stranger = split != "train" and dialogue == 0 and line == 0
                speaker = "Stranger" if stranger else CAST[line % len(CAST)]
                text = f"{WORDS[tells]} {split} {dialogue} {line}"
                start = f"00:{dialogue % 60:02}:{line * 5:02},000"
                stop = f"00:{dialogue % 60:02}:{line * 5 + 3:02},000"
                number = len(rows) + 1
                sentiment = SENTIMENTS[emotion % 3]
                rows.append(
                    [
                        *(number, text, speaker, EMOTIONS[emotion], sentiment, dialogue, line),
                        *(1, dialogue // 4, start, stop),
                    ]
                )
        with (folder / f"{split}_sent_emo.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    return folder


@dataclass(kw_only=True)
class Words:
    """A text system that counts which word goes with which emotion; a deaf one hears no words."""

    inputs: str = "text"
    packages: tuple[str, ...] = ()
    deaf: bool = False

    def features(self) -> dict:
        return {}

    def fit_predict(self, train: pa.Table, held: pa.Table) -> NDArray[np.float64]:
        counts = {word: np.ones(len(EMOTIONS)) for word in WORDS}
        for word, emotion in zip(self.heard(train), train["emotion"].to_pylist(), strict=True):
            counts[word][EMOTIONS.index(emotion)] += 1
        found = np.array([counts[word] for word in self.heard(held)])
        return found / found.sum(1, keepdims=True)

    def heard(self, rows: pa.Table) -> list[str]:
        return [WORDS[0] if self.deaf else text.split()[0] for text in rows["text"].to_pylist()]


def numbers(rows: pa.Table, strength: float, *, missing: float = 0.0, seed: int = 0) -> Features:
    """Features that know the emotion as well as `strength` says; a share of the rows has none."""
    random = np.random.default_rng(seed)
    truth = np.array([EMOTIONS.index(name) for name in rows["emotion"].to_pylist()])
    values = random.normal(size=(len(rows), len(EMOTIONS) + 3))
    values[np.arange(len(rows)), truth] += strength
    gone = random.random(len(rows)) < missing
    values[gone] = np.nan
    names = tuple(f"n{i}" for i in range(values.shape[1]))
    return Features(
        names=names, values=values, missing=["no voice was heard" if g else None for g in gone]
    )


def built(folder: Path, **fields: object) -> Meld:
    """The benchmark on a release, with a text system of this module."""
    given = {
        "path": str(folder),
        "models": Profile(name="none", actors={}),
        "text": {"words": Words()},
        "heads": {"audio": Head(), "face": Head()},
        "fusions": (Weighted(steps=5), Stacked()),
        "parts": 3,
    }
    return Meld(**{**given, **fields})


def judged(meld: Meld, folder: Path) -> Outcome:
    return meld.run(Cluster(), folder, meld.models)


def heard(
    folder: Path, audio: float, *, missing: float = 0.0, seed: int = 0, **fields: object
) -> Meld:
    """The benchmark with generated numbers in the place of what is heard in clips."""
    meld = built(folder, clips=str(folder), modalities=["audio", "text"], **fields)
    rows = Release(path=str(folder)).read()
    meld.prepared = Systems(
        rows=rows,
        labels=meld.labels,
        metric=meld.headline,
        texts=meld.text,
        read=dict.fromkeys(meld.text, rows),
        features={"audio": numbers(rows, audio, missing=missing, seed=seed)},
        heads=meld.heads,
        fusions=meld.fusions,
        parts=meld.parts,
    )
    return meld


def value(outcome: Outcome, system: str, metric: str = "weighted_f1", split: str = "dev") -> float:
    rows = outcome.results.to_pylist()
    found = [r["value"] for r in rows if (r["system"], r["metric"]) == (system, metric)]
    assert len([r for r in rows if r["split"] == split]) >= 1
    return next(iter(found))


def said(outcome: Outcome, pattern: str) -> str:
    """The only note that holds something."""
    (found,) = [note for note in outcome.notes if re.search(pattern, note)]
    return found


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("meld"), {"train": 150, "dev": 60})


@pytest.fixture(scope="module")
def outcome(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    text = {"flat": Words(deaf=True), "words": Words()}
    return judged(built(release, text=text), tmp_path_factory.mktemp("run"))


def test_it_is_a_benchmark(release: Path) -> None:
    meld: Benchmark = built(release)
    assert meld.labels == EMOTIONS
    assert meld.extraction() == built(release).extraction()


def test_a_value_is_what_scikit_learn_says_of_the_predictions(outcome: Outcome) -> None:
    assert outcome.predictions.schema.equals(PREDICTIONS)
    assert outcome.results.schema.equals(RESULTS)
    rows = of(outcome.predictions, "words")
    truth, answers = rows["truth"].to_pylist(), rows["predicted"].to_pylist()
    for average in ("weighted", "macro"):
        own = f1_score(truth, answers, labels=list(EMOTIONS), average=average)
        assert value(outcome, "words", f"{average}_f1") == pytest.approx(own)
    assert value(outcome, "words") > value(outcome, "always neutral") + 0.2


def test_the_tables_hold_baselines_and_dated_anchors_of_test(outcome: Outcome) -> None:
    rows = outcome.results.to_pylist()
    assert {r["system"] for r in rows if r["kind"] == "baseline"} == {
        *("always neutral", "commonest of the speaker", "labels by frequency")
    }
    anchors = [r for r in rows if r["kind"] == "anchor"]
    assert len(anchors) > 15
    assert all(r["split"] == "test" and r["source"] and r["date"] and r["note"] for r in anchors)
    assert all(0.3 < r["value"] < 0.75 and r["low"] is None for r in anchors)
    (mister,) = (r for r in anchors if r["system"] == "MiSTER-E")
    assert (mister["value"], mister["source"]) == (0.679, "arXiv 2602.23300")
    assert "its abstract has 0.695" in mister["note"]
    own = next(r for r in rows if r["system"] == "words" and r["metric"] == "weighted_f1")
    assert own["low"] < own["value"] < own["high"]
    assert (own["rows"], own["groups"]) == (360, 60)


def test_the_protocol_is_said(outcome: Outcome) -> None:
    assert said(outcome, "Trained on train").endswith("no dialogue is in both.")
    assert said(outcome, "no like-for-like")
    assert said(outcome, "3-fold cross-validation within train")
    assert "the speakers of 359 of 360 rows" in said(outcome, "one cast")
    assert said(outcome, "“Audio degrades fusion” was not tested")


def test_the_system_is_chosen_in_train_and_a_named_one_is_not(
    release: Path, outcome: Outcome, tmp_path: Path
) -> None:
    notes = {r["system"]: r["note"] for r in outcome.results.to_pylist() if r["split"] == "dev"}
    assert notes["words"].endswith("cross-validated in train; chosen there")
    assert "chosen" not in notes["flat"]
    text = {"flat": Words(deaf=True), "words": Words()}
    named = judged(built(release, text=text, fused="flat"), tmp_path)
    assert said(named, "Nothing was chosen").startswith("Nothing was chosen: flat was named")


def test_rows_of_unknown_speakers_are_judged_apart(outcome: Outcome) -> None:
    rows = [r for r in outcome.results.to_pylist() if "unknown to train" in r["split"]]
    assert {r["rows"] for r in rows} == {1}
    assert "words" in {r["system"] for r in rows}


def test_with_a_test_split_dev_is_chosen_on_and_test_is_judged(tmp_path: Path) -> None:
    """A system that is better in train and on dev is fused, though it is worse on test."""
    write(tmp_path, {"train": 60, "dev": 40})
    write(tmp_path, {"test": 40}, known=0.0, seed=5)
    meld = built(tmp_path, text={"flat": Words(deaf=True), "words": Words()})
    made = judged(meld, tmp_path / "run")
    assert meld.folds() == ["test"]
    assert set(made.predictions["split"].to_pylist()) == {"test"}
    assert said(made, "were made on dev")
    rows = {r["system"]: r["note"] for r in made.results.to_pylist() if r["split"] == "test"}
    assert rows["words"].endswith("on dev; chosen there")
    assert "chosen" not in rows["flat"]
    assert not [note for note in made.notes if "no like-for-like" in note]


def test_nothing_that_is_learnt_or_tuned_sees_the_judged_labels(release: Path) -> None:
    """The labels of dev may be anything: the predictions stay, and so do the tuned scores."""
    first = heard(release, 1.0)
    other = heard(release, 1.0)
    rows = other.systems.rows
    place = rows.schema.get_field_index("emotion")
    dev = pc.equal(rows["split"], "dev")
    column = pc.if_else(dev, pa.scalar("fear"), rows["emotion"])
    scrambled = rows.set_column(place, rows.schema.field("emotion"), column)
    other.prepared = replace(other.systems, rows=scrambled, read={"words": scrambled})
    assert first.judge("dev")["predicted"] == other.judge("dev")["predicted"]
    assert first.judge("dev")["truth"] != other.judge("dev")["truth"]
    assert list(first.tune("dev")) == list(other.tune("dev"))


def test_tuning_goes_by_parts_of_train(release: Path) -> None:
    meld = built(release)
    meld.prepare(Cluster(), release / "run")
    steps = list(meld.tune("dev"))
    assert len(steps) == 3
    assert steps[-1] == pytest.approx(meld.systems.merit("words"), abs=0.02)  # pooled, or averaged
    with pytest.raises(ValueError, match="`fold` must be 'dev', but is 'test'"):
        meld.judge("test")


def test_the_judged_fold_is_what_a_run_reports(release: Path, tmp_path: Path) -> None:
    made = judged(heard(release, 1.5), tmp_path)
    rows = heard(release, 1.5).judge("dev")
    assert rows["system"][0].as_py() == "text + audio"
    same = of(made.predictions, "text + audio")
    assert rows["predicted"] == same["predicted"]


def test_sound_that_tells_more_is_used(release: Path, tmp_path: Path) -> None:
    made = judged(heard(release, 2.0), tmp_path)
    assert ": not supported." in said(made, "Audio degrades fusion”")
    assert value(made, "text + audio") > value(made, "words") + 0.05
    assert said(made, "Audio degrades fusion, with equal weights")


def test_sound_that_tells_nothing_degrades_equal_weights_and_is_learnt_to_be_left_out(
    tmp_path: Path,
) -> None:
    """A head that fits noise is as sure as the words are: its features are many, rows are few."""
    write(tmp_path, {"train": 60, "dev": 120}, known=0.55)
    made = judged(heard(tmp_path, 0.0, heads={"audio": Head(c=1e4)}), tmp_path / "run")
    assert ": supported." in said(made, "Audio degrades fusion, with equal weights")
    assert ": supported." not in said(made, "Audio degrades fusion”")
    assert value(made, "text + audio") > value(made, "text + audio, equal weights")


def test_a_row_without_sound_is_judged_and_counted(release: Path, tmp_path: Path) -> None:
    made = judged(heard(release, 2.0, missing=0.4), tmp_path)
    audio = of(made.predictions, "audio")
    assert len(audio) == 360
    assert re.search(r"Audio is missing in \d{3} rows: \d{3} no voice", said(made, "is missing in"))
    assert value(made, "text + audio") > value(made, "words")


def test_every_pair_is_tested_and_adjusted(release: Path, tmp_path: Path) -> None:
    made = judged(heard(release, 2.0), tmp_path)
    (pairs,) = [figure for figure in made.figures if isinstance(figure, Rows)]
    table = pairs.table.to_pylist()
    assert {"words", "audio"} <= {row["b"] for row in table if row["a"] == "text + audio"}
    assert all(row["p"] <= row["p, Holm"] <= 1 for row in table)
    names = {frozenset((row["a"], row["b"])) for row in table}
    assert len(names) == len(table)


def test_a_system_whose_package_is_absent_is_left_out_and_named(
    release: Path, tmp_path: Path
) -> None:
    text = {"words": Words(), "more": Words(packages=("no_such_package",))}
    made = judged(built(release, text=text), tmp_path)
    assert "more: needs the package no_such_package" in said(made, "Left out")
    assert "more" not in made.predictions["system"].to_pylist()


def test_a_dialogue_on_both_sides_is_refused(release: Path) -> None:
    with pytest.raises(ValueError, match="but 'train-7' is on both sides"):
        apart(["train-7", "train-8"], ["dev-7", "train-7"])
    systems = heard(release, 1.0).systems
    with pytest.raises(ValueError, match="a dialogue must not be learnt from and judged"):
        systems.said("audio", np.arange(6), np.arange(4, 8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modalities": []}, "`benchmark.modalities` must be one or more of text, audio, face"),
        ({"modalities": ["smell"]}, r"`benchmark.modalities` must be .* but is \['smell'\]"),
        ({"modalities": ["text", "text"]}, "each once"),
        ({"modalities": ["audio"]}, "`benchmark.clips` must be the folder of MELD's clips"),
        ({"fused": "other"}, r"`benchmark.fused` must name what there is \(words\)"),
        ({"zero_shot": ["claude"]}, "`benchmark.zero_shot` must name what there is"),
        ({"parts": 1}, "`benchmark.parts` must be at least 2, but is 1"),
        (
            {"modalities": ["text", "audio"], "clips": "c", "fusions": ()},
            "`benchmark.fusions` must name a way to fuse",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(fields: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        built(tmp_path, **fields)


def test_a_release_without_a_split_to_judge_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train": 4})
    with pytest.raises(ValueError, match="one of dev and test, but has train"):
        judged(built(tmp_path), tmp_path / "run")


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train": 4, "dev": 2})
    wrong = built(tmp_path, clips=str(tmp_path), modalities=("text", "audio"))
    with pytest.raises(FileNotFoundError, match=r"`benchmark.clips` must hold MELD's"):
        wrong.prepare(Cluster(), tmp_path / "run")


# ------------------------------------------------------------------------------------ real clips
def still(path: Path) -> None:
    """A clip without people or speech: a grey picture and silence."""
    with av.open(str(path), "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for _ in range(10):
            image = np.full((48, 64, 3), 90, np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


@pytest.mark.ray
def test_clips_are_analysed_and_what_is_missing_stays_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed (extra `demo`)")
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed (extra `demo`)")
    write(tmp_path, {"train": 2, "dev": 1}, lines=3)
    shot = demo.Shot(views=(demo.View(who="ann", width_px=250),), lines=(("ann", "I am well."),))
    monkeypatch.setattr(demo, "SCRIPT", (shot,))
    talk = demo.make(tmp_path / "talk.mp4")
    train, dev = tmp_path / "MELD.Raw/train_splits", tmp_path / "MELD.Raw/dev_splits_complete"
    train.mkdir(parents=True)
    dev.mkdir()
    for path in (train / "dia0_utt0.mp4", train / "dia1_utt1.mp4", dev / "dia0_utt0.mp4"):
        shutil.copy(talk, path)
    still(train / "dia0_utt1.mp4")
    (dev / "dia0_utt1.mp4").write_bytes(b"no video at all")

    with initialize_config_module("mien.conf", version_base="1.3"):
        models = instantiate(compose("mien").models, _convert_="object")
    given = {"clips": str(tmp_path), "modalities": ["face", "text", "audio"], "models": models}
    meld = built(tmp_path, **given, parts=2)
    meld.prepare(Cluster(), tmp_path / "run")
    rows = video_ids(meld.systems.rows)
    audio, face = (meld.systems.features[name] for name in ("audio", "face"))
    for one in (audio, face):
        there = {name for name, known in zip(rows, one.present, strict=True) if known}
        assert there == {"train-dia0-utt0", "train-dia1-utt1", "dev-dia0-utt0"}
        assert not np.isnan(one.values[one.present]).all(1).any()
        missing = dict(zip(rows, one.missing, strict=True))
        assert missing["train-dia0-utt2"] == missing["dev-dia0-utt2"] == "the clip is not there"
        assert "videos failed" in str(missing["dev-dia0-utt1"])
    assert dict(zip(rows, audio.missing, strict=True))["train-dia0-utt1"] == "no voice was heard"
    assert dict(zip(rows, face.missing, strict=True))["train-dia0-utt1"] == "no face was seen"
    heard = dict(zip(audio.names, audio.values[rows.index("dev-dia0-utt0")], strict=True))
    assert 80 < heard["pitch_hz"] < 400
    assert 0.3 < heard["speech_s"] < 3
    seen = dict(zip(face.names, face.values[rows.index("dev-dia0-utt0")], strict=True))
    assert seen["faces"] == 1
    assert sum(seen[name] for name in LABELS) == pytest.approx(1)

    tables = tmp_path / "run" / "clips" / "tables"
    files = {path: path.stat().st_mtime_ns for path in tables.glob("*/*.parquet")}
    again = built(tmp_path, **given, parts=2)
    again.prepare(Cluster(), tmp_path / "run")
    assert again.extraction() == meld.extraction() != built(tmp_path).extraction()
    assert files
    assert {path: path.stat().st_mtime_ns for path in tables.glob("*/*.parquet")} == files
    assert again.judge("dev")["system"].to_pylist() == ["text + audio + face"] * 3
