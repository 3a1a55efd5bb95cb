from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.actors.sampler import Sampler
from mien.actors.watch import Watch
from mien.datasets.schema import WATCH


class Double:
    """One face, always at the same place; the mesh is a flat grid."""

    def setup(self) -> None: ...
    def close(self) -> None: ...

    def detect(self, image: np.ndarray) -> np.ndarray:
        return np.array([[100, 80, 60, 60, 0.9]], np.float32)

    def mesh(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        grid = np.random.default_rng(0).uniform(0, 1, (len(boxes), 478, 3))
        grid[:, :2, :2] = [[0, 0], [1, 1]]
        grid[..., :2] = grid[..., :2] * boxes[:, None, 2:4] + boxes[:, None, :2]
        return grid.astype(np.float32)


def watch(path: Path, spans: list[tuple[float, float]], **parameters: object) -> list[dict]:
    rows = [
        {"uri": str(path), "start_s": a, "stop_s": b, "fps": 25.0, "speech": None} for a, b in spans
    ]
    actor = Watch(**parameters)  # pyright: ignore[reportArgumentType]
    actor.setup()
    table = actor.process(pa.Table.from_pylist(rows))
    actor.close()
    assert table.schema == WATCH
    return table.to_pylist()


@pytest.mark.data
@pytest.mark.parametrize("edges", [[0, 12], [0, 3, 6, 12], [0, 2.98, 5.97, 9.02, 12]])
def test_each_cut_is_in_one_span(data: Path, edges: list[float]) -> None:
    path = data / "video/composites/grid_dialogue_a1.mp4"
    spans = list(pairwise(edges))
    seen = watch(path, spans)
    assert [cut["time_s"] for row in seen for cut in row["cuts"]] == [3.0, 6.0, 9.0]
    assert sum(row["n_frames"] for row in seen) == 300
    assert all(row["frames"][0]["reason"] in ("start", "cut") for row in seen)


@pytest.mark.data
def test_faces_follow_samples_and_cuts(data: Path) -> None:
    path = data / "video/composites/grid_dialogue_a1.mp4"
    [row] = watch(path, [(2.0, 5.0)], faces=Double(), sampler=Sampler(budget=3))
    assert len(row["frames"]) == 3
    assert [face["time_s"] for face in row["faces"]] == [f["time_s"] for f in row["frames"]]
    assert [face["frame"] for face in row["faces"]] == [0, 1, 2]
    assert len(row["signals"]) == 75  # every frame: 25 fps is below 2 * 15 Hz
    tracks = {(s["time_s"] >= 3.0, s["track"]) for s in row["signals"]}
    assert tracks == {(False, 0), (True, 1)}
    assert row["frames"][0]["thumbnail"][:2] == b"\xff\xd8"


@pytest.mark.data
def test_sound_alone_is_null(data: Path) -> None:
    [row] = watch(data / "robustness/pyannote_empty.wav", [(0.0, 1.0)])
    assert set(row.values()) == {None}
