"""EmoDB: 535 clips of ten actors who speak German sentences with emotion (Burkhardt et al. 2005).

Read as released (a folder of `03a01Fa.wav`, whose name says all: speaker 03, sentence a01, emotion
F, version a) or with a table `labels.csv` beside the clips. The data are CC0; none of them comes
with this project. What never straddles a split is the *speaker*.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from .ids import row_id
from .schema import TEXT
from .store import Place, listed, place

LETTERS = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "N": "neutral",
    "T": "sadness",  # Trauer
}
"""The emotion in a clip's name: the first letter of its German word."""
EMOTIONS = tuple(LETTERS.values())
HIGH_AROUSAL = frozenset({"anger", "fear", "happiness"})
"""The others are low: the mapping of Schuller et al. 2009 ("Acoustic emotion recognition: a
benchmark comparison of performances", ASRU)."""
LABELS = "labels.csv"
COLUMNS = ("file", "speaker", "text_code", "emotion")

CLIPS = pa.schema(
    [
        pa.field("id", TEXT, nullable=False),
        pa.field("uri", TEXT, nullable=False),
        pa.field("file", TEXT, nullable=False),
        pa.field("speaker", TEXT, nullable=False),
        pa.field("text_code", TEXT, nullable=False),  # which of ten sentences
        pa.field("emotion", TEXT, nullable=False),
        ("version", TEXT),  # the take; null where the name does not say it
    ]
)

_NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z])?\.wav", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class EmoDb:
    """The clips in a folder.

    Attributes:
        path: Folder with the clips, or the release's own with the clips in `wav`.
    """

    path: str

    def read(self) -> pa.Table:
        """The clips, with the columns of `CLIPS`, by file name.

        Raises:
            FileNotFoundError: There are no clips; or one that the table names is not there.
            ValueError: A name or the table cannot be read; says which and where.
        """
        folder = place(self.path)
        if (folder / LABELS).exists():
            rows = list(_tabled(folder))
        else:
            rows = list(_named(folder))
            if not rows:
                rows = list(_named(folder / "wav"))
        if not rows:
            raise FileNotFoundError(
                f"`path` must hold {LABELS} or clips as 03a01Fa.wav, itself or in wav, but "
                f"{self.path!r} does not."
            )
        return pa.Table.from_pylist(sorted(rows, key=lambda row: row["file"] or ""), schema=CLIPS)


def described(name: str) -> dict[str, str | None]:
    """What the name of a clip says.

    Raises:
        ValueError: It is no name of EmoDB, or its emotion is unknown.

    Example:
        >>> described("03a01Fa.wav")["emotion"], described("16b10Wb.wav")["speaker"]
        ('happiness', '16')
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(
            f"a clip must be named as 03a01Fa.wav (speaker, sentence, emotion, version), but is "
            f"named {name!r}."
        )
    speaker, text_code, letter, version = found.groups()
    if letter.upper() not in LETTERS:
        raise ValueError(
            f"the emotion of a clip must be one of {', '.join(LETTERS)}, but is {letter!r} "
            f"({name!r})."
        )
    return {
        "speaker": speaker,
        "text_code": text_code.lower(),
        "emotion": LETTERS[letter.upper()],
        "version": version,
    }


def _named(folder: Place) -> Iterator[dict[str, str | None]]:
    for file in listed(folder):
        name = file.place.name
        if file.place.suffix.lower() == ".wav" and not name.startswith("."):  # ._*: macOS's own
            yield _row(file.place, name, described(name))


def _tabled(folder: Place) -> Iterator[dict[str, str | None]]:
    text = (folder / LABELS).read_text(encoding="utf-8-sig")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    absent = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if absent:
        raise ValueError(f"{str(folder / LABELS)!r} must have the column {absent[0]!r}.")
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        where = f"{str(folder / LABELS)!r}, line {number}"
        blank = [name for name in COLUMNS if not row[name]]
        if blank:
            raise ValueError(f"`{blank[0]}` is empty in {where}.")
        if row["emotion"] not in EMOTIONS:
            raise ValueError(
                f"`emotion` must be one of {', '.join(EMOTIONS)}, but is {row['emotion']!r} "
                f"in {where}."
            )
        name = PurePosixPath(row["file"])
        if row["file"] in seen:
            raise ValueError(f"the clip {row['file']!r} is named twice, again in {where}.")
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"`file` must lie in the folder, but is {row['file']!r} in {where}.")
        if not (folder / row["file"]).exists():
            raise FileNotFoundError(f"the clip {row['file']!r} is not there, but in {where}.")
        seen.add(row["file"])
        says = _NAME.fullmatch(name.name)
        known = {name: row[name] for name in COLUMNS[1:]}
        yield _row(
            folder / row["file"], row["file"], {**known, "version": says[4] if says else None}
        )


def _row(clip: Place, file: str, facts: dict[str, str | None]) -> dict[str, str | None]:
    return {"id": row_id("emodb", file), "uri": str(clip), "file": file, **facts}
