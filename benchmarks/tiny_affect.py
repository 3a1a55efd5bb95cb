"""Random checkpoints of the affect, action and restoration models, laid out as the real ones are.

True architectures; small where the architecture allows it, else of full size.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

AUDEERING = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
DISTILROBERTA = "j-hartmann/emotion-english-distilroberta-base"
TIMESFORMER = "facebook/timesformer-base-finetuned-k400"
RESTORER = "TencentARC/GFPGAN"
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")


def build_audeering(folder: Path, *, full: bool = False, old: bool = False, seed: int = 0) -> Path:
    """Save an audeering network.

    Args:
        folder: Where to.
        full: Twelve layers of 1024, rather than two of 32.
        old: As a pickle with the weight norm's old names (`weight_g`, `weight_v`), as the
            published checkpoint was saved.
        seed: Of the weights.

    Returns:
        The folder.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

    from mien.actors.voice_affect_net import DIMENSIONS, AffectModel

    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    small: dict[str, Any] = SMALL | {
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        **(sizes if full else small),
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
        final_dropout=0.1,
        id2label=dict(enumerate(DIMENSIONS)),
        label2id={name: i for i, name in enumerate(DIMENSIONS)},
    )
    network = livened(AffectModel(config)).eval()
    with torch.no_grad():
        network.classifier.out_proj.bias.fill_(0.5)  # as the real one: about 0-1
        network.classifier.out_proj.weight *= 0.2
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    if not old:
        network.save_pretrained(folder)
        return folder
    config.architectures = ["EmotionModel"]
    config.save_pretrained(folder)
    named = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in network.state_dict().items()
    }
    torch.save(named, folder / "pytorch_model.bin")
    return folder


def build_states(folder: Path, *, norm: str = "layer", seed: int = 0) -> Path:
    """Save a wav2vec 2.0 of two blocks, with its feature extractor.

    Args:
        folder: Where to.
        norm: Of its first layers: `layer` as the large models have it, `group` as the base ones.
        seed: Of the weights.

    Returns:
        The folder.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        **SMALL,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        conv_bias=norm == "layer",
    )
    livened(Wav2Vec2Model(config)).eval().save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer")
    extractor.save_pretrained(folder)
    return folder


def build_distilroberta(
    folder: Path, *, full: bool = False, labels: tuple[str, ...] = EMOTIONS, seed: int = 0
) -> Path:
    """Save a DistilRoBERTa with seven classes, and a byte-level tokenizer of a few words.

    Args:
        folder: Where to.
        full: Six layers of 768 with the true vocabulary's size, rather than two of 32.
        labels: Of the classes.
        seed: Of the weights.

    Returns:
        The folder.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    words = "I am so happy that you came . That is a terrible , sad and disgusting thing to say !"
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([words] * 3, vocab_size=400, min_frequency=2, special_tokens=special)
    bpe.save_model(str(folder))
    sizes: dict[str, Any] = {"num_hidden_layers": 6} if full else SMALL
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=50265 if full else bpe.get_vocab_size(),
        max_position_embeddings=514,
        type_vocab_size=1,
        **sizes,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
    )
    livened(RobertaForSequenceClassification(config)).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RobertaTokenizer", "model_max_length": 512})
    )
    AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(folder)
    return folder


def build_timesformer(
    folder: Path, *, full: bool = False, mean: float = 0.45, std: float = 0.225, seed: int = 0
) -> Path:
    """Save a TimeSformer of 8 frames and 400 classes, and its processor.

    Args:
        folder: Where to.
        full: Twelve layers of 768, rather than two of 32.
        mean: Of the processor.
        std: Of the processor.
        seed: Of the weights.

    Returns:
        The folder.
    """
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    torch.manual_seed(seed)
    config = TimesformerConfig(
        **({} if full else SMALL),
        num_frames=8,
        image_size=224,
        id2label={i: f"action {i}" for i in range(400)},
        label2id={f"action {i}": i for i in range(400)},
    )
    network = livened(TimesformerForVideoClassification(config))
    with torch.no_grad():
        for layer in network.timesformer.encoder.layer:  # zero at birth: time would not matter
            layer.temporal_dense.weight.normal_(0.0, 0.2)
    network.save_pretrained(folder)
    known = {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 224},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [mean] * 3,
        "image_std": [std] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(known))
    return folder


def build_gfpgan(folder: Path, *, noise: float = 0.0, seed: int = 0) -> Path:
    """Save a GFPGAN of full size (350 MB): `spandrel` knows no smaller one.

    Args:
        folder: Where to.
        noise: Weight of the noise that StyleGAN2 adds; drawn anew at each call unless it is fixed.
        seed: Of the weights.

    Returns:
        The file.
    """
    from spandrel.architectures.GFPGAN.__arch.gfpganv1_clean_arch import GFPGANv1Clean

    torch.manual_seed(seed)
    network = GFPGANv1Clean()
    for name, tensor in network.state_dict().items():
        if "style_conv" in name and name.endswith("conv.weight") is False and tensor.numel() == 1:
            tensor.fill_(noise)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "GFPGANv1.4.pth"
    torch.save({"params_ema": network.state_dict()}, path)
    return path


def build_all(models_dir: Path) -> None:
    """All checkpoints of these actors, where `models.dir=...` finds them."""
    build_audeering(models_dir / AUDEERING)
    build_distilroberta(models_dir / DISTILROBERTA)
    build_timesformer(models_dir / TIMESFORMER)
    build_gfpgan(models_dir / RESTORER)


def livened(network: nn.Module) -> Any:  # noqa: ANN401
    """Weights so large that inputs make a difference: at birth answers hardly depend on them."""
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.dim() > 1 and "embedding" not in name:
                tensor.normal_(0.0, fan(tensor) ** -0.5)
            elif "embedding" in name and tensor.dim() > 1:
                tensor.normal_(0.0, 0.5)
    return network


def fan(tensor: Tensor) -> int:
    """Inputs of each output of a layer."""
    return tensor[0].numel()
