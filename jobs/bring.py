"""Bringing weights: a repository of the Hugging Face hub, or a single file of the web."""

import os
import shutil
import threading
import urllib.error
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..actors.weights import Weights, hub_cache
from . import sources
from .web import BringError, Told, download, room

HUB = "https://huggingface.co"
EVERY_S = 0.5
"""How often a folder is looked at while the hub's own client fills it."""


def bring(weights: Weights, told: Told) -> Path:
    """Bring weights to their folder of models or, without one, to where they are cached.

    A file appears when it is whole; what an earlier call left unfinished is continued.

    Args:
        weights: What to bring.
        told: Called now and then, from any thread.

    Returns:
        Where they stand.

    Raises:
        BringError: They cannot be had.
    """
    if weights.path is not None:
        raise BringError(weights.missing() or "")
    if weights.url is None and not weights.on_hub:
        raise BringError(f"neither a repository nor a `url` is known: {weights.missing()}")
    try:
        return _file(weights, told) if weights.url else _repository(weights, told)
    except BringError:
        raise
    except Exception as error:  # of the network, the hub, or the disk
        raise BringError(reason(error, weights)) from error


def endpoint() -> str:
    """The hub's address."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


def terms(weights: Weights) -> str:
    """Page on which the terms of weights are accepted."""
    return weights.terms or f"{endpoint()}/{weights.name}"


def _repository(weights: Weights, told: Told) -> Path:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    info = api.model_info(weights.name, revision=weights.revision, files_metadata=True)
    wanted = _wanted(weights, info.siblings or [])
    if weights.dir is None:
        return _to_cache(weights, wanted, told)
    folder = Path(weights.dir).expanduser()
    place = folder / weights.name
    _to_folder(weights, str(info.sha), wanted, place, told)
    sources.record(weights, folder, place, info.sha)
    return place


def _to_folder(
    weights: Weights, commit: str, wanted: Sequence[Any], place: Path, told: Told
) -> None:
    """Bring files to a hidden neighbour of their folder, which takes its name when all are right.

    What stands in the folder already is compared and kept. The hub's own client would begin each
    file anew in another process.
    """
    from huggingface_hub import get_token, hf_hub_url

    draft = place.with_name(f".{place.name}.part")
    if place.is_dir() and not draft.exists():  # what stands stays, until all is there
        shutil.copytree(place, draft, copy_function=os.link)
    draft.mkdir(parents=True, exist_ok=True)
    total = sum(file.size or 0 for file in wanted)
    room(draft, total - _bytes(draft))
    done = 0
    for file in wanted:
        path = draft / file.rfilename
        if not path.resolve().is_relative_to(draft.resolve()):
            raise BringError(f"the repository names a file outside its folder: {file.rfilename!r}")
        url = hf_hub_url(weights.name, file.rfilename, revision=commit, endpoint=endpoint())
        if not _right(path, file):
            before = done

            def tell(have: int, _: int, before: int = before) -> None:
                told(before + have, total)

            download(url, path, tell, token=get_token())
        _insist(path, file)
        done += file.size or 0
        told(done, total)
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.is_dir():
        place.replace(old)
    draft.replace(place)
    shutil.rmtree(old, ignore_errors=True)


def _to_cache(weights: Weights, wanted: Sequence[Any], told: Told) -> Path:
    """Let the hub's own client bring files to its cache: whole files are kept, parts are not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()  # it goes on after a broken connection, and says so each time
    total = sum(file.size or 0 for file in wanted)
    held = hub_cache() / f"models--{weights.name.replace('/', '--')}"
    room(held, total - _bytes(held))
    with Watch(held, total, told):
        place = snapshot_download(
            weights.name,
            revision=weights.revision,
            cache_dir=hub_cache(),
            allow_patterns=[_literal(file.rfilename) for file in wanted],
            endpoint=endpoint(),
        )
    for file in wanted:
        _insist(Path(place) / file.rfilename, file)
    return Path(place)


