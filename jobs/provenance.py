"""Where a run's numbers come from: versions, machine, revision, time."""

import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

import psutil

PACKAGES = (
    "av",
    "ctranslate2",
    "faster-whisper",
    "hydra-core",
    "mediapipe",
    "numpy",
    "opencv-contrib-python-headless",
    "pocketsphinx",
    "pyarrow",
    "ray",
    "scenedetect",
    "scikit-learn",
    "torch",
    "transformers",
)


def version() -> str:
    """Of this package."""
    return installed("mien")


def versions() -> dict[str, str]:
    """Of Python and of what the numbers depend on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """What this machine is."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def git() -> str | None:
    """The revision of the code, `+` where it was changed since; `None` outside a checkout."""
    here = Path(__file__).parent
    try:
        commands = (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        revision, changes = (
            subprocess.run(["git", *c], cwd=here, capture_output=True, text=True, check=True).stdout
            for c in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision.strip() + ("+" if changes.strip() else "")


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def who() -> str:
    """This process, for another one to name."""
    return f"process {os.getpid()} on {socket.gethostname()}, since {now()}"
