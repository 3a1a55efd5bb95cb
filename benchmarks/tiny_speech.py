"""Tiny random recognisers and aligners: of the true architecture, laid out as published."""

import json
import random
from pathlib import Path
from typing import Any

from mien.actors.align import ENGLISH
from mien.actors.whisper_transformers import WEIGHTS as WHISPER
from mien.actors.whisperx import WEIGHTS as CONVERTED

TEXT = 50257
"""Ids below are text, as in every multilingual Whisper; with 100 languages, as in large-v3."""
LANGUAGES = 100
TIMES = 1501
HEADS = [[0, 0], [0, 1], [1, 1]]
"""Alignment heads: layer and head of the decoder."""
LETTERS = "|ETAONIHSRDLUMWCFGYPBVK'XJQZ"


def specials() -> list[str]:
    """Whisper's control tokens, in the order of their ids from `TEXT`."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as KNOWN

    languages = list(KNOWN)[:LANGUAGES]
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    names = ("endoftext", "startoftranscript", *languages, *tasks)
    return [f"<|{name}|>" for name in names]


def vocabulary(seed: int = 0) -> list[str]:
    """All text tokens: 256 bytes, made-up words, every other with a space before it, and nothing.

    The empty token is how CTranslate2 tells a multilingual model.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    random.seed(seed)
    known = dict.fromkeys(sorted(ByteLevel.alphabet()))
    while len(known) < TEXT - 1:
        syllables = (random.choice("bdfgklmnprst") + random.choice("aeiou") for _ in range(3))
        word = "".join(syllables) + random.choice(("", "n", "s", ",", "."))
        known[("Ġ" if len(known) % 2 else "") + word + str(len(known) % 7 or "")] = None
    return [*known, ""]


def build_tokenizer(folder: Path) -> Path:
    """Whisper's tokenizer with a made-up vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    words, times = vocabulary(), [f"<|{i * 0.02:.2f}|>" for i in range(TIMES)]
    tokens = {token: i for i, token in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(tokens, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in specials()])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in times])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    end = "<|endoftext|>"
    about = {"tokenizer_class": "WhisperTokenizer", "bos_token": end, "eos_token": end}
    about |= {"unk_token": end, "pad_token": end, "model_max_length": 448}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def build_whisper(
    folder: Path,
    *,
    width: int = 32,
    layers: int = 2,
    decoder_layers: int | None = None,
    mels: int = 80,
    seed: int = 0,
) -> Path:
    """A Whisper with its tokenizer, feature extractor and generation config.

    Args:
        folder: Gets the checkpoint.
        width: Of the states; large-v3: 1280.
        layers: Of the encoder; large-v3: 32.
        decoder_layers: Of the decoder; `None`: as many. large-v3-turbo: 4.
        mels: Bands; large-v3: 128.
        seed: Of the weights.
    """
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=TEXT + len(specials()) + TIMES,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=decoder_layers or layers,
        encoder_attention_heads=max(2, width // 64),
        decoder_attention_heads=max(2, width // 64),
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        num_mel_bins=mels,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        decoder_start_token_id=TEXT + 1,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), TEXT),
    )
    model = WhisperForConditionalGeneration(config).eval()
    shake(model)
    model.generation_config = GenerationConfig(**generation())
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=mels).save_pretrained(folder)
    return build_tokenizer(folder)


def shake(model: Any) -> None:  # noqa: ANN401
    """Make random weights such that the answer depends on the sound and does not repeat itself."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "embed_positions" not in name:
                fan = weight[0].numel()
                weight.normal_(std=0.1 if "embed_tokens" in name else 1.5 / fan**0.5)
        model.model.decoder.layer_norm.weight.fill_(8.0)


def generation() -> dict[str, Any]:
    """The generation config, with the fields of the published ones."""
    ids = {token: TEXT + i for i, token in enumerate(specials())}
    return {
        "alignment_heads": HEADS,
        "begin_suppress_tokens": [220, TEXT],
        "bos_token_id": TEXT,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "eos_token_id": TEXT,
        "is_multilingual": True,
        "lang_to_id": {
            token: i
            for token, i in ids.items()
            if ids["<|startoftranscript|>"] < i < ids["<|translate|>"]
        },
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "pad_token_id": TEXT,
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": [1, 2, 7, *(ids[f"<|{n}|>"] for n in ("translate", "transcribe"))],
        "task_to_id": {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
    }


def convert(whisper: Path, folder: Path) -> Path:
    """A Whisper of transformers as CTranslate2 loads it, with what faster-whisper wants beside.

    The same as `ct2-transformers-converter --model WHISPER --output_dir FOLDER --copy_files
    tokenizer.json preprocessor_config.json`.
    """
    from ctranslate2.converters import TransformersConverter

    copied = ["tokenizer.json"]
    if (whisper / "preprocessor_config.json").exists():
        copied.append("preprocessor_config.json")
    TransformersConverter(str(whisper), copy_files=copied).convert(str(folder), force=True)
    return folder


def build_aligner(
    folder: Path,
    *,
    letters: str = LETTERS,
    norm: str = "group",
    normalize: bool = True,
    width: int = 32,
    layers: int = 2,
    seed: int = 0,
) -> Path:
    """A wav2vec 2.0 with a CTC head, laid out as the base model of 960 hours.

    Args:
        folder: Gets the checkpoint.
        letters: Symbols after the four special ones.
        norm: `group` as the base model, `layer` as the large ones.
        normalize: Whether the feature extractor brings each clip to unit variance.
        width: Of the states; base: 768.
        layers: Of the transformer; base: 12.
        seed: Of the weights.
    """
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(seed)
    symbols = ["<pad>", "<s>", "</s>", "<unk>", *letters]
    config = Wav2Vec2Config(
        vocab_size=len(symbols),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(2, width // 64),
        intermediate_size=4 * width,
        conv_dim=(max(16, width * 2 // 3),) * 7,
        feat_extract_norm=norm,
        conv_bias=norm == "layer",
        do_stable_layer_norm=norm == "layer",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = Wav2Vec2ForCTC(config).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_(std=1.0)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({s: i for i, s in enumerate(symbols)}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Wav2Vec2CTCTokenizer", "do_lower_case": False})
    )
    Wav2Vec2FeatureExtractor(
        do_normalize=normalize, return_attention_mask=norm == "layer"
    ).save_pretrained(folder)
    return folder


def build_all(models: Path) -> None:
    """Everything that the actors `whisper`, `faster_whisper`, `whisperx` and `align` load."""
    whisper = build_whisper(models / WHISPER.name)
    convert(whisper, models / CONVERTED.name)
    build_aligner(models / ENGLISH.name)
