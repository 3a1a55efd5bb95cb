"""Loaders of the released micro-expression sets SMIC-HS, MMEW and 4DME.

All are handed out under signed licences; each loader reads the folder that the user has. Layouts
and corrections are those of the sets and of MEB (Varanka et al., arXiv 2211.11425).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow.compute as pc

from .micro import Clip, Released, below, differences, table, units
from .sheet import Cell, records

THREE = ("negative", "positive", "surprise")
"""Labels of SMIC and of the composite, in the order of their numbers there."""

SMIC_COUNTS = MappingProxyType({"negative": 70, "positive": 51, "surprise": 43})
SMIC_SUBJECTS = 16

MMEW_COUNTS = MappingProxyType(
    {"happiness": 36, "anger": 8, "surprise": 89, "disgust": 72, "fear": 16, "sadness": 13}
    | {"others": 66}
)
MMEW_ROWS = (33, *range(35, 43), 142, 143, 145, 146, 148, 154, 156)
MMEW_APEX = (40, 15, 46, 20, 25, 20, 23, 28, 32, 56, 32, 27, 22, 29, 31, 38)
MMEW_OFFSET = (75, 54, 59, 98, 80, 93, 58, 61, 68, 88, 80, 85, 61, 108, 72, 106)
"""The rows of MMEW's sheet (from 0) whose apex and offset are wrong, and what MEB puts there."""

FOURDME_LABELS = ("positive", "negative", "surprise", "repression")
FOURDME_CLIPS, FOURDME_SUBJECTS = 220, 42
FOURDME_SWAPPED = (144, 145)
"""Rows of 4DME's sheet (from 0) whose action units stand in each other's place."""


@dataclass(frozen=True, kw_only=True)
class Smic:
    """SMIC-HS: `s01/micro/negative/s01_ne_01/*.bmp`, raw or cropped.

    The tree is all that is read, since its spreadsheets differ from site to site: the label is the
    folder's, the onset the first frame, the offset the last, and the apex is not known.

    Attributes:
        folder: Holds the persons' folders, or the one folder that does (`HS`).
        fps: Frames per second.
    """

    folder: str
    fps: float = 100.0
    labels: tuple[str, ...] = field(default=THREE, init=False)

    def load(self) -> Released:
        """Read the tree.

        Raises:
            FileNotFoundError: It is not there.
            ValueError: It is there more than once.
        """
        clips = table(self._clips())
        said = differences(clips, "SMIC-HS", SMIC_COUNTS, SMIC_SUBJECTS)
        return Released(clips=clips, warnings=said)

    def _clips(self) -> Iterator[Clip]:
        root = below(self.folder, "*/micro/*/", "s01/micro/negative/s01_ne_01")
        for path in sorted(root.glob("*/micro/*/*/")):
            label = path.parent.name.lower()
            known = label in self.labels
            yield Clip(
                dataset="smic",
                subject=path.parents[2].name,
                clip=path.name,
                folder=path,
                fps=self.fps,
                label=label if known else None,
                missing=None if known else unknown(label, self.labels),
            )


@dataclass(frozen=True, kw_only=True)
class Mmew:
    """MMEW: `Micro_Expression/happiness/S01-01-001/*.jpg` and `MMEW_Micro_Exp.xlsx`.

    Attributes:
        folder: Holds both.
        sheet: Name of the spreadsheet.
        fps: Frames per second.
        corrected: Put right the apex and offset of the 16 rows that MEB found to be wrong.
        rename: Labels to be called otherwise; MEB calls `others` repression.
    """

    folder: str
    sheet: str = "MMEW_Micro_Exp.xlsx"
    fps: float = 90.0
    corrected: bool = True
    rename: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = sorted(set(self.rename) - set(MMEW_COUNTS))
        if wrong:
            raise ValueError(f"`rename` must name labels of {list(MMEW_COUNTS)}, but has {wrong}.")

    @property
    def labels(self) -> tuple[str, ...]:
        """As they are called here."""
        return tuple(dict.fromkeys(self.rename.get(name, name) for name in MMEW_COUNTS))

    def load(self) -> Released:
        """Read the spreadsheet, and look for the frames of each row.

        Raises:
            FileNotFoundError: The folder or the spreadsheet is not there.
        """
        clips = table(self._clips())
        counts: dict[str, int] = {}
        for name, count in MMEW_COUNTS.items():
            name = self.rename.get(name, name)
            counts[name] = counts.get(name, 0) + count
        return Released(clips=clips, warnings=differences(clips, "MMEW", counts, 30))

    def _clips(self) -> Iterator[Clip]:
        root = below(self.folder, self.sheet, f"with {self.sheet}")
        right = dict(zip(MMEW_ROWS, zip(MMEW_APEX, MMEW_OFFSET, strict=True), strict=True))
        columns = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame")
        names = (*columns, "Action Units", "Estimated Emotion")
        for at, row in records(root / self.sheet, names):
            emotion = str(row["estimated emotion"]).lower()
            known = emotion in MMEW_COUNTS
            clip = Clip(
                dataset="mmew",
                subject=padded(row["subject"], "S", 2),
                clip=str(row["filename"]),
                folder=root / "Micro_Expression" / emotion / str(row["filename"]),
                fps=self.fps,
                label=self.rename.get(emotion, emotion) if known else None,
                missing=None if known else unknown(emotion, tuple(MMEW_COUNTS)),
            )
            mark(clip, row, ("onsetframe", "apexframe", "offsetframe"), "action units")
            if self.corrected and at in right and clip.span:
                clip.apex, clip.span = right[at][0], (clip.span[0], right[at][1])
                clip.notes.append(f"apex {right[at][0]} and offset {right[at][1]} as MEB has them")
            yield clip


