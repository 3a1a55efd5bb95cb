"""The command line, as far as nothing has to be started."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mien.jobs import failure
from mien.jobs.main import ARGUMENTS, configuration, names, run, sorted_words

JOBS = names("job")
ODD = ["a b.mp4", "a='b'.mp4", "c,[x].mp4", "a b='c',[x].mp4", "~x.mp4", "x\ny.mp4", '"q".mp4']

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


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_job(mien: Callable[..., Said], words: list[str]) -> None:
    status, said, _ = mien(*words)
    assert status == 0
    for job in JOBS:
        assert f"\n  {job} " in said


@pytest.mark.parametrize("job", JOBS)
def test_every_job_explains_itself(mien: Callable[..., Said], job: str) -> None:
    status, said, errors = mien(job, "--help")
    assert (status, errors) == (0, "")
    assert said.startswith(f"mien {job}")
    assert "_target_: mien.jobs." in said
    assert (f"[{ARGUMENTS.get(job)}]" in said) == (job in ARGUMENTS)


def test_version(mien: Callable[..., Said]) -> None:
    status, said, _ = mien("--version")
    assert status == 0
    assert said.startswith("mien ")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["analyse"], ["no job 'analyse'", "'analyze'", "validate"]),
        (["plan", "v", "cluster.core=2"], ["no key 'cluster.core'", "'cluster.cores'"]),
        (["plan", "v", "clusterr.cores=2"], ["no key 'clusterr.cores'", "'cluster.cores'"]),
        (["plan", "v", "models=embeded"], ["no choice 'embeded'", "'embedded'"]),
        (["plan", "v", "corpus=url"], ["`corpus` has no choice 'url'", "'urls'", "folder"]),
        (["plan", "v", "--hlep"], ["no option '--hlep'", "--help"]),
        (["plan", "v", "w"], ["one bare word", "'v' 'w'"]),
        (["doctor", "v"], ["no bare word", "'v'"]),
        (["plan"], ["`corpus.path` is missing", "bare word"]),
        (["validate"], ["`job.path` is missing"]),
        (["plan", "v"], ["`corpus.path`", "exists", "v'"]),
        (["plan", "v", "cluster.cores=0"], ["`cluster.cores` must be at least 1", "0"]),
        (["plan", "v", "cluster.cores=two"], ["cluster` cannot be built", "str"]),
        (["plan", "v", "+models.actors.watch.nope=1"], ["actors.watch` cannot be", "'nope'"]),
        (["plan", "v", "models.roles.transcribe=[x]"], ["must name actors", "'x'", "sphinx"]),
        (["plan", "v", "cluster.cores=["], ["--help"]),
        (["plan", "a${out}b"], ["'${'", "rename"]),
        (["status"], ["must be the folder of a run", "mien analyze"]),
        (["status", "nowhere"], ["nowhere", "run.json"]),
        (["retry", "nowhere"], ["nowhere", "run.json"]),
        (["report", "nowhere"], ["nowhere", "run.json"]),
        (["validate", "nowhere"], ["nowhere"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_cannot_be_run_is_said_in_one_line(
    mien: Callable[..., Said], words: list[str], parts: list[str]
) -> None:
    status, _, errors = mien(*words)
    assert status == 2
    assert errors.startswith("mien: ")
    assert errors.count("\n") == 1
    for part in parts:
        assert part in errors


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("form", ["{}", "./{}", "corpus.path={}"])
def test_a_path_may_have_any_characters(mien: Callable[..., Said], name: str, form: str) -> None:
    Path(name).write_bytes(b"x")
    cfg = configuration("plan", [form.format(name)])
    assert cfg.corpus.path == str(Path(name).absolute())
    status, said, _ = mien("plan", form.format(name))
    assert status == 0
    assert said.startswith("1 files")


@pytest.mark.parametrize("name", ["a b.mp4", "a b='c',[x].mp4", "/no/a=b.mp4"])
def test_a_path_that_is_not_there_is_named(mien: Callable[..., Said], name: str) -> None:
    status, _, errors = mien("plan", name)
    assert status == 2
    assert "`corpus.path`" in errors
    assert Path(name).name in errors


@pytest.mark.parametrize("value", ["my run", "a=b", "x,y", "'quoted run'", "[1]"])
def test_a_runs_folder_may_have_any_characters(tmp_path: Path, value: str) -> None:
    cfg = configuration("status", [f"out={tmp_path}/{value}"])
    assert cfg.out == f"{tmp_path}/{value}"
    assert OmegaConf.create(OmegaConf.to_yaml(cfg)).out == cfg.out


def test_quotes_around_a_path_are_hydras() -> None:
    assert sorted_words(["out='a b'"]) == ([], {"out": "a b"}, [])


def test_the_bare_word_is_the_jobs_first_question() -> None:
    assert configuration("validate", ["x.json"]).job.path == "x.json"
    assert configuration("status", ["a run"]).out.endswith("/a run")


def test_a_role_can_be_dropped(mien: Callable[..., Said]) -> None:
    Path("v.mp4").write_bytes(b"x")
    status, said, _ = mien("plan", "v.mp4", "~models.roles.transcribe")
    assert status == 0
    assert "Sphinx" not in said
    assert "Probe" in said


def broken(error: Exception) -> Callable[[object], int]:
    def call(self: object) -> int:
        raise error

    return call


def test_an_unforeseen_error_is_one_line_and_a_kept_traceback(
    mien: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.jobs.doctor.Doctor.__call__", broken(KeyError("nothing")))
    (tmp_path / "run").mkdir()
    status, _, errors = mien("doctor", "out=run")
    assert status == 70
    assert errors.count("\n") == 1
    assert "KeyError: 'nothing'" in errors
    log = tmp_path / "run" / failure.LOG
    assert str(log) in errors
    assert "Traceback (most recent call last)" in log.read_text()
    assert "raise error" in log.read_text()


def test_without_a_run_the_traceback_goes_elsewhere(
    mien: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.jobs.doctor.Doctor.__call__", broken(ValueError("a\nb")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, _, errors = mien("doctor", "out=run")
    assert status == 70
    assert errors.count("\n") == 1
    assert "ValueError: a\nb" in (tmp_path / "mien-error.log").read_text()
    assert not (tmp_path / "run").exists()


def test_debugging_raises(mien: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.jobs.doctor.Doctor.__call__", broken(KeyError("nothing")))
    monkeypatch.setenv("MIEN_DEBUG", "1")
    with pytest.raises(KeyError):
        mien("doctor")


def test_ctrl_c_is_130(mien: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    def call(self: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.jobs.doctor.Doctor.__call__", call)
    status, _, errors = mien("doctor")
    assert status == 130
    assert "the same command takes up the rest" in errors


def test_the_command_is_installed() -> None:
    """And it says so through the shell: exit status, one line, no traceback."""
    mien = Path(sys.executable).with_name("mien")
    done = subprocess.run([mien, "analyse"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert io.StringIO(done.stderr).readline().startswith("mien: there is no job 'analyse'")
