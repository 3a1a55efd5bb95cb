"""Hostile files: each must end as a result or as a message, and leave its neighbours unharmed.

usage: hostile.py [--data FOLDER] [--keep FOLDER] [--json FILE]

Makes a folder of files that are broken, odd or badly named, beside good clips and the files of
`robustness/` in the data folder, runs `mien analyze` on it, and again on the good clips alone.
Prints for each file how it ended, and whether its message names the file, the reason and the
cure. Exits with 1 where the run crashed, a file is lost, ended otherwise than it should, has a
poor message, or a good clip came out differently than alone.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, FPS, RATE_HZ = 320, 240, 25, 16000
GOOD, BAD, EITHER, PASSED = ("ok",), ("failed",), ("ok", "failed"), ("skipped",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file.

    Attributes:
        path: Where it is.
        what: What is wrong with it.
        ends: How it may end: ok, failed, skipped.
        neighbour: A good clip, which must come out as if it were alone.
    """

    path: Path
    what: str
    ends: tuple[str, ...]
    neighbour: bool = False


def clip(
    path: Path,
    *,
    seconds: float = 3.0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    video: bool = True,
    audio: bool = True,
    seed: int = 0,
    front: bool = False,
) -> Path:
    """Make a good clip: drifting noise with one cut, and a tone."""
    rng = np.random.default_rng(seed)
    options = {"movflags": "faststart"} if front else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        picture = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono") if audio else None
        scenes = rng.integers(0, 256, (2, size[1] // 8 + 1, size[0] // 8 + 1, 3), np.uint8)
        count = max(1, round(seconds * FPS)) if video else 0
        for i in range(count):
            image = np.kron(scenes[2 * i // count], np.ones((8, 8, 1), np.uint8))
            image = np.roll(image, i, axis=1)[: size[1], : size[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if sound is not None:
            time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
            wave_ = (0.2 * np.sin(2 * np.pi * (220 + 50 * seed) * time_s)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave_[None], "fltp", "mono")
            frame.sample_rate = RATE_HZ
            container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return path


def sound_only(path: Path) -> Path:
    """An MP4 without video."""
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE_HZ), np.float32), "fltp", "mono")
        frame.sample_rate = RATE_HZ
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def odd_times(path: Path, rate: Fraction, times: list[int], base: Fraction) -> Path:
    """A Matroska or AVI file with frames at unusual times, in units of `base` seconds."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mjpeg", rate=rate)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        picture.codec_context.time_base = base
        for i, at in enumerate(times):
            image = np.full((64, 64, 3), 40 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = at, base
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
    return path


def make_hostile(folder: Path) -> list[Case]:
    """Fill a folder with hostile files.

    Returns:
        One case for each; what this file system or user cannot have is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [*_truncated(folder), *_content(folder), *_names(folder), *_places(folder)]


def make_good(folder: Path, count: int = 3) -> list[Case]:
    """Good clips, the neighbours."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        Case(
            path=clip(folder / f"good_{i}.mp4", seed=i),
            what="good clip",
            ends=GOOD,
            neighbour=True,
        )
        for i in range(count)
    ]


def _truncated(folder: Path) -> Iterator[Case]:
    """The index of an MP4 stands at its end, or in front where it is made for streaming."""
    for front in (False, True):
        whole = clip(folder / "whole.mp4", front=front, seed=7)
        content = whole.read_bytes()
        whole.unlink()
        for tenth in range(1, 10):
            path = folder / f"truncated_{'front' if front else 'end'}_{tenth}0.mp4"
            path.write_bytes(content[: len(content) * tenth // 10])
            where = "in front" if front else "at the end"
            yield Case(
                path=path,
                what=f"cut off at {tenth}0 %, index {where}",
                ends=EITHER if front else BAD,
            )


def _content(folder: Path) -> Iterator[Case]:
    def written(name: str, content: bytes, what: str, ends: tuple[str, ...] = BAD) -> Case:
        (folder / name).write_bytes(content)
        return Case(path=folder / name, what=what, ends=ends)

    noise = np.random.default_rng(1).integers(0, 256, 50_000, np.uint8).tobytes()
    yield written("zero.mp4", b"", "zero bytes")
    yield written("one_byte.mp4", b"\0", "one byte")
    yield written("text.mp4", b"This is not a video.\n" * 100, "text")
    yield written("noise.mp4", noise, "random bytes")
    yield written("page.mp4", b"<!DOCTYPE html><html><body>404</body></html>", "a web page")
    header = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
    yield written("empty.wav", header, "WAV without samples", EITHER)
    path = clip(folder / "holes.mp4", front=True, seed=8)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = noise[:2000]
    path.write_bytes(content)
    yield Case(path=path, what="2000 bytes overwritten in the middle", ends=EITHER)
    path = sound_only(folder / "no_video.mp4")
    yield Case(path=path, what="no video stream", ends=GOOD)
    path = clip(folder / "no_audio.mp4", audio=False)
    yield Case(path=path, what="no audio stream", ends=GOOD)
    path = clip(folder / "no_frames.mp4", video=False)
    yield Case(path=path, what="a video stream without frames", ends=EITHER)
    path = clip(folder / "one_frame.mp4", seconds=0.04, audio=False)
    yield Case(path=path, what="one frame", ends=GOOD)
    path = clip(folder / "still_8k.mp4", seconds=0.04, size=(7680, 4320), audio=False)
    yield Case(path=path, what="one frame of 7680 x 4320", ends=GOOD)
    path = clip(folder / "tiny.mp4", size=(16, 16), audio=False)
    yield Case(path=path, what="16 x 16 pixels", ends=GOOD)
    path = odd_times(folder / "slow.avi", Fraction(1, 50), [0, 1, 2], Fraction(50))
    yield Case(path=path, what="0.02 frames per second", ends=GOOD)
    path = odd_times(folder / "bursts.mkv", Fraction(1000), [0, 1, 2, 5000], Fraction(1, 1000))
    yield Case(path=path, what="frames 1 ms and 5 s apart", ends=GOOD)
    path = folder / "matroska.mp4"
    odd_times(folder / "matroska.mkv", Fraction(25), [0, 1, 2, 3], Fraction(1, 25)).replace(path)
    yield Case(path=path, what="Matroska, named .mp4", ends=GOOD)
    with wave.open(str(folder / "short.wav"), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(b"\1\0" * 10)
    yield Case(path=folder / "short.wav", what="ten samples of sound", ends=GOOD)


def _names(folder: Path) -> Iterator[Case]:
    source = clip(folder / "source.mp4", seconds=1.0, seed=9)
    names = {
        "n" * 196 + ".mp4": "a name of 200 characters",
        "line\nbreak.mp4": "a newline in the name",
        "<img src=x onerror=alert(1)>'\"&.mp4": "HTML and quotes in the name",
        "-rf [1] {2} $HOME %s \\n,=.mp4": "what shells, globs and formats read",
        "日本 é ‮ 🎬.mp4": "no ASCII in the name, and a turn to the left",
        "UPPER.MP4": "an ending in capitals",
    }
    for name, what in names.items():
        shutil.copyfile(source, folder / name)
        yield Case(path=folder / name, what=what, ends=GOOD)
    source.unlink()
    try:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.mp4"))
        path.write_bytes(b"")
    except OSError:
        return  # not on this file system
    yield Case(path=path, what="a name that is not UTF-8", ends=PASSED)


def _places(folder: Path) -> Iterator[Case]:
    """What is no plain file, or not for long."""
    (folder / "folder.mp4").mkdir()
    yield Case(path=folder / "folder.mp4", what="a folder", ends=PASSED)
    (folder / "below").mkdir()
    (folder / "below" / "up").symlink_to(folder)
    yield Case(path=folder / "below" / "up", what="a link to the folder above", ends=PASSED)
    (folder / "self.mp4").symlink_to("self.mp4")
    yield Case(path=folder / "self.mp4", what="a link to itself", ends=BAD)
    (folder / "dangling.mp4").symlink_to("nowhere.mp4")
    yield Case(path=folder / "dangling.mp4", what="a link to nothing", ends=BAD)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.mp4")
        yield Case(path=folder / "pipe.mp4", what="a pipe", ends=PASSED)
    path = clip(folder / "unreadable.mp4", seconds=1.0)
    path.chmod(0)
    root = os.geteuid() == 0
    what = "no permission to read" + (" (but root reads it)" if root else "")
    yield Case(path=path, what=what, ends=GOOD if root else BAD)
    path = clip(folder / "vanishing.mp4", seconds=1.0)
    yield Case(path=path, what="removed while the job runs", ends=EITHER)


# ------------------------------------------------------------------------------------ the run


def remove_later(path: Path, run: Path, limit_s: float = 120.0) -> None:
    """Remove a file as soon as the run has listed its corpus."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and not (run / "corpus.parquet").exists():
        time.sleep(0.02)
    path.unlink(missing_ok=True)


def tables(run: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of a run by table, newest attempts only, in order of their ids."""
    import pyarrow.parquet as pq

    found: dict[str, list[dict[str, Any]]] = {}
    for folder in sorted((run / "tables").glob("*-*")):
        newest: dict[str, dict[str, Any]] = {}
        for file in sorted(folder.glob("part-*.parquet")):
            for row in pq.read_table(file).to_pylist():
                if row["id"] not in newest or newest[row["id"]]["attempt"] <= row["attempt"]:
                    newest[row["id"]] = row
        found[folder.name.rpartition("-")[0]] = [newest[key] for key in sorted(newest)]
    return found


def ending(case: Case, rows: dict[str, list[dict[str, Any]]], skipped: dict[str, str]) -> dict:
    """How one file ended."""
    printable = os.fsencode(case.path).decode(errors="replace")
    if printable in skipped:
        return {"ended": "skipped", "message": skipped[printable]}
    own = [row for table in rows.values() for row in table if row["uri"] == printable]
    failed = [row for row in own if row["status"] == "failed"]
    if failed:
        stage, text = failed[0]["error_stage"], failed[0]["error_message"] or ""
        return {"ended": "failed", "message": text, "stage": stage, "clear": clear(text, printable)}
    warnings = [row["warning"] for row in own if row.get("warning")]
    return {"ended": "ok" if own else "lost", "message": warnings[0] if warnings else ""}


def clear(message: str, uri: str) -> bool:
    """Whether a message names the file, a reason and, after a colon, a cure."""
    named = next((name for name in (repr(uri), uri, Path(uri).name) if name in message), None)
    if named is None:
        return False
    reason, _, cure = message.partition(named)[2].partition(": ")
    return len(reason.split()) >= 2 and len(cure.split()) >= 2


def differences(
    alone: dict[str, list[dict[str, Any]]], crowd: dict[str, list[dict[str, Any]]]
) -> list[str]:
    """Tables in which a clip's rows are not the same in both runs, but for place and time."""
    differ = []
    for name, rows in alone.items():
        ids = {row["video_id"] for row in rows}
        others = [row for row in crowd.get(name, []) if row["video_id"] in ids]
        if [_content_of(row) for row in rows] != [_content_of(row) for row in others]:
            differ.append(name)
    return differ


def _content_of(row: dict[str, Any]) -> str:
    # the place is in the digest of a timeline's evidence too
    text = repr({key: row[key] for key in row if key not in ("uri", "timings", "digest")})
    return text.replace(row["uri"], "")  # the timeline's text has it too


def main() -> int:
    """Make, run, compare, print."""
    import json

    from common import analyze, arguments, data_folder, show

    options = arguments(
        __doc__,
        data={"type": Path, "default": data_folder(), "help": "has a folder `robustness`"},
        keep={"type": Path, "help": "work here, and keep everything"},
    )
    work = options.keep or Path(tempfile.mkdtemp(prefix="hostile-"))
    corpus, run = work / "corpus", work / "run"
    cases = [*make_good(corpus), *make_hostile(corpus)]
    for path in sorted((options.data / "video" / "composites").glob("*_a1.mp4"))[:2]:
        shutil.copy2(path, corpus / path.name)
        what = "good clip with faces and speech"
        cases.append(Case(path=corpus / path.name, what=what, ends=GOOD, neighbour=True))
    for path in sorted((options.data / "robustness").glob("*.*")):
        shutil.copy2(path, corpus / path.name)
        cases.append(Case(path=corpus / path.name, what="robustness/", ends=EITHER))
    (work / "alone").mkdir(parents=True)
    for case in cases:
        if case.neighbour:
            shutil.copy2(case.path, work / "alone" / case.path.name)
    remover = threading.Thread(target=remove_later, args=(corpus / "vanishing.mp4", run))
    remover.start()
    began = time.perf_counter()
    done = analyze(corpus, run)
    seconds = time.perf_counter() - began
    remover.join()
    print(f"{len(cases)} files: {seconds:.0f} s, exit status {done.returncode}", flush=True)
    print(done.stderr[-2000:], file=sys.stderr, flush=True)
    alone = analyze(work / "alone", work / "run_alone")

    violations = []
    for name, process in (("run", done), ("run alone", alone)):
        if process.returncode not in (0, 1) or "Traceback" in process.stderr:
            violations.append(f"{name} crashed ({process.returncode}): {process.stderr[-800:]}")
    record = json.loads((run / "run.json").read_text()) if (run / "run.json").exists() else {}
    skips = record.get("corpus", {}).get("skipped") or []
    skipped = {skip["uri"]: skip["reason"] for skip in skips}
    rows = tables(run)
    table = []
    for case in cases:
        ended = ending(case, rows, skipped)
        name = os.fsencode(case.path.name).decode(errors="replace").replace("\n", "\\n")
        table.append({"file": name[:32], "what": case.what, **ended})
        if ended["ended"] not in case.ends:
            violations.append(f"{name}: must end {' or '.join(case.ends)}, but {ended['ended']}")
        if ended.get("clear") is False:
            violations.append(f"{name}: poor message: {ended['message']}")
    differ = differences(tables(work / "run_alone"), rows)
    violations += [f"good clips came out differently in table {name!r}" for name in differ]
    show(
        f"{len(cases)} files in {seconds:.0f} s",
        table,
        options.json,
        violations=violations,
        neighbours="differ" if differ else "the same as alone",
        seconds=seconds,
        root=os.geteuid() == 0,
    )
    if not options.keep:
        shutil.rmtree(work, ignore_errors=True)
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main())
