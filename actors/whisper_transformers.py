"""Transcription with Whisper, through transformers: batched, on any device that torch knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datasets.audio import RATE_HZ
from .actor import MACHINE
from .neural import Neural
from .sound import Samples
from .transcript import APPENDED, PREPENDED, Transcriber, Transcript, compression_ratio
from .warping import onsets
from .weights import Weights

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

WEIGHTS = Weights(
    name="openai/whisper-large-v3-turbo",
    licence="MIT",
    files=(
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "model.safetensors",
    ),
    size_gb=1.6,
)
TICK_S = 0.02
"""Seconds of a timestamp token, and of a frame of the encoder."""
WINDOW_S = 30.0

Record = dict[str, Any]


class Window(NamedTuple):
    """A decoded chunk."""

    language: str
    silence: float
    tokens: list[int]
    logprob: float
    duration_s: float


@dataclass(kw_only=True)
class Whisper(Transcriber, Neural):
    """Words and segments of speech, all chunks of a batch together.

    Decoding is greedy, hence the same each time; what Whisper would decode again at a higher
    temperature or drop as silence is judged by `rejection` instead, and kept in the table. As in
    Whisper, the language and the probability of silence are read off the first token, a segment
    lies between two timestamp tokens (or reaches to the end of its chunk), all segments of a chunk
    share its mean log probability (over the tokens and the end) and its compression ratio, and
    words are timed by warping the cross-attention of the alignment heads. A checkpoint that does
    not name these takes all heads of the upper half of its decoder, as Whisper does.

    `compile` is for the encoder.

    Attributes:
        checkpoint: Of any Whisper in the layout of transformers.
        language: Spoken language, as `en`; null lets the model tell, chunk by chunk.
        max_tokens: Of one chunk; Whisper's own limit is 224.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "faster_whisper")
    model: ClassVar[str] = WEIGHTS.name
    revision: ClassVar[str] = WEIGHTS.revision
    licence: ClassVar[str] = WEIGHTS.licence
    quality: ClassVar[str] = "Not measured here, for want of the weights."

    checkpoint: Weights = WEIGHTS
    language: str | None = None
    max_tokens: int = 224
    memory_gb: float = field(default=6.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        Transcriber.__post_init__(self)
        Neural.__post_init__(self)
        if self.max_tokens < 1:
            raise ValueError(f"`max_tokens` must be at least 1, but is {self.max_tokens}.")

    def setup(self) -> None:
        """Load the network, its feature extractor and its tokenizer."""
        import tokenizers
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

        from .whisper_net import Decoder

        folder = self.checkpoint.resolved()
        network: Any = WhisperForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=self.dtype
        )
        network.to(self.place)
        network.eval().requires_grad_(False)
        network.model.encoder = self.placed(network.model.encoder)
        self._config = network.generation_config
        self._multilingual = bool(getattr(self._config, "lang_to_id", None))
        self._words = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._extractor = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
        self._decoder = Decoder(network, self._heads(network.config))
        self._room = network.config.max_target_positions

    def close(self) -> None:
        """Release the network."""
        del self._decoder

    def transcribe(self, sounds: Sequence[Samples]) -> list[Transcript]:
        """Recognise some chunks of at most 30 s."""
        for samples in sounds:
            if len(samples) > WINDOW_S * RATE_HZ + 1:
                raise ValueError(
                    f"a chunk must be at most {WINDOW_S:g} s long, but is "
                    f"{len(samples) / RATE_HZ:g} s; see `transcript.chunks`."
                )
        return self.through(sounds, self._prepared, self._recognised)

    def _prepared(self, sounds: Sequence[Samples]) -> tuple[Any, list[float]]:
        """Log-mel pictures `(batch, bands, 3000)`, and how long each chunk is."""
        made = self._extractor(list(sounds), sampling_rate=RATE_HZ, return_tensors="pt")
        return made["input_features"], [len(samples) / RATE_HZ for samples in sounds]

    def _recognised(self, batch: tuple[Any, list[float]]) -> list[Transcript]:
        mels, durations_s = batch
        states = self._decoder.encoded(self.moved(mels))
        languages, silences = self._begun(states)
        prompts = [self.tokenizer(language).sot_sequence for language in languages]
        room = min(self.max_tokens, self._room - len(prompts[0]))
        decoded = self._decoder.decoded(states, prompts, room)
        windows = [
            Window(language, silence, tokens, logprob, duration_s)
            for language, silence, (tokens, logprob), duration_s in zip(
                languages, silences, decoded, durations_s, strict=True
            )
        ]
        timed = self._timed(states, windows)
        return [(w.language, self._segments(w, t)) for w, t in zip(windows, timed, strict=True)]

    def _begun(self, states: Any) -> tuple[list[str], list[float]]:  # noqa: ANN401
        """Language of each chunk, and probability that nobody speaks."""
        logits = self._decoder.begun(states)
        silences = logits.softmax(-1)[:, self._config.no_timestamps_token_id - 1].tolist()
        if self.language is not None or not self._multilingual:
            return [self.language or "en"] * len(silences), silences
        names, ids = zip(*self._config.lang_to_id.items(), strict=True)
        best = logits[:, list(ids)].argmax(-1).tolist()
        return [names[i].strip("<|>") for i in best], silences

    def tokenizer(self, language: str) -> "Tokenizer":
        """What knows the control tokens, and where words end."""
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self._words, self._multilingual, task="transcribe", language=language)

    def _timed(self, states: Any, windows: Sequence[Window]) -> list[list[Record]]:  # noqa: ANN401
        """The words of each chunk: records with their `tokens`."""
        known = [self.tokenizer(window.language) for window in windows]
        texts = [
            [*(t for t in window.tokens if t < self._config.eos_token_id), x.eot]
            for window, x in zip(windows, known, strict=True)
        ]
        frames = [max(1, int(window.duration_s / TICK_S)) for window in windows]
        prompts = [[*x.sot_sequence, x.no_timestamps] for x in known]
        room = self._room - len(prompts[0])
        texts = [text if len(text) <= room else [*text[: room - 1], text[-1]] for text in texts]
        followed = self._decoder.followed(states, prompts, texts, frames)
        starts = onsets([costs for costs, _ in followed])
        return [
            words(x, text, start * TICK_S, chances)
            for x, text, start, (_, chances) in zip(known, texts, starts, followed, strict=True)
        ]

    def _segments(self, window: Window, timed: list[Record]) -> list[Record]:
        """Cut the tokens at the timestamps, and give each word to the segment that it begins in."""
        tokenizer = self.tokenizer(window.language)
        text_tokens = [token for token in window.tokens if token < tokenizer.eot]
        shared = {
            "avg_logprob": window.logprob / (len(window.tokens) + 1),
            "compression_ratio": compression_ratio(tokenizer.decode(text_tokens).strip()),
            "no_speech_prob": window.silence,
        }
        found, after, waiting, spent = [], 0, list(timed), 0
        parts = segmented(window.tokens, tokenizer.timestamp_begin, window.duration_s)
        for start_s, stop_s, tokens in parts:
            after += len(tokens)
            own = []
            while waiting and spent < after:
                word = waiting.pop(0)
                spent += len(word.pop("tokens"))
                own += [word] if word["word"] else []
            text = tokenizer.decode(tokens).strip()
            if text:
                times = {"start_s": start_s, "stop_s": stop_s}
                found.append({**times, "text": text, **shared, "words": own})
        return found

    def _heads(self, config: Any) -> list[tuple[int, int]]:  # noqa: ANN401
        """Layer and head of the cross-attention heads that follow the sound."""
        named = getattr(self._config, "alignment_heads", None)
        upper = range(config.decoder_layers // 2, config.decoder_layers)
        every = ((layer, head) for layer in upper for head in range(config.decoder_attention_heads))
        return [(layer, head) for layer, head in named or every]


def segmented(
    tokens: Sequence[int], timestamp_begin: int, duration_s: float
) -> list[tuple[float, float, list[int]]]:
    """Cut the tokens of a chunk at its timestamps.

    Args:
        tokens: Text and timestamps.
        timestamp_begin: The token of 0.00 s; those after it are 0.02 s apart.
        duration_s: Of the chunk; no time is beyond it.

    Returns:
        Start and stop in seconds, and text tokens; what no timestamp closes ends with the chunk.

    Example:
        >>> segmented([100, 1, 2, 150, 150, 3], 100, 9.0)
        [(0.0, 1.0, [1, 2]), (1.0, 9.0, [3])]
    """
    found, start_s = [], 0.0
    text: list[int] = []
    for token in tokens:
        if token < timestamp_begin:
            text.append(token)
            continue
        time_s = min((token - timestamp_begin) * TICK_S, duration_s)
        if text:
            found.append((start_s, time_s, text))
            text = []
        start_s = time_s
    return [*found, (start_s, duration_s, text)] if text else found


def words(
    tokenizer: "Tokenizer",
    text: Sequence[int],
    starts_s: NDArray[np.floating],
    chances: NDArray[np.floating],
) -> list[Record]:
    """Join tokens to words, with their punctuation.

    Args:
        tokenizer: Of the language.
        text: Text tokens and the end's.
        starts_s: Of each, in seconds.
        chances: Probability of each but the end.

    Returns:
        Records of the column `words`, with `tokens`.
    """
    from faster_whisper.transcribe import merge_punctuations

    parts, at = [], 0
    for word, tokens in zip(*tokenizer.split_to_word_tokens(list(text)), strict=True):
        stop = at + len(tokens)
        if stop < len(text):  # all but the end
            times = {"start_s": float(starts_s[at]), "stop_s": float(starts_s[stop])}
            chance = float(chances[at:stop].mean())
            parts.append({**times, "word": word, "tokens": tokens, "probability": chance})
        at = stop
    merge_punctuations(parts, PREPENDED, APPENDED)
    return [part | {"word": part["word"].strip()} for part in parts if part["tokens"]]
