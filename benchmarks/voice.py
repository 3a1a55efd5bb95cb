"""How good words, pitch and arousal are on real speech, and how fast.

    python benchmarks/voice.py [DATA] [--json FILE]

The folder is laid out like the project's test media: `asr/transcripts.tsv` (file, reference),
word times beside the LibriVox clips, `video/grid/transcripts.tsv`, `speech_emotion/emodb`.
Word error rates are jiwer's, over lower-case words without punctuation; numerals stay as they are.
"""

import csv
import json
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pyarrow as pa

import train_arousal
from common import arguments, data_folder, show
from mien.actors.actor import Actor
from mien.actors.arousal import Arousal
from mien.actors.prosody import Prosody
from mien.actors.sphinx import Sphinx
from mien.datasets.audio import RATE_HZ, read

Row = dict[str, Any]
SPAN = ("start_s", "stop_s")


def normal(text: str) -> str:
    """Lower case, no punctuation but the apostrophe, single spaces."""
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower()).split())


def table(files: list[Path], texts: list[str]) -> pa.Table:
    """Whole files as rows."""
    number, count = pa.float64(), len(files)
    stops_s = [len(sound) / RATE_HZ if (sound := read(str(f))) is not None else 0 for f in files]
    return pa.table(
        {
            "uri": [str(file) for file in files],
            "start_s": pa.array([0.0] * count, number),
            "stop_s": pa.array(stops_s, number),
            "text": texts,
        }
    )


def timed(actor: Actor, rows: pa.Table) -> tuple[list[Row], Row]:
    """Answers, and seconds per second of media: of the clock, and of the processor."""
    started, busy = time.perf_counter(), time.process_time()
    answers = actor.process(rows).to_pylist()
    spent_s, worked_s = time.perf_counter() - started, time.process_time() - busy
    media_s = sum(b - a for a, b in zip(*(rows[c].to_pylist() for c in SPAN), strict=True))
    return answers, {"real_time_factor": spent_s / media_s, "cpu_factor": worked_s / media_s}


def references(data: Path) -> dict[str, list[tuple[Path, str]]]:
    """English clips with their text, by where they come from."""
    groups: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for row in _tsv(data / "asr/transcripts.tsv"):
        if "verbatim" not in row["reference_source"]:
            file = data / "asr" / row["file"]
            groups[file.parent.name if "/" in row["file"] else file.stem].append(
                (file, row["reference"])
            )
    for row in _tsv(data / "video/grid/transcripts.tsv"):
        groups["grid (video)"].append((data / "video/grid" / row["clip"], row["transcript"]))
    return dict(groups)


def words(data: Path, actor: Actor | None = None) -> list[Row]:
    """Word error rate of a recogniser by group of clips; `all asr` is all of `asr/`.

    Args:
        data: The folder of real media.
        actor: Set up already; PocketSphinx if left out.
    """
    if actor is None:
        actor = Sphinx()
        actor.setup()
    found, said, heard = [], [], []
    for group, clips in references(data).items():
        texts = [normal(text) for _, text in clips]
        answers, pace = timed(actor, table([file for file, _ in clips], texts))
        outputs = [normal(" ".join(w["word"] for w in a["words"] or ())) for a in answers]
        found.append(_errors(group, texts, outputs) | pace)
        if "video" not in group:
            said, heard = said + texts, heard + outputs
    return [*found, _errors("all asr", said, heard)]


def _errors(group: str, said: list[str], heard: list[str]) -> Row:
    count = sum(len(text.split()) for text in said)
    return {"group": group, "words": count, "word_error_rate": jiwer.wer(said, heard)}


def word_times(data: Path) -> Row:
    """How far the starts of rightly heard words are from the LibriVox clips' own word times.

    Those times came from an aligner of the Sphinx family: agreement, not independent truth.
    """
    actor = Sphinx()
    actor.setup()
    files = sorted((data / "asr/librivox").glob("*.wav"))
    errors_s: list[float] = []
    for file, answer in zip(files, timed(actor, table(files, [""] * len(files)))[0], strict=True):
        parts = json.loads(file.with_suffix(".json").read_text())["w"]
        truth = [(p["t"].split("(")[0], p["b"]) for p in parts if not p["t"].startswith("<")]
        output = [(w["word"], w["start_s"]) for w in answer["words"]]
        aligned = jiwer.process_words(
            " ".join(word for word, _ in truth), " ".join(word for word, _ in output)
        ).alignments[0]
        for chunk in aligned:
            if chunk.type == "equal":
                ours = output[chunk.hyp_start_idx : chunk.hyp_end_idx]
                theirs = truth[chunk.ref_start_idx : chunk.ref_end_idx]
                errors_s += [abs(a[1] - b[1]) for a, b in zip(ours, theirs, strict=True)]
    return {
        "words": len(errors_s),
        "median_s": float(np.median(errors_s)),
        "p95_s": float(np.percentile(errors_s, 95)),
    }


def pitch(data: Path) -> Row:
    """Median pitch of neutral EmoDB clips by gender, and whether it tells men from women."""
    folder = data / "speech_emotion/emodb"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        labels = [row for row in csv.DictReader(file) if row["emotion"] == "neutral"]
    rows = table([folder / row["file"] for row in labels], [row["text"] for row in labels])
    answers, pace = timed(Prosody(), rows)
    pitch_hz = np.array([answer["pitch_hz"] for answer in answers], dtype=float)
    women = np.array([row["gender"] == "f" for row in labels])
    return {
        "men_hz": float(np.median(pitch_hz[~women])),
        "women_hz": float(np.median(pitch_hz[women])),
        "gap_hz": float(pitch_hz[women].min() - pitch_hz[~women].max()),
        **pace,
    }


def arousal(data: Path) -> Row:
    """High against low arousal on EmoDB, each speaker held out; see `train_arousal.scores`."""
    return dict(train_arousal.scores(train_arousal.load(data / "speech_emotion/emodb")))


def speed(data: Path) -> list[Row]:
    """Seconds to set each actor up, and seconds per second of speech."""
    rows = table(sorted((data / "asr/librivox").glob("*.wav")) * 3, [""] * 9)
    found = []
    for actor in (Sphinx(), Prosody(), Arousal()):
        started = time.perf_counter()
        actor.setup()
        setup_s = time.perf_counter() - started
        pace = timed(actor, rows)[1]
        found.append({"actor": type(actor).__name__, "setup_s": setup_s, **pace})
    return found


def _tsv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def main() -> None:
    """Score on the data folder, print the tables."""
    asked = arguments(__doc__, data={"bare": True, "nargs": "?", "type": Path})
    data = asked.data or data_folder()
    found = {
        "speed": speed(data),
        "words": words(data),
        "word times": [word_times(data)],
        "pitch": [pitch(data)],
        "arousal": [{"measure": k, "value": v} for k, v in arousal(data).items()],
    }
    for title, rows in found.items():
        show(title, rows)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
