"""Micro-expression clips: folders of frames with onset, apex and offset, as one Arrow table.

Every clip that a release names is a row. One that cannot be used says why in `missing`; nothing is
dropped. Frames are counted from 0 in the order of the last number in their names.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from .ids import row_id
from .manifest import slug
from .schema import F32, I32, KEY, TEXT

CLIPS = pa.schema(
    [
        *KEY,  # `uri`: the folder of the frames; `video_id`: data set, subject and clip
        ("dataset", TEXT),
        ("subject", TEXT),  # the person, who never straddles a split
        ("clip", TEXT),  # as the release calls it
        ("frames", I32),
        ("onset", I32),  # all three are indices of frames
        ("apex", I32),  # null: the release names none
        ("offset", I32),
        ("fps", F32),
        ("label", TEXT),
        ("aus", pa.list_(TEXT)),  # action units with their side, such as 4, R12; null: not coded
        ("missing", TEXT),  # why the clip cannot be used; null: it can
        ("note", TEXT),  # what was corrected or assumed
    ]
)
"""Columns of a data set; they serve as a manifest."""

PICTURES = (".bmp", ".jpeg", ".jpg", ".png")


@dataclass(frozen=True, kw_only=True)
class Released:
    """What a loader found.

    Attributes:
        clips: Columns of `CLIPS`, in the order of the release.
        warnings: Where it differs from what is published, one sentence each.
    """

    clips: pa.Table
    warnings: Sequence[str] = ()


@dataclass(kw_only=True)
class Clip:
    """A clip while it is read; see `CLIPS`."""

    dataset: str
    subject: str
    clip: str
    folder: Path
    fps: float
    label: str | None = None
    aus: list[str] | None = None
    span: tuple[int, int] | None = None  # onset and offset as the sheet counts; null: all frames
    apex: int | None = None
    missing: str | None = None
    notes: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Look at the frames and make the row."""
        files = pictures(self.folder) if self.folder.is_dir() else []
        if self.missing is None and not files:
            there = "holds no frame" if self.folder.is_dir() else "does not exist"
            self.missing = f"the folder '{self.folder}' {there}"
        onset, apex, offset = self._places([number(file) for file in files])
        size = sum(file.stat().st_size for file in files)
        name = (self.dataset, self.subject, self.clip)
        return {
            "id": row_id(*name, len(files), size, onset, apex, offset),
            "video_id": f"{slug(' '.join(name))}-{row_id(*name)[:8]}",
            "uri": str(self.folder),
            "start_s": 0.0 if files else None,
            "stop_s": len(files) / self.fps if files else None,
            "dataset": self.dataset,
            "subject": self.subject,
            "clip": self.clip,
            "frames": len(files),
            "onset": onset,
            "apex": apex,
            "offset": offset,
            "fps": self.fps,
            "label": self.label,
            "aus": self.aus,
            "missing": self.missing,
            "note": "; ".join(self.notes) or None,
        }

    def _places(self, numbers: Sequence[int]) -> tuple[int | None, int | None, int | None]:
        """Onset, apex and offset as indices of frames."""
        if not numbers:
            return None, None, None
        last = len(numbers) - 1
        if self.span is None:
            return 0, self.apex, last
        index = {n: i for i, n in enumerate(numbers)}
        first, final = self.span
        if first not in index and final not in index and final - first == last:
            self.notes.append(f"frames are numbered from {numbers[0]} and not from {first}")
            index = {first + i: i for i in range(last + 1)}
        for what, at in (("onset", first), ("offset", final)):
            if at not in index:
                self.notes.append(f"no frame {at}: the clip's own end is its {what}")
        onset, offset = index.get(first, 0), index.get(final, last)
        if offset <= onset:
            self.missing = self.missing or (
                f"the offset ({final}) must come after the onset ({first}) of clip '{self.clip}'"
            )
            return onset, None, offset
        apex = None if self.apex is None else index.get(self.apex)
        if self.apex is None:
            self.notes.append("no apex given")
        elif apex is None or not onset <= apex <= offset:
            self.notes.append(f"apex {self.apex} lies outside {first}-{final}: taken as not given")
            apex = None
        return onset, apex, offset


