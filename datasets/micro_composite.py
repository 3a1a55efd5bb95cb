"""The composite of MEGC 2019: SMIC-HS, CASME II and SAMM with three labels.

Protocol: See et al., "MEGC 2019 - The Second Facial Micro-Expressions Grand Challenge", 2019.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from .micro import CLIPS, Clip, Released, below, differences, table
from .micro_sets import SMIC_COUNTS, SMIC_SUBJECTS, THREE, Smic, mark, padded
from .sheet import records

COMPOSITE = {
    "casme2": {
        "happiness": "positive",
        "surprise": "surprise",
        **dict.fromkeys(("disgust", "repression"), "negative"),
    },
    "samm": {
        "happiness": "positive",
        "surprise": "surprise",
        **dict.fromkeys(("anger", "contempt", "disgust", "fear", "sadness"), "negative"),
    },
}
"""What an emotion of CASME II or SAMM is in the composite; the others do not belong to it."""

COMPOSITE_COUNTS = {
    "smic": (SMIC_COUNTS, SMIC_SUBJECTS),
    "casme2": ({"negative": 88, "positive": 32, "surprise": 25}, 24),
    "samm": ({"negative": 92, "positive": 26, "surprise": 15}, 28),
}
"""Published clips per label, and persons."""
ONE = "give the name of one as `frames`"


@dataclass(frozen=True, kw_only=True)
class Casme2:
    """CASME II: `sub01/EP02_01f/*.jpg` (numbered as in the recording) and its coding sheet.

    Attributes:
        folder: Holds both.
        sheet: Name of the spreadsheet.
        frames: Name of the folder of the persons' folders; null finds the only one.
        fps: Frames per second.
    """

    folder: str
    sheet: str = "CASME2-coding-20140508.xlsx"
    frames: str | None = None
    fps: float = 200.0

    def clips(self) -> Iterator[Clip]:
        """One per row of the sheet, labelled with its emotion in lower case."""
        columns = ("OnsetFrame", "ApexFrame", "OffsetFrame")
        where = ("sub[0-9]*/*/", "sub01/EP02_01f")
        return _clips(self, "casme2", where, columns, prefix="sub", digits=2)


@dataclass(frozen=True, kw_only=True)
class Samm:
    """SAMM: `006/006_1_2/006_05562.jpg` and its FACS sheet, whose header stands below a preamble.

    Attributes:
        folder: Holds both.
        sheet: Name of the spreadsheet.
        frames: Name of the folder of the persons' folders; null finds the only one.
        fps: Frames per second.
    """

    folder: str
    sheet: str = "SAMM_Micro_FACS_Codes_v2.xlsx"
    frames: str | None = None
    fps: float = 200.0

    def clips(self) -> Iterator[Clip]:
        """One per row of the sheet, labelled with its emotion in lower case."""
        columns = ("Onset Frame", "Apex Frame", "Offset Frame")
        where = ("[0-9]*/[0-9]*/", "006/006_1_2")
        return _clips(self, "samm", where, columns, prefix="", digits=3)


def _clips(
    release: Casme2 | Samm,
    dataset: str,
    where: tuple[str, str],
    columns: tuple[str, str, str],
    *,
    prefix: str,
    digits: int,
) -> Iterator[Clip]:
    """One per row of a sheet; `where` is the pattern of the clips' folders, and an example."""
    root = below(release.folder, release.sheet, f"with {release.sheet}")
    frames = root / release.frames if release.frames else below(str(root), *where, ONE)
    names = ("Subject", "Filename", *columns, "Action Units", "Estimated Emotion")
    for _, row in records(root / release.sheet, names):
        subject = padded(row["subject"], prefix, digits)
        clip = Clip(
            dataset=dataset,
            subject=subject,
            clip=str(row["filename"]),
            folder=frames / subject / str(row["filename"]),
            fps=release.fps,
            label=str(row["estimated emotion"]).lower(),
        )
        mark(clip, row, tuple(name.lower() for name in columns), "action units")
        yield clip


