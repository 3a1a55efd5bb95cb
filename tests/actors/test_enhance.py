from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from mien.actors.enhance import Demucs, Enhance, moments
from mien.actors.overlap import Windows
from mien.datasets.audio import RATE_HZ, Sound, read, write


@dataclass(kw_only=True)
class Halved(Enhance):
    """Makes sound quieter."""

    model: ClassVar[str] = "halved"
    rate_hz: ClassVar[int] = 44_100

    share: float = 0.5
    calls: list[int] = field(default_factory=list, metadata={"machine": True})

    def windows(self) -> tuple[Windows, int]:
        return Windows.triangular(44_100, 11_025), 2

    def clean(self, windows: Sequence[Sound]) -> list[Sound]:
        self.calls.append(len(windows))
        return [self.share * window for window in windows]


def table(*uris: str, audible: Any = True) -> pa.Table:  # noqa: ANN401
    return pa.table({"uri": list(uris), "has_audio": pa.array([audible] * len(uris), pa.bool_())})


def enhanced(actor: Enhance, *uris: str, audible: Any = True) -> list[str | None]:  # noqa: ANN401
    return actor.process(table(*uris, audible=audible))["sound_uri"].to_pylist()


def noise(seconds: float, seed: int = 0) -> Sound:
    """Noise below 4 kHz, which every rate carries."""
    steps = np.random.default_rng(seed).normal(0, 0.2, round(seconds * 8_000))
    fine = np.fft.irfft(np.fft.rfft(steps), 2 * len(steps)) * 2
    return fine.astype(np.float32).clip(-1, 1)


def test_the_copy_is_as_long_and_not_shifted(tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    sound = noise(5.3)
    sound[40_000] = 0.9  # a click
    sound[39_900:40_000] = sound[40_001:40_101] = 0
    write(source, [sound])
    (uri,) = enhanced(Halved(folder=str(tmp_path / "out")), str(source))
    assert uri is not None
    copy = read(uri)
    assert copy is not None
    assert abs(len(copy) - len(sound)) <= 1
    assert int(np.abs(copy[39_950:40_050]).argmax()) == 50
    n = min(len(copy), len(sound))
    middle = slice(41_000, n - 500)  # after the click, which no resampler keeps whole
    assert np.abs(2 * copy[:n] - sound[:n])[middle].max() < 1e-3
    assert np.abs(2 * copy[1:n] - sound[: n - 1])[middle].max() > 0.2  # as one sample late would be


def test_a_copy_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    write(source, [noise(2)])
    first, second = (Halved(folder=str(tmp_path / "out")) for _ in range(2))
    assert enhanced(first, str(source)) == enhanced(second, str(source))
    assert first.calls
    assert not second.calls


def test_another_sound_or_another_way_gets_another_copy(tmp_path: Path) -> None:
    source, folder = tmp_path / "a.flac", str(tmp_path / "out")
    write(source, [noise(2)])
    own = enhanced(Halved(folder=folder), str(source))
    assert enhanced(Halved(folder=folder, share=0.25), str(source)) != own
    write(source, [noise(2, seed=1)])
    assert enhanced(Halved(folder=folder), str(source)) != own
    assert len(list(Path(folder).iterdir())) == 3


def test_the_same_content_under_two_names_is_enhanced_once(tmp_path: Path) -> None:
    for name in ("a.flac", "b.flac"):
        write(tmp_path / name, [noise(2)])
    actor = Halved(folder=str(tmp_path / "out"))
    one, two = enhanced(actor, str(tmp_path / "a.flac"), str(tmp_path / "b.flac"))
    assert one == two


def test_the_original_is_left_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    write(source, [noise(1)])
    before = source.read_bytes()
    enhanced(Halved(folder=str(tmp_path / "out")), str(source))
    assert source.read_bytes() == before


def test_no_sound_is_null(tmp_path: Path, data: Path) -> None:
    actor = Halved(folder=str(tmp_path))
    assert enhanced(actor, "absent.mp4", audible=False) == [None]
    silent = next((data / "video" / "micro_proxy").glob("*.mp4"))
    assert read(str(silent)) is None
    assert enhanced(actor, str(silent), audible=None) == [None]


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    write(source, [noise(3)])

    class Fails(Halved):
        def clean(self, windows: Sequence[Sound]) -> list[Sound]:
            if self.calls:
                raise RuntimeError("lost")
            return super().clean(windows)

    with pytest.raises(RuntimeError, match="lost"):
        enhanced(Fails(folder=str(tmp_path / "out")), str(source))
    assert [*(tmp_path / "out").iterdir()] == []


def test_without_a_folder_nothing_is_done() -> None:
    with pytest.raises(ValueError, match="`folder` must be set"):
        enhanced(Halved(), "a.mp4")


def test_the_folder_does_not_change_the_answer() -> None:
    assert Halved(folder="a").identity() == Halved(folder="b").identity()


def test_moments_are_those_of_the_whole() -> None:
    sound = noise(3) + 0.1
    mean, deviation = moments(np.array_split(sound, 7))
    assert mean == pytest.approx(sound.mean(), rel=1e-5)
    assert deviation == pytest.approx(sound.std(ddof=1), rel=1e-5)
    assert moments([])[1] > 0
    assert moments([np.zeros(5, np.float32)])[1] > 0


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_windows_must_go_on(overlap: float) -> None:
    with pytest.raises(ValueError, match="`overlap` must be at least 0 and less than 1"):
        Demucs(overlap=overlap)


def test_the_rate_of_speech_is_written(tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    write(source, [noise(1)])
    copy = read(str(source))
    assert copy is not None
    assert len(copy) == RATE_HZ


def test_demucs_takes_no_half_precision() -> None:
    with pytest.raises(ValueError, match="precision"):
        Demucs(precision="bfloat16")
