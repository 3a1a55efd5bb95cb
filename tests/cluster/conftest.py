"""Doubles are pickled by value: workers do not see the tests' folder."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

from mien.cluster import settings  # noqa: F401 # pyright: ignore[reportUnusedImport] - before Ray


@pytest.fixture(scope="session")
def token() -> None:
    """The token is there that the nodes of a cluster share."""
    command = [str(Path(sys.executable).with_name("ray")), "get-auth-token", "--generate"]
    subprocess.run(command, check=True, capture_output=True)


def _load() -> ModuleType:
    path = Path(__file__).with_name("doubles.py")
    spec = importlib.util.spec_from_file_location("doubles", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["doubles"] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


_DOUBLES = _load()


@pytest.fixture(scope="session")
def doubles() -> ModuleType:
    """Actors that misbehave on demand, and their manifest."""
    return _DOUBLES
