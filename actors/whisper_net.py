"""Whisper's network: batched decoding of windows, and what its attention tells of time."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    WhisperForConditionalGeneration,
)
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

FILTER = 7
"""Frames of the median filter over the attention, as in Whisper itself."""


class Recorder(LogitsProcessor):
    """Writes down how likely the likeliest token is at each step, after all other processors."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Leave the scores as they are."""
        self.steps.append(scores.float().log_softmax(-1).amax(-1))
        return scores


class Decoder:
    """Greedy decoding of encoded windows, many at once.

    Args:
        network: The whole Whisper.
        heads: Layer and head of the cross-attention heads that follow the sound.
    """

    def __init__(
        self, network: WhisperForConditionalGeneration, heads: Sequence[tuple[int, int]]
    ) -> None:
        self.network, self.heads = network, heads
        self.config: Any = network.generation_config  # its fields come from a file

    def encoded(self, mels: Tensor) -> Tensor:
        """States `(batch, 1500, width)` of log-mel pictures `(batch, bands, 3000)`."""
        return self.network.model.encoder(mels).last_hidden_state

    def begun(self, states: Tensor) -> Tensor:
        """Logits of the first token, `(batch, tokens)`: of the language, and of no speech."""
        sot = torch.full((len(states), 1), self.config.decoder_start_token_id, device=states.device)
        return self._logits(states, sot)[:, 0].float()

    def decoded(
        self, states: Tensor, prompts: Sequence[Sequence[int]], most: int
    ) -> list[tuple[list[int], float]]:
        """Tokens after each prompt, the end's left out, and the sum of all their log probabilities.

        Args:
            states: `(batch, 1500, width)`.
            prompts: Of one length.
            most: Tokens, at most.
        """
        first = torch.tensor(prompts, device=states.device)
        recorder = Recorder()
        config = deepcopy(self.config)
        config.update(max_length=first.shape[1] + most, do_sample=False, num_beams=1)
        mixin: Any = GenerationMixin  # Whisper's own `generate` drops what it would decode again
        sequences = mixin.generate(
            self.network,
            encoder_outputs=heard(states),
            attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=states.device),
            decoder_input_ids=first,
            generation_config=config,
            logits_processor=LogitsProcessorList(
                [WhisperTimeStampLogitsProcessor(config, first.shape[1]), recorder]
            ),
        )
        steps = torch.stack(recorder.steps, dim=1).double().cumsum(1).cpu().numpy()
        answers = []
        for row, sums in zip(sequences[:, first.shape[1] :].tolist(), steps, strict=True):
            end = self.config.eos_token_id
            count = row.index(end) if end in row else len(row)
            answers.append((row[:count], float(sums[min(count, len(sums) - 1)])))
        return answers

    def followed(
        self,
        states: Tensor,
        prompts: Sequence[Sequence[int]],
        texts: Sequence[Sequence[int]],
        frames: Sequence[int],
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        """Where each text lies, by one pass over the whole of it (`whisper/timing.py`).

        Args:
            states: `(batch, 1500, width)`.
            prompts: Of one length, each ending with the token of no timestamps.
            texts: Text tokens, each followed by the end's.
            frames: Of the states that are sound rather than padding, per text.

        Returns:
            For each text the costs `(tokens, frames)` whose cheapest path is the alignment, and the
            probabilities `(tokens - 1,)` of its tokens but the end, among all text tokens.
        """
        longest, end = max(map(len, texts)), self.config.eos_token_id
        ids = [
            [*prompt, *text, *[end] * (longest - len(text))]
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        weights: list[Tensor] = []
        with Watch(self.network, self.heads, weights, frames):
            logits = self._logits(states, torch.tensor(ids, device=states.device))
        begin = len(prompts[0]) - 1
        found = []
        for i, (text, count) in enumerate(zip(texts, frames, strict=True)):
            rows = slice(begin, begin + len(text))
            attention = torch.cat([w[i, :, : rows.stop + 1, :count] for w in weights])
            odds = logits[i, begin : rows.stop - 1, :end].float().softmax(-1)
            own = torch.tensor(text[:-1], device=odds.device)[:, None]
            chances = odds.gather(1, own)[:, 0]
            cost = costs(attention)[begin:-1]  # the end's row counts in the mean and no more
            found.append((cost.cpu().double().numpy(), chances.cpu().numpy()))
        return found

    def _logits(self, states: Tensor, ids: Tensor) -> Tensor:
        told = heard(states)
        return self.network(encoder_outputs=told, decoder_input_ids=ids, use_cache=False).logits


def heard(states: Any) -> Any:  # noqa: ANN401
    """Encoded windows, as the decoder takes them."""
    return BaseModelOutput(last_hidden_state=states)


def costs(attention: Tensor) -> Tensor:
    """Costs of a token in a frame, `(tokens, frames)`, of attention `(heads, tokens, frames)`."""
    mean = attention.mean(-2, keepdim=True)
    scaled = (attention - mean) / attention.std(-2, keepdim=True, correction=0).clamp_min(1e-10)
    side = FILTER // 2
    if scaled.shape[-1] > side:
        padded = torch.nn.functional.pad(scaled, (side, side), mode="reflect")
        scaled = padded.unfold(-1, FILTER, 1).sort().values[..., side]
    return -scaled.mean(0)


class Watch:
    """Collects the attention of some heads to the sound, whatever kernel the network runs on.

    Args:
        network: The whole Whisper.
        heads: Layer and head.
        weights: Gets `(batch, heads of a layer, tokens, frames)` float32 for each layer.
        frames: Of each text; the attention is over these alone.
    """

    def __init__(
        self,
        network: WhisperForConditionalGeneration,
        heads: Sequence[tuple[int, int]],
        weights: list[Tensor],
        frames: Sequence[int],
    ) -> None:
        self.weights, self.frames = weights, frames
        self.layers: dict[int, list[int]] = {}
        for layer, head in heads:
            self.layers.setdefault(layer, []).append(head)
        self.modules: list[Any] = [
            network.model.decoder.layers[layer].encoder_attn for layer in self.layers
        ]

    def __enter__(self) -> None:
        self.hooks = [
            module.register_forward_pre_hook(self._seen(heads), with_kwargs=True)
            for module, heads in zip(self.modules, self.layers.values(), strict=True)
        ]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _seen(self, heads: list[int]) -> Any:  # noqa: ANN401
        def hook(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:  # noqa: ANN401
            asking = args[0] if args else kwargs["hidden_states"]
            sound = args[1] if len(args) > 1 else kwargs["key_value_states"]
            shape = (len(asking), -1, module.num_heads, module.head_dim)
            queries = module.q_proj(asking).view(shape)[:, :, heads].transpose(1, 2)
            keys = module.k_proj(sound).view(shape)[:, :, heads].transpose(1, 2)
            scores = (queries * module.scaling) @ keys.transpose(-1, -2)
            counts = torch.tensor(self.frames, device=scores.device)[:, None, None, None]
            beyond = torch.arange(scores.shape[-1], device=scores.device) >= counts
            self.weights.append(scores.float().masked_fill(beyond, -torch.inf).softmax(-1))

        return hook
