"""What is written holds: modules import, examples run, tables are documented."""

import doctest
import importlib
import re
from pathlib import Path

import pyarrow as pa
import pytest

from mien.cluster.phase import Phase
from mien.datasets import schema
from mien.jobs.flat import utterances
from mien.jobs.graph import ROLES, Graph
from mien.jobs.main import built, configuration
from mien.jobs.moments import MOMENTS

ROOT = Path(__file__).parents[1]
LAYERS = ("conf", "datasets", "actors", "cluster", "jobs")
MODULES = sorted(
    ".".join(["mien", *path.relative_to(ROOT).with_suffix("").parts])
    for layer in LAYERS
    for path in (ROOT / layer).rglob("*.py")
    if path.name != "__init__.py"
)
TABLES = ("videos", "turns", "speech", "watch", "voice", "timeline", "utterances")
OPTIONAL_PACKAGES = {"skimage", "espeakng_loader", "torch", "transformers"}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_and_its_examples_hold(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL_PACKAGES:
            raise
        pytest.skip(f"{error.name} is not installed (extra `demo` or `full`)")
    assert module.__doc__
    assert not doctest.testmod(module).failed


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    names = [n for n in MODULES if not re.search(r"\.jobs\.|\.nets\.|_net$", n)]
    found = [e for n in names for e in finder.find(importlib.import_module(n))]
    assert sum(bool(e.examples) for e in found) >= 5


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Schema]:
    folder = tmp_path_factory.mktemp("docs")
    cfg = configuration("analyze", [f"corpus.path={folder}", f"out={folder / 'run'}"])
    graph = built(cfg.job).graph()  # type: ignore[attr-defined]
    assert isinstance(graph, Graph)
    assert all(isinstance(phase, Phase) for phase in graph.phases.values())
    found = {name: graph.table(name).schema for name in graph.phases}
    return {**found, "utterances": utterances(graph).schema}


def test_every_table_has_a_page(schemas: dict[str, pa.Schema]) -> None:
    assert set(schemas) == set(TABLES)


def columns(schema: pa.Schema) -> set[str]:
    """Names of the columns and of what is inside them."""

    def inside(kind: pa.DataType) -> set[str]:
        while pa.types.is_list(kind):
            kind = kind.value_type
        if not pa.types.is_struct(kind):
            return set()
        return {f.name for f in kind} | {name for f in kind for name in inside(f.type)}

    return {*schema.names, *(name for f in schema for name in inside(f.type))}


@pytest.mark.parametrize("table", TABLES)
def test_a_page_names_every_column(table: str, schemas: dict[str, pa.Schema]) -> None:
    """Those that all tables have stand in the index; what is elsewhere is linked."""
    home = ROOT / "docs" / "tables"
    text = (home / f"{table}.md").read_text() + (home / "index.md").read_text()
    if table == "timeline":  # its column `utterances` is the table of that name
        text += (home / "utterances.md").read_text()
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    quoted = " ".join(re.findall(r"`([^`]+)`", text))
    assert columns(schemas[table]) - set(re.findall(r"\w+", quoted)) == set()


OPTIONAL = {
    "sound": [schema.SOUND],
    "faces": [
        *(schema.RESTORED, schema.IDENTITY, schema.MATCHES, schema.FACE_EMOTIONS),
        *(schema.LAION_FACE, schema.ACTIONS),
    ],
    "micro": [schema.MICRO],
    "segments": [schema.LAION_VOICE],
    "moments": [MOMENTS, pa.schema([("digest", pa.string())])],
    "notes": [schema.MOMENT, schema.NOTE],
}
"""Tables that only some profiles make, and their columns."""


@pytest.mark.parametrize("table", OPTIONAL)
def test_a_page_of_an_optional_table_names_every_column(table: str) -> None:
    text = (ROOT / "docs" / "tables" / f"{table}.md").read_text()
    quoted = " ".join(re.findall(r"`([^`]+)`", text))
    wanted = {name for one in OPTIONAL[table] for name in columns(one)}
    assert wanted - set(re.findall(r"\w+", quoted)) == set()


def test_every_role_and_every_table_of_the_graph_is_documented() -> None:
    index = (ROOT / "docs" / "tables" / "index.md").read_text()
    assert set(ROLES) == set(TABLES) - {"utterances"} | set(OPTIONAL)
    for name, roles in ROLES.items():
        assert f"({name}.md)" in index
        assert all(f"`{role}`" in index for role in roles if not role.startswith("hume")), name


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_links_inside_the_docs_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), target
