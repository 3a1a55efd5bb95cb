"""Jobs on their way into a queue, up to where a queue is needed."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mien.cluster.kuberay import KubeRay
from mien.cluster.slurm import Slurm
from mien.jobs.main import configuration, run

Said = tuple[int, str, str]


@pytest.fixture
def mien(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run words in an empty folder; gives exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIEN_DEBUG", raising=False)

    def call(*words: str) -> Said:
        status = run(list(words))
        said, errors = capsys.readouterr()
        return status, said, errors

    return call


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that keeps what it is given."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "sbatch").write_text(
        f"#!/bin/sh\ncat > {tmp_path}/given\necho Submitted batch job 7\n"
    )
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "given"


def test_a_job_is_kept_shown_and_handed_over(
    mien: Callable[..., Said], sbatch: Path, tmp_path: Path
) -> None:
    words = ["my videos", "out=run", "job.span_s=30"]
    status, said, errors = mien("submit", "analyze", *words, "cluster=slurm", "cluster.nodes=2")
    assert status == 0, errors
    assert "Submitted batch job 7" in errors
    assert said == sbatch.read_text() == (tmp_path / "run/launch/analyze.sh").read_text()
    (line,) = [line for line in said.splitlines() if line.startswith("mien ")]
    started = shlex.split(line)
    assert started[:3] == ["mien", "analyze", f"corpus.path={tmp_path}/my videos"]
    assert {f"out={tmp_path}/run", "job.span_s=30", "cluster=ray", "cluster.nodes=2"} <= set(
        started
    )
    assert f"#SBATCH --chdir={tmp_path}" in said


def test_a_dry_one_is_only_written(mien: Callable[..., Said], sbatch: Path) -> None:
    status, said, errors = mien("submit", "analyze", "v", "cluster=slurm", "cluster.dry=true")
    assert (status, said.startswith("#!")) == (0, True)
    assert "nothing was submitted" in errors
    assert not sbatch.exists()


def test_a_manifest_for_kubernetes(mien: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    mount = f"cluster.mounts=[{{name: runs, mountPath: {tmp_path}/runs}}]"
    words = ["cluster=kuberay", "cluster.image=mien:1", "cluster.dry=true", mount]
    status, said, errors = mien("submit", "analyze", "s3://bucket/videos", "out=runs/one", *words)
    assert status == 0, errors
    entrypoint = shlex.split(yaml.safe_load(said)["spec"]["entrypoint"])
    assert {"corpus.path=s3://bucket/videos", f"out={tmp_path}/runs/one"} <= set(entrypoint)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["analyze", "v"], "give `cluster=slurm` or `cluster=kuberay`"),
        (["cluster=slurm"], "what is to be submitted?"),
        (["status", "out=run", "cluster=slurm"], "`mien status` needs no cluster"),
        (["analyze", "v", "job.spam_s=1", "cluster=slurm"], "did you mean 'job.span_s'"),
        (["analyze", "v", "job.span_s=0", "cluster=slurm"], "`job.span_s` must be at least 1"),
        (["analyze", "cluster=slurm"], "`corpus.path` is missing"),
        (
            ["analyze", "v", "cluster=slurm", "cluster.nodes=0"],
            "`cluster.nodes` must be at least 1",
        ),
        (["analyze", "v", "cluster=kuberay"], "`cluster.image` must name a container image"),
        (["analyze", "v", "cluster=kuberay", "cluster.image=i"], "`out` must be a URL"),
    ],
)
def test_what_could_not_run_is_refused_before_it_waits(
    mien: Callable[..., Said], sbatch: Path, words: list[str], message: str
) -> None:
    status, _, errors = mien("submit", *words)
    assert status == 2
    assert message in errors
    assert not sbatch.exists()


def test_a_queue_is_planned_for_here_but_not_waited_for(
    mien: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    status, _, errors = mien("analyze", "v", "cluster=slurm")
    assert (status, "give `mien submit analyze ...`" in errors) == (2, True)


def test_a_retry_goes_into_a_queue(mien: Callable[..., Said], tmp_path: Path) -> None:
    status, said, errors = mien("submit", "retry", "run", "cluster=slurm", "cluster.dry=true")
    assert status == 0, errors
    (line,) = [line for line in said.splitlines() if line.startswith("mien ")]
    assert shlex.split(line)[:4] == ["mien", "retry", f"out={tmp_path}/run", "cluster=ray"]


@pytest.mark.parametrize("python", ["/a,b/python", "/a b's/py[1]", r"/a\'b/{x}=y"])
@pytest.mark.parametrize("queue", [Slurm, KubeRay])
def test_paths_of_environments_arrive_as_they_are(
    queue: type[Slurm | KubeRay], python: str
) -> None:
    sent: dict[str, Any] = {"image": "mien:1"} if queue is KubeRay else {}
    text = queue(environments={"one": python}, **sent).text(["analyze", "v"], "s3://bucket/run")
    if queue is KubeRay:
        text = yaml.safe_load(text)["spec"]["entrypoint"]
    (line,) = [line for line in text.splitlines() if "environments.one" in line]
    words = [word for word in shlex.split(line) if word.startswith("+cluster.environments")]
    cfg = configuration("analyze", ["v", "cluster=ray", *words])
    assert cfg.cluster.environments == {"one": python}
