"""Restoration by CLAHE, the placing of GFPGAN's frame, and quality: all without a network."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from mien.actors import gfpgan, restore
from mien.actors.restore import Restore
from mien.datasets.schema import WATCH


def image(seed: int = 0, side: int = 160, contrast: float = 1.0) -> Any:  # noqa: ANN401
    """Large soft shapes with some texture, RGB."""
    rng = np.random.default_rng(seed)
    shapes = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (side, side)).astype(float)
    shapes += rng.normal(0, 8, shapes.shape)
    return np.rint((shapes.clip(0, 255) - 128) * contrast + 128).astype(np.uint8)


def jpeg(picture: Any) -> bytes:  # noqa: ANN401
    return cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def opened(data: bytes) -> Any:  # noqa: ANN401
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[
        :, :, ::-1
    ].copy()


def face(crop: bytes | None, quality: float | None = 0.6, size: float = 120.0) -> dict[str, Any]:
    place = {"x": 3.0, "y": 4.0, "w": size, "h": size + 1}
    return {"frame": 2, "time_s": 1.5, **place, "score": 0.9, "track": 7} | {
        "quality": quality,
        "crop": crop,
    }


def table(*rows: list[dict[str, Any]] | None) -> pa.Table:
    return pa.table({"faces": pa.array(list(rows), WATCH.field("faces").type)})


@pytest.fixture
def rows() -> pa.Table:
    return table(
        [face(jpeg(image(1, contrast=0.3))), face(None), face(b"no picture"), face(b"")],
        None,
        [],
        [face(jpeg(image(2, contrast=0.5)), quality=None)],
    )


def done(mode: str, rows: pa.Table, **values: Any) -> pa.Table:  # noqa: ANN401
    actor = Restore(mode=mode, **values)
    actor.setup()
    found = actor.process(rows)
    actor.close()
    assert found.schema == Restore.adds
    return found


def test_the_new_crops_go_to_the_actors_behind_it_but_not_into_the_table() -> None:
    assert Restore.passes == ("faces",)
    assert Restore.adds.names == ["face_quality", "restored", "faces"]
    assert Restore.adds.field("faces") == WATCH.field("faces")


def test_clahe_raises_contrast_and_touches_nothing_but_the_crop(rows: pa.Table) -> None:
    found = done("clahe", rows)
    before, after = (t["faces"].to_pylist() for t in (rows, found))
    old, new = opened(before[0][0]["crop"]), opened(after[0][0]["crop"])
    assert new.shape == old.shape
    assert new.std() > 1.2 * old.std()
    for one, other in ((before[0][0], after[0][0]), (before[3][0], after[3][0])):
        assert {**one, "crop": None} == {**other, "crop": None}
    assert after[1] is None
    assert after[2] == []


def test_what_is_missing_or_no_picture_is_null_and_no_error(rows: pa.Table) -> None:
    found = done("clahe", rows)
    assert found["restored"].to_pylist() == [[True, None, None, None], None, [], [True]]
    assert [q is None for q in found["face_quality"].to_pylist()[0]] == [False, True, True, True]
    assert [one["crop"] is None for one in found["faces"].to_pylist()[0]] == [False, *[True] * 3]


def test_without_restoration_everything_stays(rows: pa.Table) -> None:
    found = done("none", rows)
    old, new = rows["faces"].to_pylist(), found["faces"].to_pylist()
    assert new[0][0] == old[0][0]
    assert new[3] == old[3]
    assert found["restored"].to_pylist() == [[False, None, None, None], None, [], [False]]
    assert found["face_quality"].to_pylist()[0][0] == pytest.approx(0.6)
    assert found["face_quality"].to_pylist()[3] == [None]  # it had none before


def test_slices_and_no_rows_are_answered(rows: pa.Table) -> None:
    assert done("clahe", rows.slice(0, 0)).num_rows == 0
    assert done("clahe", rows.slice(1, 1)).to_pylist() == [dict.fromkeys(Restore.adds.names)]
    assert done("clahe", rows.slice(2, 2)).to_pylist() == done("clahe", rows).to_pylist()[2:]


def test_clahe_works_on_lightness_alone() -> None:
    old = image(3, contrast=0.4)
    new = restore.evened(old, 2.0, 4)
    lab = cv2.cvtColor(old, cv2.COLOR_RGB2LAB)
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 4))
    lab[..., 0] = clahe.apply(lab[..., 0].copy())
    assert np.array_equal(new, cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))
    colours = [cv2.cvtColor(p, cv2.COLOR_RGB2LAB)[..., 1:].astype(int) for p in (old, new)]
    assert np.abs(colours[0] - colours[1]).mean() < 3


def test_blur_lowers_the_quality_and_sharpness_raises_it_within_bounds() -> None:
    sharp = image(4)
    soft = cv2.GaussianBlur(sharp, (0, 0), 4)
    assert restore.sharpness(soft) < restore.sharpness(sharp)
    assert restore.after(0.4, soft, sharp) > 0.4 > restore.after(0.4, sharp, soft)
    flat = np.full_like(sharp, 90)
    assert restore.after(0.9, flat, sharp) == 1
    assert restore.after(0.0, flat, sharp) == 0
    assert restore.after(0.4, sharp, sharp) == 0.4


def test_its_sharpness_is_that_of_the_watching() -> None:
    from mien.actors import signals

    picture = cv2.resize(image(5), (400, 400))
    box = np.array([120.0, 110.0, 160.0, 160.0])
    patch = signals.square(picture, box, 64, margin=1.0)
    edges = cv2.Laplacian(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
    crop = signals.square(picture, box, 240, margin=1.5)
    assert restore.sharpness(crop) == pytest.approx(edges / (edges + 60.0), abs=0.02)


@pytest.mark.parametrize("below", [{"quality": 0.49}, {"size": 95.0}, {"size": 20.0}])
def test_gfpgan_takes_what_is_poor_or_small(below: dict[str, Any]) -> None:
    actor = Restore(mode="gfpgan")
    faces = [face(None), face(None, **below), face(None, quality=None)]
    items = table(faces)["faces"].combine_chunks().flatten()
    assert actor.poor(pa.Table.from_struct_array(items)).tolist() == [False, True, False]


def test_a_box_is_laid_where_ffhq_has_faces() -> None:
    matrix = gfpgan.placement(160)
    centre = matrix @ [79.5, 79.5, 1]
    assert centre == pytest.approx(gfpgan.CENTRE_PX)
    edge = matrix @ [79.5 + 160 / 1.5, 79.5, 1]
    assert edge[0] - centre[0] == pytest.approx(gfpgan.BOX_PX)


@pytest.mark.parametrize("angle", [-20.0, 0.0, 35.0])
def test_a_mesh_lays_its_points_upon_the_template(angle: float) -> None:
    turn = cv2.getRotationMatrix2D((256, 300), angle, 0.25)
    mesh = np.full((478, 3), 5.0)
    mesh[gfpgan.POINTS, :2] = gfpgan.TEMPLATE @ turn[:, :2].T + turn[:, 2]
    matrix = gfpgan.placement(160, mesh)
    points = mesh[gfpgan.POINTS, :2] @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(points - gfpgan.TEMPLATE).max() < 0.5


def test_without_a_mesh_the_box_decides() -> None:
    nothing = np.full((478, 3), np.nan)
    assert np.array_equal(gfpgan.placement(160, nothing), gfpgan.placement(160))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("turned", [False, True])
def test_laying_out_and_back_returns_the_crop_in_its_place(scale: int, turned: bool) -> None:
    crop = cv2.GaussianBlur(image(6), (0, 0), 2)
    matrix = gfpgan.placement(160)
    if turned:
        turn = cv2.getRotationMatrix2D((256, 300), 20, 1.0)
        matrix = turn @ np.vstack([matrix, [0, 0, 1]])
    picture = gfpgan.laid(crop, matrix)
    assert picture.shape == (3, 512, 512)
    assert -1 <= picture.min() <= picture.max() <= 1
    back = gfpgan.returned(crop, picture, matrix, scale)
    assert back.shape == (160 * scale, 160 * scale, 3)
    large = cv2.resize(crop, (160 * scale, 160 * scale), interpolation=cv2.INTER_CUBIC)
    inner = slice(8 * scale, -8 * scale)
    difference = np.abs(back.astype(int) - large.astype(int))[inner, inner]
    assert difference.max() <= 6
    assert difference.mean() < 0.6


def test_what_lies_beyond_the_frame_is_the_enlarged_crop() -> None:
    crop = image(7)
    matrix = np.array([[1.0, 0, 300], [0, 1.0, 300]])  # the crop lies in a corner of the frame
    matrix[:, 2] = 430
    black = np.full((3, 512, 512), -1, np.float32)
    back = gfpgan.returned(crop, black, matrix, 2)
    large = cv2.resize(crop, (320, 320), interpolation=cv2.INTER_CUBIC)
    assert np.abs(back[180:, 180:].astype(int) - large[180:, 180:]).max() <= 1
    assert back[40:100, 40:100].max() <= 1


def test_gfpgan_needs_its_package_and_its_weights_and_clahe_neither() -> None:
    clahe = Restore(mode="clahe")
    assert clahe.missing() is None
    assert clahe.provenance()["model"] == "CLAHE"
    assert clahe.weights() == ()
    both = Restore(mode="both")
    assert "needs the weights TencentARC/GFPGAN" in (both.missing() or "")
    assert both.provenance()["model"] == "TencentARC/GFPGAN"
    assert both.identity() != clahe.identity()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "new"}, "`mode` must be one of none, clahe, gfpgan, both, but is 'new'"),
        ({"scale": 3}, "`scale` must be one of 2, 4, but is 3"),
        ({"clip_limit": 0}, "`clip_limit` must be between 0.1 and 100, but is 0"),
        ({"below_quality": 1.5}, "`below_quality` must be between 0 and 1, but is 1.5"),
        ({"mode": "gfpgan", "precision": "float16"}, "must be float32 or bfloat16"),
        ({"mode": "gfpgan", "checkpoint": None}, "`checkpoint` must be given with `mode` 'gfpgan'"),
    ],
)
def test_numbers_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Restore(**values)


def test_a_faded_photograph_gains_contrast(data: Path) -> None:
    from mien.actors import signals

    path = data / "faces" / "expression_stills" / "sad.jpg"
    picture = np.rint(opened(path.read_bytes()) * 0.3 + 90).astype(np.uint8)  # as an old film
    side = min(picture.shape[:2]) / 1.6
    height, width = picture.shape[:2]
    crop = signals.crop(picture, np.array([(width - side) / 2, (height - side) / 2, side, side]))
    found = done("clahe", table([face(crop)]))
    new = opened(found["faces"].to_pylist()[0][0]["crop"])
    assert new.std() > 1.2 * opened(crop).std()
