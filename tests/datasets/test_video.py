from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.datasets.media import MediaError
from mien.datasets.video import Clip, spans

TICKS = [0, 3, 4, 9, 10, 11, 20, 21, 30, 33, 34, 40, 55, 56, 57, 58, 70, 71, 90, 99]


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """A film with uneven frames, B-frames and a keyframe every six; frame `i` is `10 * i` grey."""
    path = tmp_path / "uneven.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=100, options={"crf": "8", "g": "6", "bf": "2"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 10)
        for i, tick in enumerate(TICKS):
            picture = np.full((48, 64, 3), 10 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            out.mux(video.encode(frame))
        out.mux(video.encode())
    return path


def test_times_are_the_encoders(uneven: Path) -> None:
    frames = [(f.time_s, int(f.rgb().mean())) for f in Clip(uri=str(uneven))]
    assert [t for t, _ in frames] == pytest.approx([t / 10 for t in TICKS])
    assert [level for _, level in frames] == pytest.approx([10 * i for i in range(20)], abs=3)


@pytest.mark.parametrize("count", [2, 3, 7, 23])
def test_spans_tile(uneven: Path, count: int) -> None:
    whole = [(f.time_s, f.rgb().tobytes()) for f in Clip(uri=str(uneven))]
    parts = []
    for start_s, stop_s in spans(10.0, 10.0 / count):
        parts += [
            (f.time_s, f.rgb().tobytes())
            for f in Clip(uri=str(uneven), start_s=start_s, stop_s=stop_s)
        ]
    assert parts == whole


def test_lead_and_tail_lie_outside(uneven: Path) -> None:
    clip = Clip(uri=str(uneven), start_s=2.0, stop_s=4.0, lead_s=1.0, tail=2)
    frames = [(round(f.time_s * 10), f.inside) for f in clip]
    inside = [(20, True), (21, True), (30, True), (33, True), (34, True)]
    assert frames == [(10, False), (11, False), *inside, (40, False), (55, False)]
    assert clip.frames == 5


def test_truncated_end_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"crf": "1", "g": "5"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(50):
            picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = Clip(uri=str(path))
    count = sum(1 for _ in clip)
    assert 10 < count < 40
    assert clip.warning is not None
    assert "frames end at" in clip.warning


def test_sound_alone_has_no_frames(data: Path) -> None:
    with pytest.raises(MediaError, match="has no video stream"):
        list(Clip(uri=str(data / "robustness/pyannote_empty.wav")))


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_absent_backend_is_named(uneven: Path, backend: str) -> None:
    try:
        __import__(backend)
    except ImportError:
        with pytest.raises(ImportError, match=f"{backend}.*not installed.*'pyav'"):
            list(Clip(uri=str(uneven), backend=backend))


SAME = [
    "robustness/psd_delayed_start.mp4",
    "robustness/decord_video_90.mov",
    "robustness/torchcodec_h265_video.mp4",
    "video/composites/grid_dialogue_a1.mp4",
]


@pytest.mark.data
@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
@pytest.mark.parametrize("name", SAME)
def test_backends_agree(data: Path, backend: str, name: str) -> None:
    pytest.importorskip(backend)
    span = {"uri": str(data / name), "start_s": 0.05, "stop_s": 1.5, "tail": 2}
    want, got = list(Clip(**span)), list(Clip(**span, backend=backend))
    assert [f.time_s for f in got] == pytest.approx([f.time_s for f in want], abs=1e-5)
    assert [f.inside for f in got] == [f.inside for f in want]
    for a, b in zip(want, got, strict=True):
        assert np.abs(a.rgb().astype(int) - b.rgb()).mean() < 0.5


@pytest.mark.data
def test_torchcodec_refuses_program_streams(data: Path) -> None:
    pytest.importorskip("torchcodec")
    with pytest.raises(MediaError, match=r"MPEG program stream.*use `backend` 'pyav'"):
        list(Clip(uri=str(data / "video/grid/bbaf2n.mpg"), backend="torchcodec"))


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_other_backends_keep_a_late_start(tmp_path: Path, backend: str) -> None:
    """The picture begins at 1 s; the sound, and with it the container, at 0."""
    pytest.importorskip(backend)
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("flac", rate=16_000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = 16_000, 0
        out.mux([*audio.encode(silence), *audio.encode()])
        for i in range(5):
            picture = np.full((48, 64, 3), 40 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 10 + i, Fraction(1, 10)
            out.mux(video.encode(frame))
        out.mux(video.encode())
    times = [f.time_s for f in Clip(uri=str(path), backend=backend)]
    assert times == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4], abs=1e-5)
    assert times == pytest.approx([f.time_s for f in Clip(uri=str(path))], abs=1e-5)


def test_wrong_spans_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"`stop_s` must be greater than `start_s` \(3\), but is 2"
    ):
        Clip(uri="a", start_s=3, stop_s=2)
    with pytest.raises(ValueError, match="`backend` must be one of"):
        Clip(uri="a", backend="magic")
    with pytest.raises(ValueError, match="`duration_s` must be greater than 0"):
        spans(0.0)


@given(st.floats(0.01, 1e4), st.floats(5, 600))
def test_tiles_cover(duration_s: float, max_s: float) -> None:
    tiles = spans(duration_s, max_s)
    assert (tiles[0][0], tiles[-1][1]) == (0.0, duration_s)
    assert all(a[1] == b[0] for a, b in pairwise(tiles))
    lengths = [stop_s - start_s for start_s, stop_s in tiles]
    assert max(lengths) <= max_s * (1 + 1e-9)
    assert min(lengths) == pytest.approx(max(lengths), rel=1e-6)


@pytest.mark.data
@pytest.mark.parametrize("name", ["decord_video_90.mov", "torchcodec_h265_video.mp4"])
def test_pictures_are_those_of_opencv(data: Path, name: str) -> None:
    path = str(data / "robustness" / name)
    capture = cv2.VideoCapture(path)
    for frame in Clip(uri=path):
        picture = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        assert frame.size == picture.shape[1::-1]
        assert np.abs(frame.rgb().astype(int) - picture).mean() < 6
        small = frame.small(32, 48, "gray")
        assert small.shape == (48, 32)


@pytest.mark.data
def test_ten_bits_and_late_starts(data: Path) -> None:
    frames = list(Clip(uri=str(data / "robustness/torchcodec_h264_10bits.mp4")))
    assert len(frames) == 30
    assert frames[0].rgb().dtype == np.uint8
    late = [f.time_s for f in Clip(uri=str(data / "robustness/psd_delayed_start.mp4"))]
    assert late[:2] == pytest.approx([0.0, 0.04])


@pytest.mark.data
@pytest.mark.parametrize("name", ["robustness/torchcodec_h265_video.mp4", "video/grid/bbaf2n.mpg"])
def test_real_spans_tile(data: Path, name: str) -> None:
    path = str(data / name)
    whole = [f.time_s for f in Clip(uri=path)]
    tiles = spans(whole[-1], whole[-1] / 6.5)[:-1]
    last = tiles[-1][1]
    parts = [f.time_s for a, b in tiles for f in Clip(uri=path, start_s=a, stop_s=b)]
    assert parts + [f.time_s for f in Clip(uri=path, start_s=last)] == whole


@pytest.mark.data
def test_damaged_middle(data: Path) -> None:
    clip = Clip(uri=str(data / "robustness/decord_corrupted.mp4"))
    assert sum(1 for _ in clip) >= 45
    assert "damaged" in (clip.warning or "")
