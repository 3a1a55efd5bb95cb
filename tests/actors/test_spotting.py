from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tiny_micro
from mien.actors.excursions import Brief, overlap
from mien.actors.face_motion import BONE, FaceMotion, moved, similarity
from mien.actors.flow import Dis
from mien.actors.spotting import Spotting, Track, tracks_of
from mien.datasets.schema import MEASURES, MICRO
from tiny_micro import Event, Person

SIZE, FPS = 128, 60
PERSON = Person.of("s01")


class Drawn:
    """Finds the mesh of a face of `tiny_micro`: points of a drawn part lie on it."""

    def setup(self) -> None: ...
    def close(self) -> None: ...

    def detect(self, image: np.ndarray) -> np.ndarray:
        return np.array([[0.14, 0.05, 0.72, 0.9, 1]]) * SIZE

    def mesh(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        angle = np.linspace(0, 2 * np.pi, 478)
        points = np.stack([0.5 + 0.34 * np.cos(angle), 0.5 + 0.43 * np.sin(angle), 0 * angle], 1)
        points[list(BONE), :2] = [[0.45, 0.5], [0.55, 0.56]] * 7
        gap, brow, mouth = PERSON.eye_gap, PERSON.brow, PERSON.mouth
        for side, sign in (("right", -1), ("left", 1)):
            brows = {"right": (107, 66, 105, 63, 70), "left": (336, 296, 334, 293, 300)}[side]
            eyes = {"right": (159, 158, 160, 145), "left": (386, 385, 387, 374)}[side]
            corner = {"right": (61, 91, 185), "left": (291, 321, 409)}[side]
            points[list(brows), :2] = (0.5 + sign * gap, brow)
            points[list(eyes), :2] = (0.5 + sign * gap, 0.43)
            points[list(corner), :2] = (0.5 + sign * 0.12, mouth)
        points[[33, 263], :2] = [(0.5 - gap - 0.075, 0.43), (0.5 + gap + 0.075, 0.43)]
        points[[133, 362], :2] = [(0.5 - gap + 0.075, 0.43), (0.5 + gap - 0.075, 0.43)]
        points[[0, 37, 267, 17, 84, 314], :2] = (0.5, mouth)
        return np.repeat((points * SIZE)[None], len(boxes), axis=0).astype(np.float32)


COUNT = 130
EVENTS = (
    Event("surprise", 45, 55, 66, 0.6),
    Event("positive", 75, 100, 128, 0.6),  # takes too long
)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = tiny_micro.scene(PERSON, COUNT, SIZE, EVENTS, sway=0.01)
    return tiny_micro.film(tmp_path_factory.mktemp("film") / "drawn.mp4", images, FPS)


def signals(*, blink_s: float | None = None, stop_s: float = COUNT / FPS) -> list[dict[str, Any]]:
    box = {"x": 0.14 * SIZE, "y": 0.05 * SIZE, "w": 0.72 * SIZE, "h": 0.9 * SIZE}
    found = []
    for time_s in np.arange(0, stop_s, 1 / 15).tolist():
        shut = blink_s is not None and abs(time_s - blink_s) < 0.1
        measures = dict.fromkeys(MEASURES, 0.3) | dict.fromkeys(
            ("eye_left", "eye_right"), 0.1 if shut else 0.3
        )
        found.append({"time_s": time_s, "track": 4, **box, **measures})
    return found


def row(film: Path, **more: Any) -> pa.Table:  # noqa: ANN401
    known = {"uri": str(film), "start_s": 0.0, "stop_s": None, "fps": float(FPS), "speech": []}
    return pa.Table.from_pylist([known | {"signals": signals()} | more])


def spotted(table: pa.Table, **values: Any) -> dict[str, Any]:  # noqa: ANN401
    actor = Spotting(faces=Drawn(), **values)
    actor.setup()
    made = actor.process(table)
    actor.close()
    assert made.schema == MICRO
    return made.to_pylist()[0]


def test_a_brief_movement_is_spotted_and_a_long_one_is_not(film: Path) -> None:
    found = spotted(row(film))
    (one,) = found["candidates"]
    assert overlap((one["onset_s"], one["offset_s"]), (45 / FPS, 66 / FPS)) >= 0.5
    assert one["onset_s"] < one["apex_s"] < one["offset_s"]
    assert abs(one["apex_s"] - 55 / FPS) <= 2 / FPS
    assert one["track"] == 4
    assert one["region"] in ("brows", "mouth")
    assert one["part"].startswith(("brow", "mouth", "lip"))
    assert found["face_s"] == pytest.approx((COUNT - 1) / FPS, abs=0.1)
    assert found["micro_warning"] is None


def test_nothing_moves_nothing_is_found(tmp_path: Path) -> None:
    still = tiny_micro.film(tmp_path / "a.mp4", tiny_micro.scene(PERSON, 75, SIZE, sway=0.01), FPS)
    assert spotted(row(still))["candidates"] == []


def test_a_shorter_bound_leaves_longer_ones_out(film: Path) -> None:
    assert spotted(row(film), brief=Brief(max_s=0.06))["candidates"] == []


def test_blinks_and_speech_spoil_what_they_move(film: Path) -> None:
    talk = [{"start_s": 0.5, "stop_s": 1.5}]
    whole = {one["region"] for one in spotted(row(film, speech=talk))["candidates"]}
    assert whole <= {"brows", "eyes"}
    blinked = spotted(row(film, signals=signals(blink_s=55 / FPS)))["candidates"]
    assert {one["region"] for one in blinked} <= {"mouth"}
    both = row(film, speech=talk, signals=signals(blink_s=55 / FPS))
    assert spotted(both)["candidates"] == []


def test_a_head_that_goes_too_far_spoils_it(film: Path) -> None:
    assert spotted(row(film), still=0.0005)["candidates"] == []


def test_a_slow_video_is_refused_and_a_middling_one_warned_of(film: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 25 frames per second, but .* has 23.98: leave"):
        spotted(row(film, fps=23.976))
    warned = spotted(row(film, fps=30.0))
    assert "30 frames per second are few" in warned["micro_warning"]
    assert warned["candidates"]


def test_where_the_file_does_not_say_its_rate_the_frames_do(film: Path, tmp_path: Path) -> None:
    assert spotted(row(film, fps=None))["candidates"] == spotted(row(film))["candidates"]
    slow = tiny_micro.film(tmp_path / "a.mp4", tiny_micro.scene(PERSON, 30, SIZE), 20)
    with pytest.raises(ValueError, match=r"at least 25 frames per second, but .* has 20: leave"):
        spotted(row(slow, fps=None))


@pytest.mark.parametrize("some", [[], None])
def test_without_faces_the_file_is_not_read(some: list | None) -> None:
    table = row(Path("nowhere.mp4")).drop_columns(["signals"])
    kind = row(Path("nowhere.mp4")).schema.field("signals")
    found = spotted(table.append_column(kind, pa.array([some], kind.type)))
    assert (found["candidates"], found["face_s"]) == ([], 0.0)


def test_small_and_short_faces_are_passed_over() -> None:
    assert spotted(row(Path("nowhere.mp4")), least_px=100.0)["face_s"] == 0.0
    short = row(Path("nowhere.mp4"), signals=signals(stop_s=0.8))
    assert spotted(short)["face_s"] == 0.0


def test_tracks_are_parted_and_in_order() -> None:
    rows = signals(stop_s=0.3)
    two = [one | {"track": 1, "x": None if i == 0 else 5.0} for i, one in enumerate(rows)]
    first, second = tracks_of([*reversed(rows), *two])
    assert (first.name, second.name) == (1, 4)
    assert len(first.times) == len(rows) - 1
    assert second.times == sorted(second.times)
    assert second.box(0.07)[0] == pytest.approx(0.14 * SIZE)


def test_a_blink_is_seen_beside_the_span_too() -> None:
    times = [i / 15 for i in range(30)]
    eyes = np.full(30, 0.3)
    eyes[15] = 0.1
    track = Track(name=0, times=times, boxes=np.zeros((30, 4), np.float32), eyes=eyes)
    assert track.blinks(0.95, 1.05)
    assert track.blinks(1.03, 1.2)
    assert not track.blinks(1.2, 1.4)
    unknown = Track(name=0, times=times, boxes=track.boxes, eyes=np.full(30, np.nan))
    assert not unknown.blinks(0.95, 1.05)


def test_the_way_of_the_head_is_taken_off(film: Path) -> None:
    finder, flow = Drawn(), Dis()
    flow.setup()
    motion = FaceMotion(flow=flow, faces=finder)
    for i, image in enumerate(tiny_micro.scene(PERSON, 40, SIZE, sway=0.02)):
        motion.follow(i / FPS, image[:, :, ::-1].copy(), finder.detect(image)[0, :4])
    eyes = 2 * (PERSON.eye_gap + 0.075)  # their distance, as a share of the picture
    truth = 0.02 * np.sin(2 * np.pi * np.arange(40) / 60) / eyes
    assert np.array(motion.heads)[:, 0] == pytest.approx(truth, abs=0.006)
    assert np.abs(motion.ways).max() < 0.008


def test_a_similarity_is_found_despite_an_outlier() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (12, 2))
    model = np.array([1.5, -0.5, 0.01, 0.02])
    ways = moved(model, points)
    assert similarity(points, ways) == pytest.approx(model, abs=1e-9)
    ways[3] += (8, -6)
    assert similarity(points, ways) == pytest.approx(model, abs=1e-6)
    turned = moved(np.array([0, 0, 0, 0.1]), np.array([[1.0, 0.0]]))
    assert turned == pytest.approx(np.array([[0, 0.1]]))  # clockwise: from right to down


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="`still` must be greater than 0"):
        Spotting(still=0.0)
