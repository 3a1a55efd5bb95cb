import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mien.actors.deepfilter import (
    DeepFilterNet,
    Filter,
    Settings,
    analysis,
    deep_filtered,
    features,
    running,
    synthesis,
)

INI = "[df]\nsr = 48000\ndf_lookahead = 2\n[deepfilternet]\nconv_lookahead = 2\n"
USED = Settings.parsed(INI)
noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)


def test_a_spectrum_gives_its_sound_back_one_hop_late() -> None:
    back = synthesis(analysis(noise, USED), USED)
    assert np.allclose(back[480:], noise[:-480], atol=1e-6)


def test_bands_cover_all_bins_and_hold_at_least_two() -> None:
    assert USED.widths.sum() == 481
    assert USED.widths.min() == 2
    assert (np.diff(USED.widths[:-1]) >= 0).all()


def test_the_decay_is_rounded_as_in_training() -> None:
    assert USED.decay == 0.99
    assert Settings.parsed(INI.replace("sr = 48000", "sr = 48000\nnorm_tau = 100")).decay == 0.9999


def test_a_running_mean_starts_where_it_is_told_and_follows() -> None:
    values = np.array([[1.0], [1.0], [1.0]])
    assert running(values, np.array([0.0]), 0.5)[:, 0].tolist() == [0.5, 0.75, 0.875]


def test_silence_has_finite_features() -> None:
    bands, bins = features(analysis(np.zeros(4_800, np.float32), USED), USED)
    assert np.isfinite(bands).all()
    assert np.isfinite(bins).all()


def test_a_filter_of_one_tap_in_the_present_changes_nothing() -> None:
    spectrum = analysis(noise, USED)[:, :96]
    taps = np.zeros((*spectrum.shape, 5), np.complex64)
    taps[..., 2] = 1
    assert np.allclose(deep_filtered(spectrum, taps, 2), spectrum)
    taps = np.roll(taps, 1, axis=-1)  # one frame ahead
    assert np.allclose(deep_filtered(spectrum, taps, 2)[:-1], spectrum[1:])


def test_an_archive_that_lacks_a_part_says_which(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("export/config.ini")
        member.size = len(INI)
        archive.addfile(member, io.BytesIO(INI.encode()))
    with pytest.raises(ValueError, match=r"must hold df_dec\.onnx, enc\.onnx, erb_dec\.onnx"):
        Filter.loaded(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("limit", [0.0, -3.0])
def test_a_limit_must_limit(limit: float) -> None:
    with pytest.raises(ValueError, match="`limit_db` must be greater than 0"):
        DeepFilterNet(limit_db=limit)


def test_a_window_must_be_longer_than_what_is_heard_twice() -> None:
    with pytest.raises(ValueError, match="and `window_s` than `lead_s` and twice `fade_s`"):
        DeepFilterNet(window_s=4.0)
