from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.actors import embedding
from mien.actors.clustering import windows
from mien.actors.embedding import TAIL, WITHIN, Phonetic, cepstra, mel_filters
from mien.actors.speakers import ResemblyzerSpeakers, Speakers, read_frames
from mien.actors.voice_activity import VoiceActivity
from mien.datasets import audio
from mien.datasets.schema import TURNS


@pytest.fixture(scope="module")
def speakers() -> Speakers:
    actor = Speakers()
    actor.setup()
    return actor


@pytest.fixture(scope="module")
def activity() -> VoiceActivity:
    actor = VoiceActivity()
    actor.setup()
    return actor


def rows(path: Path, activity: VoiceActivity) -> pa.Table:
    table = pa.table({"uri": [str(path)], "has_audio": [True]})
    return table.append_column("speech", activity.process(table)["speech"])


def test_cepstra_of_a_frame_follow_the_definition() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 160 * 3 + TAIL).astype(np.float32)
    found = cepstra(samples, mel_filters())
    assert found.shape == (3, 13)
    x = samples.astype(float) * 2**15
    frame = np.array([x[i] - 0.97 * x[i - 1] for i in range(320, 730)])
    frame *= 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(410) / 409)
    n, k = np.arange(410), np.arange(257)
    power = np.abs(np.exp(-2j * np.pi * np.outer(k, n) / 512) @ frame) ** 2
    energies = np.log(power @ mel_filters())
    for c in range(13):
        basis = np.cos(np.pi * c * (np.arange(25) + 0.5) / 25)
        scale = np.sqrt((1 if c == 0 else 2) / 25) * (1 + 11 * np.sin(np.pi * c / 22))
        assert found[2, c] == pytest.approx(scale * basis @ energies, rel=1e-3, abs=0.02)


def test_filters_overlap_to_one_between_the_outer_centres() -> None:
    filters = mel_filters()
    assert filters.shape == (257, 25)
    hz = np.arange(257) * 16_000 / 512
    inside = (hz > 250) & (hz < 6000)
    np.testing.assert_allclose(filters[inside].sum(1), 1, atol=1e-9)
    assert filters[hz > 6800].max() == filters[hz < 130].max() == 0


def test_embedding_is_the_offset_between_voices() -> None:
    """Frames drawn from the model and shifted: the embedding tells the shift."""
    encoder = Phonetic()
    rng = np.random.default_rng(0)
    precision = encoder.precision
    chosen = rng.integers(0, len(precision), 4000)
    drawn = encoder.weighted[chosen] / precision[chosen]
    drawn += rng.normal(size=drawn.shape) * 0.3 / np.sqrt(precision[chosen])
    shift = np.zeros(13)
    shift[4] = 4.0
    frames = (drawn + np.where(np.arange(4000)[:, None] < 2000, shift, 0)).astype(np.float32)
    low, high = encoder.embed(frames, np.array([[20.0, 40.0], [0.0, 20.0]]))
    difference = np.abs((high - low) * WITHIN)
    assert difference.argmax() == 3  # the loudness, coefficient 0, is left out
    assert difference[3] > 4 * np.delete(difference, 3).max()


@pytest.mark.data
def test_deviations_within_a_speaker_are_those_of_emodb(
    data: Path, speakers: Speakers, activity: VoiceActivity
) -> None:
    """All clips as one recording, so that all have one channel; every fourth clip, for speed."""
    clips = sorted((data / "speech_emotion" / "emodb").glob("*.wav"))[::4]
    frames, cuts, who, at_s = [], [], [], 0.0
    for clip in clips:
        samples = audio.read(str(clip))
        assert samples is not None
        spans = np.array(activity.spans(samples)).reshape(-1, 2)
        frames.append(speakers.encoder.frames(np.pad(samples, (0, TAIL))))
        cut, _ = windows(spans, length_s=1.2, hop_s=0.25)
        cuts.append(cut + at_s)
        who += [clip.name[:2]] * len(cut)
        at_s += len(frames[-1]) / 100
    embeddings = speakers.encoder.embed(np.concatenate(frames), np.concatenate(cuts))
    names = np.array(who)
    within = sum(embeddings[names == n].var(0) * np.mean(names == n) for n in set(who))
    np.testing.assert_allclose(np.sqrt(within), 1, atol=0.25)
    assert np.sqrt(within).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.data
