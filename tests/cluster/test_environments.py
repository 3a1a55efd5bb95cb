"""Environments: what they must hold, and two of them in one phase on a real local Ray."""

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import ray

from mien.actors.probe import Probe
from mien.cluster.environments import (
    EnvironmentRefusedError,
    Look,
    check,
    code,
    look,
    problem,
    recipe,
    runtime_env,
)
from mien.cluster.execution import Terms, run
from mien.cluster.host import SetupError, Stage
from mien.cluster.phase import Phase
from mien.cluster.session import Cluster, session
from mien.cluster.trial import Trial

HERE = sys.version.split()[0]
GOOD = {"ray": ray.__version__, "numpy": np.__version__, "pandas": "3.1.1", "pyarrow": "26.0.1"}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of a second environment, which borrows this one's packages but `mien`."""
    folder = tmp_path_factory.mktemp("an other") / "venv"
    venv.create(folder, symlinks=True)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    borrowed = [p for p in sys.path if p.endswith("site-packages")]
    (packages / "site-packages" / "borrowed.pth").write_text("\n".join(borrowed))
    return str(folder / "bin" / "python")


def answering(folder: Path, **facts: Any) -> str:  # noqa: ANN401
    """A program that answers as a Python would that contains other things."""
    known = {"python": HERE, "versions": GOOD, "broken": {}, "absent": [], **facts}
    program = folder / "python"
    program.with_suffix(".json").write_text(json.dumps(known))
    program.write_text('#!/bin/sh\necho a warning\ncat "$0.json"\n')
    program.chmod(0o755)
    return str(program)


def test_this_very_python_fulfils_all_conditions() -> None:
    found = look(sys.executable, ("ray", "json.decoder"), ("mien.cluster.trial",))
    assert found.problem() is None
    assert found.versions["ray"] == ray.__version__


def test_this_code_comes_along(other: str) -> None:
    """To a Python that does not know it, and before another version that it may know."""
    where = [other, "-c", "import mien.cluster.host as host; print(host.__file__)"]
    alone = subprocess.run(where, capture_output=True, text=True, env={})
    assert "No module named 'mien'" in alone.stderr
    env = {"PYTHONPATH": code()}
    along = subprocess.run(where, capture_output=True, text=True, env=env, check=True)
    root = Path(__file__).parents[2]
    assert Path(along.stdout.strip()).resolve() == root / "cluster" / "host.py"
    assert look(other, (), ("mien.jobs.main", "mien.actors.watch")).problem() is None


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"python": "3.9.1"}, r"its Python is 3.9.1, but must be as here"),
        ({"versions": {**GOOD, "ray": "2.9.0"}}, r"its Ray is 2.9.0, but must be 2\.\d+"),
        ({"versions": {**GOOD, "numpy": "1.26.4"}}, r"its NumPy is 1.26.4, but must be 2"),
        ({"broken": {"pandas": "ModuleNotFoundError: pandas"}}, r"`import pandas` fails there"),
        ({"absent": ["sglang", "outlines"]}, r"it lacks sglang, outlines"),
    ],
)
def test_an_environment_that_breaks_a_condition_is_refused(
    doubles: ModuleType, tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    actor = doubles.Double(environment="odd")
    with pytest.raises(EnvironmentRefusedError, match=message) as error:
        check({"double": actor}, {"odd": answering(tmp_path, **facts)})
    assert "actor 'double': the environment 'odd' cannot be used" in str(error.value)
    assert recipe("odd") in str(error.value)


def test_what_this_code_lacks_there_is_added_to_the_command(
    doubles: ModuleType, tmp_path: Path
) -> None:
    broken = {"mien.actors.x": "ModuleNotFoundError: No module named 'jsonschema.y'"}
    text = problem(doubles.Double(environment="odd"), {"odd": answering(tmp_path, broken=broken)})
    assert "`import mien.actors.x` fails there" in (text or "")
    assert recipe("odd", ["jsonschema"]) in (text or "")


def test_a_good_environment_is_not_refused(doubles: ModuleType, tmp_path: Path) -> None:
    actors = {"here": doubles.Double(), "there": doubles.Double(environment="good")}
    check(actors, {"good": answering(tmp_path)})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, r"python' is not there, or is no program"),
        ("#!/bin/sh\necho broken >&2\nexit 3\n", r"ended with status 3 \(broken\)"),
        ("#!/bin/sh\necho hello\n", r"does not answer as a Python does"),
        ("#!/bin/sh\n", r"does not answer as a Python does"),
        ("not a program", r"does not answer as a Python does"),
    ],
)
def test_what_is_no_python_is_refused(tmp_path: Path, script: str | None, message: str) -> None:
    program = tmp_path / "python"
    if script:
        program.write_text(script)
        program.chmod(0o755)
    assert re.search(message, look(str(program)).problem() or "")


def test_an_environment_that_nobody_made_is_named_with_the_command(doubles: ModuleType) -> None:
    @dataclass(kw_only=True)
    class Foreign(doubles.Double):
        packages = ("sglang",)

    text = problem(Foreign(environment="sglang"), {"a": "/a", "b": "/b"}) or ""
    assert "'sglang' is not one of `cluster.environments` (a, b)" in text
    assert f"'ray[data]=={ray.__version__}'" in text
    assert text.index("uv venv") < text.index("cloudpickle sglang")
    assert "+cluster.environments.sglang=" in text


