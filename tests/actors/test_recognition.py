from pathlib import Path

import numpy as np
import pytest

from mien.actors.recognition import Recognition, matched, pictures, seal


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def test_the_nearest_picture_within_reach_names_the_person() -> None:
    gallery = np.stack([unit(1, 0, 0), unit(0, 1, 0), unit(1, 1, 0)])
    names = ["ann", "bob", "cid"]
    found = [unit(1, 0.1, 0), None, unit(0, 0, 1), unit(0.1, 1, 0), unit(-1, 0, 0)]
    matches = matched(found, names, gallery, 0.3)
    assert [m and m["name"] for m in matches] == ["ann", None, None, "bob", None]
    assert matches[0] is not None
    assert matches[0]["distance"] == pytest.approx(1 - 1 / np.hypot(1, 0.1), abs=1e-6)


def test_reach_is_a_cosine_distance() -> None:
    gallery = unit(1, 0)[None]
    at = [unit(np.cos(a), np.sin(a)) for a in np.radians([0, 45, 46])]  # 1 - cos 45 is 0.293
    assert [bool(m) for m in matched(at, ["ann"], gallery, 0.2930)] == [True, True, False]
    opposite = matched([unit(-1, 0)], ["ann"], gallery, 2.0)
    assert opposite == [{"name": "ann", "distance": 2.0}]


def test_without_faces_there_are_no_matches() -> None:
    assert matched([], ["ann"], unit(1, 0)[None], 2.0) == []
    assert matched([None], ["ann"], unit(1, 0)[None], 2.0) == [None]


def test_thresholds_and_likeness_belong_to_the_network() -> None:
    assert Recognition().reach == 0.30
    assert Recognition(kind="ArcFace").reach == 0.68
    assert Recognition(threshold=0.4).reach == 0.4
    assert Recognition().likeness == pytest.approx(0.70)
    assert Recognition(kind="ArcFace").likeness == pytest.approx(0.32)


def test_arcface_is_not_for_commerce() -> None:
    assert Recognition().checkpoint.commercial
    assert not Recognition(kind="ArcFace").checkpoint.commercial
    assert "NC" in Recognition(kind="ArcFace").provenance()["licence"]


def test_the_network_decides_which_file_is_loaded() -> None:
    assert Recognition().checkpoint.files == ("facenet512_weights.pth",)
    arcface = Recognition(kind="ArcFace", engine="onnx")
    assert arcface.checkpoint.files == ("arcface_weights.onnx",)
    assert arcface.provenance()["model"] == "serengil/deepface ArcFace"


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="`kind` must be one of Facenet512, ArcFace, but is 'VGG'"):
        Recognition(kind="VGG")
    with pytest.raises(ValueError, match=r"`threshold` must be in \(0, 2\], but is 3"):
        Recognition(threshold=3.0)
    with pytest.raises(ValueError, match=r"`normalization` must be one of base, .* but is 'none'"):
        Recognition(normalization="none")


def gallery(folder: Path) -> Path:
    (folder / "ann").mkdir(parents=True)
    for name in ("ann/2.JPG", "ann/1.jpg", "bob.png", "notes.txt", "ann/notes.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_gallery_is_folders_and_single_pictures(tmp_path: Path) -> None:
    found = [(name, path.name) for name, path in pictures(gallery(tmp_path))]
    assert found == [("ann", "1.jpg"), ("ann", "2.JPG"), ("bob", "bob.png")]


def test_an_empty_gallery_is_missing_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    reason = str(Recognition(gallery=str(tmp_path)).missing())
    assert f"`gallery` must hold pictures as NAME/*.jpg or NAME.jpg, but '{tmp_path}'" in reason
    assert "holds none" in reason
    assert "is no folder" in str(Recognition(gallery=str(tmp_path / "no")).missing())
    assert "`gallery`" not in str(Recognition(gallery=str(gallery(tmp_path))).missing())


def test_what_the_gallery_holds_is_part_of_the_identity(tmp_path: Path) -> None:
    here, there = gallery(tmp_path / "a"), gallery(tmp_path / "b")
    known = Recognition(gallery=str(here)).identity()
    assert known == Recognition(gallery=str(there)).identity()
    assert known != Recognition().identity()
    (there / "bob.png").write_bytes(b"bob.pnG")  # as long as before
    assert seal(there) != seal(here)
    assert known != Recognition(gallery=str(there)).identity()
    (here / "bob.png").rename(here / "rob.png")
    assert known != Recognition(gallery=str(here)).identity()