@pytest.mark.parametrize(("name", "count"), [("grid_twoshot_a1", 2), ("grid_dialogue_a1", 3)])
def test_dialogues(
    data: Path, speakers: Speakers, activity: VoiceActivity, name: str, count: int
) -> None:
    folder = data / "video" / "composites"
    table = speakers.process(rows(folder / f"{name}.mp4", activity))
    assert table.schema == TURNS
    (row,) = table.to_pylist()
    names = [f"SPEAKER_{i:02d}" for i in range(count)]
    assert list(dict.fromkeys(turn["speaker"] for turn in row["turns"])) == names
    assert [speaker["speaker"] for speaker in row["speakers"]] == names
    for line in (folder / f"{name}.rttm").read_text().splitlines():
        start, length = map(float, line.split()[3:5])
        middle = start + length / 2
        at = [t["speaker"] for t in row["turns"] if t["start_s"] <= middle < t["stop_s"]]
        assert len(at) == 1
    for speaker in row["speakers"]:
        assert np.linalg.norm(speaker["embedding"]) == pytest.approx(1, abs=1e-5)
        spoken = sum(
            turn["stop_s"] - turn["start_s"]
            for turn in row["turns"]
            if turn["speaker"] == speaker["speaker"]
        )
        assert speaker["speech_s"] == pytest.approx(spoken)


@pytest.mark.data
def test_a_known_speaker_who_returns_is_recognised(
    data: Path, speakers: Speakers, activity: VoiceActivity
) -> None:
    """`grid_dialogue_a1` is m3, f1, m3, f2."""
    path = data / "video/composites/grid_dialogue_a1.mp4"
    turns = speakers.process(rows(path, activity))["turns"][0].as_py()
    assert [turn["speaker"][-1] for turn in turns] == ["0", "1", "0", "2"]


def test_no_sound_is_null_and_silence_is_empty(speakers: Speakers) -> None:
    table = pa.table({"uri": ["a", "b"], "speech": pa.array([None, []], TURNS.field("turns").type)})
    absent, silent = speakers.process(table).to_pylist()
    assert absent == dict.fromkeys(TURNS.names)
    assert silent == {"turns": [], "exclusive_turns": [], "speakers": []}


@pytest.mark.data
def test_reading_in_blocks_changes_nothing(
    data: Path, speakers: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, spans = str(data / "diarization/ami/trn06.wav"), np.array([[1.0, 5.0], [20.5, 25.0]])
    whole = read_frames(speakers.encoder, uri, spans)
    monkeypatch.setattr("mien.actors.speakers.BLOCK_S", 4)
    blocks = read_frames(speakers.encoder, uri, spans)
    assert whole.shape == blocks.shape == (2500, 13)
    for first, last in ((110, 500), (2060, 2500)):  # 1 sample of difference at an edge: emphasis
        inner = [i for i in range(first, last) if i % 400]
        np.testing.assert_allclose(blocks[inner], whole[inner], atol=1e-3)
    assert not blocks[800:2000].any(), "blocks without speech are not read"


@pytest.mark.data
def test_speech_without_sound_is_an_error(data: Path, speakers: Speakers) -> None:
    uri = str(data / "robustness/decord_video_90.mov")
    if audio.read(uri) is not None:
        pytest.skip("the file has sound")
    with pytest.raises(ValueError, match=r"`speech` needs sound, but the file has none"):
        read_frames(speakers.encoder, uri, np.array([[0.0, 1.0]]))


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"between 1 and `max_speakers` \(10\), but is 11"):
        Speakers(min_speakers=11)
    with pytest.raises(ValueError, match=r"`hop_s` must be greater than 0, but is 0"):
        ResemblyzerSpeakers(hop_s=0)


def test_resemblyzer_says_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.actors.packages.find_spec", lambda name: None)
    assert "resemblyzer, torch" in (ResemblyzerSpeakers().missing() or "")


@pytest.mark.data
@pytest.mark.filterwarnings("ignore")
def test_resemblyzer(data: Path, activity: VoiceActivity) -> None:
    pytest.importorskip("resemblyzer")
    actor = ResemblyzerSpeakers()
    actor.setup()
    table = rows(data / "video/composites/grid_dialogue_a1.mp4", activity)
    (row,) = actor.process(table).to_pylist()
    assert [turn["speaker"][-1] for turn in row["turns"]] == ["0", "1", "0", "2"]
    assert len(row["speakers"][0]["embedding"]) == 256


def test_a_broken_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "means"
    path.write_bytes(b"s3\nendhdr\n" + bytes(64))
    with pytest.raises(ValueError, match="not a little-endian Sphinx parameter file: 'means'"):
        embedding.read_gaussians(path)