def _wanted(weights: Weights, files: Sequence[Any]) -> list[Any]:
    """The files of a repository that match the patterns.

    Raises:
        BringError: A pattern matches none.
    """
    from huggingface_hub.utils import filter_repo_objects

    def matching(pattern: str) -> list[Any]:
        forms = [pattern, pattern.replace("**/", "")]
        return list(filter_repo_objects(files, allow_patterns=forms, key=lambda f: f.rfilename))

    if not weights.files:
        return list(files)
    found = {}
    for pattern in weights.files:
        matches = matching(pattern)
        if not matches:
            raise BringError(
                f"the repository holds no file like {pattern!r} at revision {weights.revision!r}: "
                "correct `files` or `revision`"
            )
        found.update({file.rfilename: file for file in matches})
    for pattern in weights.optional:
        found.update({file.rfilename: file for file in matching(pattern)})
    return list(found.values())


def _literal(name: str) -> str:
    """A pattern that matches one name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _right(path: Path, file: Any) -> bool:  # noqa: ANN401 (the hub's type is imported late)
    """Whether a file is there with the content that the hub names."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.lfs:
        return sources.sha256(path) == file.lfs.sha256
    return file.blob_id is None or sources.blob(path) == file.blob_id


def _insist(path: Path, file: Any) -> None:  # noqa: ANN401
    """Compare what came with what the hub said.

    Raises:
        BringError: Names the file; a wrong one is removed, so that it is fetched again.
    """
    if not path.is_file():
        raise BringError(f"'{file.rfilename}' did not come: the connection broke, try again")
    if not _right(path, file):
        path.resolve().unlink()
        raise BringError(
            f"'{file.rfilename}' came with another content than the hub names; it was removed, "
            "try again"
        )


@dataclass
class Watch:
    """Tells how many bytes a folder holds, for as long as the block runs."""

    folder: Path
    total: int
    told: Told

    def __enter__(self) -> "Watch":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.told(min(self.total, _bytes(self.folder)), self.total)


def _bytes(folder: Path) -> int:
    """Of all files below a folder, some of which may be renamed meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                path = Path(place, name)
                size += 0 if path.is_symlink() else path.stat().st_size
    return size


def _file(weights: Weights, told: Told) -> Path:
    if len(weights.files) > 1 or any(c in "*?[" for name in weights.files for c in name):
        raise BringError(
            f"of a `url`, `files` must be one name or none, but is {weights.files}: correct it"
        )
    if weights.dir is None and weights.cached is None:
        raise BringError("it is no repository of the hub, so it needs a folder: set `models.dir`")
    folder = Path(weights.dir).expanduser() if weights.dir else None
    place = folder / weights.name if folder else Path(str(weights.cached)).expanduser()
    inside = [name for name in weights.files if name != place.name]
    download(str(weights.url), place.joinpath(*inside), told, sha256=weights.sha256)
    if folder:
        sources.record(weights, folder, place, None)
    return place


def reason(error: Exception, weights: Weights) -> str:
    """Say in a few words why weights could not be brought, and the cure."""
    from huggingface_hub import errors

    token = "is set" if os.environ.get("HF_TOKEN") else "is not set"
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    failed = error if isinstance(error, urllib.error.HTTPError) else None
    gated = failed is not None and failed.headers.get("X-Error-Code") == "GatedRepo"
    if gated or isinstance(error, errors.GatedRepoError):
        return (
            f"its terms must be accepted: open {terms(weights)} with your account, then set "
            f"HF_TOKEN to a token of that account (HF_TOKEN {token})"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {weights.revision!r}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub knows no such repository, or it is private (HF_TOKEN {token})"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, urllib.error.HTTPError):
        meaning = {
            401: "a login is needed",
            403: "the server refuses",
            404: "there is no such file",
        }
        return f"{meaning.get(error.code, 'the server fails')} ({error.code}, {weights.url})"
    if isinstance(error, errors.HfHubHTTPError):
        return f"the hub fails: {said}"
    if isinstance(error, errors.LocalEntryNotFoundError | ConnectionError | TimeoutError) or (
        type(error).__module__.startswith("httpx") or isinstance(error, urllib.error.URLError)
    ):
        return f"no connection, or it broke; what came is kept, try again ({said})"
    return said
