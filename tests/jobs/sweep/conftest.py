"""A toy that a sweep can tune."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy"] = module
    spec.loader.exec_module(module)
    return module


_TOY = _load()


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """Tasks that take no time; a configuration names them `toy.Quadratic`."""
    return _TOY
