import os
import pickle
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from mien.datasets import media
from mien.datasets.media import MediaError, probe
from mien.datasets.schema import PROBE
from mien.datasets.video import Clip


def movie(
    path: Path, *, frames: int = 30, fps: int = 10, sound: bool = False, first: int = 0
) -> Path:
    """A small film whose frame `i` has the grey level `8 * i`."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=fps, options={"crf": "10", "g": "8"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("flac", rate=48_000) if sound else None
        for i in range(frames):
            picture = np.full((48, 64, 3), 8 * i % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = first + i
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio is not None:
            tone = (np.sin(np.arange(48_000 * frames // fps) * 0.05) * 20_000).astype(np.int16)
            for at in range(0, len(tone), 4800):
                samples = av.AudioFrame.from_ndarray(
                    tone[None, at : at + 4800], format="s16", layout="mono"
                )
                samples.sample_rate, samples.pts = 48_000, at
                out.mux(audio.encode(samples))
            out.mux(audio.encode())
    return path


def test_facts_are_those_of_the_encoder(tmp_path: Path) -> None:
    facts = probe(str(movie(tmp_path / "a.mkv", sound=True)))
    assert set(facts) <= set(PROBE.names)
    assert (facts["width"], facts["height"], facts["fps"]) == (64, 48, 10)
    assert facts["duration_s"] == pytest.approx(3.0, abs=0.01)
    assert (facts["codec"], facts["audio_codec"], facts["audio_rate_hz"]) == ("h264", "flac", 48000)
    assert (facts["has_video"], facts["has_audio"], facts["streams"]) == (True, True, 2)
    assert facts["variable_fps"] is False
    assert facts["size_bytes"] == (tmp_path / "a.mkv").stat().st_size


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    facts = probe(str(movie(tmp_path / "a.mp4", frames=1)))
    assert facts["has_video"]
    assert facts["variable_fps"] is None
    assert facts["has_audio"] is False
    assert facts.get("audio_codec") is None


def test_a_container_without_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(MediaError, match=r"empty\.wav' holds no sound or picture: .*download"):
        probe(str(path))
    path = tmp_path / "empty.flac"
    with av.open(str(path), "w") as out:
        out.add_stream("flac", rate=48_000)
        out.start_encoding()
    with pytest.raises(MediaError, match=r"empty\.flac' holds no sound or picture: .*download"):
        probe(str(path))


def test_a_still_image_is_refused_whatever_its_name(tmp_path: Path) -> None:
    picture = np.full((48, 64, 3), 90, np.uint8)
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"{suffix[1:]}.mp4"
        path.write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
        with pytest.raises(MediaError, match="is a still image: give a video"):
            probe(str(path))


def test_a_still_in_a_video_container_is_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "8k.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 7680, 4320, "yuv420p"
        luma = np.full((4320 * 3 // 2, 7680), 128, np.uint8)
        out.mux(video.encode(av.VideoFrame.from_ndarray(luma, format="yuv420p")))
        out.mux(video.encode())
    facts = probe(str(path))
    assert (facts["width"], facts["height"]) == (7680, 4320)
    assert facts["duration_s"] == pytest.approx(0.04)
    frames = list(Clip(uri=str(path), stop_s=facts["duration_s"]))
    assert [(f.time_s, f.inside, f.size) for f in frames] == [(0.0, True, (7680, 4320))]


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=16_000)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 16_000), np.float32), format="fltp", layout="mono"
        )
        silence.sample_rate = 16_000
        out.mux([*cover.encode(picture), *cover.encode()])
        out.mux([*sound.encode(silence), *sound.encode()])
    facts = probe(str(path))
    assert (facts["has_video"], facts["has_audio"]) == (False, True)


@pytest.mark.parametrize("keep", [0.3, 0.8])
def test_truncated_file_names_its_index(tmp_path: Path, keep: float) -> None:
    path = movie(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(MediaError, match=r"a\.mp4' is cut off.*`moov`.*download it again"):
        probe(str(path))


def test_what_is_no_media_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a film at all\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for name, reason in {
        "text.mp4": "is text, not media",
        "empty.mp4": r"is empty \(0 bytes\)",
        "folder.mp4": "is a folder",
        "noise.mp4": "is not media",
        "loop.mp4": "leads to itself",
        "absent.mp4": "does not exist",
    }.items():
        with pytest.raises(MediaError, match=f"{name}' .*{reason}.*: .+"):
            probe(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.mp4")
    path.chmod(0)
    with pytest.raises(MediaError, match="may not be read"):
        probe(str(path))


def test_error_survives_pickling() -> None:
    error = MediaError("a.mp4", "is empty", "copy it again")
    assert (
        str(pickle.loads(pickle.dumps(error))) == str(error) == "'a.mp4' is empty: copy it again."
    )


def test_fingerprint_sees_head_tail_and_size(tmp_path: Path) -> None:
    path, content = tmp_path / "a", bytearray(300_000)
    path.write_bytes(content)
    seen = {media.fingerprint(str(path))}
    for change in (0, 299_999):
        content[change] = 1
        path.write_bytes(content)
        seen.add(media.fingerprint(str(path)))
    path.write_bytes(content + b"\0")
    seen.add(media.fingerprint(str(path)))
    assert len(seen) == 4


@pytest.mark.data
def test_real_files(data: Path) -> None:
    turned = probe(str(data / "robustness/decord_video_90.mov"))
    assert (turned["width"], turned["height"], turned["rotation_deg"]) == (320, 568, 90)
    assert probe(str(data / "video/nasa/nasa_13013.mp4"))["width"] == 480  # the larger of two
    assert probe(str(data / "video/pyfeat/face_noface.mov"))["variable_fps"] is True
    assert probe(str(data / "robustness/torchcodec_h264_10bits.mp4"))["pix_fmt"] == "yuv420p10le"
    sound = probe(str(data / "robustness/pyannote_empty.wav"))
    assert (sound["has_video"], sound.get("fps"), sound["duration_s"]) == (False, None, 1.0)
