"""Media in a store are what they are on disk."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mien.datasets import audio, store
from mien.datasets.media import MediaError, fingerprint, probe
from mien.datasets.video import Clip


@pytest.fixture(params=["clip.mkv", "late index.mp4", "clip.ts"])
def film(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Twelve seconds of noise with a tone: about 8 MB, so that several blocks are read."""
    path, noise = tmp_path / request.param, np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25, options={"q:v": "2", "g": "12"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        sound = out.add_stream("aac", rate=48_000, layout="mono")
        tone = (np.sin(np.arange(48_000 * 12) * 0.05) * 0.5).astype(np.float32)
        for i in range(300):
            picture = noise.integers(0, 256, (240, 320, 3), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            part = tone[None, 1920 * i : 1920 * (i + 1)]
            samples = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 48_000, 1920 * i
            out.mux(sound.encode(samples))
        out.mux(video.encode())
        out.mux(sound.encode())
    assert path.stat().st_size > 2 * store.BLOCK_BYTES
    return path


@pytest.fixture
def url(film: Path, s3: str) -> str:
    where = store.place(s3) / "videos" / film.name
    store.replace(where, film.read_bytes())
    return str(where)


def frames(uri: str, *span: float) -> Iterator[tuple[float, bytes]]:
    for frame in Clip(uri=uri, start_s=span[0], stop_s=span[1]):
        yield frame.time_s, frame.rgb().tobytes()


def test_facts_frames_and_sound_are_those_of_the_file_on_disk(film: Path, url: str) -> None:
    assert probe(url) == probe(str(film))
    for span in ((0.0, 1.0), (7.3, 8.1), (11.5, 12.0)):
        assert list(frames(url, *span)) == list(frames(str(film), *span))
    for part in ((None, None), (3.25, 4.5)):
        there, here = audio.read(url, *part), audio.read(str(film), *part)
        assert there is not None
        assert here is not None
        assert np.array_equal(there, here)
    assert len(list(frames(url, 0.0, 12.0))) == 300


def test_what_is_no_media_is_refused_in_the_same_words(s3: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(bytes(10_000))
    contents = {
        "list.m3u8": f"#EXTM3U\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "empty.mp4": b"",
        "text.mp4": b"no media at all",
        "cut.mp4": b"\0\0\0\x20ftypisom" + bytes(5000),
    }
    for name, content in contents.items():
        where = store.place(s3) / name
        store.replace(where, content)
        (tmp_path / name).write_bytes(content)
        said = []
        for uri in (str(where), str(tmp_path / name)):
            with pytest.raises(MediaError) as error:
                probe(uri)
            said.append(str(error.value).replace(uri, "FILE"))
        assert said[0] == said[1], name
    with pytest.raises(MediaError, match="does not exist"):
        probe(f"{s3}/absent.mp4")
    store.replace(store.place(s3) / "folder" / "a.mp4", b"x")
    with pytest.raises(MediaError, match="is a folder"):
        probe(f"{s3}/folder")


@pytest.mark.parametrize("film", ["clip.mkv"], indirect=True)
def test_a_store_that_fails_in_the_middle_is_no_short_video(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store.opened

    def failing(uri: str, size_bytes: int | None = None) -> object:
        file = opened(uri, size_bytes)
        read = file.read

        def broken(size: int) -> bytes:
            if file.tell() > 2_000_000:
                raise ConnectionResetError("the connection was reset")
            return read(size)

        file.read = broken  # type: ignore[method-assign]
        return file

    assert fingerprint(url)
    monkeypatch.setattr(store, "opened", failing)
    with pytest.raises(ConnectionResetError, match="was reset"):
        list(frames(url, 0.0, 12.0))
    with pytest.raises(ConnectionResetError, match="was reset"):
        audio.read(url)


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_other_backends_name_the_one_that_reads_stores(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.datasets.video._package", lambda name: None)
    with pytest.raises(MediaError, match=f"which {backend} cannot read: use `backend` 'pyav'"):
        list(Clip(uri="s3://bucket/a.mp4", backend=backend))
