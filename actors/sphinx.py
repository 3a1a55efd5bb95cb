"""Transcription with PocketSphinx, whose wheel carries an English model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .actor import MACHINE
from .sound import RATE_HZ, Samples
from .transcript import Transcriber, Transcript, compression_ratio

if TYPE_CHECKING:
    from pocketsphinx import Decoder

PEAK = 0.9 * 32767  # of a chunk, as the decoder takes it
FRAME_S = 0.01
MIN_S = 0.1
"""A shorter chunk holds no word."""
FILLER = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
VARIANT = re.compile(r"\(\d+\)$")


@dataclass(kw_only=True)
class Sphinx(Transcriber):
    """Words of English speech, with PocketSphinx 5 and its packaged model.

    It knows no other language and takes every sound for English. A word's probability is its
    posterior in the word lattice. Log probability and silence are not known on Whisper's scale and
    stay null, so that of the hallucination tests only the compression ratio can reject.

    Attributes:
        language_weight: Exponent of the language model against the acoustics.
    """

    model = "PocketSphinx en-us (PTM, 3-gram)"
    revision = "5.1.1"
    licence = "BSD-2-Clause"
    quality = "Modest: word error rate 32% on 77 s of clear English, far more in noise."

    language_weight: float = 6.5
    memory_gb: float = field(default=0.5, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.language_weight <= 0:
            raise ValueError(
                f"`language_weight` must be greater than 0, but is {self.language_weight:g}."
            )

    def setup(self) -> None:
        """Load the packaged model."""
        from pocketsphinx import Decoder

        self._decoder = Decoder(loglevel="FATAL", cmn="batch", lw=self.language_weight)

    def transcribe(self, sounds: Sequence[Samples]) -> list[Transcript]:
        """Recognise each chunk as one segment; none where no word was found."""
        return [self._recognised(samples) for samples in sounds]

    def _recognised(self, samples: Samples) -> Transcript:
        if len(samples) < MIN_S * RATE_HZ:
            return "en", []
        words = _words(self._decode(samples))
        if not words:
            return "en", []
        text = " ".join(word["word"] for word in words)
        segment = {
            "start_s": words[0]["start_s"],
            "stop_s": words[-1]["stop_s"],
            "text": text,
            "avg_logprob": None,
            "compression_ratio": compression_ratio(text),
            "no_speech_prob": None,
            "words": words,
        }
        return "en", [segment]

    def _decode(self, samples: Samples) -> "Decoder":
        """Run the decoder over a whole chunk, untouched by its level and the chunks before it."""
        decoder = self._decoder
        decoder.reinit_feat()
        decoder.start_utt()
        loudest = max(float(np.abs(samples).max()), 1e-4)
        pcm = (samples / loudest * PEAK).astype("<i2").tobytes()
        decoder.process_raw(pcm, no_search=False, full_utt=True)
        decoder.end_utt()
        return decoder


def _words(decoder: "Decoder") -> list[dict[str, Any]]:
    """The words of the best path, without fillers and marks of pronunciation variants."""
    return [
        {
            "start_s": part.start_frame * FRAME_S,
            "stop_s": (part.end_frame + 1) * FRAME_S,
            "word": VARIANT.sub("", part.word),
            "probability": min(part.prob, 1.0),
        }
        for part in decoder.seg() or ()
        if not FILLER.fullmatch(part.word)
    ]
