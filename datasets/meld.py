"""MELD: 13,708 utterances of a TV series, each with an emotion (Poria et al. 2019).

The CSVs and the clips are read as they were released (`declare-lab/MELD`, `MELD.Raw.tar.gz`); none
of them comes with this project. The cast is the same in every split, so a system may know the
speakers; what never straddles a split is the *dialogue*. `leakage.shared` counts what does.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from .ids import row_id
from .manifest import Skip
from .schema import F64, I32, TEXT
from .store import File, Place, listed, place

EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
"""In the order of the release's own numbers, 0-6."""
SENTIMENTS = ("neutral", "positive", "negative")
FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
"""The splits, and the folder of each one's clips."""
COLUMNS = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)

UTTERANCES = pa.schema(
    [
        pa.field("id", TEXT, nullable=False),  # of split, dialogue and utterance
        pa.field("split", TEXT, nullable=False),
        pa.field("dialogue", I32, nullable=False),  # numbered anew in every split
        pa.field("utterance", I32, nullable=False),  # ascending in a dialogue, with gaps
        pa.field("group", TEXT, nullable=False),  # the dialogue: what no split may cut
        pa.field("speaker", TEXT, nullable=False),
        pa.field("text", TEXT, nullable=False),
        pa.field("emotion", TEXT, nullable=False),
        pa.field("sentiment", TEXT, nullable=False),
        ("season", I32),
        ("episode", I32),
        ("start_s", F64),  # in the episode, which is not part of the release
        ("stop_s", F64),
        ("time_note", TEXT),  # why the times are null
        ("clip", TEXT),  # the file; null: not there
        ("audio_missing", TEXT),  # why the sound must not be used; null: it may
        ("face_missing", TEXT),
    ]
)

CUT = "badly cut: the clip lasts {} s"
LOUD = "disturbed sound, far too large a file"
ASYNC = "sound and picture are out of step"
BOTH, SOUND, FACE = ("audio_missing", "face_missing"), ("audio_missing",), ("face_missing",)
FAULTS: Mapping[tuple[str, int, int | None], tuple[str, tuple[str, ...]]] = {
    ("train", 125, 3): ("the released file is corrupt", BOTH),
    ("dev", 110, 7): ("not in the release", BOTH),
    ("test", 38, 4): (CUT.format(305), BOTH),
    ("test", 220, 0): (CUT.format(235), BOTH),
    ("train", 309, 0): (CUT.format(41), BOTH),
    **{
        ("train", dialogue, utterance): (LOUD, SOUND)
        for dialogue, utterance in (
            *((793, 0), (164, 5), (682, 1)),
            *((529, 2), (1029, 1), (1008, 1)),
        )
    },
    ("train", 241, None): (ASYNC, FACE),
    ("train", 757, 7): (ASYNC, FACE),
    ("train", 485, 0): (ASYNC, FACE),
}
"""Known faults of the clips, by split, dialogue and utterance (`None`: all of the dialogue), and
what must not be used there (the release's issue tracker). Where sound and picture are out of step
the sound is kept: it is what the text was written down from. About 200 clips of train have
disturbed sound; these six are the ones that were named."""

PLAIN = str.maketrans(
    {
        **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
        **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
        **dict.fromkeys("\N{EN DASH}\N{EM DASH}", "-"),
        "\N{HORIZONTAL ELLIPSIS}": "...",
    }
)
_TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
_CLIP = re.compile(r"dia(\d+)_utt(\d+)\.mp4")
_CONTROL = re.compile("[\x80-\x9f]")


@dataclass(frozen=True, kw_only=True)
class Meld:
    """The release in a folder.

    Attributes:
        path: Folder with `{train,dev,test}_sent_emo.csv`, or the repository that has them in
            `data/MELD`. A split may be absent.
        clips: Folder with the unpacked clips: `MELD.Raw`, or what is above or below it; `None`
            where only the text is at hand.
    """

    path: str
    clips: str | None = None

    def splits(self) -> list[str]:
        """The splits that are there, in the order train, dev, test.

        Raises:
            FileNotFoundError: None is; says where it was looked for.
        """
        found = [split for split in FOLDERS if self._csv(split).exists()]
        if not found:
            raise FileNotFoundError(
                f"`path` must hold {_name('train')}, itself or in data/MELD, but {self.path!r} does"
                " not: get them from the repository declare-lab/MELD."
            )
        return found

    def read(self, splits: Iterable[str] | None = None) -> pa.Table:
        """The utterances, with the columns of `UTTERANCES`, by split, dialogue and utterance.

        Args:
            splits: Which; all that are there by default.

        Raises:
            FileNotFoundError: A split is not there.
            ValueError: A file cannot be read, lacks a column or holds an impossible value; names
                the file and the row.
        """
        there = self.splits()
        wanted = there if splits is None else list(splits)
        for split in wanted:
            if split not in there:
                raise FileNotFoundError(
                    f"the split {split!r} must be one of {', '.join(there)}, for {self.path!r} has "
                    f"no {_name(split)}."
                )
        parts = [self._split(split) for split in wanted]
        return pa.concat_tables(parts) if parts else UTTERANCES.empty_table()

    def extras(self, splits: Iterable[str] | None = None) -> list[Skip]:
        """Files beside the clips that belong to no row, with the reason."""
        found = []
        for split in self.splits() if splits is None else splits:
            rows = self.read([split])
            keys = set(zip(*(rows[n].to_pylist() for n in ("dialogue", "utterance")), strict=True))
            for file in self._files(split):
                key = _key(file.place.name)
                if key not in keys:
                    reason = "not named dia{D}_utt{U}.mp4" if key is None else "not annotated"
                    found.append(Skip(str(file.place), f"{reason} in {_name(split)}."))
        return found

    def _csv(self, split: str) -> Place:
        root = place(self.path)
        inner = root / "data" / "MELD" / _name(split)
        return inner if inner.exists() else root / _name(split)

    def _split(self, split: str) -> pa.Table:
        rows = _parsed(self._csv(split), split)
        files = {_key(file.place.name): file for file in self._files(split)}
        for row in rows:
            row.update(self._clip(row, files.get((row["dialogue"], row["utterance"]))))
        rows.sort(key=lambda row: (row["dialogue"], row["utterance"]))
        return pa.Table.from_pylist(rows, schema=UTTERANCES)

    def _files(self, split: str) -> list[File]:
        if self.clips is None:
            return []
        root, name = place(self.clips), FOLDERS[split]
        above = ("", split, "MELD.Raw", f"MELD.Raw/{split}")
        if root.name == name:
            return listed(root)
        return next((files for up in above if (files := listed(root / up / name))), [])

    def _clip(self, row: dict, file: File | None) -> dict:
        """Where the clip is, and what of it must not be used, and why."""
        split, dialogue, utterance = row["split"], row["dialogue"], row["utterance"]
        reason, concerned = (
            FAULTS.get((split, dialogue, utterance))
            or FAULTS.get((split, dialogue, None))
            or (None, ())
        )
        if reason is None and self.clips is None:
            reason, concerned = "no folder of clips was given", BOTH
        elif file is None and concerned != BOTH:
            reason, concerned = "the clip is not there", BOTH
        elif file is not None and not file.size_bytes and concerned != BOTH:
            reason, concerned = "the clip is an empty file", BOTH
        return {
            "clip": None if file is None else str(file.place),
            **{name: reason if name in concerned else None for name in BOTH},
        }


