"""What the actor for faces needs no torch for: its parameters and its identity."""

import json
from pathlib import Path

import pytest

from mien.actors.laion_face import HEADS, LaionFace
from mien.actors.weights import Weights
from mien.datasets.laion import LAION_FACE_NAMES, file_of


def heads(folder: Path, statistics: dict[str, float] | None = None) -> Weights:
    for name in LAION_FACE_NAMES:
        (folder / file_of(name)).write_text("x")
    if statistics is not None:
        (folder / "neutral_stats_v1.json").write_text(json.dumps(statistics))
    return Weights(name=HEADS.name, licence=HEADS.licence, files=HEADS.files, path=str(folder))


def test_a_view_beyond_the_crop_is_refused() -> None:
    for view in (0.4, 1.6):
        with pytest.raises(ValueError, match=f"`view` must be between 0.5 and 1.5, but is {view}"):
            LaionFace(view=view)


def test_it_reads_crops_and_nothing_else() -> None:
    """No identifier is parsed, no video sought, and no frame counted."""
    assert LaionFace.reads == ("faces",)


def test_what_changes_the_scores_changes_the_identity() -> None:
    one = LaionFace().identity()
    others = (LaionFace(l2_normalize=False), LaionFace(view=1.0), LaionFace(precision="float16"))
    for other in others:
        assert other.identity() != one
    assert LaionFace(micro_batch=2, gpus=0.5).identity() == one


def test_the_statistics_are_part_of_the_identity(tmp_path: Path) -> None:
    usual = dict.fromkeys(LAION_FACE_NAMES, 0.5)
    without = LaionFace(heads=heads(tmp_path)).identity()
    found = LaionFace(heads=heads(tmp_path, usual)).identity()
    assert found["statistics"] != without["statistics"] == ""
    changed = LaionFace(heads=heads(tmp_path, usual | {"anger": 0.6})).identity()
    assert changed["statistics"] != found["statistics"]
    assert LaionFace(heads=heads(tmp_path, usual), neutral=False).identity()["statistics"] == ""


def test_two_files_of_statistics_are_one_too_many(tmp_path: Path) -> None:
    weights = heads(tmp_path, {})
    (tmp_path / "neutral_stats_v2.json").write_text("{}")
    with pytest.raises(ValueError, match=r"must be one neutral_stats.*neutral_stats_v1.json, neut"):
        LaionFace(heads=weights).identity()


def test_both_weights_and_both_licences_are_on_record() -> None:
    known = LaionFace().provenance()
    assert "siglip2" in known["model"]
    assert "Empathic-Insight-Face" in known["model"]
    assert known["licence"] == "Apache-2.0 + CC-BY-4.0"
