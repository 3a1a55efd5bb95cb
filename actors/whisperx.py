"""Transcription with WhisperX's batched recogniser, whose numbers are completed here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from ..datasets.audio import RATE_HZ
from .actor import MACHINE
from .neural import Neural
from .sound import Samples
from .transcript import APPENDED, PREPENDED, Transcriber, Transcript, compression_ratio
from .weights import Weights

WEIGHTS = Weights(
    name="Systran/faster-whisper-large-v3",
    licence="MIT",
    files=("config.json", "model.bin", "preprocessor_config.json", "tokenizer.json"),
    size_gb=3.1,
)


@dataclass(kw_only=True)
class WhisperX(Transcriber, Neural):
    """Words and segments of speech, with WhisperX 3.8: one segment per chunk, without timestamps.

    Its own voice activity is not used, for the chunks are cut already, and nothing is downloaded.
    WhisperX gives the text and the mean log probability; the compression ratio is that of the text,
    the probability of silence is read off the first token in one more step of the decoder, and
    words, which WhisperX leaves to its aligner, are timed by faster-whisper's cross-attention: let
    `align` refine them. On Arm CTranslate2 knows the CPU only; `compile` changes nothing.

    Attributes:
        checkpoint: A Whisper converted for CTranslate2.
        language: Spoken language, as `en`; null lets the model tell, chunk by chunk.
        beam_size: Hypotheses followed at once.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "whisperx")
    model: ClassVar[str] = WEIGHTS.name
    revision: ClassVar[str] = WEIGHTS.revision
    licence: ClassVar[str] = WEIGHTS.licence
    quality: ClassVar[str] = "Not measured here, for want of the weights."

    checkpoint: Weights = WEIGHTS
    language: str | None = None
    beam_size: int = 5
    memory_gb: float = field(default=6.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        Transcriber.__post_init__(self)
        Neural.__post_init__(self)
        if self.beam_size < 1:
            raise ValueError(f"`beam_size` must be at least 1, but is {self.beam_size}.")

    def setup(self) -> None:
        """Load the recogniser."""
        asr = import_module("whisperx.asr")
        self._pipeline: Any = asr.load_model(
            str(self.checkpoint.resolved()),
            device=self.place.type,
            compute_type=self.precision,
            asr_options={"beam_size": self.beam_size},
            vad_model=import_module("whisperx.vads").Vad(vad_onset=0.5),
            local_files_only=True,
            threads=self.threads,
        )
        self._whisper: Any = self._pipeline.model

    def close(self) -> None:
        """Release the recogniser."""
        del self._pipeline, self._whisper

    def transcribe(self, sounds: Sequence[Samples]) -> list[Transcript]:
        """Recognise some chunks of at most 30 s, those of one language together."""
        return self.through(sounds, self._prepared, self._recognised)

    def _prepared(self, sounds: Sequence[Samples]) -> tuple[Any, list[float]]:
        """Log-mel pictures `(batch, bands, 3000)`, and how long each chunk is."""
        mels = [self._pipeline.preprocess({"inputs": samples})["inputs"] for samples in sounds]
        return np.stack(mels), [len(samples) / RATE_HZ for samples in sounds]

    def _recognised(self, batch: tuple[Any, list[float]]) -> list[Transcript]:
        mels, durations_s = batch
        languages = self._languages(mels)
        found: dict[int, Transcript] = {}
        for language in dict.fromkeys(languages):
            some = [i for i, other in enumerate(languages) if other == language]
            durations = [durations_s[i] for i in some]
            segments = self._segments(mels[some], language, durations)
            found |= {i: (language, own) for i, own in zip(some, segments, strict=True)}
        return [found[i] for i in range(len(languages))]

    def _languages(self, mels: Any) -> list[str]:  # noqa: ANN401
        if self.language is not None or not self._whisper.model.is_multilingual:
            return [self.language or "en"] * len(mels)
        told = self._whisper.model.detect_language(self._whisper.encode(mels))
        return [best[0][0].strip("<|>") for best in told]

    def _segments(
        self,
        mels: Any,  # noqa: ANN401
        language: str,
        durations_s: Sequence[float],
    ) -> list[list[dict[str, Any]]]:
        """The one segment of each chunk; none where there is no text."""
        from faster_whisper.tokenizer import Tokenizer

        whisper = self._whisper
        tokenizer = Tokenizer(
            whisper.hf_tokenizer,
            whisper.model.is_multilingual,
            task="transcribe",
            language=language,
        )
        said = whisper.generate_segment_batched(mels, tokenizer, self._pipeline.options)
        texts = [text.strip() for text in said["text"]]
        states = whisper.encode(mels)
        prompts = [tokenizer.sot_sequence] * len(mels)
        first = whisper.model.generate(
            states, prompts, beam_size=1, max_length=8, return_no_speech_prob=True
        )
        words = self._words(states, tokenizer, said["text"], durations_s)
        return [
            [
                {
                    "start_s": 0.0,
                    "stop_s": duration_s,
                    "text": text,
                    "avg_logprob": float(logprob),
                    "compression_ratio": compression_ratio(text),
                    "no_speech_prob": one.no_speech_prob,
                    "words": own,
                }
            ]
            if text
            else []
            for duration_s, text, logprob, one, own in zip(
                durations_s, texts, said["avg_logprob"], first, words, strict=True
            )
        ]

    def _words(
        self,
        states: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        texts: Sequence[str],
        durations_s: Sequence[float],
    ) -> list[list[dict[str, Any]]]:
        """Words by cross-attention, as faster-whisper times them."""
        from faster_whisper.transcribe import merge_punctuations

        tokens = [tokenizer.encode(text)[: self._whisper.max_length // 2] for text in texts]
        frames = [max(2, int(duration_s * 100)) for duration_s in durations_s]
        found = self._whisper.find_alignment(tokenizer, tokens, states, frames)
        for own in found:
            merge_punctuations(own, PREPENDED, APPENDED)
        return [
            [
                {
                    "start_s": float(word["start"]),
                    "stop_s": float(word["end"]),
                    "word": word["word"].strip(),
                    "probability": float(word["probability"]),
                }
                for word in own
                if word["word"].strip()
            ]
            for own in found
        ]
