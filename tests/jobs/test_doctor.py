"""`mien doctor`: what it says of roles, packages, weights, licences, keys, environments."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
import ray

from mien.actors.actor import Actor
from mien.actors.packages import absent, cure
from mien.actors.weights import Weights
from mien.cluster.session import Cluster
from mien.jobs import doctor as module
from mien.jobs.doctor import Doctor, gpus
from mien.jobs.main import configuration
from mien.jobs.profile import Profile
from mien.jobs.progress import console


@dataclass(kw_only=True)
class Plain(Actor):
    reads: ClassVar[tuple[str, ...]] = ("x",)
    adds: ClassVar[pa.Schema] = pa.schema([("y", pa.int64())])
    model: ClassVar[str] = "arithmetic"
    licence: ClassVar[str] = "MIT"
    quality: ClassVar[str] = "Exact [to the bit]."

    def process(self, rows: pa.Table) -> pa.Table:
        return rows.select(["y"])


@dataclass(kw_only=True)
class Packed(Plain):
    packages: ClassVar[tuple[str, ...]] = ("no_such_package",)


@dataclass(kw_only=True)
class Engine(Plain):
    packages: ClassVar[tuple[str, ...]] = ("sglang",)
    api_key_env: str = "SECRET_KEY"


@dataclass(kw_only=True)
class Net(Plain):
    weights_of_it: Weights = field(
        default_factory=lambda: Weights(
            name="org/net",
            licence="CC-BY-NC-4.0",
            terms="https://example.org/terms",
            size_gb=1.5,
        )
    )


Said = tuple[int, str]


@pytest.fixture
def doctor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Said]:
    """Ask for a profile of one role for each list of actors; gives status and words."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(console, "width", 100)

    def call(*roles: list[Actor | None], allow_nc: bool = False, **cluster: object) -> Said:
        actors = {f"a{i}{j}": a for i, role in enumerate(roles) for j, a in enumerate(role) if a}
        names: dict[str, list[str | None]] = {
            f"role{i}": [f"a{i}{j}" if a else None for j, a in enumerate(r)]
            for i, r in enumerate(roles)
        }
        profile = Profile(name="toy", actors=actors, roles=names, allow_nc=allow_nc)
        status = Doctor(models=profile, cluster=Cluster(**cluster))()  # type: ignore[arg-type]
        return status, " ".join(capsys.readouterr().out.replace("│", " ").split())

    return call


def test_the_first_that_can_fills_a_role_and_the_next_is_spare(doctor: Callable[..., Said]) -> None:
    status, said = doctor([Packed(), Plain(), Plain()])
    assert status == 0
    assert "role0 a00 cannot work here" in said
    assert "a01 fills the role arithmetic (MIT) Exact [to the bit]." in said
    assert "a02 spare" in said


def test_a_role_that_may_be_left_out_is_no_fault(doctor: Callable[..., Said]) -> None:
    status, said = doctor([Packed(), None], [Plain(), None])
    assert status == 0
    assert "- the role is left out" in said
    assert "- spare" in said
    assert "nobody can fill" not in said


def test_an_absent_package_is_named_with_what_installs_it(doctor: Callable[..., Said]) -> None:
    status, said = doctor([Packed()], [Engine()])
    assert status == 1
    assert "! needs the package no_such_package" in said
    assert "make setup # brings no_such_package" in said
    assert "uv venv --python" in said
    assert f"'ray[data]=={ray.__version__}'" in said
    assert "then +cluster.environments.sglang=" in said
    assert "Roles that nobody can fill here: role0, role1." in said


def test_absent_weights_are_named_with_what_brings_them(doctor: Callable[..., Said]) -> None:
    status, said = doctor([Net()], allow_nc=True)
    assert status == 1
    assert "! the weights org/net, revision main, are not here (1.5 GB); terms to accept:" in said
    assert "https://example.org/terms" in said
    assert "mien fetch models=toy # brings org/net, about 1.5 GB" in said


def test_weights_that_are_here_are_shown_with_their_place(
    doctor: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "net.pt").write_text("x")
    here = Weights(name="org/net", licence="MIT", path=str(tmp_path / "net.pt"))
    status, said = doctor([Net(weights_of_it=here)])
    assert status == 0
    assert "fills the role org/net " in said
    assert "weights: " in said
    assert "mien fetch" not in said


def test_a_licence_in_the_way_is_named_with_its_key(
    doctor: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "net.pt").write_text("x")
    restricted = Weights(name="org/net", licence="CC-BY-NC-4.0", path=str(tmp_path / "net.pt"))
    status, said = doctor([Net(weights_of_it=restricted)])
    assert status == 1
    assert "! not for commercial use: `licence.allow_nc=true` if yours is not" in said
    assert "licence.allow_nc=true # allows a00" in said
    status, said = doctor([Net(weights_of_it=restricted)], allow_nc=True)
    assert status == 0
    assert "allow_nc" not in said


def test_keys_are_known_of_and_never_shown(
    doctor: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "hush-hush")
    monkeypatch.setenv("SECRET_KEY", "hush-hush")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    _, said = doctor([Engine()])
    assert "ANTHROPIC_API_KEY set" in said
    assert "SECRET_KEY set" in said
    assert "HF_TOKEN not set" in said
    assert "hush" not in said


def test_environments_are_listed_with_what_is_in_them(
    doctor: Callable[..., Said], tmp_path: Path
) -> None:
    program = tmp_path / "python"
    known = {"python": "3.11.0", "versions": {"ray": "2.9.0"}, "broken": {}, "absent": []}
    program.write_text(f"#!/bin/sh\necho '{json.dumps(known)}'\n")
    program.chmod(0o755)
    here = {"old": str(program), "same": sys.executable}
    status, said = doctor(
        [Plain(environment="same")], [Plain(environment="old")], environments=here
    )
    assert status == 1
    assert f"environment old ({program}): cannot be used, its " in said
    assert f"environment same ({sys.executable}): python {sys.version.split()[0]}, ray" in said
    assert "fills the role arithmetic (MIT) environment: same" in said
    assert "! the environment 'old' cannot be used" in said
    assert ".venv-old" in said


def test_it_fits_a_terminal(
    doctor: Callable[..., Said], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    profile = Profile(name="toy", actors={"net": Net()}, roles={"watch": ["net"]})
    Doctor(models=profile, cluster=Cluster())()
    table = [line for line in capsys.readouterr().out.splitlines() if line[:1] in "┏┃┡│├└"]
    assert table
    assert max(map(len, table)) <= 100


def test_the_devices_are_as_the_driver_says_where_torch_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "absent", lambda names: list(names))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == "none"
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA GB10, [N/A]'\n")
    program.chmod(0o755)
    assert gpus() == "NVIDIA GB10, [N/A] (no torch to use it)"
    program.write_text("#!/bin/sh\necho 'no driver'\nexit 9\n")
    assert gpus() == "none"


def test_packages_are_cured_in_their_own_ways() -> None:
    assert absent(["json", "no_such_package.part", "pyarrow.parquet"]) == ["no_such_package.part"]
    assert cure(["torch", "transformers"]) == "`make setup`"
    assert "'.[vllm]'" in cure(["vllm"])
    assert "of its own" in cure(["sglang"])


def test_an_environment_is_named_from_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = configuration("doctor", ["+cluster.environments.x=.venv-x/bin/python"])
    assert cfg.cluster.environments.x == str(tmp_path / ".venv-x" / "bin" / "python")