@dataclass(frozen=True, kw_only=True)
class Composite:
    """MEGC 2019's composite of SMIC-HS, CASME II and SAMM: three labels, 442 clips, 68 persons.

    A person's name begins with the data set's. Without `listing` the clips are chosen by their
    emotion; MEGC's own list, of 145 clips of CASME II, leaves out two or so of them.

    Attributes:
        smic: Any of the three may be left out.
        casme2: See `smic`.
        samm: See `smic`.
        listing: MEGC's list of clips (CSV: data set, person, clip, label 0 negative, 1 positive,
            2 surprise), which then decides what belongs to the composite and what its label is.
    """

    smic: Smic | None = None
    casme2: Casme2 | None = None
    samm: Samm | None = None
    listing: str | None = None
    labels: tuple[str, ...] = field(default=THREE, init=False)

    def __post_init__(self) -> None:
        if not (self.smic or self.casme2 or self.samm):
            raise ValueError("one of `smic`, `casme2`, `samm` must be given, but none is.")

    def load(self) -> Released:
        """Read the trees that are given.

        Raises:
            FileNotFoundError: A folder or a spreadsheet is not there.
        """
        parts = {"smic": self.smic, "casme2": self.casme2, "samm": self.samm}
        chosen = None if self.listing is None else _listed(Path(self.listing).expanduser())
        tables, said = [], []
        for name, part in parts.items():
            if part is None:
                said.append(f"{name} is left out of the composite.")
                continue
            if isinstance(part, Smic):
                clips = part.load().clips
            else:
                mine, strangers = _belonging(name, part.clips(), chosen)
                clips, said = table(mine), [*said, *strangers]
            if chosen is not None:
                clips, lacking = _only(clips, name, chosen)
                said += lacking
            counts, subjects = COMPOSITE_COUNTS[name]
            said += differences(clips, name, counts, subjects)
            tables.append(clips)
        every = pa.concat_tables([CLIPS.empty_table(), *tables])
        people = [
            f"{dataset}/{subject}"
            for dataset, subject in zip(
                every["dataset"].to_pylist(), every["subject"].to_pylist(), strict=True
            )
        ]
        at = every.column_names.index("subject")
        return Released(clips=every.set_column(at, CLIPS.field("subject"), [people]), warnings=said)


def _belonging(
    dataset: str, clips: Iterator[Clip], chosen: Mapping[tuple[str, str, str], str] | None
) -> tuple[list[Clip], list[str]]:
    """The clips of a data set that belong to the composite, and a sentence about the others."""
    mine, others = [], Counter()
    for clip in clips:
        emotion = clip.label or ""
        if chosen is None:
            clip.label = COMPOSITE[dataset].get(emotion)
        else:
            clip.label = chosen.get((dataset, clip.subject, clip.clip))
        if clip.label is None:
            others[emotion] += 1
        else:
            mine.append(clip)
    told = ", ".join(f"{count} {emotion}" for emotion, count in sorted(others.items()))
    return mine, [f"{dataset}: not of the composite are {told}."] * bool(others)


def _listed(path: Path) -> dict[tuple[str, str, str], str]:
    """MEGC's list: (data set, person, clip) to label; with or without a header."""
    if not path.is_file():
        raise FileNotFoundError(f"`listing` must be a CSV file, but '{path}' does not exist.")
    found = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for cells in csv.reader(file):
            if len(cells) > 3 and cells[3].strip() in ("0", "1", "2"):
                dataset, subject, clip, label = (cell.strip() for cell in cells[:4])
                found[dataset.lower(), subject, clip] = THREE[int(label)]
    if not found:
        raise ValueError(
            f"`listing` must have the columns data set, person, clip and label (0, 1 or 2), but "
            f"'{path}' has no such row."
        )
    return found


def _only(
    clips: pa.Table, dataset: str, chosen: Mapping[tuple[str, str, str], str]
) -> tuple[pa.Table, list[str]]:
    """Those clips that a list names, and a sentence about those that only the list has."""
    rows = clips.select(["subject", "clip"]).to_pylist()
    names = [(dataset, row["subject"], row["clip"]) for row in rows]
    lacking = sorted(name for name in chosen if name[0] == dataset and name not in set(names))
    said = []
    if lacking:
        example = "/".join(lacking[0][1:])
        said = [f"{dataset}: {len(lacking)} clips of `listing` are not there, such as {example}."]
    return clips.filter(pa.array([name in chosen for name in names], pa.bool_())), said
