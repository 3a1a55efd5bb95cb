"""Transcription with Whisper, through faster-whisper and CTranslate2."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.audio import RATE_HZ
from .actor import MACHINE
from .sound import Samples
from .transcript import Transcriber, Transcript
from .weights import hub_cache

if TYPE_CHECKING:
    from faster_whisper.transcribe import Segment, Word

FILES = ("model.bin", "config.json", "tokenizer.json")
"""Without its tokenizer faster-whisper would fetch one, so it belongs to a complete model."""


@dataclass(kw_only=True)
class FasterWhisper(Transcriber):
    """Words and segments of speech, with a Whisper model converted for CTranslate2.

    The model is looked for in `model_dir`, then in `models_dir`, then in the Hugging Face cache;
    nothing is downloaded. Decoding is without sampling, hence the same each time; what Whisper
    would decode again or drop as silence is judged by `rejection` instead, and kept in the table.
    Any Whisper of transformers can be converted: `ct2-transformers-converter --model FOLDER
    --output_dir NEW --copy_files tokenizer.json preprocessor_config.json`.

    Attributes:
        model_dir: Folder of one model; null looks for one.
        models_dir: Folder of models.
        size: Which one to take where several are found, as `large-v3-turbo`; null takes the
            largest file.
        language: Spoken language, as `en`; null lets the model tell, chunk by chunk.
        beam_size: Hypotheses followed at once.
        batched: Whether the chunks of a batch are decoded together: much faster on a GPU, but
            without timestamps, so that each chunk is one segment.
        device: `cpu`, `cuda` or `auto`.
        compute_type: CTranslate2's, as `int8`; `default` keeps the model's own.
        threads: Cores used by one worker.
    """

    model = "Whisper (CTranslate2)"
    licence = "MIT"
    quality = "Depends on the model at hand; not measured here."

    model_dir: str | None = None
    models_dir: str | None = None
    size: str | None = None
    language: str | None = None
    beam_size: int = 5
    batched: bool = False
    device: str = field(default="auto", metadata=MACHINE)
    compute_type: str = "default"
    threads: int = field(default=1, metadata=MACHINE)
    memory_gb: float = field(default=4.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beam_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")

    def missing(self) -> str | None:
        """Why no model can be loaded, and the cure."""
        if self.folder() is not None:
            return super().missing()
        if self.model_dir is not None:
            lacks = [name for name in FILES if not (Path(self.model_dir) / name).is_file()]
            return (
                f"`model_dir` must be a CTranslate2 Whisper model with {', '.join(FILES)}, "
                f"but {self.model_dir!r} lacks {', '.join(lacks)}"
            )
        return (
            "needs a CTranslate2 Whisper model: copy one, such as "
            "Systran/faster-whisper-large-v3, below `models_dir` "
            f"({self.models_dir or 'not set'}) or into the Hugging Face cache ({hub_cache()}), "
            "or name its folder in `model_dir`"
        )

    def folder(self) -> Path | None:
        """The folder of the model to load, or `None`."""
        if self.model_dir is not None:
            path = Path(self.model_dir)
            return path if complete(path) else None
        wanted = [path for path in self._found() if self.size is None or self._fits(path)]
        return max(wanted, key=lambda path: (path / "model.bin").stat().st_size, default=None)

    def identity(self) -> dict[str, Any]:
        """What changes the answer: the parameters, and which model was found rather than where."""
        folder = self.folder()
        named = {"model": None, "revision": None} if folder is None else _names(folder)
        where = {"model_dir": None, "models_dir": None, "size": None}
        return super().identity() | where | named

    def setup(self) -> None:
        """Load the model."""
        from faster_whisper import WhisperModel

        folder = self.folder()
        if folder is None:
            raise FileNotFoundError(self.missing())
        self._whisper = WhisperModel(
            str(folder),
            device=self.device,
            compute_type=self.compute_type,
            cpu_threads=self.threads,
            local_files_only=True,
        )

    def transcribe(self, sounds: Sequence[Samples]) -> list[Transcript]:
        """Recognise some chunks."""
        return self._together(sounds) if self.batched else [self._alone(one) for one in sounds]

    def _alone(self, samples: Samples) -> Transcript:
        segments, info = self._whisper.transcribe(
            samples,
            language=self.language,
            no_speech_threshold=None,
            condition_on_previous_text=False,
            **self._how,
        )
        return info.language, [_record(segment) for segment in segments]

    def _together(self, sounds: Sequence[Samples]) -> list[Transcript]:
        """All chunks of one language as clips of one sound, each from a whole second."""
        from faster_whisper import BatchedInferencePipeline

        pipeline = BatchedInferencePipeline(self._whisper)
        languages = [self.language or self._whisper.detect_language(one)[0] for one in sounds]
        found: list[Transcript] = [(language, []) for language in languages]
        for language in dict.fromkeys(languages):
            some = [i for i, other in enumerate(languages) if other == language]
            longs = [ceil(len(sounds[i]) / RATE_HZ) for i in some]
            starts = [sum(longs[:k]) for k in range(len(some))]
            clips = [(s, s + len(sounds[i]) / RATE_HZ) for i, s in zip(some, starts, strict=True)]
            joined = [np.pad(sounds[i], (0, -len(sounds[i]) % RATE_HZ)) for i in some]
            segments, _ = pipeline.transcribe(
                np.concatenate(joined),
                language=language,
                vad_filter=False,
                clip_timestamps=[{"start": start, "end": stop} for start, stop in clips],
                batch_size=len(some),
                **self._how,
            )
            for segment in segments:
                start_s = segment.seek // self._whisper.frames_per_second
                i = some[starts.index(start_s)]
                found[i][1].append(_record(segment, start_s, len(sounds[i]) / RATE_HZ))
        return found

    @property
    def _how(self) -> dict[str, Any]:
        """What decoding is like in both ways."""
        return {"beam_size": self.beam_size, "temperature": 0.0, "word_timestamps": True}

    def close(self) -> None:
        """Release the model."""
        del self._whisper

    def _found(self) -> Iterator[Path]:
        """Complete models, those of `models_dir` before those of the cache."""
        local = Path(self.models_dir) if self.models_dir else None
        first = (
            [] if local is None else [local, *sorted(local.glob("*")), *sorted(local.glob("*/*"))]
        )
        models = [path for path in first if complete(path)]
        if not models:
            hits = sorted(hub_cache().glob("models--*--faster-*/snapshots/*"))
            models = [path for path in hits if complete(path)]
        yield from models

    def _fits(self, path: Path) -> bool:
        """Whether the model is of the wanted size, by the name of its folder."""
        name = _names(path)["model"]
        return name.endswith(f"-{self.size}") or name == self.size


def _record(segment: "Segment", origin_s: float = 0.0, duration_s: float = inf) -> dict[str, Any]:
    """A segment of faster-whisper's as a record, with times from `origin_s` and to `duration_s`."""

    def times(part: "Segment | Word") -> dict[str, float]:
        start_s, stop_s = (min(edge - origin_s, duration_s) for edge in (part.start, part.end))
        return {"start_s": start_s, "stop_s": stop_s}

    words = [word for word in segment.words or () if word.word.strip()]
    return {
        **times(segment),
        "text": segment.text.strip(),
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
        "words": [
            {**times(word), "word": word.word.strip(), "probability": word.probability}
            for word in words
        ],
    }


def _names(folder: Path) -> dict[str, str]:
    """Model and revision, from a folder of the Hugging Face cache or another."""
    if folder.parent.name != "snapshots":
        return {"model": folder.name, "revision": str((folder / "model.bin").stat().st_size)}
    repository = folder.parents[1].name.removeprefix("models--").replace("--", "/")
    return {"model": repository, "revision": folder.name}


def complete(folder: Path) -> bool:
    """Whether a folder holds all that loading a model takes."""
    return all((folder / name).is_file() for name in FILES)
