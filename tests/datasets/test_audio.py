from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from mien.datasets.audio import RATE_HZ, pieces, read, resampled, write
from mien.datasets.media import MediaError
from mien.datasets.video import Clip


def sound(path: Path, *, codec: str, rate: int, seconds: float) -> np.ndarray:
    """Write a sweep in stereo, both channels alike."""
    t = np.arange(round(rate * seconds)) / rate
    wave = 0.5 * np.sin(2 * np.pi * (200 + 150 * t) * t)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout="stereo")
        assert isinstance(stream, AudioStream)
        step = stream.codec_context.frame_size or 1024
        for at in range(0, len(wave), step):
            part = np.repeat((wave[at : at + step] * 32767).astype(np.int16), 2)[None]
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = rate, at
            frame.time_base = Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return wave


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_samples_are_those_of_the_formula(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    sound(path, codec="pcm_s16le", rate=rate, seconds=3)
    heard = read(str(path))
    assert heard is not None
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(3 * RATE_HZ, abs=2)
    t = np.arange(len(heard)) / RATE_HZ
    want = 0.5 * np.sin(2 * np.pi * (200 + 150 * t) * t)
    middle = slice(200, -200)
    assert np.abs(heard - want)[middle].max() < 0.003


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.wav", "pcm_s16le", 44_100), ("a.mkv", "flac", 44_100), ("a.mp3", "mp3", 44_100),
     ("a.mkv", "libopus", 48_000), ("a.ts", "mp2", 48_000)],
)  # fmt: skip
def test_spans_are_slices(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    path = tmp_path / name
    sound(path, codec=codec, rate=rate, seconds=12)
    whole = read(str(path))
    assert whole is not None
    for start_s, stop_s in ((0.0, 1.0), (2.5, 4.1234), (7.77777, 11.0)):
        part = read(str(path), start_s, stop_s)
        assert part is not None
        want = whole[round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)]
        assert len(part) == len(want)
        assert np.abs(part - want).max() < 2e-3


def late(
    path: Path, *, codec: str, first_s: float = 0.0, options: dict[str, str] | None = None
) -> None:
    """Write a film of 5 s from `first_s` on, in which a tone of 2 s begins at 2.5 s."""
    rate = 48_000
    tone = (16_000 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.int16)
    with av.open(str(path), "w", options=options or {}) as out:
        video = out.add_stream("mpeg2video" if path.suffix == ".mpg" else "libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.max_b_frames = 0
        audio = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(audio, AudioStream)
        packets: list[av.Packet] = []
        for i in range(125):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i, np.uint8), format="rgb24")
            picture.pts, picture.time_base = i + round(25 * first_s), Fraction(1, 25)
            packets += video.encode(picture)
        packets += video.encode()
        step = audio.codec_context.frame_size or 1024
        for at in range(0, len(tone), step):
            frame = av.AudioFrame.from_ndarray(
                tone[None, at : at + step], format="s16", layout="mono"
            )
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = at + round(2.5 * rate)
            packets += audio.encode(frame)
        packets += audio.encode()
        out.mux(sorted(packets, key=lambda p: (p.dts or 0) * (p.time_base or Fraction(0))))


@pytest.mark.parametrize("first_s", [0.0, 1.52])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "aac", {}),  # an edit list says when the sound begins
        ("a.mp4", "aac", {"use_editlist": "0"}),
        ("a.mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mov", "pcm_s16le", {}),
        ("a.mkv", "aac", {}),
        ("a.mkv", "libopus", {}),
        ("a.mkv", "pcm_s16le", {}),
        ("a.ts", "aac", {}),
        ("a.mpg", "mp2", {}),
    ],
)
def test_late_sound_keeps_the_clock_of_the_picture(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], first_s: float
) -> None:
    path = tmp_path / name
    late(path, codec=codec, options=options, first_s=first_s)
    begins_s = next(iter(Clip(uri=str(path)))).time_s
    for start_s, stop_s in ((0.0, None), (0.5, 3.0)):
        heard = read(str(path), start_s, stop_s)
        assert heard is not None
        onset_s = start_s + int(np.argmax(np.abs(heard) > 0.1)) / RATE_HZ
        assert onset_s - begins_s == pytest.approx(2.5 - first_s, abs=0.003)


def test_span_beyond_the_end_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sound(path, codec="pcm_s16le", rate=16_000, seconds=1)
    heard = read(str(path), 0.5, 3.0)
    assert heard is not None
    assert len(heard) == 2.5 * RATE_HZ
    assert np.abs(heard[RATE_HZ:]).max() == 0
    assert np.abs(heard[: RATE_HZ // 4]).max() > 0.4


def test_wrong_span_is_refused() -> None:
    with pytest.raises(ValueError, match="`stop_s` must be greater than `start_s`"):
        read("a.wav", 2.0, 1.0)
    with pytest.raises(MediaError, match="does not exist"):
        read("absent.wav")


@pytest.mark.data
def test_real_files(data: Path) -> None:
    assert read(str(data / "video/expressive_face_T2/d0.mp4")) is None
    late = read(str(data / "video/pyfeat/face_noface.mov"))
    assert late is not None
    assert np.abs(late[: round(2.42 * RATE_HZ)]).max() == 0  # its sound begins at 2.43 s
    assert len(late) / RATE_HZ == pytest.approx(6.4, abs=0.03)
    path = str(data / "video/action/flipping_a_pancake.mkv")  # Opus, times in milliseconds
    whole, part = read(path), read(path, 4.123, 9.0)
    assert whole is not None
    assert part is not None
    assert np.array_equal(part, whole[round(4.123 * RATE_HZ) : 9 * RATE_HZ])


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_pieces_are_the_whole(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.mkv"
    sound(path, codec="flac", rate=rate, seconds=7)
    whole, parts = read(str(path)), [*pieces(str(path), piece_s=1.0)]
    assert whole is not None
    assert len(parts) > 4
    assert np.array_equal(np.concatenate(parts), whole)


def test_pieces_come_at_the_rate_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sound(path, codec="pcm_s16le", rate=44_100, seconds=3)
    own = np.concatenate([*pieces(str(path), 44_100)])
    assert len(own) == 3 * 44_100
    t = np.arange(len(own)) / 44_100
    assert np.abs(own - 0.5 * np.sin(2 * np.pi * (200 + 150 * t) * t)).max() < 1e-4


def test_resampling_shifts_nothing() -> None:
    t = np.arange(3 * 48_000) / 48_000
    wave = (0.5 * np.sin(2 * np.pi * (200 + 150 * t) * t)).astype(np.float32)
    heard = np.concatenate([*resampled(np.array_split(wave, 7), 48_000)])
    assert len(heard) == pytest.approx(3 * RATE_HZ, abs=1)
    t = np.arange(len(heard)) / RATE_HZ
    want = 0.5 * np.sin(2 * np.pi * (200 + 150 * t) * t)
    assert np.abs(heard - want)[200:-200].max() < 1e-3


def test_what_is_written_is_read_to_half_a_step_and_clipped(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-1.2, 1.2, 30_000).astype(np.float32)
    write(tmp_path / "a.flac", np.array_split(wave, 9))
    heard = read(str(tmp_path / "a.flac"))
    assert heard is not None
    assert len(heard) == len(wave)
    assert np.abs(heard - wave.clip(-1, 1)).max() < 1.01 / 32768
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]
