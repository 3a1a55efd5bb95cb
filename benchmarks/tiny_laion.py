"""Tiny random models of LAION's Empathic Insight: of the true architecture, laid out as published.

`FaceHead` and `VoiceHead` are the modules that LAION's checkpoints were saved from, with their
names of weights; they are also the references that the stacked heads are compared with.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.actors.laion_face import ENCODER as SIGLIP
from mien.actors.laion_face import HEADS as FACE_SMALL
from mien.actors.laion_voice import ENCODER as WHISPER
from mien.actors.laion_voice import HEADS as VOICE_SMALL
from mien.datasets.laion import (
    LAION_FACE_NAMES,
    LAION_VOICE_ATTRIBUTES,
    LAION_VOICE_NAMES,
    LAION_VOICE_QUALITY,
    file_of,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Module

FACE_LARGE = FACE_SMALL.name.replace("Small", "Large")
VOICE_LARGE = VOICE_SMALL.name.replace("Small", "Large")
VOICE_PLUS = VOICE_SMALL.name.replace("Small", "Plus")
SIZES = {"small": (128, 32), "large": (1024, 512, 256)}
"""Hidden layers of the published heads for faces; of those for voices, behind `proj`:"""
TAILS = {"small": (64, 64, 32, 16), "large": (128, 128, 64, 32)}

WIDTH = 32  # of the tiny SigLIP
SIDE_PX = 64
CHANNELS = 8  # of the tiny Whisper
TIMES = 1500
TINY_TAILS = {"small": (8, 8, 6, 4), "large": (12, 12, 8, 6)}
VOICE_NAMES = (*LAION_VOICE_NAMES, *LAION_VOICE_ATTRIBUTES)


def face_head(sizes: Sequence[int]) -> "Module":
    """A head for faces, from 1152 (or other) numbers by way of hidden layers to one."""
    from torch import nn

    class FaceHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for a, b in pairwise((*sizes, 1)):
                layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.1)]
            self.layers = nn.Sequential(*layers[:-2])

        def forward(self, x: "Tensor") -> "Tensor":
            return self.layers(x).squeeze(-1)

    return FaceHead().eval()


def voice_head(width: int, tail: Sequence[int]) -> "Module":
    """A head for voices: `proj` to the first of `tail`, then `mlp` through the others to one."""
    from torch import nn

    class VoiceHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Linear(width, tail[0])
            layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(0.0)]
            for a, b in pairwise(tail):
                layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.1)]
            self.mlp = nn.Sequential(*layers, nn.Linear(tail[-1], 1))

        def forward(self, x: "Tensor") -> "Tensor":
            return self.mlp(self.proj(x.flatten(1))).squeeze(-1)

    return VoiceHead().eval()


def save_heads(
    folder: Path, names: Iterable[str], make: "Callable[[], Module]", *, prefix: str = ""
) -> "dict[str, Module]":
    """Save a head per name, every third as a compiled one is saved; gives the heads by name.

    Args:
        folder: Gets `model_NAME_best.pth`.
        names: Of the heads.
        make: Makes one.
        prefix: Of every key of every third checkpoint.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    heads = {}
    for i, name in enumerate(names):
        head = lively(make())
        state = head.state_dict()
        if prefix and i % 3 == 0:
            state = {prefix + key: value for key, value in state.items()}
        torch.save(state, folder / file_of(name))
        heads[name] = head
    return heads


def lively(head: "Module") -> "Module":
    """A head whose ReLUs are mostly open and whose score moves with what it reads."""
    import torch

    with torch.no_grad():
        linear = [layer for layer in head.modules() if hasattr(layer, "in_features")]
        for layer in linear:
            layer.get_parameter("weight").mul_(2)
        for layer in linear[:-1]:
            layer.get_parameter("bias").add_(0.5)
    return head


SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "image_size": 384}
SO400M |= {"patch_size": 16, "num_hidden_layers": 27, "num_attention_heads": 16}
"""The published picture half."""


def build_siglip(folder: Path, *, full: bool = False, seed: int = 0) -> Path:
    """A SigLIP of both halves, with its image processor; on request with the true picture half."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(seed)
    text = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 64}
    text |= {"max_position_embeddings": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    picture = {"hidden_size": WIDTH, "intermediate_size": 64, "image_size": SIDE_PX}
    picture |= {"patch_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    picture = SO400M if full else picture
    text["projection_size"] = picture["hidden_size"]
    shallow = {"num_hidden_layers": 1, "num_attention_heads": 2}
    model = SiglipModel(SiglipConfig(text_config=text | shallow, vision_config=picture)).eval()
    model.save_pretrained(folder)
    side_px, half = picture["image_size"], [0.5] * 3
    size = {"height": side_px, "width": side_px}
    SiglipImageProcessor(size=size, image_mean=half, image_std=half).save_pretrained(folder)
    return folder


def build_face_heads(
    folder: Path, size: str = "small", *, width: int = WIDTH, shrink: int = 8, seed: int = 1
) -> "dict[str, Module]":
    """The 40 heads for faces; gives them by name.

    Args:
        folder: Gets the checkpoints.
        size: `small` or `large`.
        width: Of the embedding; published: 1152.
        shrink: Divides the hidden layers; published: 1.
        seed: Of the weights.
    """
    import torch

    torch.manual_seed(seed)
    sizes = (width, *(hidden // shrink for hidden in SIZES[size]))
    return save_heads(folder, LAION_FACE_NAMES, lambda: face_head(sizes), prefix="_orig_mod.")


def build_neutral(
    folder: Path, names: Sequence[str] = LAION_FACE_NAMES, *, std: bool = True
) -> Path:
    """Neutral statistics, as they lie beside the heads."""
    found = {
        name: {"mean": 0.01 * i, "std": 0.5 + 0.01 * i} if std else 0.01 * i
        for i, name in enumerate(names)
    }
    file = folder / "neutral_stats_cache-tiny.json"
    file.write_text(json.dumps(found))
    return file


def build_whisper(folder: Path, *, seed: int = 2) -> Path:
    """A Whisper with an encoder of 30 s, with its feature extractor."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=64,
        d_model=CHANNELS,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=80,
        max_source_positions=TIMES,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    model = WhisperForConditionalGeneration(config).eval()
    encoder: Any = model.get_encoder()
    with torch.no_grad():  # what is heard counts for more than when
        for layer in (encoder.conv1, encoder.conv2):
            layer.weight.mul_(20)
        encoder.embed_positions.weight.mul_(0.1)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


