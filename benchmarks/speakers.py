"""Who speaks when, against the truth: diarization error rate and speaker count.

    python benchmarks/speakers.py [DATA] [--json FILE]

DER has collar 0 and scores overlap. One setting for all sets, end to end: speech is what
`VoiceActivity` finds. "one speaker" gives all of it, with the same pauses bridged, to one speaker.
"made_up" are conversations from single clips, of the half that nothing was tuned on, and "demo" is
the clip of `mien demo`.
"""

import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import soundfile

from common import arguments, data_folder, show
from conversations import conversations
from mien.actors.clustering import Turn, merge
from mien.actors.speakers import ResemblyzerSpeakers, Speakers
from mien.actors.voice_activity import VoiceActivity
from mien.datasets import audio
from mien.jobs import demo

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


def collect(data: Path, made: Path) -> dict[str, list[tuple[Path, Turns]]]:
    """Recordings and their turns by set; what does not exist yet is made in the folder `made`."""
    found = {name: recordings(data / place, suffix) for name, (place, suffix) in SETS.items()}
    found["made_up"] = []
    for i, (samples, turns) in enumerate(conversations(data, half=1, count=48)):
        path = made / f"{i:02d}.wav"
        soundfile.write(path, samples, 16_000)
        found["made_up"].append((path, turns))
    clip = demo.make(made / "demo.mp4")
    truth = json.loads(clip.with_suffix(".truth.json").read_text())["turns"]
    found["demo"] = [(clip, [(t["start"], t["end"], t["speaker"]) for t in truth])]
    return found


def score(data: Path, made: Path) -> list[dict[str, Any]]:
    """Score every system on every set that the folder has.

    Returns:
        Per system and set: der and its parts, `count_error` (mean absolute), `count_bias`
        (mean, found minus true), files, `rtf` (seconds of work per second of media).
    """
    activity = VoiceActivity()
    activity.setup()
    recorded = collect(data, made)
    table = []
    for system, actor in systems():
        if actor is not None:
            actor.setup()
        for name, files in recorded.items():
            pairs, surplus, worked_s = [], [], 0.0
            for path, truth in files:
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
    with tempfile.TemporaryDirectory() as made:
        show("Speakers", score(asked.data or data_folder(), Path(made)), asked.json)


if __name__ == "__main__":
    main()
