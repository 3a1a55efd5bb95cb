"""Ray reads its settings when it is imported: whatever comes first must set them."""

import subprocess
import sys

import pytest

CODE = """
import importlib, sys
importlib.import_module(sys.argv[1])
import ray._private.auto_init_hook as hook
assert not hook.enable_auto_connect
"""


@pytest.mark.parametrize(
    "module", ["mien.cluster.execution", "mien.cluster.trial", "mien.cluster.session"]
)
def test_nothing_starts_a_second_ray_behind_our_back(module: str) -> None:
    subprocess.run([sys.executable, "-c", CODE, module], check=True, timeout=120, env={})
