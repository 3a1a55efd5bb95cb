from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

import tiny_micro
from mien.actors.clip_flow import ClipFlow, magnified, packed, unpacked, upright
from mien.actors.flow import Dis
from mien.cluster.host import Stage
from mien.cluster.phase import Phase
from mien.datasets.micro import pictures
from mien.datasets.micro_sets import Smic


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    folder = tmp_path_factory.mktemp("smic")
    return Smic(folder=str(tiny_micro.smic(folder, subjects=1, each=1))).load().clips


def quick(**values: object) -> ClipFlow:
    actor = ClipFlow(flow=Dis(), size_px=64, **values)  # pyright: ignore[reportArgumentType]
    actor.setup()
    return actor


def test_the_input_is_the_apex_and_the_way_to_it(clips: pa.Table) -> None:
    rows = quick().process(clips)
    assert rows["apex_rule"].to_pylist() == ["middle"] * 3
    for row, clip in zip(rows.to_pylist(), clips.to_pylist(), strict=True):
        made = unpacked(row["flow_input"])
        assert made.shape == (64, 64, 3)
        assert row["apex_used"] == (clip["frames"] - 1) // 2
        apex = cv2.imread(str(pictures(Path(clip["uri"]))[row["apex_used"]]), 0)
        assert np.abs(made[:, :, 0].astype(int) - apex).mean() < 1
        for channel in (1, 2):
            lengths = made[:, :, channel]
            assert lengths.max() == 255
            assert (lengths == 0).mean() > 0.5  # most of a face is still
        assert unpacked(row["flow_strain"]).shape == (64, 64)
        assert row["flow_peak_px"] > 0.3


def test_what_moves_is_where_the_label_says(clips: pa.Table) -> None:
    rows = quick().process(clips).to_pylist()
    for row, clip in zip(rows, clips.to_pylist(), strict=True):
        lengths = unpacked(row["flow_input"])[:, :, 1].astype(float)
        lower = lengths[32:].sum() / lengths.sum()
        low, high = {"positive": (0.8, 1), "negative": (0, 0.3), "surprise": (0.1, 0.95)}[
            clip["label"]
        ]
        assert low <= lower <= high


def test_magnification_is_linear(clips: pa.Table) -> None:
    first, top = np.full((2, 2), 100, np.uint8), np.full((2, 2), 104, np.uint8)
    assert magnified(first, top, 1).tolist() == top.tolist()
    assert magnified(first, top, 5).tolist() == [[120, 120]] * 2
    assert magnified(first, top, 100).max() == 255
    plain, strong = (quick(magnify=m).process(clips.slice(0, 1)).to_pylist()[0] for m in (1.0, 4.0))
    one, four = unpacked(plain["flow_input"]), unpacked(strong["flow_input"])
    assert (one[:, :, 1:] == four[:, :, 1:]).all()
    assert one[:, :, 0].astype(float).std() < four[:, :, 0].astype(float).std()


def test_an_unusable_clip_says_why(clips: pa.Table, tmp_path: Path) -> None:
    row = clips.slice(0, 1).to_pylist()[0]
    lost = pa.Table.from_pylist([row | {"missing": "the folder 'x' holds no frame"}], clips.schema)
    with pytest.raises(ValueError, match="cannot be used: the folder 'x' holds no frame"):
        quick().process(lost)
    (tmp_path / "1.bmp").write_bytes(b"no picture")
    broken = row | {"uri": str(tmp_path), "onset": 0, "offset": 0}
    with pytest.raises(ValueError, match="cannot be decoded"):
        quick().process(pa.Table.from_pylist([broken], clips.schema))
    short = row | {"offset": 99}
    with pytest.raises(ValueError, match="must have its offset"):
        quick().process(pa.Table.from_pylist([short], clips.schema))


class Fixed:
    """A finder that sees one tilted face, or none."""

    def __init__(self, mesh: np.ndarray | None) -> None:
        self._mesh = mesh

    def setup(self) -> None: ...
    def close(self) -> None: ...

    def detect(self, image: np.ndarray) -> np.ndarray:
        return np.array([[8, 8, 40, 40, 0.9]] if self._mesh is not None else np.zeros((0, 5)))

    def mesh(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        assert self._mesh is not None
        return self._mesh[None]


def test_a_raw_face_is_cut_upright(clips: pa.Table) -> None:
    rng = np.random.default_rng(0)
    mesh = np.zeros((478, 3))
    mesh[:, :2] = rng.uniform(-20, 20, (478, 2))
    mesh[33, :2], mesh[263, :2] = (-15, 0), (15, 0)
    turn = np.array([[0, -1], [1, 0]])  # a quarter: eyes one above the other
    mesh[:, :2] = mesh[:, :2] @ turn.T + 32
    cut = upright(mesh, 1.0, 100)
    eyes = np.column_stack([mesh[[33, 263], :2], [1, 1]]) @ cut.T
    assert eyes[0, 1] == pytest.approx(eyes[1, 1])
    assert eyes[1, 0] - eyes[0, 0] == pytest.approx(75, abs=2)
    made = quick(faces=Fixed(mesh)).process(clips.slice(0, 1)).to_pylist()[0]
    assert unpacked(made["flow_input"]).shape == (64, 64, 3)
    with pytest.raises(ValueError, match="a face must be seen in the onset"):
        quick(faces=Fixed(None)).process(clips.slice(0, 1))


def test_png_round_trip() -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    assert (unpacked(packed(image)) == image).all()
    assert (unpacked(packed(image[:, :, 0])) == image[:, :, 0]).all()


def test_the_hash_follows_the_parameters() -> None:
    def name(actor: ClipFlow) -> str:
        return Phase(name="flow", stages=(Stage(role="flow", actor=actor),)).hash

    assert name(ClipFlow()) == name(ClipFlow(batch_size=9))
    several = [ClipFlow(), ClipFlow(flow=Dis()), ClipFlow(apex="strain"), ClipFlow(size_px=112)]
    assert len({name(actor) for actor in several}) == 4


def test_refuses_wrong_parameters() -> None:
    with pytest.raises(ValueError, match="`apex` must be one of given, middle, flow, strain"):
        ClipFlow(apex="peak")
    with pytest.raises(ValueError, match="`magnify` must be at least 1"):
        ClipFlow(magnify=0.5)
