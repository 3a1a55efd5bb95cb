"""Packages beyond the small default environment: which are absent, and what installs them."""

from collections.abc import Iterable
from importlib.util import find_spec

EXTRAS = {name: f".venv/bin/uv pip install -e '.[{name}]'" for name in ("mlflow", "vllm")}
"""What installs a package that `make setup` leaves out."""

APART = ("sglang",)
"""Packages whose pins clash with the rest: each needs an environment of its own."""


def absent(names: Iterable[str]) -> list[str]:
    """Those of some importable names that cannot be found here; nothing of them is imported.

    Example:
        >>> absent(["json", "no_such_package", "no_such_package.part"])
        ['no_such_package', 'no_such_package.part']
    """
    return [name for name in names if not _found(name)]


def _found(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what it is a part of is absent
        return False


def cure(names: Iterable[str]) -> str:
    """What installs packages, for a message.

    Example:
        >>> cure(["torch", "vllm"])
        "`make setup` and `.venv/bin/uv pip install -e '.[vllm]'`"
        >>> cure(["sglang"])
        'an environment of its own (`mien doctor` says how)'
    """
    names = list(names)
    usual = [name for name in names if name not in EXTRAS and name not in APART]
    parts = ["`make setup`"] if usual else []
    parts += [f"`{EXTRAS[name]}`" for name in names if name in EXTRAS]
    parts += ["an environment of its own (`mien doctor` says how)"] * any(
        name in APART for name in names
    )
    return " and ".join(parts)
