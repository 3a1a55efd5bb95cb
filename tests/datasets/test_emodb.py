from pathlib import Path

import pytest

from mien.datasets.emodb import CLIPS, EMOTIONS, LETTERS, EmoDb, described

HEAD = "file,speaker,gender,text_code,emotion\n"
LINE = "03a01Fa.wav,03,m,a01,happiness\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("03a01Fa.wav", "16b10Wb.wav", "08a02L.wav"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def read(folder: Path) -> list[dict]:
    table = EmoDb(path=str(folder)).read()
    assert table.schema.equals(CLIPS)
    return table.to_pylist()


def test_names_say_all(folder: Path) -> None:
    (folder / "notes.txt").write_text("no clip")
    (folder / "._03a01Fa.wav").write_bytes(b"")  # macOS leaves such beside each file
    first, second, third = read(folder)
    assert [row["file"] for row in (first, second, third)] == [
        "03a01Fa.wav",
        "08a02L.wav",
        "16b10Wb.wav",
    ]
    assert (first["speaker"], first["text_code"], first["version"]) == ("03", "a01", "a")
    assert (second["emotion"], second["version"]) == ("boredom", None)
    assert third["emotion"] == "anger"
    assert third["uri"] == str(folder / "16b10Wb.wav")


def test_every_letter_is_an_emotion() -> None:
    assert [described(f"03a01{letter}a.wav")["emotion"] for letter in LETTERS] == list(EMOTIONS)


def test_clips_in_the_folder_of_the_release(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "03a01Fa.wav").write_bytes(b"")
    assert [row["file"] for row in read(tmp_path)] == ["03a01Fa.wav"]


def test_a_table_goes_before_names(folder: Path) -> None:
    (folder / "sad.wav").write_bytes(b"")
    (folder / "labels.csv").write_text(HEAD + LINE + "sad.wav,11,f,a02,sadness\n")
    first, second = read(folder)
    assert (first["emotion"], first["version"]) == ("happiness", "a")
    assert (second["speaker"], second["emotion"], second["version"]) == ("11", "sadness", None)
    assert first["id"] != second["id"]


def test_names_of_rows_do_not_depend_on_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "03a01Fa.wav").write_bytes(b"")
    assert read(moved)[0]["id"] == read(folder)[0]["id"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("file,speaker,emotion\n", ValueError, "must have the column 'text_code'"),
        (HEAD + ",03,m,a01,anger\n", ValueError, "`file` is empty in .*line 2"),
        (HEAD + "03a01Fa.wav,03,m,a01,joy\n", ValueError, "one of anger.*'joy' in .*line 2"),
        (HEAD + LINE + LINE, ValueError, r"'03a01Fa.wav' is named twice.*line 3"),
        (HEAD + "none.wav,03,m,a01,anger\n", FileNotFoundError, r"'none.wav' is not there"),
        (HEAD + "../a.wav,03,m,a01,anger\n", ValueError, "must lie in the folder"),
        (HEAD, FileNotFoundError, "must hold labels.csv or clips"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(
    folder: Path, text: str, error: type[Exception], message: str
) -> None:
    (folder / "labels.csv").write_text(text)
    with pytest.raises(error, match=message):
        read(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("happy.wav", "named as 03a01Fa.wav"), ("03a01Xa.wav", "one of W, L, E, A, F, N, T")],
)
def test_names_that_say_nothing_are_refused(folder: Path, name: str, message: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        read(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold labels.csv or clips as 03a01Fa.wav"):
        read(tmp_path)


@pytest.mark.data
def test_the_real_clips(data: Path) -> None:
    rows = read(data / "speech_emotion/emodb")
    assert len(rows) == 206
    assert {row["speaker"] for row in rows} == {"03", "08", "10", "13"}
    for row in rows:  # the table says what the names say
        known = described(row["file"])
        assert {name: row[name] for name in known} == known
