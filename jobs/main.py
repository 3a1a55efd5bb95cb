"""`mien <job> [argument] [key=value ...]`: the command line.

The words after the job are Hydra overrides; a bare word fills the job's first question, so that
`mien analyze VIDEOS` is short for `mien analyze corpus.path=VIDEOS`.
"""

import inspect
import logging
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

ARGUMENTS = {
    "analyze": "corpus.path",
    "plan": "corpus.path",
    "status": "out",
    "retry": "out",
    "report": "out",
    "validate": "job.path",
    "demo": "job.path",
}
"""The key that a bare word fills."""

USAGE = """usage: mien <job> [argument] [key=value ...]
       mien <job> --help     explains the job and prints its configuration

"""


class UsageError(Exception):
    """What was typed cannot be run; says what can."""


def main() -> None:
    """Entry point of the command `mien`."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run a job from the words of a command line.

    Returns:
        The job's own exit status; 2 for what cannot be run, 130 after Ctrl-C.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            sys.stdout.write(USAGE + overview())
            return 0
        if words[0] == "--version":
            from .provenance import version

            sys.stdout.write(f"mien {version()}\n")
            return 0
        return _run(words[0], list(words[1:]))
    except KeyboardInterrupt:
        sys.stderr.write(
            "mien: stopped. What is done is kept; the same command takes up the rest.\n"
        )
        return 130
    except (UsageError, ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"mien: {error}\n")
        return 2


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _run(name: str, words: list[str]) -> int:
    jobs = names("job")
    if name not in jobs:
        raise UsageError(f"there is no job {name!r}{nearest(name, jobs)}. Jobs: {', '.join(jobs)}.")
    asks_help = [w for w in words if w in ("-h", "--help")]
    cfg = configuration(name, [w for w in words if w not in asks_help])
    if asks_help:
        sys.stdout.write(help_text(name, cfg))
        return 0
    job: Any = built(cfg.job)
    if hasattr(job, "config"):
        job.config = OmegaConf.to_yaml(cfg)
    return job()


def configuration(name: str, words: Sequence[str]) -> DictConfig:
    """Compose a job's configuration.

    Args:
        name: Of the job.
        words: Hydra overrides, and at most one bare word.

    Raises:
        UsageError: A key or a choice does not exist; names the nearest ones.
    """
    bare = [w for w in words if "=" not in w and not w.startswith("~")]
    bare += [w for w in words if "=" in w and Path(w).exists()]
    overrides = [w for w in words if w not in bare]
    if len(bare) > 1 or (bare and name not in ARGUMENTS):
        most = "one bare word" if name in ARGUMENTS else "no bare word"
        raise UsageError(f"`mien {name}` takes {most}, but got {' '.join(map(repr, bare))}.")
    try:
        with initialize_config_module("mien.conf", version_base="1.3"):
            cfg = compose("mien", overrides=[f"job={name}", *overrides])
            if bare:
                OmegaConf.update(cfg, ARGUMENTS[name], bare[0])
            _anchor(cfg)
            return cfg
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explained(error, name)) from error


def _anchor(cfg: DictConfig) -> None:
    """Make the paths absolute, so that the kept configuration holds from anywhere."""
    cfg.out = str(Path(cfg.out).absolute())
    for key in ("path", "folder"):
        path = None if OmegaConf.is_missing(cfg.corpus, key) else cfg.corpus.get(key)
        if path and "://" not in path:
            cfg.corpus[key] = str(Path(path).absolute())


def built(cfg: DictConfig) -> Callable[[], int]:
    """Build the job that a configuration names.

    Raises:
        UsageError: A value is missing, or a constructor refused it.
    """
    try:
        return instantiate(cfg, _convert_="object")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (ValueError, RuntimeError, OSError)):
            raise UsageError(str(cause)) from error
        raise UsageError(str(cause or error)) from error
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or ""
        cure = " Give it as a bare word, or as key=value." if "Missing" in str(error) else ""
        raise UsageError(f"{str(error).splitlines()[0]} ({key}).{cure}") from error


def names(group: str) -> list[str]:
    """Choices of a config group."""
    found = files("mien.conf").joinpath(group).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in found if p.name.endswith(".yaml"))


def nearest(word: str, known: Sequence[str]) -> str:
    """Words for the names that look like a misspelt one; empty where none does."""
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """All keys of a configuration, dotted."""
    for key in cfg:
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, str(key)):
            node = cfg[key]
            if isinstance(node, DictConfig):
                yield from keys(node, f"{name}.")


def explained(error: Exception, job: str) -> str:
    """What was wrong with an override, with the nearest names that exist."""
    text = str(error)
    choice = re.search(r"Could not find '([^']+)'", text)
    if choice:
        group, _, word = choice[1].rpartition("/")
        known = names(group) if group else []
        return (
            f"`{group}` has no choice {word!r}{nearest(word, known)}. Choices: {', '.join(known)}."
        )
    key = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)'", text)
    if key:
        with initialize_config_module("mien.conf", version_base="1.3"):
            known = list(keys(compose("mien", overrides=[f"job={job}"])))
        return (
            f"there is no key {key[1]!r}{nearest(key[1], known)}. "
            f"`mien {job} --help` shows all keys."
        )
    return text.splitlines()[0]


def overview() -> str:
    """One line for each job."""
    lines = []
    for name in names("job"):
        cfg = configuration(name, [])
        target = get_class(cfg.job._target_)
        lines.append(f"  {name:<10} {inspect.getdoc(target).splitlines()[0]}")  # type: ignore[union-attr]
    return "jobs:\n" + "\n".join(lines) + "\n"


def help_text(name: str, cfg: DictConfig) -> str:
    """What a job does, and its configuration."""
    target = get_class(cfg.job._target_)
    argument = f" [{ARGUMENTS[name]}]" if name in ARGUMENTS else ""
    used = {"job", "out"} | {
        str(node)[2:-1] for node in _interpolations(cfg.job) if "." not in str(node)
    }
    shown = OmegaConf.masked_copy(cfg, sorted(k for k in used if k in cfg))
    return (
        f"mien {name}{argument} [key=value ...]\n\n{inspect.getdoc(target)}\n\n"
        f"Configuration (override any key; a whole group with `{'`, `'.join(sorted(used))}`=):\n\n"
        f"{OmegaConf.to_yaml(shown)}"
    )


def _interpolations(cfg: DictConfig) -> Iterator[str]:
    raw: Any = OmegaConf.to_container(cfg, resolve=False)

    def walk(node: Any) -> Iterator[str]:  # noqa: ANN401
        if isinstance(node, dict):
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, str) and node.startswith("${"):
            yield node

    yield from walk(raw)
