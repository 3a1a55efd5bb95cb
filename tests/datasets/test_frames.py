"""Decoded frames: what is kept, what fails, what is made again."""

import logging
import pickle
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from upath import UPath

import drawn
from mien.datasets.frames import decode, identity, listen, picture
from mien.datasets.labelled import Folder, examples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return drawn.folder(tmp_path / "set", persons=2, frames=2, labels=("happy", "sad"), sound=True)


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def test_the_middle_square_is_kept_in_its_colours() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = (200, 100, 50)
    image[:, :20] = image[:, 60:] = 255
    found = picture(jpeg(image), 10)
    assert found.shape == (10, 10, 3)
    np.testing.assert_array_equal(found, np.broadcast_to([200, 100, 50], found.shape))


def test_frames_are_decoded_once(folder: Path, tmp_path: Path) -> None:
    source, seen = Folder(path=str(folder)), []
    made = decode(source, 16, tmp_path, lambda done, count: seen.append((done, count)))
    assert made.pixels.shape == (8, 16, 16, 3)
    assert seen[-1] == (8, 8)
    uri = made.rows["uri"][3].as_py()
    np.testing.assert_array_equal(made.pixels[3], picture(Path(uri).read_bytes(), 16))
    assert decode(source, 16, tmp_path, lambda *_: pytest.fail("decoded again")) == made
    assert isinstance(pickle.loads(pickle.dumps(made)).pixels, np.memmap)


def test_a_changed_file_or_label_is_decoded_again(folder: Path, tmp_path: Path) -> None:
    source = Folder(path=str(folder))
    first = decode(source, 16, tmp_path)
    (folder / "happy" / "person00" / "0000.jpg").write_bytes(
        (folder / "sad" / "person00" / "0000.jpg").read_bytes()
    )
    second = decode(source, 16, tmp_path)
    assert second.folder != first.folder
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace(",sad,", ",happy,"))
    assert decode(source, 16, tmp_path).folder not in (first.folder, second.folder)


def test_a_broken_picture_is_a_failed_row(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = folder / "happy" / "person01" / "0001.jpg"
    broken.write_bytes(b"no picture")
    (folder / "sad" / "person01" / "0000.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        made = decode(Folder(path=str(folder)), 16, tmp_path)
    failed = [row for row in made.rows.to_pylist() if row["status"] == "failed"]
    assert {Path(row["uri"]).name for row in failed} == {"0001.jpg", "0000.jpg"}
    assert any("no picture that can be decoded" in row["error_message"] for row in failed)
    assert "2 of 8 frames cannot be read" in caplog.text
    assert len(examples(made.rows)) == 6


def test_a_picture_larger_than_opencv_takes_is_an_error() -> None:
    content = bytearray(jpeg(np.zeros((8, 8, 3), np.uint8)))
    content[16:24] = struct.pack(">II", 60_000, 60_000)  # width and height, in a PNG's header
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises(ValueError, match="cannot be decoded"):
        picture(bytes(content), 16)


def test_nothing_to_read_is_an_error(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no frame can be read"):
        decode(Folder(path=str(folder)), 16, tmp_path)


def test_pixels_need_a_file_system(folder: Path) -> None:
    with pytest.raises(ValueError, match="`out` must be a folder of a file system"):
        decode(Folder(path=str(folder)), 16, UPath("memory://x"))


def test_what_changes_the_pixels_changes_the_identity(folder: Path) -> None:
    source = Folder(path=str(folder))
    names = {identity(source, 16), identity(source, 32), identity(Folder(path="other"), 16)}
    assert len(names) == 3
    assert identity(source, 16) == identity(Folder(path=str(folder)), 16)


def test_the_sound_of_a_clip_is_about_its_middle(folder: Path, tmp_path: Path) -> None:
    clips = examples(decode(Folder(path=str(folder)), 16, tmp_path).rows, length=2)
    made = listen(clips, 0.25, tmp_path)
    assert made.samples.shape == (4, 4000)
    assert made.real.tolist() == [4000] * 4
    spectrum = np.abs(np.fft.rfft(made.samples[0] * np.hanning(4000)))
    tone_hz = float(spectrum.argmax() * 16000 / 4000)
    wanted_hz = drawn.TONES_HZ[drawn.LABELS.index(clips["label"][0].as_py())]
    assert tone_hz == pytest.approx(wanted_hz, rel=0.06)
    assert listen(clips, 0.25, tmp_path).path == made.path


def test_missing_sound_is_silence(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*person00-happy.wav"):
        path.unlink()
    clips = examples(decode(Folder(path=str(folder)), 16, tmp_path).rows, length=2)
    made = listen(clips, 0.25, tmp_path)
    silent = made.real == 0
    assert silent.sum() == 1
    assert not made.samples[silent].any()