def plain(text: str) -> str:
    r"""Text with straight quotes, three dots for an ellipsis, and single spaces.

    Some copies of the release hold Windows-1252 bytes as control characters; they are read as what
    they were.

    Example:
        >>> plain("He\x92s lost  it\u2026 \u201cOh\u201d ")
        'He\'s lost it... "Oh"'
    """
    text = _CONTROL.sub(lambda c: c.group().encode("latin-1").decode("cp1252", "replace"), text)
    return " ".join(text.translate(PLAIN).split())


def seconds(time: str) -> float | None:
    """`H:MM:SS,mmm` in seconds; `None` where it is not a time.

    Example:
        >>> seconds("0:20:57,256"), seconds("00:20:57.256"), seconds("")
        (1257.256, 1257.256, None)
    """
    match = _TIME.fullmatch(time.strip())
    if match is None:
        return None
    hours, minutes, whole, part = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(whole) + int(part.ljust(3, "0")) / 1000


def _name(split: str) -> str:
    return f"{split}_sent_emo.csv"


def _key(name: str) -> tuple[int, int] | None:
    match = _CLIP.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2]))


def _parsed(path: Place, split: str) -> list[dict]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} must be UTF-8, but line {line} is not: save it as UTF-8 again."
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    lacking = [name for name in COLUMNS[1:] if name not in (reader.fieldnames or ())]
    if lacking:
        raise ValueError(
            f"{path} must have the columns {', '.join(COLUMNS[1:])}, but lacks "
            f"{', '.join(lacking)}."
        )
    return list(_rows(reader, path, split))


def _rows(reader: csv.DictReader, path: Place, split: str) -> Iterator[dict]:
    lines: dict[tuple[int, int], int] = {}
    for record in reader:
        where = f"({path}, line {reader.line_num})"
        if None in record or None in record.values():
            raise ValueError(f"a row must have {len(COLUMNS)} values, but has not {where}.")
        row = _row(record, split, where)
        key = row["dialogue"], row["utterance"]
        if key in lines:
            raise ValueError(
                f"dialogue {key[0]}, utterance {key[1]} must stand once, but stands in line "
                f"{lines[key]} too {where}."
            )
        lines[key] = reader.line_num
        yield row


def _row(record: Mapping[str, str], split: str, where: str) -> dict:
    dialogue, utterance, season, episode = (
        _number(record, name, where)
        for name in ("Dialogue_ID", "Utterance_ID", "Season", "Episode")
    )
    start_s, stop_s = seconds(record["StartTime"]), seconds(record["EndTime"])
    note = None
    if start_s is None or stop_s is None:
        note = f"not a time: {record['StartTime']!r} to {record['EndTime']!r}"
    elif stop_s <= start_s:
        note = f"ends before it starts: {record['StartTime']} to {record['EndTime']}"
    return {
        "id": row_id("meld", split, dialogue, utterance),
        "split": split,
        "dialogue": dialogue,
        "utterance": utterance,
        "group": f"{split}-{dialogue}",
        "speaker": plain(record["Speaker"]),
        "text": plain(record["Utterance"]),
        "emotion": _one_of(record, "Emotion", EMOTIONS, where),
        "sentiment": _one_of(record, "Sentiment", SENTIMENTS, where),
        "season": season,
        "episode": episode,
        "start_s": start_s if note is None else None,
        "stop_s": stop_s if note is None else None,
        "time_note": note,
    }


def _number(record: Mapping[str, str], name: str, where: str) -> int:
    try:
        return int(record[name])
    except ValueError:
        raise ValueError(
            f"`{name}` must be a whole number, but is {record[name]!r} {where}."
        ) from None


def _one_of(record: Mapping[str, str], name: str, known: tuple[str, ...], where: str) -> str:
    value = record[name].strip().lower()
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}, but is {value!r} {where}.")
    return value
