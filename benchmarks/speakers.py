"""Who speaks when, against the truth: diarization error rate and speaker count.

    python benchmarks/speakers.py [DATA] [--json FILE]

DER has collar 0 and scores overlap. One setting for all sets, end to end: speech is what
`VoiceActivity` finds. "one speaker" gives all of it, with the same pauses bridged, to one speaker.
"""

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from common import arguments, data_folder, show

from mien.actors.clustering import Turn, merge
from mien.actors.speakers import ResemblyzerSpeakers, Speakers
from mien.actors.voice_activity import VoiceActivity
from mien.datasets import audio

SETS = {
    "composites": ("video/composites", ".mp4"),
    "ami": ("diarization/ami", ".wav"),
    "pyannote_sample": ("diarization/pyannote_sample", ".wav"),
}
Turns = list[tuple[float, float, str]]


def recordings(folder: Path, suffix: str) -> list[tuple[Path, Turns]]:
    """The media of a folder that have an .rttm, with its turns."""
    return [(path.with_suffix(suffix), read_rttm(path)) for path in sorted(folder.glob("*.rttm"))]


def read_rttm(path: Path) -> Turns:
    """Start, stop and speaker of each turn."""
    rows = (line.split() for line in path.read_text().splitlines() if line.startswith("SPEAKER"))
    return [(float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows]


def error_rate(pairs: list[tuple[Turns, Turns, float]]) -> dict[str, float]:
    """Diarization error of (truth, found, duration): rate and its three parts, over all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyannote.core import Annotation, Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate

        metric: Any = DiarizationErrorRate(collar=0.0, skip_overlap=False)
        for truth, found, duration_s in pairs:
            annotations = []
            for turns in (truth, found):
                annotation = Annotation()
                for i, (start, stop, speaker) in enumerate(turns):
                    annotation[Segment(start, stop), i] = speaker
                annotations.append(annotation)
            metric(*annotations, uem=Timeline([Segment(0, duration_s)]))
        parts = ("false alarm", "missed detection", "confusion")
        shares = {part: float(metric[part]) / float(metric["total"]) for part in parts}
        return {"der": sum(shares.values()), **shares}


def systems() -> Iterator[tuple[str, Speakers | None]]:
    """What is scored; resemblyzer only where it is installed."""
    yield "one speaker", None
    yield "classical", Speakers()
    if ResemblyzerSpeakers().missing() is None:
        yield "resemblyzer", ResemblyzerSpeakers()


def score(data: Path) -> list[dict[str, Any]]:
    """Score every system on every set that the folder has.

    Returns:
        Per system and set: der and its parts, `count_error` (mean absolute), `count_bias`
        (mean, found minus true), files, `rtf` (seconds of work per second of media).
    """
    activity = VoiceActivity()
    activity.setup()
    table = []
    for system, actor in systems():
        if actor is not None:
            actor.setup()
        for name, (folder, suffix) in SETS.items():
            pairs, surplus, worked_s = [], [], 0.0
            for path, truth in recordings(data / folder, suffix):
                row = pa.table({"uri": [str(path)], "has_audio": [True]})
                row = row.append_column("speech", activity.process(row)["speech"])
                began = time.perf_counter()
                if actor is None:
                    spans = row["speech"][0].as_py()
                    turns = merge([Turn(s["start_s"], s["stop_s"], 0) for s in spans], 0.5)
                    found = [(turn.start_s, turn.stop_s, "ONE") for turn in turns]
                else:
                    turns = actor.process(row)["turns"][0].as_py()
                    found = [(t["start_s"], t["stop_s"], t["speaker"]) for t in turns]
                worked_s += time.perf_counter() - began
                samples = audio.read(str(path))
                pairs.append((truth, found, 0.0 if samples is None else len(samples) / 16_000))
                surplus.append(len({t[2] for t in found}) - len({t[2] for t in truth}))
            if not pairs:
                continue
            table.append(
                {
                    "system": system,
                    "set": name,
                    "files": len(pairs),
                    **error_rate(pairs),
                    "count_error": sum(map(abs, surplus)) / len(surplus),
                    "count_bias": sum(surplus) / len(surplus),
                    "rtf": worked_s / sum(duration for *_, duration in pairs),
                }
            )
    return table


def main() -> None:
    """Print the table."""
    asked = arguments(__doc__, data={"bare": True, "nargs": "?", "type": Path})
    show("Speakers", score(asked.data or data_folder()), asked.json)


if __name__ == "__main__":
    main()