@dataclass(frozen=True, kw_only=True)
class FourDme:
    """4DME's grey micro-expression clips: `gray_micro/SUBJECT/CLIP/*` and its spreadsheet.

    Attributes:
        folder: Holds both.
        sheet: Name of the spreadsheet.
        frames: Name of the folder of frames: `gray_micro`, or the cropped `gray_micro_crop`.
        fps: Frames per second.
        corrected: Give rows 144 and 145 back their own action units.
        doubtful: Keep action units marked `(k)`.
    """

    folder: str
    sheet: str = "4DME_Labelling_Micro_release v1.xlsx"
    frames: str = "gray_micro"
    fps: float = 60.0
    corrected: bool = True
    doubtful: bool = False
    labels: tuple[str, ...] = field(default=FOURDME_LABELS, init=False)

    def load(self) -> Released:
        """Read the spreadsheet, and look for the frames of each row.

        Clips labelled otherwise than with one of the four (`others`, two at a time) cannot be
        used and say so.

        Raises:
            FileNotFoundError: The folder or the spreadsheet is not there.
        """
        clips = table(self._clips())
        usable = clips.filter(pc.is_null(clips["missing"]))
        count, people = len(usable), pc.count_distinct(usable["subject"]).as_py()
        said = [
            f"4DME: {count} of {len(clips)} clips, of {people} persons, can be used (see "
            f"`missing`), while {FOURDME_CLIPS} of {FOURDME_SUBJECTS} are reported."
        ] * ((count, people) != (FOURDME_CLIPS, FOURDME_SUBJECTS))
        return Released(clips=clips, warnings=said)

    def _clips(self) -> Iterator[Clip]:
        root = below(self.folder, self.sheet, f"with {self.sheet}")
        names = ("sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs")
        rows = dict(records(root / self.sheet, names))
        one, two = FOURDME_SWAPPED
        swap = self.corrected and one in rows and two in rows
        if swap:
            rows[one]["aus"], rows[two]["aus"] = rows[two]["aus"], rows[one]["aus"]
        for at, row in rows.items():
            emotion = str(row["emotion"]).lower()
            known = emotion in self.labels
            clip = Clip(
                dataset="4dme",
                subject=str(row["sub_id"]),
                clip=str(row["fold_name"]),
                folder=root / self.frames / str(row["sub_id"]) / str(row["fold_name"]),
                fps=self.fps,
                label=emotion if known else None,
                missing=None if known else unknown(emotion, self.labels),
            )
            mark(clip, row, ("onset", "apex", "offset"), "aus", keep=self.doubtful)
            if swap and at in FOURDME_SWAPPED:
                clip.notes.append(f"action units of rows {one} and {two} exchanged")
            yield clip


def mark(
    clip: Clip, row: dict[str, Cell], columns: tuple[str, ...], aus: str, *, keep: bool = False
) -> None:
    """Put what a sheet says of a clip's time and action units into it."""
    onset, apex, offset = (_whole(row[name]) for name in columns)
    if onset is None or offset is None:
        told = f"onset {row[columns[0]]!r}, offset {row[columns[2]]!r}"
        clip.missing = clip.missing or f"the sheet must give two frames, but gives {told}"
    else:
        clip.span, clip.apex = (onset, offset), apex
    sure, doubtful = units(row[aus])
    clip.aus = sure + doubtful if keep else sure
    if doubtful:
        clip.notes.append(f"doubtful action units: {', '.join(doubtful)}")


def _whole(cell: Cell) -> int | None:
    """A frame's number; null where the cell holds none, such as `/`."""
    try:
        return None if cell is None else int(float(cell))
    except ValueError:
        return None


def padded(cell: Cell, before: str, digits: int) -> str:
    """A person's name from a number: 1 is `S01`; text that is none stays as it is."""
    whole = _whole(cell)
    return str(cell) if whole is None else f"{before}{whole:0{digits}d}"


def unknown(label: str, known: tuple[str, ...]) -> str:
    """Say that a label is none of those known."""
    return f"the label {label!r} is none of {', '.join(known)}"
