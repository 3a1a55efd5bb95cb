"""How good the parts of the main job are on media with truth, in one table.

    python benchmarks/accuracy.py [DATA] [--json FILE] [--quick]

DATA is laid out like the project's test media; a part whose media are missing is skipped, and said
so. `--quick` leaves out words and arousal, and looks at fewer frames. A baseline is what a trivial
answer scores on the same data; an aim is written with its sign.
"""

import csv
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.metrics import accuracy_score, f1_score

import corpus
import faces
import speakers
import voice
from common import arguments, data_folder, show
from mien.actors.faces import FaceFinder
from mien.actors.identity import Identity
from mien.actors.polarity import Polarity
from mien.actors.watch import Watch
from mien.datasets.media import probe
from mien.jobs.fusion.evidence import Evidence
from mien.jobs.fusion.timeline import fuse
from mien.jobs.graph import Graph
from mien.jobs.main import built, configuration

Row = dict[str, Any]
COMPOSITES = "video/composites"
CUTS = "video/scene_cuts"
NEUTRAL = 0.05
"""VADER's own limit: a compound score nearer to 0 is neutral."""
SIDES = ("left half", "right half")


def line(part: str, of: str, measure: str, value: float, aim: str | float = "", n: int = 1) -> Row:
    """One line of the table."""
    aim = aim if isinstance(aim, str) else f"baseline {aim:.3f}"
    return {
        "part": part,
        "set": of,
        "measure": measure,
        "value": round(float(value), 3),
        "baseline or aim": aim,
        "n": n,
    }


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The main job's own answer on the composites, each phase run in this process.

    Attributes:
        data: The folder of media.
        run: Where the job writes.
    """

    data: Path
    run: Path

    @cached_property
    def timelines(self) -> dict[str, Row]:
        """The timeline of each composite, by name."""
        corpus.sequential(self.data / COMPOSITES, self.run)
        made = [json.loads(p.read_text()) for p in self.run.glob("videos/*/timeline.json")]
        return {Path(timeline["uri"]).stem: timeline for timeline in made}

    def with_truth(self, video: Path) -> Row:
        """The timeline that the true turns make of the same pictures."""
        made = self.timelines[video.stem]
        cfg = configuration("analyze", [f"corpus.path='{video.parent}'", f"out='{self.run}'"])
        graph = Graph(profile=built(cfg.models), run=self.run, span_s=60.0, chunk_s=30.0)
        names = [made["video_id"]]
        watch = graph.table("watch").by_video(["start_s", "stop_s", *WATCHED], names)
        turns = [
            {"start_s": turn["start"], "stop_s": turn["end"], "speaker": turn["speaker"]}
            for turn in faces.truth(video)["turns"]
        ]
        return fuse(
            Evidence(
                video={**made["video"], "video_id": names[0], "uri": made["uri"]}
                | {"duration_s": made["duration"]},
                turns={"turns": turns, "exclusive_turns": turns, "speakers": []},
                watch=watch[names[0]],
            )
        )


WATCHED = ("cuts", "frames", "faces", "signals", "face_embeddings")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """All that the parts share.

    Attributes:
        data: The folder of media.
        finder: Set up.
        identity: Set up.
        analysis: Of the composites.
        quick: Whether to look at fewer frames.
    """

    data: Path
    finder: FaceFinder
    identity: Identity
    analysis: Analysis
    quick: bool

    def composites(self) -> list[Path]:
        """The composites, in order."""
        return sorted((self.data / COMPOSITES).glob("*.mp4"))

    def cuts(self) -> Iterator[Row]:
        """Hard cuts: found where they are, to a frame; strictly, a fade that is found is wrong."""
        known = json.loads((self.data / CUTS / "truth.json").read_text())
        films = {
            self.data / CUTS / name: truth
            for name, truth in known.items()
            if "hard_cut_frames" in truth
        }
        composed = {path: faces.truth(path) for path in self.composites()}
        watch = Watch()
        watch.setup()
        for of, group in (("composites", composed), ("scene_cuts", films)):
            hits = strict = clear = total = 0
            for path, truth in group.items():
                found, wanted = cuts_of(watch, path), truth["hard_cut_frames"]
                matched = matches(found, wanted)
                excused = [f for f in found if f not in matched and excuse(f, truth)]
                hits, total = hits + len(matched), total + len(wanted)
                strict, clear = strict + len(found), clear + len(found) - len(excused)
            yield line("cuts", of, "recall, +-1 frame", hits / max(total, 1), "= 1", total)
            yield line("cuts", of, "precision, fades set aside", hits / max(clear, 1), "= 1", clear)
            yield line("cuts", of, "precision, strict", hits / max(strict, 1), n=strict)
        fades = self.data / CUTS / "psd_fades.mp4"
        if fades.exists():
            found = cuts_of(watch, fades)
            yield line("cuts", fades.stem, "cuts found (it has fades alone)", len(found), "= 0")

    def counts(self) -> Iterator[Row]:
        """The number of faces in a picture."""
        for row in faces.counting(self.data, self.finder, 25 if self.quick else 5):
            yield line("faces", row["set"], row["part"], row["value"], row["aim"], row["n"])

    def persons(self) -> Iterator[Row]:
        """Who is who: pair by pair, and counted by the whole job."""
        for row in faces.same_person(self.data, self.finder, self.identity):
            yield line("persons", row["set"], row["part"], row["value"], 0.5, row["n"])
        for row in faces.persons(self.data, self.finder, self.identity):
            if row["part"] != "persons found":
                yield line("persons", row["set"], row["part"], row["value"], "= 1", row["n"])
        yield from self._counted("people", "persons", faces_in)

    def voices(self) -> Iterator[Row]:
        """Who speaks when, of each system there is, beside one speaker for all."""
        yield from self._counted("speakers", "speakers", speakers_in)
        with tempfile.TemporaryDirectory() as made:
            rows = speakers.score(self.data, Path(made))
        one = {row["set"]: row for row in rows if row["system"] == "one speaker"}
        for row in rows:
            if row["system"] != "one speaker":
                of, base, n = row["set"], one[row["set"]], row["files"]
                name = row["system"]
                yield line("speakers", of, f"{name}: DER", row["der"], base["der"], n)
                wrong, trivial = row["count_error"], base["count_error"]
                yield line("speakers", of, f"{name}: count off by", wrong, trivial, n)

    def _counted(self, what: str, part: str, real: Callable[[Row], int]) -> Iterator[Row]:
        for path in self.composites():
            count = real(faces.truth(path))
            found = len(self.analysis.timelines[path.stem][what])
            yield line(part, path.stem, f"{part} found, whole job", found, f"= {count}")

    def words(self) -> Iterator[Row]:
        """Word error rate of what needs no weights."""
        for row in voice.words(self.data):
            of, rate, n = row["group"], row["word_error_rate"], row["words"]
            yield line("words", of, "word error rate", rate, "baseline 1 (nothing)", n)

    def arousal(self) -> Iterator[Row]:
        """High against low arousal on EmoDB, of speakers never heard."""
        found = voice.arousal(self.data)
        with (self.data / "speech_emotion/emodb/labels.csv").open(encoding="utf-8") as file:
            n = sum(1 for _ in csv.DictReader(file))
        for name, label, base in (
            ("balanced_accuracy", "balanced accuracy", 0.5),
            ("balanced_accuracy_nested", "balanced accuracy, strictly nested", 0.5),
            ("balanced_accuracy_degraded", "balanced accuracy, degraded sound", 0.5),
            ("uar_7", "unweighted recall of 7 emotions", 1 / 7),
        ):
            yield line("arousal", "emodb", label, found[name], base, n)

    def expressions(self) -> Iterator[Row]:
        """What a face shows."""
        for row in faces.expressions(self.data, self.finder):
            if not row["part"].startswith("still:"):
                n = row["n"]
                yield line("expression", row["set"], row["part"], row["value"], 1 / 7, n)

    def onscreen(self) -> Iterator[Row]:
        """Who of two faces speaks: the whole job, and with the true turns in place of its own."""
        for path in (p for p in self.composites() if "twoshot" in p.name):
            turns = faces.truth(path)["turns"]
            for how, timeline in (
                ("own turns", self.analysis.timelines[path.stem]),
                ("true turns", self.analysis.with_truth(path)),
            ):
                right = sides(timeline, turns)
                value, n = np.mean(right), len(right)
                yield line("on-screen speaker", path.stem, f"speech right, {how}", value, 0.5, n)

    def polarity(self) -> Iterator[Row]:
        """Sentiment of the lines of MELD."""
        with (self.data / MELD).open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        actor = Polarity()
        actor.setup()
        said = actor.process(pa.table({"text": [row["Utterance"] for row in rows]}))
        found = [sentiment(value) for value in said["text_polarity"].to_pylist()]
        truth = [row["Sentiment"] for row in rows]
        names, counts = np.unique(truth, return_counts=True)
        trivial = [names[counts.argmax()]] * len(truth)
        for label, judge in (("accuracy", accuracy_score), ("macro F1", macro_f1)):
            value, base = float(judge(truth, found)), float(judge(truth, trivial))
            yield line("polarity", "meld dev", label, value, base, len(truth))


MELD = "text_emotion/meld/dev_sent_emo.csv"

PARTS: dict[str, tuple[Callable[[Benchmark], Iterable[Row]], tuple[str, ...]]] = {
    "cuts": (Benchmark.cuts, (COMPOSITES, f"{CUTS}/truth.json")),
    "faces": (Benchmark.counts, (COMPOSITES, "video/pyfeat/no_face.mp4", "faces/detection")),
    "persons": (
        Benchmark.persons,
        (COMPOSITES, "faces/identity_gallery", "faces/identity_probe", "video/pyfeat"),
    ),
    "speakers": (Benchmark.voices, (COMPOSITES,)),
    "words": (Benchmark.words, ("asr/transcripts.tsv", "video/grid/transcripts.tsv")),
    "arousal": (Benchmark.arousal, ("speech_emotion/emodb/labels.csv",)),
    "expression": (
        Benchmark.expressions,
        ("faces/expression_stills", "video/pyfeat/single_face.mp4", "video/grid"),
    ),
    "on-screen speaker": (Benchmark.onscreen, (COMPOSITES,)),
    "polarity": (Benchmark.polarity, (MELD,)),
}
"""Each part, and the media it needs."""
SLOW = ("words", "arousal")


def cuts_of(watch: Watch, path: Path) -> list[int]:
    """Frames that begin a shot, of a video of constant frame rate."""
    facts = probe(str(path))
    row = {"uri": str(path), "start_s": 0.0, "stop_s": facts["duration_s"]}
    found = watch.process(pa.Table.from_pylist([row | {"fps": facts["fps"], "speech": []}]))
    return [round(cut["time_s"] * facts["fps"]) for cut in found["cuts"][0].as_py()]


def matches(found: list[int], wanted: list[int]) -> list[int]:
    """The found cuts that are the nearest to a wanted one, at most a frame away."""
    best = (min(found, key=lambda frame: abs(frame - cut), default=-9) for cut in wanted)
    return [f for f, cut in zip(best, wanted, strict=True) if abs(f - cut) <= 1]


def excuse(frame: int, truth: Row) -> bool:
    """Whether the truth is unsure of a frame, or has it in a fade."""
    spans = [re.search(r"(\d+)-(\d+)", text) for text in truth.get("fades", ())]
    fades = ((int(span[1]), int(span[2])) for span in spans if span)
    unsure = ((f, f) for f in truth.get("uncertain_cut_frames", ()))
    return any(low - 1 <= frame <= high + 1 for low, high in (*fades, *unsure))


def faces_in(truth: Row) -> int:
    """How many persons a composite shows."""
    return len({one["face"] for one in truth.get("shots") or truth["faces"]})


def speakers_in(truth: Row) -> int:
    """How many persons speak in a composite."""
    return len({turn["speaker"] for turn in truth["turns"]})


def sides(timeline: Row, turns: list[Row], step_s: float = 0.04) -> list[bool]:
    """For each moment of true speech, whether the timeline puts it into the right half.

    A moment that no segment holds, or whose speaker is not said to be on screen, is wrong.
    """
    boxes = [(t["person"], sample) for t in timeline["tracks"] for sample in t["samples"]]
    middle = timeline["video"]["width"] / 2
    right = []
    for turn in turns:
        for time_s in np.arange(turn["start"], turn["end"], step_s):
            said = [s for s in timeline["segments"] if s["start"] <= time_s < s["end"]]
            person = said[0]["person"] if said and said[0]["on_screen"] else None
            own = [sample for who, sample in boxes if who == person]
            if not own:
                right.append(False)
                continue
            _, x, _, w, _ = min(own, key=lambda sample: abs(sample[0] - time_s))
            right.append(SIDES[int(x + w / 2 >= middle)] == turn["face"])
    return right


def sentiment(compound: float | None) -> str:
    """VADER's own reading of a compound score."""
    if compound is None or abs(compound) < NEUTRAL:
        return "neutral"
    return "positive" if compound > 0 else "negative"


