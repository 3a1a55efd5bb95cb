import csv
import shutil
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import tiny_micro
from mien.datasets import micro_composite, micro_sets
from mien.datasets.micro import CLIPS, differences, number, pictures, unit_numbers, units
from mien.datasets.micro_composite import Casme2, Composite, Samm
from mien.datasets.micro_sets import FourDme, Mmew, Smic
from mien.datasets.sheet import records

SMALL = {"count": 5, "size": 32}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    tiny_micro.smic(folder / "smic", subjects=2, each=1, **SMALL)
    tiny_micro.mmew(folder / "mmew", subjects=2, rows=160, **SMALL)
    tiny_micro.fourdme(folder / "4dme", subjects=2, **SMALL)
    tiny_micro.casme2(folder / "casme2", subjects=2, **SMALL)
    tiny_micro.samm(folder / "samm", subjects=2, **SMALL)
    return folder


def by_clip(clips: pa.Table) -> dict[str, dict]:
    assert clips.schema == CLIPS
    assert pc.count_distinct(clips["id"]).as_py() == len(clips)
    return {row["clip"]: row for row in clips.to_pylist()}


def edit(path: Path, cell: str, value: str | int | None) -> None:
    book = openpyxl.load_workbook(path)
    book.worksheets[0][cell] = value
    book.save(path)


def test_smic_is_read_from_its_folders_alone(trees: Path) -> None:
    found = Smic(folder=str(trees / "smic")).load()
    rows = by_clip(found.clips)
    assert len(rows) == 6
    one = rows["s02_sur_01"]
    assert (one["subject"], one["label"], one["fps"]) == ("s02", "surprise", 100.0)
    assert (one["onset"], one["apex"], one["offset"]) == (0, None, one["frames"] - 1)
    assert (one["aus"], one["missing"]) == (None, None)
    assert "SMIC-HS: 2 persons have usable clips, published are 16." in found.warnings
    inner = Smic(folder=str(trees / "smic" / "HS")).load()
    assert inner.clips == found.clips


def test_smic_keeps_what_is_wrong_with_the_reason(tmp_path: Path) -> None:
    tiny_micro.smic(tmp_path, subjects=1, each=1, **SMALL)
    clips = tmp_path / "HS" / "s01" / "micro"
    for file in (clips / "negative" / "s01_ne_01").iterdir():
        file.unlink()
    (clips / "positive").rename(clips / "happy")
    found = Smic(folder=str(tmp_path)).load()
    rows = by_clip(found.clips)
    assert len(rows) == 3
    assert "holds no frame" in rows["s01_ne_01"]["missing"]
    assert rows["s01_ne_01"]["frames"] == 0
    assert "'happy' is none of negative, positive, surprise" in rows["s01_po_01"]["missing"]
    assert rows["s01_sur_01"]["missing"] is None
    assert any("2 of 3 clips cannot be used" in line for line in found.warnings)


