"""Who speaks when, with pyannote.audio's pipeline."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets import audio
from ..datasets.schema import TURNS
from .actor import MACHINE, answer
from .clustering import Turn, exclusive
from .neural import Neural, out_of_memory, release
from .sound import sources
from .speakers import name, records
from .weights import Weights

COMMUNITY = Weights(
    name="pyannote/speaker-diarization-community-1",
    licence="CC-BY-4.0",
    files=(
        "config.yaml",
        "segmentation/pytorch_model.bin",
        "embedding/pytorch_model.bin",
        "plda/plda.npz",
        "plda/xvec_transform.npz",
    ),
    terms="https://huggingface.co/pyannote/speaker-diarization-community-1",
    size_gb=0.04,
)
"""The pipeline of pyannote.audio 4; its folder holds all its models."""


@dataclass(kw_only=True)
class Pyannote(Neural):
    """Turns by speaker, overlapping and exclusive, with an embedding for each speaker.

    Takes pipelines as pyannote.audio 4 lays them out, with the models in the same folder, and as 3
    does, with models of their own name. All is read from local files, and none of them can run
    code: see `diarize_net`. The whole sound of a video is held in memory, 230 MB an hour.

    Attributes:
        pipeline: A folder with `config.yaml`.
        segmentation: Of the segmentation model, where `config.yaml` names it on the hub.
        embedding: Of the embedding model, likewise.
        min_speakers: Fewer are reported only where no more can be found.
        max_speakers: More are never reported.
        micro_batch: Windows through each model at once; halved where memory runs out.
    """

    reads: ClassVar[tuple[str, ...]] = ("uri", "speech")
    adds: ClassVar[pa.Schema] = TURNS
    packages: ClassVar[tuple[str, ...]] = ("torch", "pyannote.audio")
    model: ClassVar[str] = COMMUNITY.name
    revision: ClassVar[str] = COMMUNITY.revision
    licence: ClassVar[str] = COMMUNITY.licence
    quality: ClassVar[str] = (
        "not measured here, for want of the weights; published for community-1 (pyannote.audio's "
        "README): diarization error 17.0% on AMI (headsets), 11.2% on VoxConverse, 44.6% on films "
        "(AVA-AVD)"
    )

    pipeline: Weights = COMMUNITY
    segmentation: Weights | None = None
    embedding: Weights | None = None
    min_speakers: int = 2
    max_speakers: int = 5
    micro_batch: int = field(default=32, metadata=MACHINE)
    memory_gb: float = field(default=3.0, metadata=MACHINE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.min_speakers <= self.max_speakers:
            raise ValueError(
                f"`min_speakers` must lie between 1 and `max_speakers` ({self.max_speakers}), "
                f"but is {self.min_speakers}."
            )
        if self.precision != "float32" or self.compile:
            raise ValueError(
                "`precision` must be float32 and `compile` false, for pyannote runs its models "
                f"itself, but they are {self.precision} and {self.compile}."
            )

    def setup(self) -> None:
        """Load the pipeline, its models and its parameters."""
        os.environ["PYANNOTE_METRICS_ENABLED"] = "0"  # read when pyannote is imported, and later
        import torch

        from . import diarize_net

        torch.set_num_threads(self.threads)
        self.bound()
        others = [one for one in (self.segmentation, self.embedding) if one is not None]
        parts = {one.name: one.resolved() for one in others}
        self.diarize = diarize_net.load(self.pipeline.resolved(), parts)
        self.diarize.to(self.place)

    def process(self, rows: pa.Table) -> pa.Table:
        """Find the speakers of whole recordings."""
        pairs = zip(sources(rows), rows["speech"].to_pylist(), strict=True)
        found = [self._row(uri, speech) for uri, speech in pairs]
        return answer({name: [one.get(name) for one in found] for name in TURNS.names}, self.adds)

    def close(self) -> None:
        """Drop the pipeline."""
        del self.diarize

    def _row(self, uri: str, speech: Sequence[Mapping[str, float]] | None) -> dict[str, Any]:
        if speech is None:
            return {}
        if not len(speech):
            return {key: [] for key in TURNS.names}
        samples = audio.read(uri)
        if samples is None:
            raise ValueError(f"`speech` needs sound, but the file has none ({uri!r}).")
        return columns(self.listened(uri, samples), len(samples) / audio.RATE_HZ)

    def listened(self, uri: str, samples: audio.Sound) -> Any:  # noqa: ANN401
        """Run the pipeline, with fewer speakers or smaller batches where it has to be."""
        import torch

        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": audio.RATE_HZ}
        # Version 3 gives embeddings only when asked, 4 always.
        asked = {"return_embeddings"} & signature(self.diarize.apply).parameters.keys()
        least = self.min_speakers
        self.grow()
        while True:
            self.diarize.segmentation_batch_size = self.micro_batch
            self.diarize.embedding_batch_size = self.micro_batch
            try:
                found = self.diarize(
                    {**file, "uri": uri},
                    min_speakers=least,
                    max_speakers=self.max_speakers,
                    **dict.fromkeys(asked, True),
                )
            except Exception as error:
                if self.micro_batch > 1 and out_of_memory(error):
                    self.shrink(self.micro_batch // 2)
                elif least > 1 and "n_samples" in str(error):  # less speech than speakers asked
                    least -= 1
                    continue
                else:
                    raise
            else:
                self._well += 1
                return found
            release()


def columns(output: Any, duration_s: float = np.inf) -> dict[str, Any]:  # noqa: ANN401
    """What a pipeline found, as the columns of `TURNS`.

    Speakers are numbered by first appearance. pyannote numbers them as its clusters come.

    Args:
        output: Of pyannote.audio 4, which holds everything; or of 3: an annotation, or one with
            the embeddings.
        duration_s: Of the sound: pyannote pads it to whole windows, and may hear somebody there.
    """
    annotation, embeddings = output if isinstance(output, tuple) else (output, None)
    embeddings = getattr(annotation, "speaker_embeddings", embeddings)
    alone = getattr(annotation, "exclusive_speaker_diarization", None)
    annotation = getattr(annotation, "speaker_diarization", annotation)
    spoken = _tracks(annotation, duration_s)
    number = {label: i for i, label in enumerate(dict.fromkeys(label for *_, label in spoken))}
    turns = _turns(spoken, number)
    by_label = dict(
        zip(annotation.labels(), [] if embeddings is None else embeddings, strict=False)
    )
    return {
        "turns": records(turns),
        "exclusive_turns": records(
            exclusive(turns) if alone is None else _turns(_tracks(alone, duration_s), number)
        ),
        "speakers": [
            {
                "speaker": name(speaker),
                "speech_s": sum(t.stop_s - t.start_s for t in turns if t.speaker == speaker),
                "embedding": _known(by_label.get(label)),
            }
            for label, speaker in number.items()
        ],
    }


def _tracks(annotation: Any, duration_s: float) -> list[tuple[float, float, Any]]:  # noqa: ANN401
    """Start, stop and label of each turn, in order."""
    tracks = annotation.itertracks(yield_label=True)
    return sorted(
        (segment.start, min(segment.end, duration_s), label)
        for segment, _, label in tracks
        if segment.start < duration_s
    )


def _turns(tracks: Iterable[tuple[float, float, Any]], number: Mapping[Any, int]) -> list[Turn]:
    return sorted(Turn(start, stop, number[label]) for start, stop, label in tracks)


def _known(embedding: NDArray[np.floating] | None) -> NDArray[np.float32] | None:
    """An embedding; `None` where pyannote had too little speech for one (not a number, or 0)."""
    if embedding is None or not np.isfinite(embedding).all() or not embedding.any():
        return None
    return embedding.astype(np.float32)
