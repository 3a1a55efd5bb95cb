"""Labelled frames: what a folder and a table say, what is refused, how videos are cut."""

from pathlib import Path

import pyarrow as pa
import pytest

from mien.datasets.labelled import EXAMPLES, FRAMES, Folder, examples


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def table(root: Path, *lines: str) -> Folder:
    (root / "labels.csv").write_text("\n".join(lines))
    return Folder(path=str(root))


def test_folders_name_label_person_and_video(tmp_path: Path) -> None:
    names = ("sad/bo/a10.jpg", "sad/bo/a9.JPG", "happy/bo/clip1/1.png", "sad/.trash/bo/x.jpg")
    rows = Folder(path=str(touched(tmp_path, *names, "notes/readme.txt"))).survey()
    assert rows.schema == FRAMES
    found = [(r["label"], r["person"], r["video"], Path(r["uri"]).name) for r in rows.to_pylist()]
    assert found == [
        ("sad", "bo", "bo", "a9.JPG"),
        ("sad", "bo", "bo", "a10.jpg"),
        ("happy", "bo", "bo/clip1", "1.png"),
    ]


def test_the_ids_of_a_folder_that_moved_are_the_same(tmp_path: Path) -> None:
    ids = [
        Folder(path=str(touched(tmp_path / name, "sad/bo/1.jpg"))).survey()["id"].to_pylist()
        for name in ("here", "there")
    ]
    assert ids[0] == ids[1]


def test_frames_without_a_person_are_refused(tmp_path: Path) -> None:
    touched(tmp_path, "happy/1.jpg")
    with pytest.raises(ValueError, match=r"'happy/1.jpg' does not: without it .* `data.labels`"):
        Folder(path=str(tmp_path)).survey()


def test_an_empty_folder_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold pictures"):
        Folder(path=str(tmp_path)).survey()
    with pytest.raises(ValueError, match="must be a folder"):
        Folder(path=str(tmp_path / "nowhere")).survey()


def test_a_table_of_labels(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        "file,label,person,video,time_s,sound",
        "b.jpg,sad,bo,v1,2.5,v1.wav",
        "a.jpg,sad,bo,v1,10,v1.wav",
        "c.jpg,happy,,v2,,",
    )
    rows = source.survey().to_pylist()
    assert [Path(r["uri"]).name for r in rows] == ["b.jpg", "a.jpg", "c.jpg"]
    assert [r["time_s"] for r in rows] == [2.5, 10.0, None]
    assert rows[0]["sound"] == str(tmp_path / "v1.wav")
    assert (rows[2]["person"], rows[2]["video"]) == ("v2", "v2")


def test_videos_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    shots = [f"{who}{at}.jpg,sad,{who},v1,{at}" for at in range(3) for who in ("al", "bo")]
    rows = table(tmp_path, "file,label,person,video,time_s", *shots).survey()
    assert rows["person"].to_pylist() == ["al"] * 3 + ["bo"] * 3
    assert examples(rows, length=3)["frames"].to_pylist() == [[0, 1, 2], [3, 4, 5]]


def test_odd_digits_in_a_name_are_letters(tmp_path: Path) -> None:
    touched(tmp_path, "sad/bo/1²3.jpg", "sad/bo/1²2.jpg")
    rows = Folder(path=str(tmp_path)).survey()
    assert [Path(uri).name for uri in rows["uri"].to_pylist()] == ["1²2.jpg", "1²3.jpg"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("file,label", "a.jpg,sad"), "line 2 .* must name a `person` or a `video`: without it"),
        (("file,person", "a.jpg,bo"), "must have a column 'label'"),
        (("file,label,person", "a.jpg,,bo"), "line 2 .* must have a `label`"),
        (("file,label,person,time_s", "a.jpg,sad,bo,soon"), "number of seconds, but is 'soon'"),
        (("file,label,person,time_s", "a.jpg,sad,bo,nan"), "number of seconds, but is 'nan'"),
        (("file,label,person",), "must have lines below its header"),
        (
            ("file,label,person,video", "a.jpg,sad,bo,v1", "b.jpg,sad,,v1"),
            "line 3 .* must name a `person`, as other lines of the video 'v1' do",
        ),
        (("file,label,person", "a.jpg,sad,bo", "a.jpg,happy,bo"), "twice: as 'sad' and 'happy'"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(tmp_path, *lines).survey()


def frames(*rows: tuple[str, str, str]) -> pa.Table:
    """Video, label and status of each."""
    return pa.Table.from_pylist(
        [
            {"id": str(i), "uri": "x", "label": label, "person": "bo", "video": video}
            | {"time_s": float(i), "sound": None, "status": status}
            for i, (video, label, status) in enumerate(rows)
        ],
        schema=FRAMES,
    )


def test_a_frame_is_an_example() -> None:
    found = examples(frames(("v", "sad", "ok"), ("v", "sad", "failed"), ("v", "sad", "ok")))
    assert found.schema == EXAMPLES
    assert found["frames"].to_pylist() == [[0], [2]]
    assert found["id"].to_pylist() == ["0", "2"]


def test_clips_never_cross_a_video_or_a_label() -> None:
    rows = [("v", "sad", "ok")] * 5 + [("v", "happy", "ok")] + [("w", "happy", "ok")]
    found = examples(frames(*rows), length=3)
    assert found["frames"].to_pylist() == [[0, 1, 2], [3, 4], [5], [6]]
    assert found["label"].to_pylist() == ["sad", "sad", "happy", "happy"]
    assert (found["start_s"][1].as_py(), found["stop_s"][1].as_py()) == (3.0, 4.0)
    assert len(set(found["id"].to_pylist())) == 4


def test_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="`length` must be at least 1"):
        examples(frames(), length=0)
