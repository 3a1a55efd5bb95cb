"""What all actors share that stand on DeepFace: its classes, its engines, and no downloads.

DeepFace looks for weights in one folder of the machine and fetches what is not there; it picks
one engine per process, from an environment variable. Here each network is built by its own class,
from a file that is known to be there, on the engine that is asked for.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .actor import MACHINE
from .neural import Neural
from .weights import Weights

ENGINES = {"pytorch": "torch", "onnx": "onnxruntime", "tensorflow": "tensorflow"}
"""What DeepFace runs on, and the package that each needs."""
SUFFIXES = {"pytorch": ".pth", "onnx": ".onnx", "tensorflow": ".h5"}
REPOSITORY = "serengil/deepface"
"""On the Hugging Face hub: all weights of DeepFace, as its own code names it."""
CACHE = "~/.deepface/weights"


def engine_checked(engine: str) -> None:
    """Refuse an unknown engine.

    Raises:
        ValueError: Names the engines.
    """
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}, but is {engine!r}.")


def engine_missing(engine: str) -> str | None:
    """Why an engine cannot run here, and the cure."""
    if find_spec(ENGINES[engine]) is not None:
        return None
    other = " or ".join(name for name in ENGINES if name != engine)
    return f"`engine` {engine} needs the package {ENGINES[engine]}: install it or choose {other}"


@dataclass(kw_only=True)
class DeepFaceNetwork(Neural):
    """An actor around one network of DeepFace.

    Attributes:
        engine: `pytorch`, `onnx` or `tensorflow`; decides which file of weights is loaded.
            On a GPU: `pytorch`, for the others run wherever their packages were built for.
        checkpoint: The weights; which file of them follows from `engine`.
    """

    packages = ("deepface", "torch", "cv2")
    task: ClassVar[str]
    """DeepFace's name of the kind of network."""

    engine: str = "pytorch"
    checkpoint: Weights = field(default_factory=lambda: published(""))
    _network: Any = field(default=None, init=False, repr=False, compare=False, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        engine_checked(self.engine)
        for name, usual in (("precision", "float32"), ("compile", False)):
            if self.engine != "pytorch" and getattr(self, name) != usual:
                raise ValueError(
                    f"`{name}` must be {usual} with `engine` {self.engine}, "
                    f"but is {getattr(self, name)}."
                )
        file = f"{self.stem}{SUFFIXES[self.engine]}"
        licence = self.checkpoint.licence or self.terms
        self.checkpoint = replace(self.checkpoint, files=(file,), licence=licence)

    @property
    def network(self) -> str:
        """DeepFace's name of the network."""
        raise NotImplementedError

    @property
    def stem(self) -> str:
        """Name of its file of weights, without suffix."""
        raise NotImplementedError

    @property
    def terms(self) -> str:
        """Licence of its weights."""
        return "MIT"

    def missing(self) -> str | None:
        """Why it cannot work here: a package, the engine's, or the weights."""
        engine = engine_missing(self.engine) if self.environment is None else None
        return "; ".join(reason for reason in (super().missing(), engine) if reason) or None

    def provenance(self) -> dict[str, str]:
        """As of any actor, with the network's name: one repository holds them all."""
        known = super().provenance()
        return known | {"model": f"{known['model']} {self.network}"}

    def setup(self) -> None:
        """Build the network from its file."""
        file = located(self.checkpoint)
        if self.engine == "onnx":
            self._network = session(file, self.threads)
            return
        with home(file):
            network = client(self.task, self.network, self.engine).model
        self._network = self.placed(network) if self.engine == "pytorch" else network

    def close(self) -> None:
        """Release the network."""
        self._network = None

    def forward(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            pictures: `(n, height, width, channels)` as the network was trained on, BGR.

        Returns:
            `(n, outputs)` float32.
        """
        if self.engine == "pytorch":
            import torch

            tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
            return self._network(self.moved(tensor.contiguous())).float().cpu().numpy()
        if self.engine == "onnx":
            from deepface.commons.onnx_utils import run_session

            return np.asarray(run_session(self._network, pictures), np.float32)
        return np.asarray(self._network.predict_on_batch(pictures), np.float32)


def published(licence: str, files: Sequence[str] = ()) -> Weights:
    """Weights of DeepFace's repository."""
    return Weights(name=REPOSITORY, licence=licence, files=tuple(files), cached=CACHE)


def located(weights: Weights) -> Path:
    """The one file of some weights, which may be given by its path or by its folder.

    Raises:
        FileNotFoundError: Says where it was looked for, and the cure.
    """
    place = weights.resolved()
    return place if place.is_file() else place / weights.files[0]


def client(task: str, name: str, engine: str) -> Any:  # noqa: ANN401
    """An instance of the class with which DeepFace wraps one of its networks.

    Unlike `modeling.build_model` it does not hand out what was built before with other weights.
    To be called inside `home`.

    Args:
        task: Of DeepFace's, as `facial_recognition`.
        name: Of its model.
        engine: See `ENGINES`.
    """
    from deepface.modules.modeling import ANY, AVAILABLE_MODELS

    sources = AVAILABLE_MODELS[task][name]
    module, _, kind = (sources.get(engine) or sources[ANY]).rpartition(".")
    with environment(DEEPFACE_BACKEND_ENGINE=engine):
        return getattr(import_module(module), kind)()


def session(file: Path, threads: int) -> Any:  # noqa: ANN401
    """An ONNX graph of DeepFace's, on the devices that DeepFace would choose.

    DeepFace's own sessions take all cores, however many workers there are.
    """
    import onnxruntime
    from deepface.commons.onnx_utils import resolve_providers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    providers = resolve_providers(onnxruntime.get_available_providers())
    return onnxruntime.InferenceSession(str(file), sess_options=options, providers=providers)


@contextmanager
def home(file: Path) -> Iterator[None]:
    """Let DeepFace see a folder of weights that holds this one file, under DeepFace's name."""
    with TemporaryDirectory(prefix="deepface-") as folder:
        place = Path(folder) / ".deepface" / "weights"
        place.mkdir(parents=True)
        (place / file.name).symlink_to(file.resolve())
        with environment(DEEPFACE_HOME=folder):
            yield


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
