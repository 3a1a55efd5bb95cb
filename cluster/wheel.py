"""This very code as a wheel, for the nodes of a cluster that do not have it."""

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_LAYERS = ("conf", "datasets", "actors", "cluster", "jobs")
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold: the same code is the same file


def build(folder: Path) -> Path:
    """Write the wheel, without asking anything but the files that run now.

    It names no dependency: Ray installs a wheel with what that names, for each job anew. Its
    version ends in a hash of the content, because Ray keeps a wheel by its name.

    Args:
        folder: Where to.

    Returns:
        Path of the wheel.
    """
    content = {f"mien/{path.relative_to(_ROOT).as_posix()}": path.read_bytes() for path in _files()}
    digest = hashlib.sha256()
    for name, data in content.items():
        digest.update(f"{name} {len(data)} ".encode() + data)
    release = f"{version('mien').partition('+')[0]}+{digest.hexdigest()[:12]}"
    info = f"mien-{release}.dist-info"
    content[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: mien\nVersion: {release}\n".encode()
    )
    content[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: mien\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    content[f"{info}/entry_points.txt"] = b"[console_scripts]\nmien = mien.jobs.main:main\n"
    lines = [f"{name},sha256={_record(data)},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    wheel = folder / f"mien-{release}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return wheel


def _files() -> Iterator[Path]:
    for layer in _LAYERS:
        for path in sorted((_ROOT / layer).rglob("*")):
            hidden = path.relative_to(_ROOT).parts
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in hidden):
                yield path


def _record(data: bytes) -> str:
    """A hash as the wheel format writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