def macro_f1(truth: list[str], found: list[str]) -> float:
    """Mean F1 of the classes; 0 for one that is never said."""
    return float(f1_score(truth, found, average="macro", zero_division=0.0))


def measured(bench: Benchmark) -> Iterator[Row]:
    """The lines of all parts that the data have; says what it does."""
    for name, (part, needs) in PARTS.items():
        missing = [need for need in needs if not (bench.data / need).exists()]
        if missing:
            print(f"{name}: skipped, no {', '.join(missing)}", flush=True)
        elif bench.quick and name in SLOW:
            print(f"{name}: skipped, --quick", flush=True)
        else:
            began = time.perf_counter()
            yield from part(bench)
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


def main() -> int:
    """Run the benchmark."""
    asked = arguments(
        __doc__,
        data={"bare": True, "nargs": "?", "type": Path},
        quick={"action": "store_true", "help": "a part of it"},
    )
    finder, identity = FaceFinder(), Identity()
    finder.setup()
    identity.setup()
    data = (asked.data or data_folder()).resolve()
    with tempfile.TemporaryDirectory(prefix="accuracy-") as run:
        analysis = Analysis(data=data, run=Path(run))
        bench = Benchmark(
            data=data, finder=finder, identity=identity, analysis=analysis, quick=asked.quick
        )
        rows = list(measured(bench))
    finder.close()
    identity.close()
    show("Accuracy", rows, asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