def test_a_folder_that_holds_no_tree_or_two_is_refused(tmp_path: Path, trees: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Smic(folder=str(tmp_path / "none")).load()
    with pytest.raises(FileNotFoundError, match="must hold the tree s01/micro/negative"):
        Smic(folder=str(tmp_path)).load()
    for name in ("raw", "cropped"):
        shutil.copytree(trees / "smic" / "HS", tmp_path / name)
    with pytest.raises(ValueError, match="must hold one tree"):
        Smic(folder=str(tmp_path)).load()


def test_of_raw_and_cropped_frames_one_is_named(tmp_path: Path, trees: Path) -> None:
    shutil.copytree(trees / "casme2", tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "Cropped", tmp_path / "Raw")
    with pytest.raises(ValueError, match="give the name of one as `frames`"):
        list(Casme2(folder=str(tmp_path)).clips())
    assert len(list(Casme2(folder=str(tmp_path), frames="Raw").clips())) == 10


def test_mmew_has_frames_counted_from_0_and_action_units(trees: Path) -> None:
    rows = by_clip(Mmew(folder=str(trees / "mmew")).load().clips)
    one = rows["S02-04-001"]
    assert (one["subject"], one["label"]) == ("S02", "disgust")
    assert (one["onset"], one["apex"], one["offset"], one["frames"]) == (0, 2, 4, 5)
    assert one["aus"] == ["4", "L10"]
    assert rows["S01-05-001"]["aus"] == ["R12L"]


def test_mmew_rows_without_frames_stay(trees: Path) -> None:
    found = Mmew(folder=str(trees / "mmew")).load()
    assert len(found.clips) == 160
    lost = found.clips.filter(pc.is_valid(found.clips["missing"]))
    assert len(lost) == 146
    assert all("does not exist" in row["missing"] for row in lost.to_pylist())
    assert lost["onset"].null_count == 146


def test_mmew_is_corrected_as_meb_does(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = zip(micro_sets.MMEW_APEX, micro_sets.MMEW_OFFSET, strict=True)
    published = dict(zip(micro_sets.MMEW_ROWS, pairs, strict=True))
    assert len(published) == 16
    assert (published[33], published[42], published[156]) == ((40, 75), (32, 68), (38, 106))
    monkeypatch.setattr(micro_sets, "MMEW_ROWS", (1,))
    monkeypatch.setattr(micro_sets, "MMEW_APEX", (2,))
    monkeypatch.setattr(micro_sets, "MMEW_OFFSET", (4,))
    wrong = Mmew(folder=str(trees / "mmew"), corrected=False).load().clips.to_pylist()
    right = Mmew(folder=str(trees / "mmew")).load().clips.to_pylist()
    assert [a == b for a, b in zip(wrong, right, strict=True)].count(False) == 1
    assert (wrong[1]["apex"], wrong[1]["offset"], wrong[1]["note"]) == (2, 4, None)
    assert (right[1]["apex"], right[1]["offset"]) == (1, 3)  # 2 and 4 in the sheet's count
    assert right[1]["note"] == "apex 2 and offset 4 as MEB has them"


def test_mmew_labels_can_be_renamed(trees: Path) -> None:
    loader = Mmew(folder=str(trees / "mmew"), rename={"others": "repression"})
    assert loader.labels[-1] == "repression"
    assert "repression" in loader.load().clips["label"].to_pylist()
    with pytest.raises(ValueError, match="`rename` must name labels"):
        Mmew(folder="x", rename={"other": "repression"})


def test_a_bad_apex_is_none_with_a_note(tmp_path: Path) -> None:
    tiny_micro.mmew(tmp_path, subjects=1, **SMALL)
    sheet = tmp_path / "MMEW_Micro_Exp.xlsx"
    edit(sheet, "D2", 99)
    edit(sheet, "D3", "/")
    edit(sheet, "G4", "joy")
    edit(sheet, "C5", None)
    edit(sheet, "E6", 1)
    rows = Mmew(folder=str(tmp_path)).load().clips.to_pylist()
    assert rows[0]["apex"] is None
    assert "apex 99 lies outside 1-5" in rows[0]["note"]
    assert (rows[1]["apex"], rows[1]["note"]) == (None, "no apex given")
    assert "'joy' is none of" in rows[2]["missing"]
    assert "must give two frames" in rows[3]["missing"]
    assert "offset (1) must come after the onset (1)" in rows[4]["missing"]


def test_a_clip_that_is_named_twice_is_used_once(tmp_path: Path) -> None:
    tiny_micro.mmew(tmp_path, subjects=1, **SMALL)
    edit(tmp_path / "MMEW_Micro_Exp.xlsx", "G3", "happiness")
    edit(tmp_path / "MMEW_Micro_Exp.xlsx", "B3", "S01-01-001")
    rows = Mmew(folder=str(tmp_path)).load().clips.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    assert rows[0]["missing"] is None
    assert "names the clip 'S01-01-001' with these frames before" in rows[1]["missing"]


def test_4dme_counts_doubtful_units_and_swaps(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(trees / "4dme")
    rows = by_clip(FourDme(folder=folder).load().clips)
    assert len(rows) == 8
    assert rows["001_negative_1"]["aus"] == ["4"]
    assert rows["001_negative_1"]["note"] == "doubtful action units: 7"
    assert "'others' is none of" in rows["001_others_1"]["missing"]
    assert rows["001_positive_1"]["onset"] == 0  # frames are numbered from 450
    kept = by_clip(FourDme(folder=folder, doubtful=True).load().clips)
    assert kept["001_negative_1"]["aus"] == ["4", "7"]
    monkeypatch.setattr(micro_sets, "FOURDME_SWAPPED", (0, 2))
    swapped = by_clip(FourDme(folder=folder).load().clips)
    assert swapped["001_positive_1"]["aus"] == rows["001_surprise_1"]["aus"]
    assert swapped["001_surprise_1"]["aus"] == rows["001_positive_1"]["aus"]
    plain = by_clip(FourDme(folder=folder, corrected=False).load().clips)
    assert plain["001_positive_1"]["aus"] == ["12"]


def composite(trees: Path, **more: str) -> Composite:
    return Composite(
        smic=Smic(folder=str(trees / "smic")),
        casme2=Casme2(folder=str(trees / "casme2")),
        samm=Samm(folder=str(trees / "samm")),
        **more,
    )


def test_the_composite_maps_emotions_and_names_people_apart(trees: Path) -> None:
    found = composite(trees).load()
    rows = found.clips.to_pylist()
    assert len(rows) == 6 + 8 + 8
    assert {row["label"] for row in rows} == {"negative", "positive", "surprise"}
    assert {row["subject"] for row in rows} >= {"smic/s01", "casme2/sub01", "samm/006"}
    labels = {row["clip"]: row["label"] for row in rows}
    assert (labels["EP04_01f"], labels["006_4_2"]) == ("negative", "negative")  # repression, ...
    assert "casme2: not of the composite are 2 others." in found.warnings
    assert "samm: not of the composite are 2 other." in found.warnings
    casme2 = next(row for row in rows if row["clip"] == "EP02_01f")
    assert (casme2["onset"], casme2["apex"], casme2["offset"]) == (0, 2, 4)
    assert next(row for row in rows if row["clip"] == "EP01_01f")["apex"] is None
    assert next(row for row in rows if row["dataset"] == "samm")["aus"] == ["R12", "R15"]


def test_megcs_list_decides(trees: Path, tmp_path: Path) -> None:
    listed = [
        ("casme2", "sub01", "EP05_01f", 2),  # others, by emotion
        ("smic", "s01", "s01_ne_01", 0),
        ("samm", "006", "006_9_9", 1),
    ]
    path = tmp_path / "list.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("dataset", "sub", "filename_o", "label"), *listed])
    found = composite(trees, listing=str(path)).load()
    labels = {row["clip"]: row["label"] for row in found.clips.to_pylist()}
    assert labels == {"EP05_01f": "surprise", "s01_ne_01": "negative"}
    assert any(
        "1 clips of `listing` are not there, such as 006/006_9_9" in w for w in found.warnings
    )
    path.write_text("a,b\n")
    with pytest.raises(ValueError, match="`listing` must have the columns"):
        composite(trees, listing=str(path)).load()


def test_published_counts_of_the_composite_add_up() -> None:
    counts = micro_composite.COMPOSITE_COUNTS.values()
    assert sum(sum(labels.values()) for labels, _ in counts) == 442
    assert sum(people for _, people in counts) == 68


def test_differences_are_silent_where_there_are_none(trees: Path) -> None:
    clips = Smic(folder=str(trees / "smic")).load().clips
    assert differences(clips, "x", {"negative": 2, "positive": 2, "surprise": 2}, 2) == []


def test_ids_follow_the_frames(tmp_path: Path) -> None:
    tiny_micro.smic(tmp_path, subjects=1, each=1, **SMALL)
    before = Smic(folder=str(tmp_path)).load().clips["id"].to_pylist()
    assert Smic(folder=str(tmp_path)).load().clips["id"].to_pylist() == before
    clip = tmp_path / "HS" / "s01" / "micro" / "negative" / "s01_ne_01"
    pictures(clip)[-1].unlink()
    after = Smic(folder=str(tmp_path)).load().clips["id"].to_pylist()
    assert [a == b for a, b in zip(before, after, strict=True)].count(False) == 1


def test_frames_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("img10.jpg", "img9.jpg", "img100.jpg", ".img1.jpg", "readme.txt"):
        (tmp_path / name).touch()
    assert [number(file) for file in pictures(tmp_path)] == [9, 10, 100]
    (tmp_path / "cover.png").touch()
    with pytest.raises(ValueError, match="must have its number in its name"):
        pictures(tmp_path)


def test_units() -> None:
    assert units("4+L7") == (["4", "L7"], [])
    assert units(12) == (["12"], [])
    assert units(None) == ([], [])
    assert unit_numbers(["R12", "14A", "4"]) == {4, 12, 14}
    assert unit_numbers(None) == frozenset()


def test_a_sheet_without_the_columns_is_refused(trees: Path) -> None:
    path = trees / "samm" / "SAMM_Micro_FACS_Codes_v2.xlsx"
    assert records(path, ("subject", "FILENAME"))[0][0] == 0
    with pytest.raises(ValueError, match="must have a row that names Person"):
        records(path, ("Person",))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        records(path.with_name("none.xlsx"), ("Subject",))
