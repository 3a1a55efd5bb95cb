"""Other Python environments: what each contains, and how Ray starts an actor there.

Nearly everything lives in one environment. An actor whose packages clash with it names another
(`Actor.environment`), whose Python `cluster.environments` gives. This code itself comes along: only
Ray, what moves tables, and the actor's own packages are needed there.
"""

import atexit
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..actors.actor import Actor

CARRIERS = ("ray", "numpy", "pandas", "pyarrow", "cloudpickle")
"""What an environment must hold for rows to go there and back."""

LOOK_S = 120.0
"""A Python that has not answered by then is broken."""

_ROOT = Path(__file__).parents[1]
_LAYERS = ("conf", "datasets", "actors", "cluster", "jobs")

_QUESTIONS = f"""
import importlib, importlib.util, json, platform, sys
from importlib.metadata import version
packages, modules = json.loads(sys.argv[1])
answer = {{"python": platform.python_version(), "versions": {{}}, "broken": {{}}, "absent": []}}
for name in {CARRIERS!r}:
    try:
        importlib.import_module(name)
        answer["versions"][name] = version(name)
    except Exception as error:
        answer["broken"][name] = f"{{type(error).__name__}}: {{error}}"
for name in packages:
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        answer["absent"].append(name)
for name in modules if not answer["broken"] else []:
    try:
        importlib.import_module(name)
    except Exception as error:
        answer["broken"][name] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(answer))
"""


class EnvironmentRefusedError(RuntimeError):
    """An actor cannot run in the environment that it names."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a Python said of itself.

    Attributes:
        python: Its version; empty where it did not answer.
        versions: Of `CARRIERS`, as far as they can be imported there.
        broken: What cannot be imported there, and why.
        absent: Packages that were asked for and are not there.
        silent: Why it did not answer.
    """

    python: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    silent: str | None = None

    def problem(self) -> str | None:
        """Which condition of Ray it does not fulfil; `None` where it fulfils all."""
        if self.silent:
            return self.silent
        own = platform.python_version()
        if self.python.split(".")[:2] != own.split(".")[:2]:
            return f"its Python is {self.python}, but must be as here ({own}) to the second number"
        if self.broken:
            name, why = next(iter(self.broken.items()))
            return f"`import {name}` fails there ({why})"
        if self.versions["ray"] != version("ray"):
            return f"its Ray is {self.versions['ray']}, but must be {version('ray')} as here"
        if int(self.versions["numpy"].split(".")[0]) < 2:
            return f"its NumPy is {self.versions['numpy']}, but must be 2 or later as here"
        if self.absent:
            return f"it lacks {', '.join(self.absent)}"
        return None


@cache
def look(python: str, packages: tuple[str, ...] = (), modules: tuple[str, ...] = ()) -> Look:
    """Ask a Python, once, what it contains.

    Args:
        python: Path of its executable.
        packages: To look for without importing them.
        modules: Of this code, to import there.
    """
    path = Path(python).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        return Look(silent=f"'{path}' is not there, or is no program")
    command = [str(path), "-c", _QUESTIONS, json.dumps([packages, modules])]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=LOOK_S,
            env={**os.environ, "PYTHONPATH": code()},
        )
        return Look(**json.loads(done.stdout.splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["nothing"])[-1]
        return Look(silent=f"'{path}' ended with status {error.returncode} ({said})")
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError, IndexError) as error:
        return Look(silent=f"'{path}' does not answer as a Python does ({error})")


def problem(actor: Actor, environments: Mapping[str, str]) -> str | None:
    """Why an actor cannot run in the environment that it names, and the cure; `None` if it can.

    Args:
        actor: Any; one that names no environment has no problem.
        environments: Path of a Python by name, as `cluster.environments`.
    """
    name = actor.environment
    if name is None:
        return None
    if name not in environments:
        known = ", ".join(sorted(environments)) or "none"
        return (
            f"the environment {name!r} is not one of `cluster.environments` ({known}): make it "
            f"with `{recipe(name, actor.packages)}` and add "
            f"`+cluster.environments.{name}=.venv-{name}/bin/python`"
        )
    module = type(actor).__module__
    modules = ("mien.cluster.trial", *([module] if module.startswith("mien.") else []))
    found = look(environments[name], tuple(actor.packages), modules)
    reason = found.problem()
    if reason is None:
        return None
    absent = re.findall(r"No module named '(\w+)", " ".join(found.broken.values()))
    packages = dict.fromkeys((*actor.packages, *(set(absent) - set(CARRIERS))))
    return (
        f"the environment {name!r} cannot be used, {reason}: make it with "
        f"`{recipe(name, packages)}`"
    )


def check(actors: Mapping[str, Actor], environments: Mapping[str, str]) -> None:
    """Refuse, before Ray starts, actors whose environments cannot hold them.

    Args:
        actors: By role.
        environments: Path of a Python by name, as `cluster.environments`.

    Raises:
        EnvironmentRefusedError: Names every such actor, the reason, and the cure.
    """
    found = {role: problem(actor, environments) for role, actor in actors.items()}
    reasons = [f"actor '{role}': {reason}" for role, reason in found.items() if reason]
    if reasons:
        raise EnvironmentRefusedError("; ".join(reasons) + ".")


def recipe(name: str, packages: Iterable[str] = ()) -> str:
    """The command that makes an environment which fulfils the conditions.

    Args:
        name: Of the environment.
        packages: What its actor imports; a package may have another name where it is installed.
    """
    minor = ".".join(platform.python_version_tuple()[:2])
    wanted = [f"ray[data]=={version('ray')}", "numpy>=2", "cloudpickle", *packages]
    return (
        f".venv/bin/uv venv --python {minor} .venv-{name} && .venv/bin/uv pip install --python "
        f".venv-{name} {shlex.join(wanted)}"
    )


def runtime_env(name: str | None, environments: Mapping[str, str]) -> dict[str, Any]:
    """How Ray starts a worker in an environment.

    Args:
        name: Of the environment; `None`: the one that this process runs in.
        environments: Path of a Python by name, as `cluster.environments`.
    """
    if name is None:
        return {}
    python = str(Path(environments[name]).expanduser().absolute())  # a link stands for its folder
    return {"py_executable": shlex.quote(python), "env_vars": {"PYTHONPATH": code()}}


@cache
def code() -> str:
    """A folder in which `mien` is this very code, for a Python that does not know it.

    It holds links, so it serves the processes of this machine, for as long as this one lives.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"mien-{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "mien").mkdir()
    for layer in _LAYERS:
        (folder / "mien" / layer).symlink_to(_ROOT / layer)
    return str(folder)
