import pickle
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import recall_score

from mien.actors.actor import Actor
from mien.actors.voice_features import VoiceFeatures
from mien.actors.voice_states import VoiceStates
from mien.actors.weights import Weights
from mien.cluster.session import Cluster
from mien.datasets.audio import RATE_HZ
from mien.jobs.benchmark import emodb
from mien.jobs.benchmark.emodb import Voice
from mien.jobs.benchmark.voice_systems import VoiceSystem
from mien.jobs.profile import Profile

VOICES_HZ = {"03": 110.0, "08": 200.0, "10": 130.0}
EMOTIONS = {"W": (1.5, 9.0), "N": (1.0, 1.0), "T": (0.8, 0.2)}
"""By letter: how much higher than the speaker's own the pitch is, and how far it swings (st)."""
SYSTEMS = {
    "plain": VoiceSystem(features=["plain"], members={"svm": [0.01, 0.1]}),
    "functionals": VoiceSystem(features=["functionals"], members={"lda": [0.3], "svm": [0.01]}),
    "by_speaker": VoiceSystem(features=["plain"], members={"svm": [0.01]}, by_speaker=True),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones that are named as EmoDB's clips."""
    folder = tmp_path_factory.mktemp("emodb")
    random = np.random.default_rng(0)
    time_s = np.arange(round(0.6 * RATE_HZ)) / RATE_HZ
    for speaker, pitch_hz in VOICES_HZ.items():
        for letter, (height, swing_st) in EMOTIONS.items():
            for version in "abc":
                swing = swing_st * np.sin(2 * np.pi * random.uniform(2, 4) * time_s)
                track_hz = pitch_hz * height * random.uniform(0.95, 1.05) * 2 ** (swing / 12)
                phase = 2 * np.pi * np.cumsum(track_hz) / RATE_HZ
                tone = np.sum([np.sin(k * phase) / k for k in range(1, 9)], axis=0)
                noisy = 0.15 * tone + random.normal(scale=0.003, size=len(time_s))
                with wave.open(str(folder / f"{speaker}a01{letter}{version}.wav"), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(RATE_HZ)
                    file.writeframes(np.rint(noisy * 20000).astype("<i2").tobytes())
    return folder


@pytest.fixture(scope="module")
def rows(clips: Path) -> dict[str, dict]:
    """What the actor says of each clip, made in this process."""
    actor = VoiceFeatures()
    actor.setup()
    files = sorted(clips.iterdir())
    spans = pa.nulls(len(files), pa.float64())
    found = actor.process(
        pa.table({"uri": [str(file) for file in files], "start_s": spans, "stop_s": spans})
    )
    return {file.name: row for file, row in zip(files, found.to_pylist(), strict=True)}


@pytest.fixture
def directly(rows: dict[str, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ray is started for features."""

    def described(
        extraction: object, role: str, actor: Actor, clips: pa.Table
    ) -> dict[str, np.ndarray]:
        files = clips["file"].to_pylist()
        return {x: np.array([rows[file][x] for file in files]) for x in actor.adds.names}

    monkeypatch.setattr(emodb, "described", described)


def voice(clips: Path, **change: Any) -> Voice:  # noqa: ANN401
    given: dict[str, Any] = {
        "path": str(clips),
        "systems": SYSTEMS,
        "tuned": "plain",
        "actors": {"voice_features": VoiceFeatures()},
    }
    return Voice(**(given | change))


PROFILE = Profile(name="none", actors={}, roles={})


@pytest.mark.usefixtures("directly")
def test_each_speaker_is_judged_once_and_answers_are_pooled(clips: Path, tmp_path: Path) -> None:
    one = voice(clips)
    outcome = one.run(Cluster(), tmp_path, PROFILE)
    rows = outcome.predictions.filter(pc.equal(outcome.predictions["system"], "plain"))
    assert rows["fold"].to_pylist() == rows["group"].to_pylist()
    assert sorted(rows["id"].to_pylist()) == sorted(path.name for path in clips.iterdir())
    results = {row["system"]: row for row in outcome.results.to_pylist() if row["metric"] == "uar"}
    expected = recall_score(
        rows["truth"].to_pylist(),
        rows["predicted"].to_pylist(),
        labels=list(one.labels),
        average="macro",
        zero_division=0,  # type: ignore[arg-type]
    )
    assert results["plain"]["value"] == pytest.approx(expected)
    assert results["always the commonest"]["kind"] == "baseline"
    assert "transductive" in results["by_speaker"]["note"]
    assert results["plain"]["note"] == ""
    notes = " ".join(outcome.notes)
    assert "There are only 3" in notes
    assert "Transductive" in notes
    assert any(figure.title == "Intervals by clip" for figure in outcome.figures)


@pytest.mark.usefixtures("directly")
def test_arousal_has_two_levels(clips: Path, tmp_path: Path) -> None:
    one = voice(clips, target="arousal")
    one.prepare(Cluster(), tmp_path)
    (said,) = {len(row) for row in one.judge("03")["scores"].to_pylist()}
    assert (one.name, one.labels, said) == ("emodb arousal", ("low", "high"), 2)
    truth = dict(zip(*(one.judge("03")[x].to_pylist() for x in ("id", "truth")), strict=True))
    assert (truth["03a01Wa.wav"], truth["03a01Ta.wav"]) == ("high", "low")


@pytest.mark.usefixtures("directly")
def test_a_sweep_never_sees_the_fold(clips: Path, tmp_path: Path) -> None:
    one = voice(clips, systems={"plain": VoiceSystem(features=["plain"], members={"svm": [0.01]})})
    one.prepare(Cluster(), tmp_path)
    before = list(one.tune("03"))
    held = one.voices.speakers == "03"
    one.voices.columns["plain"][held] += 100.0
    one.voices.truth[held] = 0
    assert list(one.tune("03")) == before
    assert len(before) == 2
    assert list(one.tune("08")) != before


@pytest.mark.usefixtures("directly")
def test_a_sweep_may_send_it_to_another_process(clips: Path, tmp_path: Path) -> None:
    one = voice(clips)
    one.prepare(Cluster(), tmp_path)
    sent = pickle.loads(pickle.dumps(one))
    assert sent.judge("08").equals(one.judge("08"))


def test_systems_without_their_weights_are_left_out_and_named(
    clips: Path, tmp_path: Path, directly: None
) -> None:
    absent = Weights(name="some/wav2vec2", licence="MIT", path=str(tmp_path / "none"))
    states = VoiceSystem(features=["voice_states"], members={"svm": [0.01]})
    one = voice(
        clips,
        systems={**SYSTEMS, "states": states},
        actors={
            "voice_features": VoiceFeatures(),
            "voice_states": VoiceStates(checkpoint=absent),
        },
    )
    assert one.extraction() == voice(clips).extraction()
    outcome = one.run(Cluster(), tmp_path, PROFILE)
    assert "states" not in outcome.results["system"].to_pylist()
    assert any(note.startswith("Left out: states: ") for note in outcome.notes)


def test_features_have_another_name_when_they_change(clips: Path) -> None:
    states = VoiceSystem(features=["voice_states"], members={"svm": [0.01]})
    fitter = VoiceSystem(features=["plain"], members={"svm": [1.0]})
    assert voice(clips, systems={"plain": fitter}).extraction() == voice(clips).extraction()
    other = voice(clips, systems={"plain": states}, actors={"voice_states": VoiceStates()})
    assert other.extraction() != voice(clips).extraction()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "valence"}, "`benchmark.target` must be one of emotion, arousal"),
        ({"tuned": "best"}, "`benchmark.tuned` must be one of plain"),
        (
            {"systems": {"plain": VoiceSystem(features=["pitch"], members={"svm": [1.0]})}},
            r"`benchmark.systems.plain.features` must be some of functionals, plain",
        ),
    ],
)
def test_what_does_not_exist_is_refused(clips: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        voice(clips, **change)


@pytest.mark.usefixtures("directly")
def test_too_few_speakers_are_refused(clips: Path, tmp_path: Path) -> None:
    for path in clips.glob("0*.wav"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="at least 3 speakers, but has 2"):
        voice(tmp_path).prepare(Cluster(), tmp_path / "run")


@pytest.mark.ray
def test_features_are_made_once_on_ray(clips: Path, tmp_path: Path) -> None:
    first, second = voice(clips), voice(clips)
    first.prepare(Cluster(), tmp_path)
    assert np.isfinite(first.voices.columns["plain"]).all()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert files
    second.prepare(Cluster(), tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    np.testing.assert_array_equal(first.voices.columns["plain"], second.voices.columns["plain"])
