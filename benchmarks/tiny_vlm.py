"""Tiny random vision-language models of the true architecture, saved as the real ones are.

A model, a tokenizer that was trained on the project's own prompts, image and video processors and
a chat template: all that an engine needs to load it, see pictures and follow a grammar.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mien.actors.vllm_engine import VLLM
    from mien.actors.vlm import Question

NAME = "Qwen/Qwen2-VL-7B-Instruct"
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 1024
HEAD_DIM = 32  # the least that vLLM's attention takes
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2-VL's, as far as it is used here."""


def build_all(models_dir: Path) -> Path:
    """Lay the checkpoints out as `models.dir` has them."""
    build_qwen2_vl(models_dir / NAME)
    return models_dir


def build_qwen2_vl(folder: Path, *, seed: int = 0, full: bool = False) -> Path:
    """A Qwen2-VL with random weights.

    The weights are larger than training would start with, so that the likeliest token stands
    clear of the next one and depends on what is in the pictures.

    Args:
        folder: Made here.
        seed: Of the weights.
        full: Whether to make it as large as the real one (7B, in bfloat16).
    """
    import torch
    from transformers import Qwen2VLForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    tokens = save_processor(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = _full(tokens) if full else _config(tokens)
        model = Qwen2VLForConditionalGeneration(config)
        model = model.to(torch.bfloat16 if full else torch.float32)
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
            elif name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.2)
    model.generation_config.eos_token_id = [tokens["<|im_end|>"], tokens["<|endoftext|>"]]
    model.generation_config.pad_token_id = tokens["<|endoftext|>"]
    model.eval().save_pretrained(folder)
    return folder


def _full(tokens: dict[str, int]) -> Any:  # noqa: ANN401
    """The sizes of Qwen2-VL-7B, which are not all defaults of its class; with our vocabulary."""
    config = _config(tokens)
    text = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "layer_types": ["full_attention"] * 28,
    }
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4}
    for part, sizes in ((config.text_config, text), (config.vision_config, vision)):
        for name, value in sizes.items():
            setattr(part, name, value)
    config.text_config.rope_parameters["mrope_section"] = [16, 24, 24]
    config.dtype = "bfloat16"
    return config


def _config(tokens: dict[str, int]) -> Any:  # noqa: ANN401
    layers = 2
    from transformers import Qwen2VLConfig

    hidden = 2 * HEAD_DIM
    return Qwen2VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [4, 6, 6],
            },
            "bos_token_id": tokens["<|endoftext|>"],
            "eos_token_id": tokens["<|im_end|>"],
            "pad_token_id": tokens["<|endoftext|>"],
            "tie_word_embeddings": False,
        },
        vision_config={
            "depth": layers,
            "embed_dim": hidden,
            "hidden_size": hidden,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
        },
        image_token_id=tokens["<|image_pad|>"],
        video_token_id=tokens["<|video_pad|>"],
        vision_start_token_id=tokens["<|vision_start|>"],
        vision_end_token_id=tokens["<|vision_end|>"],
        tie_word_embeddings=False,
        dtype="float32",
    )


def save_processor(folder: Path) -> dict[str, int]:
    """Save tokenizer, processors and chat template; the ids of the special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        Qwen2Tokenizer,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    from mien.actors.prompts import PROMPTS

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((p.system + p.question for p in PROMPTS.values()), trainer)
    model = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(pair) for pair in model["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=merges,
        unk_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(SPECIAL),
    )
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)  # `preprocessor_config.json`, as on the hub
    # vLLM's server asks the tokenizer for the template.
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    known = tokenizer.get_vocab()
    return {token: known[token] for token in SPECIAL}


class Reference:
    """Transformers' own Qwen2-VL, which answers one question at a time, greedily.

    Args:
        folder: Of the checkpoint.
        actor: Whose prompt, picture size and precision are taken.
    """

    def __init__(self, folder: Path, actor: "VLLM") -> None:
        import torch
        from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = Qwen2VLForConditionalGeneration.from_pretrained(
            folder,
            dtype=getattr(torch, actor.precision),
            attn_implementation="sdpa",
            local_files_only=True,
        )
        self._model = model.to(self._device).eval()
        self._processor: Any = Qwen2VLProcessor.from_pretrained(folder, local_files_only=True)
        self._actor = actor

    def __call__(self, question: "Question", tokens: int, *, least: int = 0) -> list[int]:
        """The tokens of an answer.

        Args:
            question: Of one moment.
            tokens: At most.
            least: At least.
        """
        import torch

        prompt = self._actor.prompt(question)
        data = prompt["multi_modal_data"]
        size = self._actor.arguments()["mm_processor_kwargs"]["size"]
        if "video" in data:
            shown = {"videos": [data["video"][0][0]], "videos_kwargs": {"size": size}}
        else:
            shown = {"images": data["image"], "images_kwargs": {"size": size}}
        inputs = self._processor(text=[prompt["prompt"]], return_tensors="pt", **shown)
        inputs = inputs.to(self._device)
        with torch.inference_mode():
            found = self._model.generate(
                **inputs, do_sample=False, max_new_tokens=tokens, min_new_tokens=least
            )
        return found[0, inputs["input_ids"].shape[1] :].tolist()


def pictures(count: int, *, seed: int = 0, height: int = 84, width: int = 112) -> list[dict]:
    """Pictures of a moment, each another: coloured blocks, as records of `PICTURES`."""
    import io

    from PIL import Image

    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        blocks = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        made.append({"time_s": 10.0 + 0.5 * i, "jpeg": file.getvalue()})
    return made
