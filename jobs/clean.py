"""`mien clean`: what of a run can be freed, and freeing it."""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table as Lines

from ..datasets.store import Place, is_url, remove
from .lock import locked
from .progress import console
from .report import pictured, strip, write_index
from .retain import KINDS, drafts, empty, folders, held
from .status import opened
from .tally import CORPUS, read

WHAT = {
    "old": "tables of earlier configurations",
    "cuts": "rows between the parts of a chain",
    "leftovers": "drafts and scratch files of runs that ended",
    "downloads": "videos that `corpus=urls` brought",
    "crops": "pictures of faces, in all tables",
    "thumbnails": "pictures of frames, in all tables and on the pages",
    "embeddings": "vectors that tell faces and voices apart",
}
"""What `do` may name."""


@dataclass(frozen=True)
class Find:
    """Something that can be freed.

    Attributes:
        places: Files and folders.
        size_bytes: That it takes.
        note: What follows from freeing it.
        free: Does it; `None`: not as things are, and `note` says why.
    """

    places: Sequence[Place]
    size_bytes: int
    note: str
    free: Callable[[], object] | None


@dataclass(kw_only=True)
class Clean:
    """Show what of a run can be freed; free what is named in `job.do`.

    Nothing that the run still reads goes, except what `job.do` names of the columns that identify
    people (`crops`, `thumbnails`, `embeddings`): these are emptied, their rows stand. Answers that
    were paid for and the ledger (`RUN/api`) always stay.

    Attributes:
        run: The run's folder.
        do: What to free; empty: nothing, it is only shown.
    """

    run: str
    do: Sequence[str] = ()

    def __post_init__(self) -> None:
        unknown = [word for word in self.do if word not in WHAT]
        if unknown:
            raise ValueError(
                f"`job.do` must name some of {', '.join(WHAT)}, but names {unknown[0]!r}."
            )

    def __call__(self) -> int:
        """Print what there is, and free what was asked for.

        Returns:
            0; 1 where something that was asked for cannot go now.
        """
        run, _ = opened(self.run)
        with locked(run):
            _, record = opened(self.run)  # as whoever had the lock before left it
            found = finds(run, record)
            lines = Lines("do", "what", "places", "size", "", title=str(run))
            for word, find in found.items():
                size = f"{find.size_bytes / 1e6:,.1f} MB"
                lines.add_row(word, WHAT[word], str(len(find.places)), size, escape(find.note))
            console.print(lines)
            barred = []
            for word in WHAT:
                find = found[word]
                if word in self.do and find.places and find.free is None:
                    barred.append(f"{word}: {find.note}")
                elif word in self.do and find.free and find.places:
                    find.free()
                    console.print(f"freed {word}: {find.size_bytes / 1e6:,.1f} MB")
        for reason in barred:
            console.print(f"[red]not freed[/red] {escape(reason)}")
        if not self.do:
            console.print(
                f"To free some: mien clean {escape(shlex.quote(str(run)))} job.do=\\[old,leftovers]"
            )
        return int(bool(barred))


def finds(run: Place, record: dict) -> dict[str, Find]:
    """What can be freed, by the words of `WHAT`.

    Args:
        run: The run's folder; nobody else works on it.
        record: Of the run.
    """
    finished = bool(record["finished"])
    later = "the run is not finished, and reads them when it is resumed"
    old = [f for f in _inside(run / "tables") if f.name not in set(record["tables"].values())]
    config = OmegaConf.create(record.get("config") or "{}")
    assert isinstance(config, DictConfig)
    found = {
        "old": _removable(old, "that configuration would start anew"),
        "cuts": _removable(
            _inside(run / "cuts"),
            "`mien retry` does more again" if finished else later,
            allowed=finished,
        ),
        "leftovers": _removable(list(_leftovers(run, record)), ""),
        "downloads": _removable(
            list(_downloads(run, config)),
            "pages no longer play; the next run downloads again" if finished else later,
            allowed=finished,
        ),
    }
    for kind in KINDS:
        found[kind] = _column(run, record, kind, finished)
    return found


def forget(run: Place, record: dict, kinds: Sequence[str]) -> int:
    """Empty what identifies people in all tables of a run, and take the pictures off its pages.

    Files that a process began and did not end go, too. The tables come last: what is interrupted
    is found again.

    Args:
        run: The run's folder; nobody else works on it.
        record: Of the run.
        kinds: Of `retain.KINDS`.

    Returns:
        How many bytes that freed.
    """
    if not kinds:
        return 0
    if "thumbnails" in kinds:
        strip(run, record)
    begun = drafts(run)
    freed = sum(size_bytes(path) for path in begun)
    for path in begun:
        remove(path)
    return freed + sum(empty(folder, kinds) for folder in folders(run))


def _column(run: Place, record: dict, kind: str, finished: bool) -> Find:
    sizes = {folder: held(folder).get(kind, 0) for folder in folders(run)}
    sizes |= {path: size_bytes(path) for path in drafts(run)}
    pages = pictured(run) if kind == "thumbnails" else []

    def free() -> None:
        forget(run, record, [kind])
        if kind == "thumbnails":
            write_index(run, record)

    note = {
        "embeddings": "a timeline that is made again tells people apart by track alone",
    }.get(kind, "models that look at them must watch again")
    if not finished:
        note = "the run is not finished, and reads them when it is resumed"
    return Find(
        [place for place, size in sizes.items() if size] + pages,
        sum(sizes.values()),
        note,
        free if finished else None,
    )


def _removable(places: Sequence[Place], note: str, *, allowed: bool = True) -> Find:
    def free() -> None:
        for one in places:
            remove(one)

    size = sum(size_bytes(one) for one in places)
    return Find(places, size, note if places else "", free if allowed else None)


def _inside(folder: Place) -> list[Place]:
    return sorted(folder.iterdir(), key=str) if folder.exists() else []


def _leftovers(run: Place, record: dict) -> Iterator[Place]:
    """Files and folders that only a process that has ended had a use for."""
    scratch = run / "scratch"
    if scratch.exists():
        yield scratch
    names = {re.escape(name) for name in record["tables"]}
    present = re.compile(rf"({'|'.join(sorted(names))})\.\w+\.parquet")
    yield from (path for path in drafts(run) if scratch not in path.parents)
    for path in _inside(run / "manifests"):
        if not path.name.startswith(".") and not present.fullmatch(path.name):
            yield path


def _downloads(run: Place, config: DictConfig) -> Iterator[Path]:
    """Files of this run's corpus in the folder that it downloads to.

    Others may download there as well: what only the folder's archive names, and parts of files,
    can be theirs.
    """
    corpus = config.get("corpus") or {}
    if not str(corpus.get("_target_", "")).endswith(".Urls") or not (run / CORPUS).exists():
        return
    folder = Path(corpus["folder"]).expanduser().resolve()
    for uri in read(run / CORPUS, ["uri"])["uri"].to_pylist():
        path = Path(uri)
        if not is_url(uri) and path.is_file() and folder in path.resolve().parents:
            yield path


def size_bytes(place: Place) -> int:
    """Size of a file, or of all files in a folder."""
    if not isinstance(place, Path):
        return sum(place.fs.size(name) or 0 for name in place.fs.find(place.path))
    if not place.is_dir():
        return place.lstat().st_size
    inside = (Path(folder, name) for folder, _, names in os.walk(place) for name in names)
    return sum(path.lstat().st_size for path in inside)
