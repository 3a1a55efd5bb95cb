"""MELD as released, and as damaged."""

import csv
from pathlib import Path

import pytest

from mien.datasets.ids import row_id
from mien.datasets.leakage import shared
from mien.datasets.meld import COLUMNS, EMOTIONS, FOLDERS, UTTERANCES, Meld

ROW = {
    "Sr No.": "1",
    "Utterance": "That I did.",
    "Speaker": "Chandler",
    "Emotion": "neutral",
    "Sentiment": "neutral",
    "Dialogue_ID": "0",
    "Utterance_ID": "0",
    "Season": "8",
    "Episode": "21",
    "StartTime": "0:16:16,059",
    "EndTime": "0:16:21,731",
}


def write(folder: Path, split: str, *rows: dict, columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / f"{split}_sent_emo.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def line(dialogue: int, utterance: int, text: str = "Well.", **others: str) -> dict:
    ids = {"Dialogue_ID": str(dialogue), "Utterance_ID": str(utterance)}
    return {**ids, "Utterance": text, **others}


def put(folder: Path, *names: str, content: bytes = b"film") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)


def test_rows_are_sorted_typed_and_named_by_their_place(tmp_path: Path) -> None:
    write(tmp_path, "train", line(10, 0), line(2, 1, Emotion="Joy", Sentiment="positive"))
    write(tmp_path, "dev", line(2, 1))
    rows = Meld(path=str(tmp_path)).read()
    assert rows.schema == UTTERANCES
    places = [tuple(row.values()) for row in rows.select(["split", "dialogue"]).to_pylist()]
    assert places == [("train", 2), ("train", 10), ("dev", 2)]
    first = rows.to_pylist()[0]
    assert first["id"] == row_id("meld", "train", 2, 1)
    assert (first["group"], first["emotion"], first["season"]) == ("train-2", "joy", 8)
    assert (first["start_s"], first["stop_s"]) == (976.059, 981.731)
    assert len(set(rows["id"].to_pylist())) == 3
    assert rows["audio_missing"].to_pylist() == ["no folder of clips was given"] * 3


def test_the_repository_itself_will_do(tmp_path: Path) -> None:
    write(tmp_path / "data" / "MELD", "dev", line(0, 0))
    meld = Meld(path=str(tmp_path))
    assert meld.splits() == ["dev"]
    with pytest.raises(FileNotFoundError, match=r"one of dev, for .* has no train_sent_emo\.csv"):
        meld.read(["train"])
    with pytest.raises(FileNotFoundError, match=r"`path` must hold train_sent_emo\.csv"):
        Meld(path=str(tmp_path / "data")).read()


def test_quotes_and_lost_bytes_are_plain(tmp_path: Path) -> None:
    write(
        tmp_path,
        "dev",
        line(0, 0, "You must\N{RIGHT SINGLE QUOTATION MARK}ve\N{HORIZONTAL ELLIPSIS}"),
        line(0, 1, "You must\x92ve \x93had\x94 it", Speaker="Richard\x92s Date"),
    )
    rows = Meld(path=str(tmp_path)).read()
    assert rows["text"].to_pylist() == ["You must've...", 'You must\'ve "had" it']
    assert rows["speaker"].to_pylist()[1] == "Richard's Date"


def test_impossible_times_are_null_and_say_why(tmp_path: Path) -> None:
    write(
        tmp_path,
        "dev",
        line(0, 0, StartTime="0:00:02,000", EndTime="0:00:01,999"),
        line(0, 1, StartTime="0:00:02,000", EndTime="0:00:02,000"),
        line(0, 2, EndTime="soon"),
    )
    rows = Meld(path=str(tmp_path)).read()
    assert rows["start_s"].null_count == rows["stop_s"].null_count == 3
    notes = rows["time_note"].to_pylist()
    assert notes[0] == "ends before it starts: 0:00:02,000 to 0:00:01,999"
    assert notes[2].startswith("not a time")


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([line(0, 0)], COLUMNS[:-1], "lacks EndTime"),
        ([line(0, 0), line(0, 1, Emotion="bored")], COLUMNS, "`Emotion`.*'bored'.*csv, line 3"),
        ([line(0, 0, Sentiment="mixed")], COLUMNS, "`Sentiment`.*'mixed'.*line 2"),
        ([line(0, 0), line(0, 1), line(0, 0)], COLUMNS, "dialogue 0, utterance 0.*line 2 too.*4"),
        ([line(0, 0, Season="eight")], COLUMNS, "`Season`.*whole number.*'eight'.*line 2"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, rows: list[dict], columns: tuple[str, ...], message: str
) -> None:
    write(tmp_path, "train", *rows, columns=columns)
    with pytest.raises(ValueError, match=message):
        Meld(path=str(tmp_path)).read()


