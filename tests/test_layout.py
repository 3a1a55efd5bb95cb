"""Rules of the house that no linter knows."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["conf", "datasets", "actors", "cluster", "jobs"]  # each may import only from the left
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BARRED = {  # what a layer must not know
    "ray": ["conf", "datasets", "actors", "jobs"],
    "hydra": ["conf", "datasets", "actors", "cluster"],
    "omegaconf": ["conf", "datasets", "actors", "cluster"],
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(source: Path) -> Iterator[tuple[int, str]]:
    """Level (dots) and full name of everything that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, alias.name) for alias in node.names)


def imported_layers(source: Path, folder: str) -> set[str]:
    """Layers that a module reaches, itself excepted."""
    depth = len(source.relative_to(ROOT).parts)  # of `jobs/pages/page.py`: 3
    found = set()
    for level, name in imports(source):
        parts = name.split(".")
        if level == depth:
            found.add(parts[0])
        elif level > depth:
            found.add("beyond the root")
        elif level == 0 and parts[0] == "mien":
            found.add(parts[1])
    return found - {folder}


def outside(source: Path) -> set[str]:
    """Packages that a module imports from elsewhere."""
    names = {name.split(".")[0] for level, name in imports(source) if level == 0}
    return names - set(sys.stdlib_module_names) - {"mien"}


def words(requirements: list[str]) -> set[str]:
    """Names of distributions, normalised, without extras and limits."""
    cut = [r.split(";")[0].split("[")[0] for r in requirements]
    for sign in "<>=!~ ":
        cut = [r.split(sign)[0] for r in cut]
    return {r.strip().lower().replace("_", "-").replace(".", "-") for r in cut}


@pytest.mark.parametrize("folder", LAYERS)
def test_a_layer_imports_only_from_the_left(folder: str) -> None:
    left = set(LAYERS[: LAYERS.index(folder)])
    assert modules(folder)
    for source in modules(folder):
        assert imported_layers(source, folder) <= left, source


@pytest.mark.parametrize(("package", "folder"), [(p, f) for p, fs in BARRED.items() for f in fs])
def test_a_layer_does_not_know_what_is_not_its_business(package: str, folder: str) -> None:
    for source in modules(folder):
        assert package not in outside(source), source


@pytest.mark.parametrize("folder", [*LAYERS, "tests", "benchmarks"])
def test_no_folder_can_shadow_an_installed_package(folder: str) -> None:
    found = [p for p in (ROOT / folder).rglob("__init__.py") if p != ROOT / "conf" / "__init__.py"]
    assert found == []


def test_every_folder_of_code_is_packaged() -> None:
    """One that is not listed works in a checkout, and is missing in the wheel."""
    folders = {source.parent.relative_to(ROOT) for layer in LAYERS for source in modules(layer)}
    packages = {".".join(["mien", *folder.parts]) for folder in folders}
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_file_that_code_reads_is_packaged() -> None:
    listed = PROJECT["tool"]["setuptools"]["package-data"]
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*"):
            if path.is_dir() or path.suffix in (".py", ".pyc"):
                continue
            package = ".".join(["mien", *path.parent.relative_to(ROOT).parts])
            root = "mien.conf" if package.startswith("mien.conf") else package
            name = path.relative_to(ROOT / Path(*root.split(".")[1:]))
            assert any(name.match(pattern.removeprefix("**/")) for pattern in listed[root]), path


def test_everything_imported_is_declared() -> None:
    project = PROJECT["project"]
    declared = words(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        declared |= words(extra)
    owners = packages_distributions()
    for layer in LAYERS:
        for source in modules(layer):
            for package in outside(source):
                known = {
                    n.lower().replace("_", "-").replace(".", "-")
                    for n in owners.get(package, [package])
                }
                known.add(package.lower().replace("_", "-"))
                assert known & (declared | CARRIED), f"{source} imports {package}"


CARRIED = {
    "omegaconf",  # Hydra's other half
    "markupsafe",  # Jinja's
    "cloudpickle",  # Ray's, and what Ray pickles with
    "ctranslate2",  # faster-whisper's engine
    "pyannote",  # a namespace, of which pyannote.audio is declared
    "onnxruntime",  # faster-whisper's and DeepFace's
    "google",  # protobuf: MediaPipe's
    "pillow",  # transformers', torchvision's
    "tokenizers",  # transformers', faster-whisper's
    "vllm",  # the extra `vllm` brings it through Ray, the tests have its build for CPUs
    "sglang",  # in an environment of its own
}
"""Packages that a declared one always brings."""


def test_the_rules_can_be_broken(tmp_path: Path) -> None:
    """The finder sees every form of import."""
    source = tmp_path / "x.py"
    source.write_text(
        "import ray.data\nfrom .graph import x\ndef f():\n    from ..jobs import main\n"
        "    from ... import cluster\n    import mien.conf.x\n"
    )
    assert list(imports(source)) == [
        *((0, "ray.data"), (1, "graph"), (2, "jobs"), (3, "cluster"), (0, "mien.conf.x"))
    ]
    assert outside(source) == {"ray"}
    assert words(["ray[data,default]==2.60.0", "mediapipe==1; x < 'y'"]) == {"ray", "mediapipe"}
