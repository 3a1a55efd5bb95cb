"""Random checkpoints of the face networks, laid out as the real ones are.

The networks are small enough to be built whole: same layers, same sizes, random weights.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

REPOSITORY = "serengil/deepface"
YUNET = ("cls", "obj", "bbox", "kps")
"""Outputs of YuNet, at strides 8, 16 and 32 each."""
CLASSES = {
    "facial_expression_model_weights": ("demography.pytorch.Emotion", "EmotionModel", {}, 48, 1),
    "facenet512_weights": (
        "facial_recognition.pytorch.Facenet",
        "InceptionResNetV1",
        {"dimension": 512},
        160,
        3,
    ),
    "arcface_weights": ("facial_recognition.pytorch.ArcFace", "ArcFaceModel", {}, 112, 3),
}
"""By the name of the file: module below `deepface.models`, class, arguments, side and channels of
the input."""


def build_network(folder: Path, stem: str, *, onnx: bool = False, seed: int = 0) -> Path:
    """Save one of DeepFace's networks.

    Args:
        folder: Where to.
        stem: See `CLASSES`.
        onnx: Also save the same weights as an ONNX graph.
        seed: Of the weights.

    Returns:
        The `.pth` file; the `.onnx` file lies beside it.
    """
    from importlib import import_module

    module, kind, values, side, channels = CLASSES[stem]
    network = getattr(import_module(f"deepface.models.{module}"), kind)(**values)
    randomised(network, torch.rand(8, channels, side, side), seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.pth"
    torch.save(network.state_dict(), path)
    if onnx:
        example = torch.zeros(2, side, side, channels)
        export(ChannelsLast(network), example, path.with_suffix(".onnx"))
    return path


def build_retinaface(folder: Path, seed: int = 0, reserve: float = 0.0) -> Path:
    """Save a RetinaFace of full size (110 MB).

    Args:
        folder: Where to.
        seed: Of the weights.
        reserve: Logits by which it prefers background; with 0 it sees faces all over.
    """
    from mien.actors.deep_faces import environment

    with environment(DEEPFACE_BACKEND_ENGINE="pytorch"):
        from retinaface.model.retinaface_pth_model import RetinaFace
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "retinaface.pth"
    network = randomised(RetinaFace(), 255 * torch.rand(2, 128, 128, 3), seed)
    for name, tensor in network.state_dict().items():
        if "_pred" in name:  # boxes near their anchors
            tensor *= 0.1
        if name.endswith("cls_score.bias"):
            tensor[:2] += reserve
    torch.save(network.state_dict(), path)
    return path


def build_centerface(folder: Path) -> Path:
    """Save a CenterFace that takes a bright red dot for a face of 40 pixels."""

    class Dots(nn.Module):
        def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
            small = nn.functional.avg_pool2d(pictures, 4) / 255
            red = small[:, :1] - small[:, 2:]
            size = 0 * small[:, :2] + math.log(40 / 4)
            places = torch.cat([small, small, small, small[:, :1]], dim=1) * 0 + 0.5
            return red, size, 0 * small[:, :2], places

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "centerface.onnx"
    # CenterFace's outputs have numbers for names, which torch does not give.
    names = {"QQA": "537", "QQB": "538", "QQC": "539", "QQD": "540"}
    axes = {"pictures": {0: "n", 2: "height", 3: "width"}}
    example = torch.zeros(1, 3, 64, 64)
    export(Dots(), example, path, output_names=list(names), dynamic_axes=axes)
    graph = path.read_bytes()
    for ours, theirs in names.items():
        graph = graph.replace(ours.encode(), theirs.encode())
    path.write_bytes(graph)
    return path


def build_yunet(folder: Path, source: Path | None = None) -> Path:
    """Save a YuNet that takes a bright red dot for a face of 40 pixels, or copy a real one."""

    class Dots(nn.Module):
        def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found: dict[str, list[torch.Tensor]] = {part: [] for part in YUNET}
            for stride in (8, 16, 32):
                small = nn.functional.avg_pool2d(pictures, stride) / 255  # BGR
                score = (small[:, 2:] - small[:, :1]).clamp(0, 1) * float(stride == 8)
                sizes = 0 * score + math.log(40 / stride)
                box = torch.cat([0 * score + 0.5, 0 * score + 0.5, sizes, sizes], dim=1)
                points = torch.cat([0 * score] * 10, dim=1)
                for part, map_ in zip(YUNET, (score, score, box, points), strict=True):
                    found[part].append(map_.permute(0, 2, 3, 1).reshape(1, -1, map_.shape[1]))
            return tuple(one for part in YUNET for one in found[part])

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "face_detection_yunet_2023mar.onnx"
    if source is not None:
        path.write_bytes(source.read_bytes())
        return path
    names = [f"{part}_{stride}" for part in YUNET for stride in (8, 16, 32)]
    example = torch.zeros(1, 3, 640, 640)
    options = {"input_names": ["input"], "output_names": names, "dynamic_axes": None}
    export(Dots(), example, path, **options)
    return path


def build_mini_xception(folder: Path, source: Path | None = None, seed: int = 0) -> Path:
    """Save a mini-Xception as Keras would, or copy a real one."""
    import h5py

    from mien.actors.xception_net import MiniXception, sources

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fer2013_mini_XCEPTION.102-0.66.hdf5"
    if source is not None:
        path.write_bytes(source.read_bytes())
        return path
    network = randomised(MiniXception(), 2 * torch.rand(8, 1, 64, 64) - 1, seed)
    state = network.state_dict()
    with h5py.File(path, "w") as file:
        for name, (target, axes) in sources().items():
            layer, part = name.split("/")
            array = state[target].numpy()
            array = array.transpose([axes.index(axis) for axis in range(4)]) if axes else array
            file[f"model_weights/{layer}/{layer}_1/{part}:0"] = array
    return path


def build_task(folder: Path) -> Path:
    """Pack MediaPipe's own models as a face landmarker.

    It runs, but its points mean nothing: the landmarker expects a network of 478 points, and the
    packaged one that it takes has 468.
    """
    import mediapipe

    modules = Path(mediapipe.__file__).parent / "modules"
    parts = {
        "face_detector.tflite": modules / "face_detection/face_detection_short_range.tflite",
        "face_landmarks_detector.tflite": modules / "face_landmark/face_landmark.tflite",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "face_landmarker.task"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, source in parts.items():
            file.write(source, name)
    return path


def build_all(models_dir: Path, data: Path | None = None) -> None:
    """All checkpoints of the face actors, where `models.dir=...` finds them.

    Args:
        models_dir: Where to.
        data: Folder of real media, from whose `models` real weights are taken where it has them.
    """
    real = None if data is None else data / "models"
    home = models_dir / REPOSITORY
    for stem in CLASSES:
        build_network(home, stem)
    build_retinaface(home, reserve=6.0)
    build_task(models_dir / "google/face_landmarker")
    yunet = real and real / "yunet/yunet_n_640_640.onnx"
    build_yunet(models_dir / "opencv/face_detection_yunet", yunet)
    xception = real and real / "fer_mini_xception/fer2013_mini_XCEPTION.102-0.66.hdf5"
    build_mini_xception(models_dir / "oarriaga/face_classification", xception)


@contextmanager
def deepface(models_dir: Path, engine: str) -> Iterator[None]:
    """Let DeepFace itself work from a folder of models, on an engine of our choice.

    Both are global in DeepFace, and so are the networks that it has built.
    """
    from deepface.commons import backend_utils
    from deepface.modules import modeling

    from mien.actors.deep_faces import environment

    place = models_dir / "home" / ".deepface"
    if not place.exists():
        place.mkdir(parents=True)
        (place / "weights").symlink_to((models_dir / REPOSITORY).resolve())
    models = {task: {} for task in modeling.AVAILABLE_MODELS}
    with (
        environment(DEEPFACE_HOME=str(place.parent)),
        patch.object(backend_utils, "_backend_engine", engine),
        patch.object(modeling, "cached_models", models, create=True),
    ):
        yield


def randomised(network: nn.Module, example: torch.Tensor, seed: int) -> nn.Module:
    """Random weights, and normalisations that fit them: signals neither fade nor explode.

    Args:
        network: Changed in place.
        example: Inputs from which the normalisations take their means and variances.
        seed: Of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.dim() > 1:
            fan = tensor[0].numel()
            tensor.normal_(0.0, (2 / fan) ** 0.5, generator=generator)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = None  # the plain mean over all inputs seen
            part.reset_running_stats()
        elif isinstance(part, nn.Dropout):
            part.p = 0.0
    with torch.no_grad():
        network.train()(example)
    return network.eval()


class ChannelsLast(nn.Module):
    """A network that takes pictures as DeepFace's ONNX graphs do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> Any:  # noqa: ANN401
        """Take `(n, height, width, channels)`."""
        return self.network(pictures.permute(0, 3, 1, 2))


def export(network: nn.Module, example: torch.Tensor, path: Path, **options: Any) -> None:  # noqa: ANN401
    """Write an ONNX graph for any number of pictures, without the package `onnx`.

    torch's older exporter needs it only to add functions of ONNX Script, of which there are none.
    """
    same: Callable[[bytes, object], bytes] = lambda graph, _: graph  # noqa: E731
    where = "torch.onnx._internal.torchscript_exporter.onnx_proto_utils._add_onnxscript_fn"
    names = {"input_names": ["pictures"], "dynamic_axes": {"pictures": {0: "n"}}} | options
    with patch(where, same):
        torch.onnx.export(network.eval(), (example,), str(path), dynamo=False, **names)
