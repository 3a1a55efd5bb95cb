"""Labelled frames, decoded once: an array on disk that loaders map into memory."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .audio import RATE_HZ, read
from .labelled import FRAMES, Source
from .media import MediaError
from .store import Place, drafted, replace
from .table import encoded

log = logging.getLogger(__name__)

Image = NDArray[np.uint8]
ROWS, PIXELS = "frames.parquet", "pixels.npy"
VERSION = 1
"""Raised when the same file comes to give another picture."""


@dataclass(frozen=True)
class Frames:
    """Decoded frames in a folder, which all processes share.

    Attributes:
        folder: Holds the rows and the pixels.
    """

    folder: Path

    def __reduce__(self) -> tuple[Any, ...]:  # not with what is mapped
        return Frames, (self.folder,)

    @cached_property
    def rows(self) -> pa.Table:
        """`labelled.FRAMES`; a picture that could not be decoded is a failed row."""
        return pq.read_table(self.folder / ROWS)

    @cached_property
    def pixels(self) -> Image:
        """RGB `(frame, side, side, 3)` uint8, not loaded but mapped; black where a row failed."""
        return np.load(self.folder / PIXELS, mmap_mode="r")


@dataclass(frozen=True)
class Sounds:
    """The sound of examples, which all processes share.

    Attributes:
        path: Of the samples; how many of them are real stands beside it.
    """

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return Sounds, (self.path,)

    @property
    def counted(self) -> Path:
        """Where `real` stands."""
        return self.path.with_suffix(".real.npy")

    @cached_property
    def samples(self) -> NDArray[np.float32]:
        """`(example, sample)` at `RATE_HZ`, mapped."""
        return np.load(self.path, mmap_mode="r")

    @cached_property
    def real(self) -> NDArray[np.int64]:
        """`(example,)`: how many samples are real; 0 where there is no sound."""
        return np.load(self.counted)


def identity(source: Source, side_px: int) -> str:
    """Hash of what decides which frames there are and how they look."""
    content = {"source": type(source).__name__, **asdict(source), "side_px": side_px}
    text = json.dumps(content | {"version": VERSION}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def decode(
    source: Source, side_px: int, folder: Place, progress: Callable[[int, int], None] | None = None
) -> Frames:
    """Decode the frames of a source, unless they stand: once, for all epochs and folds.

    Args:
        source: Of the frames.
        side_px: Side of the pictures; the middle square of each frame is scaled to it.
        folder: Of the run; they stand in its folder `features`. Must be of a file system.
        progress: Called with the frames done and all of them.

    Raises:
        ValueError: The folder is no path, or not one picture could be decoded.
    """
    if not isinstance(folder, Path):
        raise ValueError(
            f"`out` must be a folder of a file system that all workers share, but is '{folder}': "
            "decoded frames are mapped into memory."
        )
    rows = source.survey()
    stamps = "\n".join([identity(source, side_px), *rows["id"].to_pylist(), *_stamps(rows)])
    name = hashlib.sha256(stamps.encode()).hexdigest()[:12]
    made = Frames(folder / "features" / f"frames-{name}")
    if not (made.folder / ROWS).exists():
        replace(made.folder / ROWS, encoded(_decoded(source, rows, side_px, made.folder, progress)))
    failed = made.rows.filter(pc.equal(made.rows["status"], "failed"))
    if len(failed):
        first = failed.slice(0, 1).to_pylist()[0]
        log.warning(
            "%d of %d frames cannot be read, the first of them %r (%s); all are listed in '%s'",
            *(len(failed), len(rows), first["uri"], first["error_message"], made.folder / ROWS),
        )
    if len(failed) == len(rows):
        raise ValueError(f"no frame can be read: see '{made.folder / ROWS}'.")
    return made


def _stamps(rows: pa.Table) -> list[str]:
    """Label, and size and time of the file, of each row: what changes when a frame does."""
    found = []
    for uri in pc.unique(rows["uri"]).to_pylist():
        try:
            status = Path(uri).stat()
            found.append(f"{status.st_size} {status.st_mtime_ns}")
        except OSError:  # an object of a store, or missing
            found.append("")
    names = ("label", "person", "video", "time_s")
    return found + ["\t".join(map(str, row.values())) for row in rows.select(names).to_pylist()]


def _decoded(
    source: Source,
    rows: pa.Table,
    side_px: int,
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> pa.Table:
    """Write the pixels; returns the rows with their outcome."""
    shape, errors = (len(rows), side_px, side_px, 3), list[str | None]()
    with drafted(folder / PIXELS) as draft, ThreadPoolExecutor(_cores()) as threads:
        pixels = np.lib.format.open_memmap(draft, "w+", np.uint8, shape)

        def one(at: int, content: Callable[[], bytes]) -> str | None:
            try:
                pixels[at] = picture(content(), side_px)
            except (OSError, ValueError) as error:
                return str(error) or type(error).__name__
            return None

        for first, stop in _videos(rows["video"].to_pylist()):
            contents = source.pictures(rows.slice(first, stop - first))
            errors += threads.map(one, range(first, stop), contents)
            if progress:
                progress(stop, len(rows))
        pixels.flush()
    status = ["ok" if error is None else "failed" for error in errors]
    said = rows.drop_columns(["status", "error_message"])
    said = said.append_column("status", pa.array(status))
    return said.append_column("error_message", pa.array(errors, pa.string())).cast(FRAMES)


def _videos(names: Sequence[str]) -> list[tuple[int, int]]:
    """Where each video's rows begin and end."""
    starts = [i for i, name in enumerate(names) if not i or name != names[i - 1]]
    return list(zip(starts, [*starts[1:], len(names)], strict=True))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def picture(content: bytes, side_px: int) -> Image:
    """The middle square of a picture, RGB `(side_px, side_px, 3)` uint8.

    Raises:
        ValueError: It cannot be decoded.
    """
    import cv2

    image = None
    if content:
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:  # more pixels than OpenCV takes
            raise ValueError(f"the picture cannot be decoded: {error.err}") from error
    if image is None:
        raise ValueError("the file is no picture that can be decoded")
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    way = cv2.INTER_AREA if side > side_px else cv2.INTER_LINEAR
    scaled = cv2.resize(square, (side_px, side_px), interpolation=way)
    return np.ascontiguousarray(scaled[:, :, ::-1], np.uint8)


