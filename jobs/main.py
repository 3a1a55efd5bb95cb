"""`mien <job> [argument] [key=value ...]`: the command line.

The words after the job are Hydra overrides; a bare word fills the job's first question, so that
`mien analyze VIDEOS` is short for `mien analyze corpus.path=VIDEOS`.
"""

import inspect
import logging
import os
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
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ..datasets.store import is_url
from .failure import UnexpectedError, recorded
from .submit import parted
from .sweep.words import divided

ARGUMENTS = {
    "analyze": "corpus.path",
    "plan": "corpus.path",
    "clean": "out",
    "profile": "corpus.path",
    "status": "out",
    "retry": "out",
    "fetch": "models.dir",
    "report": "out",
    "validate": "job.path",
    "demo": "job.path",
    "benchmark": "benchmark.path",
    "train": "data.path",
    "leaderboard": "job.runs",
}
"""The key that a bare word fills."""

MANY = {"leaderboard"}
"""Jobs that take any number of bare words."""

PATHS = {
    *(ARGUMENTS[name] for name in ARGUMENTS if name not in MANY),
    "benchmark.clips",
    "benchmark.folder",
    "benchmark.truth",
    "corpus.folder",
    "data.labels",
    "data.run",
    "models.dir",
    "profile.dir",
    "sweep.features",
}
"""Keys whose value is taken as it stands, whatever characters the path has."""

USAGE = """usage: mien <job> [argument] [key=value ...]
       mien <job> --help     explains the job and prints its configuration

"""


class UsageError(ValueError):
    """What was typed cannot be run; says what can."""


def main() -> None:
    """Entry point of the command `mien`."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run a job from the words of a command line.

    Returns:
        The job's own exit status; 2 for what cannot be run, 70 for what was not foreseen, 130
        after Ctrl-C. With `MIEN_DEBUG=1` in the environment an error is raised instead.
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
        name, rest = named(words)
        return _run(name, rest)
    except KeyboardInterrupt:
        sys.stderr.write(
            "mien: stopped. What is done is kept; the same command takes up the rest.\n"
        )
        return 130
    except BrokenPipeError:  # `mien status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UnexpectedError as error:
        sys.stderr.write(f"mien: {error}\n")
        return 70
    except (UsageError, ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"mien: {error}\n")
        return 2


def named(words: Sequence[str]) -> tuple[str, list[str]]:
    """Part the job from its words; `benchmark=NAME` alone says which job it is.

    Example:
        >>> named(["benchmark=meld", "out=x"])
        ('benchmark', ['benchmark=meld', 'out=x'])
        >>> named(["train", "model=tiny_vit"])
        ('train', ['model=tiny_vit'])
    """
    if words[0].startswith("benchmark="):
        return "benchmark", list(words)
    return words[0], list(words[1:])


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _run(name: str, words: list[str]) -> int:
    jobs = names("job")
    if name not in jobs:
        raise UsageError(f"there is no job {name!r}{nearest(name, jobs)} Jobs: {', '.join(jobs)}.")
    asks_help = [w for w in words if w in ("-h", "--help")]
    words = [w for w in words if w not in asks_help]
    words, sent = parted(words) if name == "submit" else (words, [])
    words, tuned, rest = divided(words) if name == "sweep" else (words, "", [])
    cfg = configuration(name, words)
    if asks_help:
        sys.stdout.write(help_text(name, cfg))
        return 0
    job: Any = built(cfg.job)
    if sent:
        job.words = sent
    if name == "sweep":
        job.inner = inner(tuned, rest)
    if hasattr(job, "chosen"):
        job.chosen = bool(parted(words)[0])
    if name not in ("plan", "submit") and hasattr(getattr(job, "cluster", None), "submit"):
        raise UsageError(f"this `cluster` is a queue: give `mien submit {name} ...`.")
    if hasattr(job, "config"):
        job.config = OmegaConf.to_yaml(cfg)
    with recorded(cfg.out):
        return job()


def inner(name: str, words: Sequence[str]) -> Any:  # noqa: ANN401
    """The job that `mien sweep` tunes, from its own words."""
    from .sweep.inner import Inner

    jobs = [job for job in names("job") if job != "sweep"]
    if name not in jobs:
        raise UsageError(f"there is no job {name!r} to tune{nearest(name, jobs)}")
    return Inner(name=name, config=OmegaConf.to_yaml(configuration(name, words)))


def configuration(name: str, words: Sequence[str]) -> DictConfig:
    """Compose a job's configuration.

    Args:
        name: Of the job.
        words: Hydra overrides, and at most one bare word.

    Raises:
        UsageError: A key or a choice does not exist; names the nearest ones.
    """
    bare, named_paths, overrides = sorted_words(words)
    paths: dict[str, str | list[str]] = {**named_paths}
    if (len(bare) > 1 and name not in MANY) or (bare and name not in ARGUMENTS):
        most = "one bare word" if name in ARGUMENTS else "no bare word"
        raise UsageError(f"`mien {name}` takes {most}, but got {' '.join(map(repr, bare))}.")
    if bare:
        paths[ARGUMENTS[name]] = bare if name in MANY else bare[0]
    for path in bare:
        if "${" in path:
            raise UsageError(f"a path must not hold '${{', but {path!r} does: rename it.")
    try:
        with initialize_config_module("mien.conf", version_base="1.3"):
            cfg = compose("mien", overrides=[f"job={name}", *overrides])
            for key, path in paths.items():
                OmegaConf.update(cfg, key, path)
            _anchor(cfg)
            return cfg
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explained(error, name)) from error


def sorted_words(words: Sequence[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Part the words of a command line.

    Returns:
        Bare words; paths by key; Hydra overrides.

    Raises:
        UsageError: An option that does not exist.

    Example:
        >>> sorted_words(["a b='c'.mp4", "out=x y", "cluster.cores=2", "~models.roles.watch"])
        (["a b='c'.mp4"], {'out': 'x y'}, ['cluster.cores=2', '~models.roles.watch'])
    """
    bare: list[str] = []
    paths: dict[str, str] = {}
    overrides: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        if os.path.lexists(word) or not re.match(r"~\w|(\+{0,2}|~)[A-Za-z_][\w.@/:-]*=", word):
            if word.startswith("-") and not os.path.lexists(word):
                raise UsageError(f"there is no option {word!r}, only `--help`.")
            bare.append(word)
        elif key in PATHS and value and value not in ("null", "???") and "${" not in value:
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            paths[key] = value[1:-1] if quoted else value
        else:
            overrides.append(word)
    return bare, paths, overrides