def build_voice_heads(
    folder: Path, size: str = "small", *, channels: int = CHANNELS, seed: int = 3
) -> "dict[str, Module]":
    """The 55 heads for voices; with `size` plus four more, pooled ones. Gives them by name."""
    import torch

    torch.manual_seed(seed)
    tail, width = TINY_TAILS["large" if size == "large" else "small"], TIMES * channels
    heads = save_heads(folder, VOICE_NAMES, lambda: voice_head(width, tail), prefix="_orig_mod.")
    if size == "plus":
        pooled = save_heads(folder, LAION_VOICE_QUALITY, lambda: voice_head(4 * channels, tail))
        heads |= pooled
    return heads


def build_all(models: Path) -> None:
    """Everything that the actors `laion_*` load, below a folder of models."""
    build_siglip(models / SIGLIP.name)
    for size, name in (("small", FACE_SMALL.name), ("large", FACE_LARGE)):
        build_face_heads(models / name, size)
        build_neutral(models / name)
    build_whisper(models / WHISPER.name)
    for size, name in (("small", VOICE_SMALL.name), ("large", VOICE_LARGE), ("plus", VOICE_PLUS)):
        build_voice_heads(models / name, size)


def loaded(head: "Module", file: Path) -> "Module":
    """A head with the weights of a checkpoint."""
    import torch

    state = torch.load(file, weights_only=True)
    head.load_state_dict({key.removeprefix("_orig_mod."): value for key, value in state.items()})
    return head.eval()


def face_reference(
    encoder: Path,
    folder: Path,
    sizes: Sequence[int],
    *,
    l2: bool = True,
    device: "str | torch.device" = "cpu",
) -> "Callable[[NDArray[np.uint8]], NDArray[np.floating]]":
    """The 40 scores of one RGB picture: the whole SigLIP, then one head after the other.

    Args:
        encoder: Of SigLIP.
        folder: Of the heads.
        sizes: Of the heads, without the last 1.
        l2: Whether the embedding is brought to length 1.
        device: Of torch.
    """
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, SiglipModel

    model: Any = SiglipModel.from_pretrained(encoder).eval()
    model.to(device)
    processor = AutoImageProcessor.from_pretrained(encoder)
    heads = [loaded(face_head(sizes), folder / file_of(name)) for name in LAION_FACE_NAMES]
    heads = [head.to(device) for head in heads]

    def scores(image: "NDArray[np.uint8]") -> "NDArray[np.floating]":
        with torch.inference_mode():
            pixels = processor(images=Image.fromarray(image), return_tensors="pt").to(device)
            given = model.get_image_features(**pixels)
            found = given if torch.is_tensor(given) else given.pooler_output
            embedding = found / found.norm(dim=-1, keepdim=True) if l2 else found
            return np.array([float(head(embedding)) for head in heads])

    return scores


def voice_reference(
    encoder: Path, folder: Path, tail: Sequence[int], *, plus: bool = False
) -> "Callable[[NDArray[np.float32]], NDArray[np.floating]]":
    """The 55 or 59 scores of one segment: the whole Whisper, then one head after the other.

    Args:
        encoder: Of Whisper.
        folder: Of the heads.
        tail: Sizes of the heads from `proj` on, without the last 1.
        plus: Whether there are heads of quality, which read the pooled states.
    """
    import numpy as np
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    whole = WhisperForConditionalGeneration.from_pretrained(encoder).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(encoder)
    channels, heads = whole.config.d_model, []
    for name in (*VOICE_NAMES, *(LAION_VOICE_QUALITY if plus else ())):
        width = channels * (4 if name in LAION_VOICE_QUALITY else TIMES)
        heads.append((loaded(voice_head(width, tail), folder / file_of(name)), width))

    def scores(samples: "NDArray[np.float32]") -> "NDArray[np.floating]":
        with torch.inference_mode():
            mel = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
            states = whole.get_encoder()(mel).last_hidden_state
            parts = (states.mean(1), states.min(1)[0], states.max(1)[0], states.std(1))
            pooled = torch.cat(parts, dim=1)
            return np.array(
                [float(head(pooled if width == 4 * channels else states)) for head, width in heads]
            )

    return scores
