"""`mien fetch`: the weights of a profile, for machines without network."""

import os
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from ..actors.weights import Weights, content, hub_cache
from . import sources
from .bring import BringError, bring, terms
from .lock import BusyError, locked
from .profile import Profile
from .progress import LINE_EVERY_S, console


@dataclass(kw_only=True)
class Fetch:
    """Bring all weights of a profile at once, for machines without network.

    They come to `models.dir` or, without one, into the Hugging Face cache. What stands there is
    skipped, what was broken off is continued, every file's hash is compared. `models.dir` can then
    be carried to another machine as it is; its `SOURCES.json` says where each file came from.

    Some weights can only be had after their terms were accepted on their page; then `HF_TOKEN` in
    the environment must hold a token of that account.

    Attributes:
        models: The profile; all candidates of every role are brought.
        verify: Bring nothing, but compare the content of all that stands with its hashes.
    """

    models: Profile
    verify: bool = False

    def __call__(self) -> int:
        """Fetch, or verify.

        Returns:
            0 when all weights are there and whole, 1 otherwise.
        """
        wanted = needed(self.models)
        if not wanted:
            console.print(f"The profile {self.models.name!r} needs no weights beyond its packages.")
            return 0
        return self._verified(wanted) if self.verify else self._fetched(wanted)

    def _fetched(self, wanted: list[Weights]) -> int:
        missing = []
        for weights in wanted:
            if (place := sources.standing(weights)) is not None:
                console.print(
                    f"there     {escape(weights.name)} ({_size(place)}, {escape(str(place))})"
                )
            else:
                missing.append(weights)
        _announce(missing)
        failed: dict[str, str] = {}
        with ExitStack() as stack:
            for folder in sorted({w.dir for w in missing if w.dir and w.path is None}):
                stack.enter_context(_alone(Path(folder).expanduser()))
            progress = stack.enter_context(Transfers())
            for weights in missing:
                try:
                    place = bring(weights, progress.of(weights.name))
                    progress.done(f"fetched   {weights.name} ({_size(place)}, {place})")
                except BringError as error:
                    failed[weights.name] = str(error)
                    progress.done(f"failed    {weights.name}: {error}")
        return _close(len(wanted), failed, "could not be brought", "Run the same again to go on.")

    def _verified(self, wanted: list[Weights]) -> int:
        failed: dict[str, str] = {}
        for weights in wanted:
            faults = list(sources.faults(weights))
            if faults:
                failed[weights.name] = "; ".join(faults)
            state = "wrong" if faults else "right" if sources.checkable(weights) else "unknown"
            console.print(f"{state:<9} {escape(weights.name)}")
        cure = "Remove what is wrong, then `mien fetch` brings it again."
        return _close(len(wanted), failed, "are not right", cure)


def needed(profile: Profile) -> list[Weights]:
    """The weights of all candidates of a profile, each once, with the files of all who use it."""
    found: dict[tuple[str | None, ...], Weights] = {}
    actors = [profile.actors[name] for names in profile.roles.values() for name in names if name]
    for weights in (weights for actor in actors for weights in actor.weights()):
        key = (weights.name, weights.revision, weights.url, weights.path, weights.dir)
        known = found.get(key, weights)
        whole = not (known.files and weights.files)
        files = () if whole else tuple(dict.fromkeys((*known.files, *weights.files)))
        licences = dict.fromkeys((*known.licence.split(" + "), weights.licence))
        found[key] = replace(known, files=files, licence=" + ".join(licences))
    return list(found.values())


def _announce(missing: Iterable[Weights]) -> None:
    """Say what is about to come, and which of it needs accepted terms."""
    for weights in missing:
        if weights.path is None:
            size = f"{weights.size_gb:g} GB, " if weights.size_gb else ""
            to = weights.dir or (weights.cached if weights.url else hub_cache())
            facts = f"{size}{weights.licence}, to {to}"
            console.print(f"to fetch  {escape(weights.name)} ({escape(facts)})")
    gated = [weights for weights in missing if weights.terms]
    if gated:
        token = "is set" if os.environ.get("HF_TOKEN") else "is not set"
        console.print(f"Terms to accept first, with the account of HF_TOKEN (it {token}):")
        for weights in gated:
            console.print(f"  {escape(weights.name)}: {escape(terms(weights))}")


def _close(count: int, failed: dict[str, str], what: str, cure: str) -> int:
    for name, reason in failed.items():
        console.print(f"{escape(name)}: {escape(reason)}", style="red")
    if failed:
        console.print(f"{len(failed)} of {count} sets of weights {what}. {cure}")
    return int(bool(failed))


def _alone(folder: Path) -> ExitStack:
    stack = ExitStack()
    try:
        stack.enter_context(locked(folder))
    except BusyError as error:
        raise BusyError(
            f"another process fetches to '{folder}': wait for it, or end it."
        ) from error
    return stack


def _size(place: Path) -> str:
    size = sum(path.stat().st_size for path in content(place))
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"


class Transfers:
    """Bars on a terminal, lines in a log: bytes of each set of weights."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._said = time.monotonic()
        self._lock = threading.Lock()

    def of(self, name: str) -> "_Transfer":
        """Begin a bar."""
        return _Transfer(self, name)

    def done(self, line: str) -> None:
        """End the bars, and say how it went."""
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        console.print(escape(line))

    def show(self, name: str, done: int, total: int) -> None:
        """Bring a bar up to date."""
        with self._lock:
            tasks = [task.id for task in self._bars.tasks if task.description == name]
            task = tasks[0] if tasks else self._bars.add_task(name)
            self._bars.update(task, completed=done, total=total or None)
            now = time.monotonic()
            if not console.is_terminal and now - self._said > LINE_EVERY_S:
                self._said = now
                share = f" of {total / 1e6:.1f}" if total else ""
                console.print(f"fetching  {escape(name)}: {done / 1e6:.1f}{share} MB")

    def __enter__(self) -> "Transfers":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()


@dataclass(frozen=True)
class _Transfer:
    transfers: Transfers
    name: str

    def __call__(self, done: int, total: int) -> None:
        self.transfers.show(self.name, done, total)