def _anchor(cfg: DictConfig) -> None:
    """Make the paths absolute, so that the kept configuration holds from anywhere."""
    if not is_url(cfg.out):
        cfg.out = str(Path(cfg.out).absolute())
    for key in ("path", "folder"):
        path = None if OmegaConf.is_missing(cfg.corpus, key) else cfg.corpus.get(key)
        if path and not is_url(path):
            cfg.corpus[key] = str(Path(path).absolute())
    for key in sorted(PATHS):
        if key.startswith(("benchmark.", "data.")):
            _absolute(cfg, key)
    for name, python in cfg.cluster.environments.items():
        cfg.cluster.environments[name] = str(Path(python).expanduser().absolute())
    _anchor_models(cfg.models)


def _absolute(cfg: DictConfig, key: str) -> None:
    group, _, name = key.partition(".")
    node = cfg.get(group)
    if node is None or name not in node or OmegaConf.is_missing(node, name):
        return
    if node[name] and not is_url(node[name]):
        node[name] = str(Path(node[name]).expanduser().absolute())


def _anchor_models(cfg: DictConfig) -> None:
    for key in cfg:
        if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, str(key)):
            continue
        node = cfg[key]
        if isinstance(node, DictConfig):
            _anchor_models(node)
        elif key in ("dir", "model_dir", "models_dir") and node:
            cfg[key] = str(Path(node).expanduser().absolute())


def built(cfg: DictConfig) -> Callable[[], int]:
    """Build the job that a configuration names.

    Raises:
        UsageError: A value is missing, or a constructor refused it.
    """
    try:
        return instantiate(cfg, _convert_="object")
    except InstantiationException as error:
        cause = error.__cause__
        where = re.search(r"full_key: (\S+)", str(error))
        if isinstance(cause, TypeError) and where:  # a wrong name, or a value of a wrong type
            raise UsageError(f"`{where[1]}` cannot be built from its values: {cause}.") from error
        raise UsageError(str(cause or error)) from error
    except MissingMandatoryValue as error:
        key = str(error.full_key).removeprefix("job.analyze.")
        key = re.sub(r"^job\.(?:training\.)?(benchmark|cluster|corpus|data)\.", r"\1.", key)
        bare = "as a bare word, or " if key in PATHS & set(ARGUMENTS.values()) else ""
        raise UsageError(f"`{key}` is missing. Give it {bare}as `{key}=...`.") from error
    except OmegaConfBaseException as error:
        raise UsageError(f"{str(error).splitlines()[0]} (`{error.full_key}`).") from error


def names(group: str) -> list[str]:
    """Choices of a config group."""
    found = files("mien.conf").joinpath(group).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in found if p.name.endswith(".yaml"))


def nearest(word: str, known: Sequence[str]) -> str:
    """End a sentence with the names that look like a misspelt one, if any does."""
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "."


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
            f"`{group}` has no choice {word!r}{nearest(word, known)} Choices: {', '.join(known)}."
        )
    key = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)'", text)
    if key:
        with initialize_config_module("mien.conf", version_base="1.3"):
            known = list(keys(compose("mien", overrides=[f"job={job}"])))
        return (
            f"there is no key {key[1]!r}{nearest(key[1], known)} "
            f"`mien {job} --help` shows all keys."
        )
    return f"{text.splitlines()[0].rstrip('.')}. `mien {job} --help` shows what can be set."


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
    argument += "..." if name in MANY else ""
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
