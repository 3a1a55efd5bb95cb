"""Forced alignment of transcripts: word times from wav2vec 2.0 rather than from the recogniser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ..datasets.audio import RATE_HZ
from ..datasets.schema import TRANSCRIPT
from .actor import MACHINE, answer
from .alignment import UNSPACED, Emission, Spelling, align, spell, widened, words
from .neural import Neural
from .sound import Samples, listen
from .weights import Weights

ENGLISH = Weights(
    name="facebook/wav2vec2-base-960h",
    licence="Apache-2.0",
    files=("config.json", "preprocessor_config.json", "vocab.json", "model.safetensors"),
    size_gb=0.38,
)

Record = dict[str, Any]


class Clip(NamedTuple):
    """A segment to align: its place in the batch, its sound, its spelling."""

    row: int
    segment: int
    start_s: float
    samples: Samples
    spelling: Spelling


@dataclass(kw_only=True)
class Align(Neural):
    """Word times by forced alignment of each kept segment with a CTC network of its language.

    The words are those of the segment's text, in Japanese and Chinese its characters; their
    probability is the aligner's, the mean over a word's characters. Digits and other characters
    that the network does not know stand for any sound. The transcriber's own words stay where
    there is no network for the language, or no way through the segment (more characters than
    frames).

    Attributes:
        languages: Weights by language code, as `en`.
    """

    reads: ClassVar[tuple[str, ...]] = (
        "uri",
        "start_s",
        "stop_s",
        "language",
        "segments",
        "words",
    )
    adds: ClassVar[pa.Schema] = pa.schema([TRANSCRIPT.field("words")])
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    model: ClassVar[str] = ENGLISH.name
    revision: ClassVar[str] = ENGLISH.revision
    licence: ClassVar[str] = ENGLISH.licence
    quality: ClassVar[str] = (
        "Not measured here, for want of the weights; the alignment is WhisperX's, to the frame "
        "(20 ms)."
    )

    languages: Mapping[str, Weights] = field(default_factory=lambda: {"en": ENGLISH})
    memory_gb: float = field(default=2.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.languages:
            raise ValueError("`languages` must name the weights of a language, but is empty.")

    def weights(self) -> tuple[Weights, ...]:
        """Those of all languages."""
        return tuple(self.languages.values())

    def identity(self) -> dict[str, Any]:
        """As of any actor, with the weights of each language."""
        known = {language: weights.identity() for language, weights in self.languages.items()}
        return super().identity() | {"languages": known}

    def setup(self) -> None:
        """Load the networks of all languages."""
        from . import align_net

        folders = {language: weights.resolved() for language, weights in self.languages.items()}
        self._ears = {x: self.placed(align_net.Ears(folder)) for x, folder in folders.items()}
        self._blanks = {language: ears.blank for language, ears in self._ears.items()}
        self._columns = {x: ears.network.config.vocab_size for x, ears in self._ears.items()}
        self._vocabularies = {x: align_net.vocabulary(folder) for x, folder in folders.items()}
        self._extractors = {x: align_net.extractor(folder) for x, folder in folders.items()}

    def close(self) -> None:
        """Release the networks."""
        del self._ears, self._extractors

    def process(self, rows: pa.Table) -> pa.Table:
        """Align the segments of chunks; null where the file has no sound."""
        records = rows.select(self.reads).to_pylist()
        languages = [record["language"] for record in records]
        heard = listen(rows) if {*languages} & {*self.languages} else [None] * len(records)
        found: dict[tuple[int, int], list[Record]] = {}
        for language in self.languages:
            clips = [
                clip
                for i, (record, samples) in enumerate(zip(records, heard, strict=True))
                if record["language"] == language and samples is not None
                for clip in self._clips(i, record, samples)
            ]
            aligned = self.aligned(language, clips)
            found |= {(c.row, c.segment): a for c, a in zip(clips, aligned, strict=True) if a}
        return answer({"words": [_merged(i, r, found) for i, r in enumerate(records)]}, self.adds)

    def aligned(self, language: str, clips: Sequence[Clip]) -> list[list[Record]]:
        """The words of some clips of one language; none for a clip that cannot be aligned."""
        if not clips:
            return []
        order = sorted(range(len(clips)), key=lambda i: len(clips[i].samples))
        ears, blank = self._ears[language], self._blanks[language]

        def prepare(some: Sequence[Clip]) -> tuple[Any, Any, Sequence[Clip]]:
            return *self._prepared(language, some), some

        def infer(batch: tuple[Any, Any, Sequence[Clip]]) -> list[list[Record]]:
            samples, mask, some = batch
            logs, frames = ears(self.moved(samples), self.moved(mask))
            every = logs.cpu().numpy()
            ours = [widened(e[:n], blank) for e, n in zip(every, frames.tolist(), strict=True)]
            return placed(ours, some, blank)

        through = self.through([clips[i] for i in order], prepare, infer)
        ranks = np.argsort(order)
        return [through[k] for k in ranks]

    def _prepared(self, language: str, clips: Sequence[Clip]) -> tuple[Any, Any]:
        """Samples and mask, `(batch, samples)`, padded to the longest clip."""
        from .align_net import SHORTEST

        sounds = [np.pad(c.samples, (0, max(0, SHORTEST - len(c.samples)))) for c in clips]
        made = self._extractors[language](
            sounds,
            sampling_rate=RATE_HZ,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return made["input_values"], made["attention_mask"]

    def _clips(self, row: int, record: Record, samples: Samples) -> list[Clip]:
        """The kept segments of a chunk that have sound and text."""
        language, origin_s = record["language"], record["start_s"] or 0.0
        clips = []
        for i, segment in enumerate(record["segments"] or ()):
            start, stop = (round((segment[k] - origin_s) * RATE_HZ) for k in ("start_s", "stop_s"))
            cut = samples[max(start, 0) : max(stop, 0)]
            if segment["rejected"] is not None or not len(cut):
                continue
            spelling = spell(
                segment["text"],
                self._vocabularies[language],
                self._columns[language],
                spaced=language not in UNSPACED,
            )
            clips.append(Clip(row, i, max(segment["start_s"], origin_s), cut, spelling))
        return clips


def placed(emissions: Sequence[Emission], clips: Sequence[Clip], blank: int) -> list[list[Record]]:
    """The words of clips, given what the network heard in each; none where there is no path.

    Args:
        emissions: `(frames, symbols + 1)` each, the last column being the wildcard's.
        clips: As many.
        blank: Column of the CTC blank.

    Returns:
        Records of the column `words`; a frame lasts as long as WhisperX takes it to last, a clip's
        length over its number of frames.
    """
    paths = align(emissions, [clip.spelling.symbols for clip in clips], blank)
    found = []
    for emission, clip, path in zip(emissions, clips, paths, strict=True):
        step_s = len(clip.samples) / RATE_HZ / len(emission)
        found.append(
            [
                {
                    "start_s": clip.start_s + word.start * step_s,
                    "stop_s": clip.start_s + word.stop * step_s,
                    "word": word.word,
                    "probability": word.score,
                }
                for word in words(clip.spelling, path)
            ]
            if path
            else []
        )
    return found


def _merged(
    row: int, record: Record, found: Mapping[tuple[int, int], list[Record]]
) -> list[Record] | None:
    """Aligned words, and of segments that were not aligned the transcriber's."""
    if record["words"] is None:
        return None
    kept = [i for i, s in enumerate(record["segments"] or ()) if s["rejected"] is None]
    old: dict[int, list[Record]] = {i: [] for i in kept}
    for word in record["words"] if kept else ():
        middle_s = (word["start_s"] + word["stop_s"]) / 2
        old[min(kept, key=lambda i: _distance(record["segments"][i], middle_s))].append(word)
    return [word for i in kept for word in found.get((row, i)) or old[i]]


def _distance(segment: Record, time_s: float) -> float:
    """Seconds from a segment to a moment outside it."""
    return max(segment["start_s"] - time_s, time_s - segment["stop_s"], 0.0)