def test_another_encoding_and_a_cut_row_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "train", line(0, 0), line(0, 1, "It\N{RIGHT SINGLE QUOTATION MARK}s"))
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))
    with pytest.raises(ValueError, match="must be UTF-8, but line 3 is not"):
        Meld(path=str(tmp_path)).read()
    path.write_text(",".join(COLUMNS) + "\n1,Well.,Ross\n")
    with pytest.raises(ValueError, match=r"must have 11 values, but has not \(.*line 2\)"):
        Meld(path=str(tmp_path)).read()


@pytest.mark.parametrize("above", ["", "train", "MELD.Raw", "MELD.Raw/train"])
def test_clips_are_found_in_every_layout(tmp_path: Path, above: str) -> None:
    write(tmp_path, "train", line(0, 0), line(0, 1), line(1, 0))
    folder = tmp_path / "clips" / above / "train_splits"
    put(folder, "dia0_utt0.mp4", "dia9_utt9.mp4", "final_videos_testdia0_utt1.mp4")
    put(folder, "dia1_utt0.mp4", content=b"")
    for root in (tmp_path / "clips", folder):
        meld = Meld(path=str(tmp_path), clips=str(root))
        rows = meld.read().to_pylist()
        assert rows[0]["clip"] == str(folder / "dia0_utt0.mp4")
        assert rows[0]["audio_missing"] is rows[0]["face_missing"] is None
        assert rows[1]["audio_missing"] == rows[1]["face_missing"] == "the clip is not there"
        assert rows[2]["face_missing"] == "the clip is an empty file"
        assert [skip.reason for skip in meld.extras()] == [
            "not annotated in train_sent_emo.csv.",
            "not named dia{D}_utt{U}.mp4 in train_sent_emo.csv.",
        ]


def test_known_faults_are_rows_without_the_modality(tmp_path: Path) -> None:
    faults = [(125, 3), (164, 5), (241, 0), (241, 7), (485, 0), (0, 0)]
    write(tmp_path, "train", *(line(*key) for key in faults))
    put(tmp_path / FOLDERS["train"], *(f"dia{d}_utt{u}.mp4" for d, u in faults))
    rows = Meld(path=str(tmp_path), clips=str(tmp_path)).read().to_pylist()
    missing = {
        (row["dialogue"], row["utterance"]): (row["audio_missing"], row["face_missing"])
        for row in rows
    }
    assert missing[125, 3] == ("the released file is corrupt",) * 2
    assert missing[164, 5] == ("disturbed sound, far too large a file", None)
    assert missing[241, 0] == missing[241, 7] == missing[485, 0]
    assert missing[485, 0] == (None, "sound and picture are out of step")
    assert missing[0, 0] == (None, None)


def test_shared_text_is_counted(tmp_path: Path) -> None:
    one, two = "I do not want to go there", "You always say that to me!"
    write(tmp_path, "train", line(0, 0, one), line(0, 1, two), line(1, 0, "Okay."))
    write(
        tmp_path,
        "dev",
        *(line(5, 0, one.upper()), line(5, 1, two), line(6, 0, "Okay!", Episode="1")),
        line(6, 1, "Nobody said this before", Episode="1"),
    )
    rows = Meld(path=str(tmp_path)).read()
    found = shared(rows, "train", "dev")
    assert (found.utterances, found.long, found.dialogues) == (3, 2, 1)
    assert found.scenes == [("train-0", "dev-5")]
    both = rows.set_column(rows.schema.get_field_index("group"), "group", [["dev-5"] * len(rows)])
    with pytest.raises(ValueError, match="'dev-5' stands in train and dev"):
        shared(both, "train", "dev")


@pytest.mark.data
def test_the_released_files(data: Path) -> None:
    rows = Meld(path=str(data / "text_emotion" / "meld")).read(["train", "dev"])
    counts = rows.group_by(["split", "emotion"]).aggregate([([], "count_all")])
    found = {(row["split"], row["emotion"]): row["count_all"] for row in counts.to_pylist()}
    expected = {
        "train": (4710, 1205, 268, 683, 1743, 271, 1109),
        "dev": (470, 150, 40, 111, 163, 22, 153),
    }
    for split, numbers in expected.items():
        assert tuple(found[split, emotion] for emotion in EMOTIONS) == numbers
    assert len(set(rows["group"].to_pylist())) == 1038 + 114
    assert rows["time_note"].null_count == len(rows)
    overlap = shared(rows, "train", "dev")
    assert (overlap.long, overlap.scenes, overlap.dialogues) == (2, [], 113)