def listen(examples: pa.Table, sound_s: float, folder: Path) -> Sounds:
    """Read the sound of each example, unless it stands: so long a span about its middle.

    Args:
        examples: `labelled.EXAMPLES`.
        sound_s: Length of the span, in seconds.
        folder: Holds what is read.
    """
    size = round(sound_s * RATE_HZ)
    wanted = examples.select(["id", "sound", "start_s", "stop_s"]).to_pylist()
    name = hashlib.sha256(json.dumps([size, wanted]).encode()).hexdigest()[:12]
    made = Sounds(folder / f"sound-{name}.npy")
    if not made.counted.exists():
        with drafted(made.path) as draft, ThreadPoolExecutor(_cores()) as threads:
            samples = np.lib.format.open_memmap(draft, "w+", np.float32, (len(wanted), size))
            real = np.array(list(threads.map(_heard, wanted, samples)), np.int64)
            samples.flush()
        with drafted(made.counted) as draft, draft.open("wb") as file:
            np.save(file, real)
    return made


def _heard(row: dict, into: NDArray[np.float32]) -> int:
    """Fill in one example's sound; returns the count of real samples."""
    if None in (row["sound"], row["start_s"], row["stop_s"]):
        return 0
    length_s = len(into) / RATE_HZ
    start_s = max(0.0, (row["start_s"] + row["stop_s"] - length_s) / 2)
    try:
        sound = read(row["sound"], start_s, start_s + length_s)
    except MediaError as error:
        log.warning("no sound for an example: %s", error)
        return 0
    if sound is None:
        return 0
    into[:] = sound[: len(into)]
    return len(into)
