"""What several tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real media; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MIEN_TEST_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not (folder / "README.md").exists():
        pytest.skip(f"no real media: `MIEN_TEST_DATA` ({folder}) is not a data folder")
    return folder
