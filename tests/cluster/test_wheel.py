"""The code as a wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

from mien.cluster import wheel

ROOT = Path(wheel.__file__).parents[1]


def test_the_same_code_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = wheel.build(tmp_path), wheel.build(tmp_path / "again")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_other_code_has_another_name(tmp_path: Path, monkeypatch: object) -> None:
    before = wheel.build(tmp_path)
    copy = tmp_path / "code"
    with zipfile.ZipFile(before) as archive:
        archive.extractall(copy)
    (copy / "mien/conf/mien.yaml").write_text("out: elsewhere\n")
    monkeypatch.setattr(wheel, "_ROOT", copy / "mien")  # type: ignore[attr-defined]
    assert wheel.build(tmp_path).name != before.name


def test_pip_installs_it_alone_and_it_is_this_code(tmp_path: Path) -> None:
    target = tmp_path / "there"
    install = ["pip", "install", "-q", "--no-index", f"--target={target}"]
    subprocess.run([sys.executable, "-m", *install, str(wheel.build(tmp_path))], check=True)
    for name in ("conf/mien.yaml", "cluster/host.py", "jobs/pages/page.css", "cluster/slurm.sh"):
        assert (target / "mien" / name).read_bytes() == (ROOT / name).read_bytes()
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import mien.cluster.wheel as w; "
        "from importlib.metadata import version; print(w.__file__, version('mien'))"
    )
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert said[0].startswith(str(target))
    assert "+" in said[1]