def test_every_refusal_stands_in_one_error(doubles: ModuleType) -> None:
    actors = {name: doubles.Double(environment=name) for name in ("one", "two")}
    with pytest.raises(EnvironmentRefusedError) as error:
        check(actors, {})
    assert "actor 'one'" in str(error.value)
    assert "actor 'two'" in str(error.value)


def test_an_actor_whose_own_packages_are_there_is_asked_for_nothing_else(other: str) -> None:
    assert problem(Probe(environment="other"), {"other": other}) is None


def test_a_package_inside_one_that_is_absent_is_absent() -> None:
    assert look(sys.executable, ("no_such.thing",)).absent == ["no_such.thing"]


def test_without_a_name_nothing_is_started_anew(other: str) -> None:
    assert runtime_env(None, {}) == {}
    assert runtime_env("other", {"other": other})["py_executable"] == f"'{other}'"


def test_a_look_is_kept(tmp_path: Path) -> None:
    program = answering(tmp_path)
    assert look(program) == Look(python=HERE, versions=GOOD)
    Path(program).unlink()
    assert look(program).problem() is None


@pytest.fixture(scope="module")
def ray_session(other: str) -> Iterator[None]:
    with session(Cluster(cores=3, gpus=1, environments={"other": other})):
        yield


def reporter(doubles: ModuleType, name: str, **parameters: Any) -> Stage:  # noqa: ANN401
    """A stage that says in the column `name` where it ran, with what, and on how many rows."""
    return Stage(role=name, actor=doubles.Reporter(column=name, **parameters))


@pytest.mark.ray
def test_two_environments_work_in_one_phase(
    doubles: ModuleType, ray_session: None, other: str, tmp_path: Path
) -> None:
    """One Ray execution: each row goes through this environment, the other one, and back."""
    stages = (
        reporter(doubles, "before"),
        reporter(doubles, "there", environment="other"),
        reporter(doubles, "after"),
    )
    environments = {"other": other}
    Trial([stages], environments).wait()
    phase = Phase(name="toy", stages=stages)
    report = run(
        phase, doubles.manifest([None] * 12), tmp_path, terms=Terms(environments=environments)
    )
    assert (report.ok, report.failed, report.workers) == (12, 0, 3)
    rows = phase.table(tmp_path).read([s.role for s in stages]).to_pylist()
    for row in rows:
        where = {name: json.loads(row[name]) for name in row}
        assert where["there"]["python"] == other
        assert where["before"]["python"] == where["after"]["python"] != other
        assert where["there"]["mien"].startswith(code())
        assert not where["before"]["mien"].startswith(code())
        assert len({where[name]["pid"] for name in where}) == 3


@pytest.mark.ray
def test_a_trial_goes_where_its_actors_will(
    doubles: ModuleType, ray_session: None, other: str, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    stages = (
        reporter(doubles, "here", marks=str(marks)),
        reporter(doubles, "there", marks=str(marks), environment="other"),
    )
    Trial([stages], {"other": other}).wait()
    seen = {p.name: json.loads(p.read_text())["python"] for p in marks.iterdir()}
    assert seen == {"here": sys.executable, "there": other}
    broken = Stage(role="bad", actor=doubles.Double(environment="other", broken="raise"))
    with pytest.raises(SetupError, match=r"actor 'bad' .* no such weights"):
        Trial([stages, [broken]], {"other": other}).wait()
    deadly = Stage(role="bad", actor=doubles.Double(environment="other", broken="exit"))
    with pytest.raises(SetupError, match=r"setting up the actors 'bad' kills"):
        Trial([stages, [deadly]], {"other": other}).wait()


@pytest.mark.ray
def test_a_phase_is_refused_before_ray_is_needed(doubles: ModuleType, tmp_path: Path) -> None:
    phase = Phase(name="toy", stages=(reporter(doubles, "x", environment="nowhere"),))

    def ready() -> None:
        raise AssertionError("Ray was started")

    with pytest.raises(EnvironmentRefusedError, match="'nowhere' is not one of"):
        run(phase, doubles.manifest([None]), tmp_path, ready=ready)


@pytest.mark.ray
def test_actors_of_different_shares_live_on_one_device(
    doubles: ModuleType, ray_session: None, tmp_path: Path
) -> None:
    """Each in a pool of its own, with its share, its memory, and whole batches."""
    shares = {"half": 0.5, "sixth": 1 / 6, "third": 1 / 3}
    memory_gb = {"half": 0.25, "sixth": 0.125, "third": 0.5}
    stages = tuple(
        reporter(doubles, name, gpus=share, memory_gb=memory_gb[name], batch_size=8, cpus=0.5)
        for name, share in shares.items()
    )
    phase = Phase(name="toy", stages=stages)
    report = run(phase, doubles.manifest([None] * 24), tmp_path)
    assert (report.ok, report.failed) == (24, 0)
    rows = phase.table(tmp_path).read(list(shares)).to_pylist()
    for name, share in shares.items():
        found = [json.loads(row[name]) for row in rows]
        assert {one["devices"] for one in found} == {"0"}
        assert {one["GPU"] for one in found} == {int(share * 10_000) / 10_000}
        assert {one["memory"] for one in found} == {memory_gb[name] * 10**9}
        assert {one["rows"] for one in found} == {8}
    pids = {name: {json.loads(row[name])["pid"] for row in rows} for name in shares}
    assert not pids["half"] & pids["sixth"]
    assert not pids["third"] & pids["sixth"]


def test_the_links_go_with_the_process() -> None:
    script = "from mien.cluster.environments import code; print(code())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip().startswith(os.path.realpath(os.environ.get("TMPDIR", "/tmp")))
    assert not Path(done.stdout.strip()).exists()