def table(clips: Iterable[Clip]) -> pa.Table:
    """The rows of some clips; one that stands there twice is used once."""
    rows, seen = [clip.row() for clip in clips], Counter()
    for row in rows:
        times = seen[row["id"]]
        seen[row["id"]] += 1
        if times:
            row["missing"] = f"the release names the clip '{row['clip']}' with these frames before"
            row["id"] = row_id(row["id"], times)
    return pa.Table.from_pylist(rows, schema=CLIPS)


def pictures(folder: Path) -> list[Path]:
    """The frames of a clip, in order.

    Raises:
        ValueError: A name holds no number, so that its place is not known.
    """
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in PICTURES and not file.name.startswith(".")
    ]
    return sorted(files, key=lambda file: (number(file), file.name))


def number(file: Path) -> int:
    """The last number in a file's name: that of the frame.

    Example:
        >>> number(Path("006_05562.jpg")), number(Path("reg_img46.jpg"))
        (5562, 46)
    """
    found = re.findall(r"\d+", file.stem)
    if not found:
        raise ValueError(f"the frame '{file}' must have its number in its name, but has none.")
    return int(found[-1])


def units(text: object) -> tuple[list[str], list[str]]:
    """Take action units apart.

    Args:
        text: As the coders write them: `4+L7`, `AU4+AU7(k)`, `R12 + R15`.

    Returns:
        Those that are sure, and those marked `(k)` or given as alternatives; each with its side,
        without `AU`.

    Example:
        >>> units("AU4+AU7(k)"), units("12 or 14 + L10")
        ((['4'], ['7']), (['L10'], ['12 or 14']))
    """
    sure, doubtful = [], []
    for part in str("" if text is None else text).split("+"):
        unit = part.strip().upper().removeprefix("AU").strip()
        bare = unit.removesuffix("(K)").strip()
        if re.fullmatch(r"[LRTB]?\d+[A-E]?[LR]?", bare):
            (sure if bare == unit else doubtful).append(bare)
        elif any(letter.isdigit() for letter in bare):
            doubtful.append(part.strip())
    return sure, doubtful


def unit_numbers(aus: Iterable[str] | None) -> frozenset[int]:
    """The numbers of action units, whatever their side.

    Example:
        >>> sorted(unit_numbers(["4", "R12", "14A"]))
        [4, 12, 14]
    """
    found = (re.search(r"\d+", unit) for unit in aus or ())
    return frozenset(int(match.group()) for match in found if match)


def differences(
    clips: pa.Table, dataset: str, labels: Mapping[str, int], subjects: int
) -> list[str]:
    """What of a data set differs from the published counts, one sentence each.

    Args:
        clips: Of that data set, columns of `CLIPS`.
        dataset: Its name, for the sentences.
        labels: Published clips per label.
        subjects: Published persons.
    """
    usable = [row for row in clips.to_pylist() if row["missing"] is None]
    found = Counter(row["label"] for row in usable)
    people = len({row["subject"] for row in usable})
    said = [
        f"{dataset}: {found[label]} usable clips are labelled {label}, published are {count}."
        for label, count in labels.items()
        if found[label] != count
    ]
    if people != subjects:
        said.append(f"{dataset}: {people} persons have usable clips, published are {subjects}.")
    lost = len(clips) - len(usable)
    if lost:
        said.append(f"{dataset}: {lost} of {len(clips)} clips cannot be used; see `missing`.")
    return said


def below(folder: str, pattern: str, what: str, cure: str = "name one") -> Path:
    """The folder that holds a tree: the one given, or the only one at most two levels below it.

    Args:
        folder: As the user gives it.
        pattern: A glob that matches where the tree begins.
        what: How the tree looks, for the messages.
        cure: What to do where there are several.

    Raises:
        FileNotFoundError: There is no such folder, or no such tree in it.
        ValueError: There are several.
    """
    top = Path(folder).expanduser()
    if not top.is_dir():
        raise FileNotFoundError(f"`folder` must be a folder, but '{top}' does not exist.")
    levels = ([top], sorted(top.glob("*/")), sorted(top.glob("*/*/")))
    for level in levels:
        found = [place for place in level if any(place.glob(pattern))]
        if len(found) > 1:
            names = ", ".join(f"'{place}'" for place in found[:4])
            raise ValueError(f"`folder` must hold one tree {what}, but holds {names}: {cure}.")
        if found:
            return found[0]
    raise FileNotFoundError(f"`folder` must hold the tree {what}, but '{top}' does not.")
